"""Figures as rows of text, and as tables in Markdown: for the model card and for a comparison of runs.

Goes in: `metrics.json`, by protocol and subset. Comes out: text. On the official split the model never stands
alone: beside it stand the published network and what memory alone reaches.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from serving.files.errors import UserError
from serving.model.artefact import METRICS_FILE
from trainer.reporting.wording import MAIN_SUBSETS, UNKNOWN, format_figure, format_interval, name_subset

# Of the prediction sets that a comparison of runs shows.
COVERAGE = "0.95"
INTERVAL = "95 % interval"


class ResultsError(UserError):
    """A folder without figures.

    Example:
        >>> ResultsError("Cannot read runs/a/metrics.json. Name folders that hold one.").exit_code
        1
    """


@dataclass(frozen=True)
class Reference:
    """What another classifier reaches on the official test split.

    Attributes:
        name: for the table.
        accuracy: on all 1,311 images, [0, 1].
        unseen_accuracy: on the 319 without a twin in Training; None where unknown.
        recall: by class; empty where unknown.

    Example:
        >>> Reference("the largest class", 0.309).recall
        {}
    """

    name: str
    accuracy: float
    unseen_accuracy: float | None = None
    recall: Mapping[str, float] = field(default_factory=dict)


def _recalls(*shares: float) -> dict[str, float]:
    return dict(zip(("glioma", "meningioma", "notumor", "pituitary"), shares, strict=True))


# The first two as published with the reference CNN (`configs/reference_vgg.toml`), of two runs; the others,
# by `tumor audit`, stand in tumor_ds/README.md: pictures of 56x56 pixels, as they are, then with one mean
# brightness and contrast.
REFERENCES = (
    Reference("reference CNN", 0.9817, None, _recalls(0.9733, 0.9641, 0.9951, 0.9900)),
    Reference("reference CNN, later", 0.9832),
    Reference("nearest neighbour", 0.976, 0.956, _recalls(0.97, 0.94, 0.99, 1.00)),
    Reference("the same, standardised", 0.960, 0.915, _recalls(0.91, 0.92, 1.00, 1.00)),
    Reference("the largest class", 0.309, None, _recalls(0.0, 0.0, 1.0, 0.0)),
)


def has_comparison(protocol: str, summary: dict[str, Any]) -> bool:
    """Whether others publish such figures: of the whole official test split of the four classes."""
    labels = set(summary["all"]["per_class"])
    return protocol == "official" and "unseen" in summary and labels == set(REFERENCES[0].recall)


def build_comparison(summary: dict[str, Any]) -> list[list[str]]:
    """Put the model beside the references, and both beside the number of images; a header and rows.

    Accuracy on all and on the unseen test images, then recall by class, on all images unless the row says
    unseen.
    """
    whole, unseen = summary["all"], summary["unseen"]
    labels = list(whole["per_class"])

    def list_classes(figures: dict[str, Any], name: str, form: str) -> list[str]:
        return [format_figure(figures["per_class"][label][name], form) for label in labels]

    accuracy = [format_figure(part["accuracy"]) for part in (whole, unseen)]
    counts = [f"{part['count']:,}" for part in (whole, unseen)]
    rows = [
        ["accuracy and recall", "all", "unseen", *labels],
        ["images", *counts, *list_classes(whole, "support", ",")],
        ["unseen images", UNKNOWN, counts[1], *list_classes(unseen, "support", ",")],
        ["this model", *accuracy, *list_classes(whole, "recall", ".2%")],
        ["this model, unseen", UNKNOWN, accuracy[1], *list_classes(unseen, "recall", ".2%")],
    ]
    for other in REFERENCES:
        shares = [other.accuracy, other.unseen_accuracy, *map(other.recall.get, labels)]
        rows.append([other.name, *map(format_figure, shares)])
    return rows


def build_table(metrics: dict[str, Any]) -> str:
    """A row a protocol and subset: accuracy and macro F scores with their intervals."""
    header = ["protocol", "images", "accuracy", INTERVAL, "macro F1", INTERVAL, "macro F2", INTERVAL, "ECE"]
    rows = []
    for title, figures in list_subsets(metrics):
        cells = [title, str(figures["count"]), format_figure(figures["accuracy"])]
        cells.append(format_interval(figures["accuracy_interval"]))
        for name in ("f1", "f2"):
            cells.append(format_figure(figures["macro"][name], ".4f"))
            cells.append(format_interval(figures["intervals"][f"macro_{name}"], ".4f"))
        rows.append([*cells, format_figure(figures["ece"], ".4f")])
    return to_markdown(header, rows)


def build_recall_table(metrics: dict[str, Any]) -> str:
    """A row a subset and class: recall and AUROC with their intervals, the others without."""
    columns = ("recall", INTERVAL, "specificity", "precision", "F1", "AUROC", INTERVAL)
    rows = []
    for title, figures in list_subsets(metrics):
        intervals = figures["intervals"]
        for label, values in figures["per_class"].items():
            cells = [title, label, str(values["support"]), format_figure(values["recall"])]
            cells.append(format_interval(intervals["recall"].get(label)))
            cells += [format_figure(values[name]) for name in ("specificity", "precision")]
            cells += [format_figure(values[name], ".4f") for name in ("f1", "auroc")]
            rows.append([*cells, format_interval(intervals["auroc"].get(label), ".4f")])
    return to_markdown(["images", "class", "count", *columns], rows)


def build_comparison_table(metrics: dict[str, Any]) -> str:
    """The model beside the published network and memory; empty but on the official split."""
    shown = [build_comparison(summary) for name, summary in metrics.items() if has_comparison(name, summary)]
    return "".join(to_markdown(rows[0], rows[1:]) + "\n\n" for rows in shown)


def build_uncertainty_table(metrics: dict[str, Any]) -> str:
    """A row a subset: errors of the probabilities, sets at each coverage, the alarm at each sensitivity."""
    wanted: list[str] = []
    rows = []
    for protocol, summary in metrics.items():
        for name, figures in summary.items():
            sets = figures["prediction_sets"]
            points = (figures["any_tumour"] or {}).get("operating_points", [])
            numbers = [figures[key] for key in ("nll", "brier", "ece")]
            numbers += [figures["uncalibrated"]["ece"], figures["abstention"]["aurc"]]
            cells = [f"{protocol}, {name}", *(f"{number:.4f}" for number in numbers)]
            cells += [f"{held['coverage']:.2%}, {held['size']:.2f}" for held in sets.values()]
            for one in points:
                cells.append(f"{format_figure(one['sensitivity'])}, {format_figure(one['specificity'])}")
            rows.append(cells)
            wanted = wanted or [
                *(f"sets for {float(coverage):.0%}: coverage, mean size" for coverage in sets),
                *(f"alarm for {one['target_sensitivity']:.1%}: sensitivity, specificity" for one in points),
            ]
    return to_markdown(["images", "NLL", "Brier", "ECE", "ECE before temperature", "AURC", *wanted], rows)


def build_results(folders: Sequence[Path]) -> str:
    """Put runs into one table: a row a folder, protocol and subset, in the order given.

    Args:
        folders: each with a `metrics.json`; the name of the folder is that of the run.

    Raises:
        ResultsError: one of them has none, or it is damaged.
    """
    rows = []
    for folder in folders:
        path = folder / METRICS_FILE
        try:
            metrics = json.loads(path.read_text(encoding="utf-8"))
            rows += [[folder.name, title, *_describe_run(part)] for title, part in list_subsets(metrics)]
        except OSError as error:
            remedy = "Name folders that hold one; tumor evaluate writes it."
            raise ResultsError(f"Cannot read {path}: {error.strerror}. {remedy}") from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ResultsError(
                f"{path} lacks figures that this table shows ({error!r})."
                " Write it again: tumor evaluate, with this version"
            ) from error
    columns = ("accuracy", "macro F1", "any-tumour sensitivity", "ECE", "set size at 95 %")
    return to_markdown(["run", "protocol", "images", *columns], rows)


def to_markdown(header: list[str], rows: list[list[str]]) -> str:
    """Join a header and rows to a table."""
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (header, ["---"] * len(header), *rows))


def list_subsets(metrics: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Give title and figures of each protocol and main subset."""
    for protocol, summary in metrics.items():
        for subset in (name for name in MAIN_SUBSETS if name in summary):
            yield f"{protocol}, {name_subset(subset, summary)}", summary[subset]


def _describe_run(figures: dict[str, Any]) -> list[str]:
    alarm = (figures["any_tumour"] or {}).get("most_probable_label", {})
    sets = figures["prediction_sets"].get(COVERAGE, {})
    shown = (
        (figures["accuracy"], figures["accuracy_interval"], ".2%"),
        (figures["macro"]["f1"], figures["intervals"]["macro_f1"], ".3f"),
        (alarm.get("sensitivity"), alarm.get("sensitivity_interval"), ".2%"),
        (figures["ece"], figures["intervals"]["ece"], ".3f"),
        (sets.get("size"), sets.get("size_interval"), ".2f"),
    )
    cells = [
        UNKNOWN if value is None else f"{value:{form}} ({format_interval(bounds, form)})"
        for value, bounds, form in shown
    ]
    return [f"{figures['count']:,}", *cells]
