"""The tables of the model card, in Markdown.

Goes in: `metrics.json`, by protocol and subset. Comes out: text. What is not defined, as the recall of a
    class without images, is `-`.
"""

from typing import Any

from trainer.reporting.tables import build_comparison, has_comparison

# The part with a twin in Training says nothing that the whole does not.
SUBSETS = ("all", "unseen")


def name_subset(summary: dict[str, Any], subset: str) -> str:
    """Say which images a subset is; the leaked one is called leaked."""
    whole = "whole test split, leaked" if "with_train_twin" in summary else "whole test split"
    return whole if subset == "all" else "without a twin in Training"


def build_table(metrics: dict[str, Any]) -> str:
    """A row a protocol and subset: accuracy and macro F scores with their intervals."""
    header = [
        "protocol",
        "images",
        "accuracy",
        "95 % interval",
        "macro F1",
        "95 % interval",
        "macro F2",
        "95 % interval",
        "ECE",
    ]
    rows = []
    for protocol, summary in metrics.items():
        for subset in (name for name in SUBSETS if name in summary):
            figures = summary[subset]
            cells = [f"{protocol}, {name_subset(summary, subset)}", str(figures["count"])]
            cells += [f"{figures['accuracy']:.2%}", format_interval(figures["accuracy_interval"], ".2%")]
            for name in ("f1", "f2"):
                cells += [
                    f"{figures['macro'][name]:.4f}",
                    format_interval(figures["intervals"][f"macro_{name}"], ".4f"),
                ]
            rows.append([*cells, f"{figures['ece']:.4f}"])
    return to_markdown(header, rows)


def build_recall_table(metrics: dict[str, Any]) -> str:
    """A row a subset and class: recall with its interval, the others without."""
    header = [
        "images",
        "class",
        "count",
        "recall",
        "95 % interval",
        "specificity",
        "precision",
        "F1",
        "AUROC",
        "95 % interval",
    ]
    rows = []
    for protocol, summary in metrics.items():
        for subset in (name for name in SUBSETS if name in summary):
            for label, figures in summary[subset]["per_class"].items():
                recall, auroc = (
                    summary[subset]["intervals"][name].get(label) for name in ("recall", "auroc")
                )
                told = [
                    _percent(figures["recall"]),
                    format_interval(recall, ".2%"),
                    _percent(figures["specificity"]),
                    _percent(figures["precision"]),
                ]
                told += [
                    _four_digits(figures["f1"]),
                    _four_digits(figures["auroc"]),
                    format_interval(auroc, ".4f"),
                ]
                rows.append(
                    [f"{protocol}, {name_subset(summary, subset)}", label, str(figures["support"]), *told]
                )
    return to_markdown(header, rows)


def build_comparison_table(metrics: dict[str, Any]) -> str:
    """The model beside the published network and memory; empty but on the official split."""
    shown = [
        build_comparison(summary)
        for protocol, summary in metrics.items()
        if has_comparison(protocol, summary)
    ]
    return "".join(to_markdown(rows[0], rows[1:]) + "\n\n" for rows in shown)


def build_uncertainty_table(metrics: dict[str, Any]) -> str:
    """A row a subset: errors of the probabilities, sets at each coverage, the alarm at each sensitivity."""
    header = ["images", "NLL", "Brier", "ECE", "ECE before temperature", "AURC"]
    rows: list[list[str]] = []
    for protocol, summary in metrics.items():
        for name, figures in summary.items():
            sets, alarm = figures["prediction_sets"], figures["any_tumour"]
            points = alarm["operating_points"] if alarm else []
            numbers = (
                figures["nll"],
                figures["brier"],
                figures["ece"],
                figures["uncalibrated"]["ece"],
                figures["abstention"]["aurc"],
            )
            wanted = [f"sets for {float(coverage):.0%}: coverage, mean size" for coverage in sets]
            wanted += [
                f"alarm for {point['target_sensitivity']:.1%}: sensitivity, specificity" for point in points
            ]
            if not rows:
                header += wanted
            told = [f"{held['coverage']:.2%}, {held['size']:.2f}" for held in sets.values()]
            told += [
                f"{_percent(point['sensitivity'])}, {_percent(point['specificity'])}" for point in points
            ]
            rows.append([f"{protocol}, {name}", *(f"{number:.4f}" for number in numbers), *told])
    return to_markdown(header, rows)


def count_healthy(metrics: dict[str, Any]) -> str:
    """Images without tumour of each subset; in words where the classes know no such question."""
    counts = [
        f"{figures['any_tumour']['no_tumour']:,} ({protocol}, {name})"
        for protocol, summary in metrics.items()
        for name, figures in summary.items()
        if figures["any_tumour"]
    ]
    return ", ".join(counts) or "there are none"


def to_markdown(header: list[str], rows: list[list[str]]) -> str:
    """Join a header and rows to a table."""
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (header, ["---"] * len(header), *rows))


def format_interval(bounds: list[float] | None, digits: str) -> str:
    """Write the two ends of an interval, `-` where there is none."""
    return "-" if bounds is None else f"{bounds[0]:{digits}} to {bounds[1]:{digits}}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.2%}"


def _four_digits(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
