"""Tables of where the map points, and of sources, in Markdown: for the model card and the comparison of runs.

Goes in: `metrics.json`. Comes out: text; empty where the model has no map, or nothing is known of sources.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from serving.model.artefact import METRICS_FILE
from trainer.reporting.tables import INTERVAL, list_subsets, to_markdown
from trainer.reporting.wording import UNKNOWN, format_figure, format_interval

ALL = "all"
SOURCE_COLUMNS = (
    "source",
    "images",
    "accuracy",
    INTERVAL,
    "AUROC of classes",
    "of the map",
    "of the answer",
    INTERVAL,
    "95 % sets hold the kind",
    "mean size",
    "ECE",
    "refused",
    "unlike training",
)


def build_localisation_table(metrics: dict[str, Any]) -> str:
    """A row a subset and class: pointing beside its floors, Dice, IoU, and area found where nothing is."""
    columns = ["outlined", "inside", INTERVAL, "near", "class activation map inside", "middle inside"]
    columns += ["Dice", INTERVAL, "IoU", "without tumour", "false area", INTERVAL]
    rows = []
    for title, subset in list_subsets(metrics):
        for name, figures in _list_localised(subset):
            rows.append([title, name.replace("_", " "), *_describe_localised(figures)])
    return to_markdown(["images", "class", *columns], rows) if rows else ""


def build_source_table(metrics: dict[str, Any]) -> str:
    """A row a source: tumour or none by classes, map and answer, sets, calibration, refusals."""
    rows = list(_list_sources(metrics))
    return to_markdown(list(SOURCE_COLUMNS), rows) if rows else ""


def build_source_results(folders: Sequence[Path]) -> str:
    """The rows of `build_source_table` of several runs, each behind the name of its folder.

    Args:
        folders: each with a `metrics.json` that `trainer.reporting.tables.build_results` could read.
    """
    rows = [
        [folder.name, *row]
        for folder in folders
        for row in _list_sources(json.loads((folder / METRICS_FILE).read_text(encoding="utf-8")))
    ]
    return to_markdown(["run", *SOURCE_COLUMNS], rows) if rows else ""


def describe_worst_cells(metrics: dict[str, Any]) -> Iterator[str]:
    """Name the worst cell of each protocol in a sentence."""
    for summary in metrics.values():
        cell = summary[ALL].get("sources", {}).get("worst_cell")
        if cell:
            yield describe_cell(cell)


def describe_cell(cell: dict[str, Any]) -> str:
    """Name the worst cell, a row of `cells` in the section `sources`, in a sentence."""
    kind, right = cell["kind"].replace("_", " "), format_figure(cell["right"], ".1%")
    return (
        f"Worst cell: of {cell['count']:,} pictures of {kind} in {cell['sequence']} of {cell['source']},"
        f" {right} are answered rightly ({format_interval(cell['right_interval'], '.1%')})."
    )


def _list_sources(metrics: dict[str, Any]) -> Iterator[list[str]]:
    for summary in metrics.values():
        for source, figures in summary[ALL].get("sources", {"by_source": {}})["by_source"].items():
            yield [source, *_describe_source(figures)]


def _list_localised(figures: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """All pictures of a subset, and each class, of which an outline is known."""
    located = figures.get("localisation")
    if located and located[ALL]:
        yield ALL, located[ALL]
        yield from located["by_class"].items()


def _describe_localised(figures: dict[str, Any]) -> list[str]:
    outlined, empty = figures.get("outlined", {}), figures.get("empty", {})
    return [
        f"{outlined.get('count', 0):,}",
        format_figure(outlined.get("inside"), ".1%"),
        format_interval(outlined.get("inside_interval"), ".1%"),
        *(format_figure(outlined.get(name), ".1%") for name in ("near", "cam_inside", "centre_inside")),
        format_figure(outlined.get("dice"), ".2f"),
        format_interval(outlined.get("dice_interval"), ".2f"),
        format_figure(outlined.get("iou"), ".2f"),
        f"{empty.get('count', 0):,}",
        format_figure(empty.get("false_area")),
        format_interval(empty.get("false_area_interval")),
    ]


def _describe_source(figures: dict[str, Any]) -> list[str]:
    told = figures["tumour_or_none"].get(ALL, {})
    areas = [told.get(name, {}) for name in ("classes", "map", "answer")]
    return [
        f"{figures['count']:,}",
        format_figure(figures["accuracy"], ".1%"),
        format_interval(figures["accuracy_interval"], ".1%"),
        *(format_figure(area.get("auroc"), ".2f") for area in areas),
        format_interval(areas[-1].get("interval"), ".2f") if told else UNKNOWN,
        format_figure(figures["coverage"], ".1%"),
        format_figure(figures["size"], ".2f"),
        format_figure(figures["ece"], ".2f"),
        format_figure(figures["refused"], ".1%"),
        format_figure(figures.get("unlike_training"), ".1%"),
    ]
