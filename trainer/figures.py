"""Figures as PNG, from the same numbers that `metrics.json` and `history.csv` hold."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from sklearn.metrics import roc_curve

from trainer.metrics import NO_TUMOUR, split_into_bins
from trainer.predictions import Predictions
from trainer.uncertainty import compute_risk_coverage

# Okabe and Ito's palette, told apart by colour-blind readers; https://jfly.uni-koeln.de/color/
TRAINING_COLOUR, VALIDATION_COLOUR, BEST_COLOUR = "#0072B2", "#D55E00", "#555555"
SUBSET_COLOURS = {"all": "#0072B2", "unseen": "#D55E00"}
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
    titles = SUBSETS if len(shown) > 1 else {"all": "all images"}
    figure = Figure(figsize=(4.6 * len(shown), 4.4), dpi=120, layout="constrained")
    for axes, name in zip(np.atleast_1d(figure.subplots(1, len(shown))), shown, strict=True):
        counts = np.array(summary[name]["confusion_matrix"])
        shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        axes.set_xticks(range(len(labels)), labels, rotation=30, ha="right")
        axes.set_yticks(range(len(labels)), labels)
        axes.set_xlabel("predicted")
        axes.set_ylabel("true")
        axes.set_title(f"{titles[name]}\n{summary[name]['accuracy']:.2%} of {summary[name]['count']}", fontsize=11)
        for row, column in np.ndindex(*counts.shape):
            axes.text(column, row, counts[row, column], ha="center", va="center", color="white" if shares[row, column] > 0.5 else "black")
    figure.savefig(path)


def plot_uncertainty(predictions: Predictions, path: Path) -> None:
    """Draw three curves for all and for the unseen test images: ROC of any tumour, error by share answered, accuracy by confidence.

    Args:
        predictions: of one split.
        path: the PNG to write.
    """
    twin = predictions.has_train_twin
    subsets = {"all": predictions} | ({"unseen": predictions.take(~twin)} if twin.any() and not twin.all() else {})
    figure = Figure(figsize=(12, 4), dpi=120, layout="constrained")
    roc, risk, reliability = figure.subplots(1, 3)
    for name, part in subsets.items():
        style = {"color": SUBSET_COLOURS[name], "label": SUBSETS[name] if len(subsets) > 1 else "all images"}
        if NO_TUMOUR in part.labels:
            healthy = part.labels.index(NO_TUMOUR)
            if 0 < (part.true == healthy).sum() < len(part.true):
                false_alarms, found, _ = roc_curve(part.true != healthy, 1.0 - part.probs[:, healthy])
                roc.plot(false_alarms, found, **style)
        correct, confidence = part.predicted == part.true, part.probs.max(axis=1)
        risk.plot(*compute_risk_coverage(correct, confidence), **style)
        bins = [rows for rows in split_into_bins(confidence) if len(rows)]
        reliability.plot([confidence[rows].mean() for rows in bins], [correct[rows].mean() for rows in bins], "o-", markersize=3, **style)
    least = min(value for line in reliability.lines for value in (*line.get_xdata(), *line.get_ydata()))
    reliability.plot([least, 1], [least, 1], ":", color=BEST_COLOUR)
    titles = {
        roc: ("any tumour", "false alarms: 1 - specificity", "sensitivity"),
        risk: ("left to a person if unsure", "share answered", "error among those"),
        reliability: ("calibration", "probability of the label", "accuracy"),
    }
    for axes, (title, across, up) in titles.items():
        axes.set(title=title, xlabel=across, ylabel=up)
        axes.grid(alpha=0.3)
        if axes.lines[: len(subsets)]:
            axes.legend(frameon=False, fontsize=8)
    figure.savefig(path)
