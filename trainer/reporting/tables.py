"""Figures as tables: in the terminal, and as rows for the model card.

Goes in: one protocol's section of `metrics.json`. Comes out: text. On the official split the model never
stands alone: beside it stand the published network and what memory alone reaches.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
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


@dataclass(frozen=True)
class Reference:
    """What another classifier reaches on the official test split.

    Attributes:
        name: for the table.
        accuracy: on all 1,311 images, [0, 1].
        unseen_accuracy: on the 319 without a twin in Training; None where unknown.
        recall: by class; empty where unknown.
    """

    name: str
    accuracy: float
    unseen_accuracy: float | None = None
    recall: Mapping[str, float] = field(default_factory=dict)


# The first two as published with the reference CNN (`configs/reference_vgg.toml`), of two runs; the others,
# by `tumor audit`, stand in tumor_ds/README.md: on 56x56 pixels, as they are and with brightness and contrast
# evened.
REFERENCES = (
    Reference(
        "reference CNN",
        0.9817,
        None,
        {"glioma": 0.9733, "meningioma": 0.9641, "notumor": 0.9951, "pituitary": 0.9900},
    ),
    Reference("reference CNN, later", 0.9832),
    Reference(
        "nearest neighbour",
        0.976,
        0.956,
        {"glioma": 0.97, "meningioma": 0.94, "notumor": 0.99, "pituitary": 1.00},
    ),
    Reference(
        "the same, evened",
        0.960,
        0.915,
        {"glioma": 0.91, "meningioma": 0.92, "notumor": 1.00, "pituitary": 1.00},
    ),
    Reference(
        "the largest class", 0.309, None, {"glioma": 0.0, "meningioma": 0.0, "notumor": 1.0, "pituitary": 0.0}
    ),
)


def build_comparison(summary: dict[str, Any]) -> list[list[str]]:
    """Put the model beside the references, and both beside the number of images; a header and rows, `-` where a figure is unknown.

    Accuracy on all and on the unseen test images, then recall by class, on all images unless the row says
    unseen.
    """
    whole, unseen = summary["all"], summary["unseen"]
    labels = list(whole["per_class"])
    own = [_recalls(part, labels) for part in (whole, unseen)]
    rows = [
        [
            "images",
            f"{whole['count']:,}",
            f"{unseen['count']:,}",
            *(f"{whole['per_class'][label]['support']:,}" for label in labels),
        ],
        [
            "unseen images",
            "-",
            f"{unseen['count']:,}",
            *(f"{unseen['per_class'][label]['support']:,}" for label in labels),
        ],
        ["this model", _percent(whole["accuracy"]), _percent(unseen["accuracy"]), *own[0]],
        ["this model, unseen", "-", _percent(unseen["accuracy"]), *own[1]],
    ]
    for other in REFERENCES:
        rows.append(
            [
                other.name,
                _percent(other.accuracy),
                _percent(other.unseen_accuracy),
                *(_percent(other.recall.get(label)) for label in labels),
            ]
        )
    return [["accuracy and recall", "all", "unseen", *labels], *rows]


def has_comparison(protocol: str, summary: dict[str, Any]) -> bool:
    """Whether these are the figures that others publish: the whole official test split of the four classes."""
    return (
        protocol == OFFICIAL
        and "unseen" in summary
        and set(summary["all"]["per_class"]) == set(REFERENCES[0].recall)
    )


def print_summary(protocol: str, summary: dict[str, Any], console: Console) -> None:
    """Print one table a subset, with figures that `metrics.json` holds, and the comparison with others."""
    for name, figures in summary.items():
        _print_classes(
            f"{protocol}: {SUBSET_TITLES[name] if len(summary) > 1 else 'all images'}", figures, console
        )
    if has_comparison(protocol, summary):
        header, *rows = build_comparison(summary)
        table = start_table("official: beside others; unseen: without a twin in Training", header)
        for row in rows:
            table.add_row(*row)
        console.print(table)


def _print_classes(title: str, figures: dict[str, Any], console: Console) -> None:
    table = start_table(title, ["class", *CLASS_COLUMNS.values(), "images"])
    for label, values in figures["per_class"].items():
        table.add_row(
            label, *(_four_digits(values[column]) for column in CLASS_COLUMNS), str(values["support"])
        )
    for average in ("macro", "weighted"):
        table.add_row(
            f"{average} mean",
            *(_four_digits(figures[average][column]) for column in CLASS_COLUMNS),
            str(figures["count"]),
            style="bold",
        )
    console.print(table)
    console.print(_describe(figures), highlight=False, markup=False)


def start_table(title: str, header: list[str]) -> Table:
    """Begin a table without a frame, so that it fits into 80 columns; text in the first column, numbers in the others."""
    table = Table(title=title, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for column in header:
        is_text = column == header[0]  # only text may be broken where the terminal is narrow
        table.add_column(column, justify="left" if is_text else "right", no_wrap=not is_text, overflow="fold")
    return table


def _describe(figures: dict[str, Any]) -> str:
    """The figures that are not by class, a line each."""
    low, high = figures["accuracy_interval"]
    before = figures["uncalibrated"]
    lines = [
        (
            f"accuracy {figures['accuracy']:.2%} ({figures['errors']} errors of {figures['count']}), "
            f"95 % interval over {figures['groups']} groups {low:.2%} to {high:.2%}"
        ),
        f"kappa {_four_digits(figures['kappa'])}; MCC {_four_digits(figures['mcc'])}",
        f"area under the risk-coverage curve {figures['abstention']['aurc']:.4f}",
        "; ".join(f"{title} {figures[name]:.4f}" for name, title in PROBABILITY_TITLES.items())
        + "; before temperature: "
        + "; ".join(f"{title} {before[name]:.4f}" for name, title in PROBABILITY_TITLES.items()),
        *(
            f"sets for {float(coverage):.0%} hold the label for {sets['coverage']:.2%}, mean size"
            f" {sets['size']:.3f}"
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
        f"at the threshold for {point['target_sensitivity']:.1%}": point
        for point in any_tumour["operating_points"]
    }
    return [
        f"any tumour {name}: sensitivity {_percent(rule['sensitivity'])}, specificity"
        f" {_percent(rule['specificity'])}"
        for name, rule in rules.items()
    ]


def _recalls(figures: dict[str, Any], labels: list[str]) -> list[str]:
    return [_percent(figures["per_class"][label]["recall"]) for label in labels]


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.2%}"


def _four_digits(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
