"""Figures as PNG, from the same numbers that `metrics.json` and `history.csv` hold.

Goes in: a section of `metrics.json`, a comparison of runs, or rows of `history.csv`. Comes out: pictures of
five inches that can be read at the width of a phone, the same bytes for the same numbers.
"""

import gc
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from etils import epath
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from serving.files.writing import write_whole
from trainer.reporting.wording import MAIN_SUBSETS, title_subset, title_subsets
from trainer.training.run_folder import CURVES_FILE, find_best_epoch, load_history

# Inches; at 150 dots an inch 10 points are 10 pixels high where the picture is shown 360 pixels wide.
WIDTH, DPI = 5.0, 150
# Okabe and Ito's palette, told apart by colour-blind readers; https://jfly.uni-koeln.de/color/
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#555555"
SUBSET_COLOURS = {"all": BLUE, "unseen": ORANGE}
# Told apart without colour as well; bars by their order, which is that of the legend.
SUBSET_LINES, SUBSET_MARKERS = {"all": "-", "unseen": "--"}, {"all": "o", "unseen": "s"}
# What is which, above all panels.
LEGEND_ABOVE: dict[str, Any] = {"loc": "outside upper center", "frameon": False, "fontsize": 9}
BAR_FIGURES = {"precision": "precision", "recall": "recall", "f1": "F1", "f2": "F2"}


def build_figure(height: float, width: float = WIDTH) -> Figure:
    """Make an empty figure; inches."""
    return Figure(figsize=(width, height), dpi=DPI, layout="constrained")


def encode_figure(figure: Figure) -> bytes:
    """Draw a PNG that does not name matplotlib's version, so that the same numbers give the same file."""
    content = io.BytesIO()
    figure.savefig(content, format="png", metadata={"Software": None})
    return content.getvalue()


def save_figure(figure: Figure, path: Path) -> None:
    """Write a PNG whole."""
    write_whole(path, encode_figure(figure))


def write_curves(run_dir: epath.Path, history: Sequence[dict[str, float]], best_epoch: int) -> None:
    """Draw `learning_curves.png` in a run folder."""
    write_whole(run_dir / CURVES_FILE, draw_learning_curves(history, best_epoch))


def load_learning_curves(run_dir: epath.Path, monitor: str) -> bytes | None:
    """Draw the learning curves of a run, its best epoch by `monitor`; None where it has no history.

    Raises:
        RunError: `history.csv` is damaged.
    """
    history = load_history(run_dir)
    return draw_learning_curves(history, find_best_epoch(history, monitor)) if history else None


def draw_learning_curves(history: Sequence[Mapping[str, float]], best_epoch: int) -> bytes:
    """Draw loss, accuracy and learning rate by epoch: training solid, validation dashed, best epoch dotted.

    Args:
        history: a row an epoch, at least one, as in `history.csv`.
        best_epoch: counted from 0.

    Returns:
        A PNG.
    """
    names = [name for name in ("loss", "accuracy", "learning_rate") if name in history[0]]
    figure = build_figure(2.4 * len(names))
    epochs = [row["epoch"] + 1 for row in history]
    for axes, name in zip(figure.subplots(len(names), 1, squeeze=False).flat, names, strict=True):
        lines = (name, "o-", BLUE, "training"), (f"val_{name}", "s--", ORANGE, "validation")
        for key, style, colour, label in lines:
            if key in history[0]:
                values = [row[key] for row in history]
                axes.plot(epochs, values, style, color=colour, markersize=3, label=label)
        if len(axes.lines) > 1:
            best = f"best epoch: {best_epoch + 1}"
            axes.axvline(best_epoch + 1, color=GREY, linestyle=":", label=best)
            axes.legend(frameon=False)
        axes.set_title(name.replace("_", " "))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.set_ylim(bottom=0 if name != "accuracy" else None)
        axes.grid(alpha=0.3)
    axes.set_xlabel("epoch")
    content = encode_figure(figure)
    # A figure and its canvas hold each other: without this, pictures pile up over the epochs of a long run.
    gc.collect()
    return content


def plot_confusion(summary: dict[str, Any], path: Path) -> None:
    """Draw the confusion matrix of each subset, one below the other.

    Args:
        summary: one protocol's section of `metrics.json`.
        path: the PNG to write.
    """
    titles, labels = title_subsets(summary), list(summary["all"]["per_class"])
    figure = build_figure((1.6 + 0.65 * len(labels)) * len(titles))
    panels = figure.subplots(len(titles), 1, squeeze=False).flat
    for axes, (name, title) in zip(panels, titles.items(), strict=True):
        counts = np.array(summary[name]["confusion_matrix"])
        shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
        axes.set_xticks(range(len(labels)), labels, rotation=20 if len(labels) < 6 else 90)
        axes.set_yticks(range(len(labels)), labels)
        axes.set(xlabel="predicted", ylabel="true")
        right = f"{summary[name]['accuracy']:.2%} of {summary[name]['count']:,} are right"
        axes.set_title(f"{title}\n{right}", fontsize=11)
        for (row, column), count in np.ndenumerate(counts):
            colour = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, f"{count:,}", ha="center", va="center", color=colour)
    save_figure(figure, path)


def plot_per_class(summary: dict[str, Any], path: Path) -> None:
    """Draw precision, recall, F1 and F2 of each class as bars, subset by subset; as `plot_confusion`."""
    titles = title_subsets(summary)
    classes = {name: summary[name]["per_class"] for name in titles}
    figure = build_figure(1 + 2 * _bar_height(classes))
    panels = figure.subplots(2, 2, sharey=True).flat
    for axes, (key, title) in zip(panels, BAR_FIGURES.items(), strict=True):
        _draw_bars(axes, classes, key, _write_percent, 1.0)
        axes.set_title(f"{title}, %", fontsize=11)
    _save_bars(figure, titles, path)


def plot_sets(summary: dict[str, Any], path: Path) -> None:
    """Draw how often sets of a class hold its label, and their size, by coverage; as `plot_confusion`."""
    titles, targets = title_subsets(summary), list(summary["all"]["prediction_sets"])
    height = _bar_height({name: summary[name]["per_class"] for name in titles})
    figure = build_figure(1 + len(targets) * height)
    panels = figure.subplots(len(targets), 2, sharey=True, squeeze=False)
    for (held, size), target in zip(panels, targets, strict=True):
        classes = {name: summary[name]["prediction_sets"][target]["by_class"] for name in titles}
        _draw_bars(held, classes, "coverage", _write_percent, 1.0)
        _draw_bars(size, classes, "size", lambda value: f"{value:.2f}", len(classes["all"]))
        held.axvline(float(target), color=GREY, linestyle=":")
        held.set_title(f"sets for {float(target):.0%}: label in it, %", fontsize=11)
        size.set_title("labels in a set", fontsize=11)
    _save_bars(figure, titles, path)


def plot_differences(result: dict[str, Any], path: Path) -> None:
    """Draw the difference in accuracy of each run from the first, with its interval; a line at no difference.

    Args:
        result: of `trainer.evaluation.compare.compare_runs`, paired.
        path: the PNG to write.
    """
    subsets = [name for name in MAIN_SUBSETS if name in result]
    names = [one["run"] for one in result["all"]["differences"]]
    figure = build_figure(1.4 + 0.5 * len(names), width=6)
    axes = figure.subplots()
    for shift, subset in enumerate(subsets):
        rows = [row["accuracy"] for row in result[subset]["differences"]]
        middle = np.array([100 * row["difference"] for row in rows])
        low, high = 100 * np.array([row["interval"] for row in rows]).T
        axes.errorbar(
            middle,
            np.arange(len(names)) + 0.2 * (shift - (len(subsets) - 1) / 2),
            xerr=np.maximum([middle - low, high - middle], 0),
            fmt=SUBSET_MARKERS[subset],
            color=SUBSET_COLOURS[subset],
            capsize=3,
            label=title_subset(subset, subsets),
        )
    axes.axvline(0, color=GREY, linestyle=":")
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlabel(f"accuracy against {result['all']['runs'][0]['name']}, percentage points")
    axes.grid(axis="x", alpha=0.3)
    axes.legend(frameon=False, fontsize=8, loc="lower left", bbox_to_anchor=(0, 1))
    save_figure(figure, path)


def _bar_height(classes: Mapping[str, Mapping[str, Any]]) -> float:
    """Inches of one panel of bars with its title, from figures by subset and class."""
    return 0.5 + len(classes["all"]) * (0.08 + 0.2 * len(classes))


def _write_percent(share: float) -> str:
    return f"{100 * share:.1f}"


def _draw_bars(
    axes: Axes,
    classes: Mapping[str, Mapping[str, Any]],
    key: str,
    write: Callable[[float], str],
    longest: float,
) -> None:
    """One figure by subset and class: bars from 0, a class a row, with numbers inside; None has no bar."""
    labels, thickness = list(classes["all"]), 0.8 / len(classes)
    for place, (name, figures) in enumerate(classes.items()):
        for row, label in enumerate(labels):
            value, middle = figures[label][key], row + (place - (len(classes) - 1) / 2) * thickness
            if value is None:
                axes.text(0.01 * longest, middle, "no images", va="center", fontsize=8, color=GREY)
                continue
            axes.barh(middle, value, 0.94 * thickness, color=SUBSET_COLOURS[name])
            side, gap, colour = (
                ("left", 0.02, "black") if value < 0.3 * longest else ("right", -0.02, "white")
            )
            axes.text(
                value + gap * longest, middle, write(value), ha=side, va="center", fontsize=8, color=colour
            )
    axes.set_yticks(range(len(labels)), labels)
    axes.set(xlim=(0, 1.01 * longest), ylim=(len(labels) - 0.5, -0.5), xticks=[])
    axes.spines[["top", "right", "bottom"]].set_visible(False)


def _save_bars(figure: Figure, titles: Mapping[str, str], path: Path) -> None:
    """Say above the panels which bars are which, and write the figure."""
    handles = [Patch(color=SUBSET_COLOURS[name], label=title) for name, title in titles.items()]
    figure.legend(handles=handles, ncols=len(titles), **LEGEND_ABOVE)
    save_figure(figure, path)
