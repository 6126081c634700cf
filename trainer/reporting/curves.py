"""Figures that need every image: how well the probabilities rank, and how far they can be believed.

Goes in: `Predictions`. Comes out: PNGs as `trainer.reporting.figures` draws them, all test images beside
    those without a twin in Training.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from sklearn.metrics import precision_recall_curve, roc_curve

from serving.model.artefact import NO_TUMOUR
from trainer.evaluation.metrics import split_into_bins
from trainer.evaluation.predictions import Predictions
from trainer.evaluation.uncertainty import compute_risk_coverage
from trainer.reporting.figures import (
    BEST_COLOUR,
    SUBSET_COLOURS,
    SUBSET_LINES,
    SUBSET_MARKERS,
    build_figure,
    save_figure,
    title_subsets,
)

# How much of the axes a figure shows: the least of these that holds what the curves do before they have found
# nearly everything.
SPANS = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
NEARLY = 0.99

Curve = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


def plot_roc(predictions: Predictions, path: Path) -> None:
    """Draw sensitivity by false alarms: any tumour against none, then each class against the rest.

    Args:
        predictions: of one split.
        path: the PNG to write.
    """

    def compute(positive: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        false_alarms, found, _ = roc_curve(positive, scores)
        return false_alarms, found

    _plot_by_class(predictions, compute, "false alarms", "sensitivity", path)


def plot_precision_recall(predictions: Predictions, path: Path) -> None:
    """Draw precision by recall, in the steps that average precision sums up: any tumour against none, then each class against the rest.

    Args:
        predictions: of one split.
        path: the PNG to write.
    """

    def compute(positive: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        precision, recall, _ = precision_recall_curve(positive, scores)
        return recall, precision

    _plot_by_class(predictions, compute, "recall", "precision", path)


def plot_reliability(predictions: Predictions, path: Path) -> None:
    """Draw the share of right answers by the probability they were given with, in the 15 bins of the calibration error.

    Args:
        predictions: of one split.
        path: the PNG to write.
    """
    figure = build_figure(4.4)
    axes, least = figure.subplots(), 1.0
    for name, (title, part) in split_subsets(predictions).items():
        correct, confidence = part.predicted == part.true, part.probs.max(axis=1)
        bins = [rows for rows in split_into_bins(confidence) if len(rows)]
        said, right = [confidence[rows].mean() for rows in bins], [correct[rows].mean() for rows in bins]
        axes.plot(
            said,
            right,
            SUBSET_MARKERS[name],
            linestyle=SUBSET_LINES[name],
            color=SUBSET_COLOURS[name],
            markersize=4,
            label=title,
        )
        least = min(least, *said, *right)
    axes.plot([least, 1], [least, 1], ":", color=BEST_COLOUR, label="as it should be")
    axes.set(xlabel="probability of the label", ylabel="share that is right")
    _finish(axes)
    save_figure(figure, path)


def plot_risk_coverage(predictions: Predictions, path: Path) -> None:
    """Draw the error among the images that are answered, as the least certain ones are left to a person.

    Args:
        predictions: of one split.
        path: the PNG to write.
    """
    figure = build_figure(3.8)
    axes = figure.subplots()
    for name, (title, part) in split_subsets(predictions).items():
        share, error = compute_risk_coverage(part.predicted == part.true, part.probs.max(axis=1))
        axes.plot(100 * share, 100 * error, SUBSET_LINES[name], color=SUBSET_COLOURS[name], label=title)
    axes.set(xlabel="answered, % of the images", ylabel="wrong among those, %")
    axes.set_ylim(bottom=0)
    _finish(axes)
    save_figure(figure, path)


def split_subsets(predictions: Predictions) -> dict[str, tuple[str, Predictions]]:
    """Split into the subsets that figures show: by name, the title and the images."""
    twin = predictions.has_train_twin
    rows = {"all": np.ones_like(twin), "unseen": ~twin, "with_train_twin": twin}
    titles = title_subsets([name for name, chosen in rows.items() if chosen.any()] if twin.any() else ["all"])
    return {name: (title, predictions.take(rows[name])) for name, title in titles.items()}


def list_questions(predictions: Predictions) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Yes-or-no questions about every image: by name, bool (n,), whether it is so, and float64 (n,), how probable it was said to be."""
    questions = {
        label: (predictions.true == index, predictions.probs[:, index])
        for index, label in enumerate(predictions.labels)
    }
    if NO_TUMOUR not in questions:
        return questions
    healthy, score = questions[NO_TUMOUR]
    return {"any tumour": (~healthy, 1.0 - score)} | questions


def _plot_by_class(predictions: Predictions, compute: Curve, across: str, up: str, path: Path) -> None:
    """A panel a question, in two columns; all with the same span from the good corner, so that good curves do not hide in it."""
    subsets, is_recall = split_subsets(predictions), across == "recall"
    questions = {name: list_questions(part) for name, (_, part) in subsets.items()}
    names = list(questions["all"])
    figure = build_figure(0.6 + 2.3 * ((len(names) + 1) // 2))
    panels = list(figure.subplots((len(names) + 1) // 2, 2, squeeze=False).flat)
    span = 0.0
    for axes, question in zip(panels, names, strict=False):
        for subset, (title, _) in subsets.items():
            positive, scores = questions[subset][question]
            if positive.any() and not positive.all():
                x, y = compute(positive, scores)
                style = {"color": SUBSET_COLOURS[subset], "linestyle": SUBSET_LINES[subset]}
                axes.plot(x, y, drawstyle="steps-post" if is_recall else "default", label=title, **style)
                span = max(span, _find_distance(1 - x if is_recall else x, y))
        if not axes.lines:
            axes.text(
                0.5,
                0.5,
                "not defined: one\nside has no images",
                ha="center",
                va="center",
                transform=axes.transAxes,
                color=BEST_COLOUR,
            )
        axes.set_title(question, fontsize=11)
    shown = next((limit for limit in SPANS if limit >= span), 1.0)
    margin = 0.03 * shown
    for axes in panels[: len(names)]:
        axes.set(
            xlim=(1 - shown, 1 + margin) if is_recall else (-margin, shown),
            ylim=(1 - shown, 1 + margin),
            xlabel=across,
            ylabel=up,
        )
        axes.locator_params(nbins=4)
        axes.grid(alpha=0.3)
    for axes in panels[len(names) :]:
        axes.axis("off")
    handles = {
        label: handle
        for axes in panels
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    if handles:
        figure.legend(
            handles.values(),
            handles.keys(),
            loc="outside upper center",
            ncols=len(handles),
            frameon=False,
            fontsize=9,
        )
    save_figure(figure, path)


def _find_distance(away: np.ndarray, y: np.ndarray) -> float:
    """How much of both axes shows where a curve turns.

    Args:
        away: float64 (n,), distance from the good corner along the horizontal axis.
        y: float64 (n,), height of the curve; the corner is at 1.
    """
    turn = float(np.maximum(away, 1 - y).min())
    return max(turn, float(away[y >= NEARLY].min(initial=1.0)))


def _finish(axes: Axes) -> None:
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize=9)
