"""Figures as tables: in the terminal, and as rows for the model card.

Goes in: one protocol's section of `metrics.json`. Comes out: text. On the official split the model never stands alone: beside it stand
the published network and what memory alone reaches.
"""

from dataclasses import dataclass
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

OFFICIAL = "official"
SUBSET_TITLES = {
    "all": "all test images",
    "unseen": "test images without a twin in Training",
    "with_train_twin": "test images that are a mirrored or turned training image",
}
PROBABILITY_TITLES = {"ece": "ECE", "nll": "NLL", "brier": "Brier"}
CLASS_COLUMNS = {
    "precision": "prec.",
    "recall": "recall",
    "specificity": "spec.",
    "f1": "F1",
    "f2": "F2",
    "auroc": "AUROC",
}
LABELS = ("glioma", "meningioma", "notumor", "pituitary")


@dataclass(frozen=True)
class Reference:
    """What another classifier reaches on the official test split.

    Attributes:
        name: for the table.
        accuracy: on all 1,311 images, [0, 1].
        unseen_accuracy: on the 319 without a twin in Training; None where unknown.
        recall: by class, in the order of `LABELS`; None where unknown.
    """

    name: str
    accuracy: float
    unseen_accuracy: float | None = None
    recall: tuple[float, ...] | None = None


# The first two as published with the reference CNN (`configs/reference_vgg.toml`), of two runs; the others, by `tumor audit`, stand in
# tumor_ds/README.md: on 56x56 pixels, as they are and with brightness and contrast evened.
REFERENCES = (
    Reference("reference CNN", 0.9817, None, (0.9733, 0.9641, 0.9951, 0.9900)),
    Reference("reference CNN, later", 0.9832),
    Reference("nearest neighbour", 0.976, 0.956, (0.97, 0.94, 0.99, 1.00)),
    Reference("the same, evened", 0.960, 0.915, (0.91, 0.92, 1.00, 1.00)),
    Reference("the largest class", 0.309, None, (0.0, 0.0, 1.0, 0.0)),
)


def build_comparison(summary: dict[str, Any]) -> list[list[str]]:
    """Put the model beside the references: a header and a row each, accuracy on both subsets and recall by class; `-` where unknown."""
    per_class = summary["all"]["per_class"]
    unseen = summary["unseen"]
    header = ["accuracy and recall", "all", "unseen", *per_class]
    own = Reference("this model", summary["all"]["accuracy"], unseen["accuracy"], tuple(figures["recall"] for figures in per_class.values()))
    rows = [[row.name, row.accuracy, row.unseen_accuracy, *(row.recall or [None] * len(per_class))] for row in (own, *REFERENCES)]
    return [header, *([str(name), *map(_percent, figures)] for name, *figures in rows)]


def has_comparison(protocol: str, summary: dict[str, Any]) -> bool:
    """Whether these are the figures that others publish: the whole official test split of the four classes."""
    return protocol == OFFICIAL and "unseen" in summary and tuple(summary["all"]["per_class"]) == LABELS


def print_summary(protocol: str, summary: dict[str, Any], console: Console) -> None:
    """Print one table a subset, with figures that `metrics.json` holds, and the comparison with others."""
    for name, figures in summary.items():
        _print_classes(f"{protocol}: {SUBSET_TITLES[name] if len(summary) > 1 else 'all images'}", figures, console)
    if has_comparison(protocol, summary):
        header, *rows = build_comparison(summary)
        table = _start_table(f"all {summary['all']['count']:,} test images, and the {summary['unseen']['count']:,} unseen ones", header)
        for row in rows:
            table.add_row(*row)
        console.print(table)


def _print_classes(title: str, figures: dict[str, Any], console: Console) -> None:
    table = _start_table(title, ["class", *CLASS_COLUMNS.values(), "images"])
    for label, values in figures["per_class"].items():
        table.add_row(label, *(_four_digits(values[column]) for column in CLASS_COLUMNS), str(values["support"]))
    for average in ("macro", "weighted"):
        table.add_row(f"{average} mean", *(_four_digits(figures[average][column]) for column in CLASS_COLUMNS), str(figures["count"]), style="bold")
    console.print(table)
    console.print(_describe(figures), highlight=False, markup=False)


def _start_table(title: str, header: list[str]) -> Table:
    """No frame, so that it fits into 80 columns."""
    table = Table(title=title, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for column in header:
        table.add_column(column, justify="left" if column == header[0] else "right", no_wrap=True)
    return table


def _describe(figures: dict[str, Any]) -> str:
    """The figures that are not by class, a line each."""
    low, high = figures["accuracy_interval"]
    before = figures["uncalibrated"]
    lines = [
        f"accuracy {figures['accuracy']:.2%} ({figures['errors']} errors of {figures['count']}), "
        f"95 % interval over {figures['groups']} groups {low:.2%} to {high:.2%}",
        f"kappa {_four_digits(figures['kappa'])}; MCC {_four_digits(figures['mcc'])}",
        f"area under the risk-coverage curve {figures['abstention']['aurc']:.4f}",
        "; ".join(f"{title} {figures[name]:.4f}" for name, title in PROBABILITY_TITLES.items())
        + "; before temperature: "
        + "; ".join(f"{title} {before[name]:.4f}" for name, title in PROBABILITY_TITLES.items()),
        *(
            f"sets for {float(coverage):.0%} hold the label for {sets['coverage']:.2%}, mean size {sets['size']:.3f}"
            for coverage, sets in figures["prediction_sets"].items()
        ),
        *_describe_alarms(figures["any_tumour"]),
        f"refused by the guard: {figures['refused']}",
    ]
    return "\n".join(lines)


def _describe_alarms(any_tumour: dict[str, Any] | None) -> list[str]:
    if any_tumour is None:
        return []
    rules = {"by the most probable label": any_tumour["most_probable_label"]} | {
        f"at the threshold for {point['target_sensitivity']:.1%}": point for point in any_tumour["operating_points"]
    }
    return [
        f"any tumour {name}: sensitivity {_percent(rule['sensitivity'])}, specificity {_percent(rule['specificity'])}" for name, rule in rules.items()
    ]


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.2%}"


def _four_digits(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
