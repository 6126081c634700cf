"""Figures as PNG, from the same numbers that `metrics.json` and `history.csv` hold."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

# Okabe and Ito's palette, told apart by colour-blind readers; https://jfly.uni-koeln.de/color/
TRAINING_COLOUR, VALIDATION_COLOUR, BEST_COLOUR = "#0072B2", "#D55E00", "#555555"
SUBSETS = {"all": "all test images", "unseen": "without a twin in Training"}


def plot_learning_curves(history: Sequence[Mapping[str, float]], best_epoch: int, path: Path) -> None:
    """Draw loss, accuracy and learning rate by epoch; training solid, validation dashed, the best epoch as a line.

    Args:
        history: a row an epoch, at least one, as in `history.csv`.
        best_epoch: counted from 0.
        path: the PNG to write.
    """
    figure = Figure(figsize=(11, 3.4), dpi=120, layout="constrained")
    epochs = [row["epoch"] + 1 for row in history]
    for axes, name in zip(figure.subplots(1, 3), ("loss", "accuracy", "learning_rate"), strict=True):
        axes.plot(epochs, [row[name] for row in history], "o-", color=TRAINING_COLOUR, markersize=3, label="training")
        if f"val_{name}" in history[0]:
            axes.plot(epochs, [row[f"val_{name}"] for row in history], "s--", color=VALIDATION_COLOUR, markersize=3, label="validation")
            axes.axvline(best_epoch + 1, color=BEST_COLOUR, linestyle=":", label=f"best epoch: {best_epoch + 1}")
            axes.legend(frameon=False)
        axes.set_title(name.replace("_", " "))
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.set_ylim(bottom=0 if name != "accuracy" else None)
        axes.grid(alpha=0.3)
    figure.savefig(path)


def plot_confusion_matrix(summary: dict[str, Any], labels: tuple[str, ...], path: Path) -> None:
    """Draw the confusion matrices of all and of the unseen test images, side by side.

    Args:
        summary: one protocol's section of `metrics.json`.
        labels: in the order of rows and columns.
        path: the PNG to write.
    """
    shown = [name for name in SUBSETS if name in summary]
    figure = Figure(figsize=(4.6 * len(shown), 4.4), dpi=120, layout="constrained")
    for axes, name in zip(np.atleast_1d(figure.subplots(1, len(shown))), shown, strict=True):
        counts = np.array(summary[name]["confusion_matrix"])
        shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        axes.set_xticks(range(len(labels)), labels, rotation=30, ha="right")
        axes.set_yticks(range(len(labels)), labels)
        axes.set_xlabel("predicted")
        axes.set_ylabel("true")
        axes.set_title(f"{SUBSETS[name]}\n{summary[name]['accuracy']:.2%} of {summary[name]['count']}", fontsize=11)
        for row, column in np.ndindex(*counts.shape):
            axes.text(column, row, counts[row, column], ha="center", va="center", color="white" if shares[row, column] > 0.5 else "black")
    figure.savefig(path)
