"""Figures as PNG, from the same numbers that `metrics.json` holds."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

SUBSETS = {"all": "all test images", "unseen": "without a twin in Training"}


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
