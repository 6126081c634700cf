"""Curves: how well the probabilities rank, how far they can be believed, and what worse pictures do to them.

Goes in: `Predictions` of one split, or what `trainer.evaluation.robustness` found; and the path of a PNG.
Comes out: that PNG, all test images beside those without a twin in Training.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.metrics import precision_recall_curve, roc_curve

from serving.cli.wording import name_finding
from trainer.evaluation.metrics import split_into_bins
from trainer.evaluation.predictions import Predictions
from trainer.evaluation.scoring import split_subsets
from trainer.evaluation.uncertainty import compute_risk_coverage
from trainer.reporting.figures import (
    BLUE,
    GREEN,
    GREY,
    LEGEND_ABOVE,
    ORANGE,
    SUBSET_COLOURS,
    SUBSET_LINES,
    SUBSET_MARKERS,
    build_figure,
    save_figure,
)
from trainer.reporting.wording import title_subsets

# How much of the axes a figure shows: the least of these that holds what the curves do before they have found
# nearly everything.
SPANS = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
NEARLY = 0.99
# By figure of worse pictures: label, colour and style.
SEVERITY_CURVES = {
    "accuracy": ("accuracy", BLUE, "o-"),
    "tumour_sensitivity": ("tumours called a tumour", ORANGE, "s--"),
    "refused": ("refused by the guard", GREY, "^:"),
}

# As scikit-learn computes them, from what is so and how probable it was said to be: two axes, and thresholds.
Curve = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray]]


def plot_roc(predictions: Predictions, path: Path) -> None:
    """Draw sensitivity by false alarms: any tumour against none, then each class against the rest."""
    _plot_by_class(predictions, roc_curve, "false alarms", "sensitivity", path)


def plot_precision_recall(predictions: Predictions, path: Path) -> None:
    """Draw precision by recall, in the steps that average precision sums up; panels as for `plot_roc`."""
    _plot_by_class(predictions, precision_recall_curve, "recall", "precision", path)


def plot_reliability(predictions: Predictions, path: Path) -> None:
    """Draw the share of right answers by their probability, in the bins of the calibration error."""
    figure = build_figure(4.4)
    axes, least = figure.subplots(), 1.0
    for name, (style, part) in _style_subsets(predictions).items():
        correct, confidence = part.predicted == part.true, part.probs.max(axis=1)
        bins = [rows for rows in split_into_bins(confidence) if len(rows)]
        said, right = [confidence[rows].mean() for rows in bins], [correct[rows].mean() for rows in bins]
        axes.plot(said, right, SUBSET_MARKERS[name], markersize=4, **style)
        least = min(least, *said, *right)
    axes.plot([least, 1], [least, 1], ":", color=GREY, label="as it should be")
    axes.set(xlabel="probability of the label", ylabel="share that is right")
    _save_panel(axes, figure, path)


def plot_risk_coverage(predictions: Predictions, path: Path) -> None:
    """Draw the error among the images that are answered, as the least certain ones are left to a person."""
    figure = build_figure(3.8)
    axes = figure.subplots()
    for style, part in _style_subsets(predictions).values():
        share, error = compute_risk_coverage(part.predicted == part.true, part.probs.max(axis=1))
        axes.plot(100 * share, 100 * error, **style)
    axes.set(xlabel="answered, % of the images", ylabel="wrong among those, %")
    axes.set_ylim(bottom=0)
    _save_panel(axes, figure, path)


def plot_corruptions(result: dict[str, Any], path: Path) -> None:
    """Draw figures by severity, a panel a corruption; beside them the accuracy of clean and of unseen ones.

    Args:
        result: of `trainer.evaluation.robustness.evaluate_corruptions`.
        path: the PNG to write.
    """
    whole, unseen = result["all"], result.get("unseen")
    figure = build_figure(10.5, width=5.4)
    grid = figure.subplots(len(whole["corruptions"]) // 2, 2, sharey=True)
    for axes, (name, rows) in zip(grid.flat, whole["corruptions"].items(), strict=True):
        clean = f"accuracy, {whole['count']:,} clean pictures"
        axes.axhline(100 * whole["clean"]["accuracy"], color="black", linewidth=0.8, label=clean)
        for key, curve in SEVERITY_CURVES.items():
            _draw_severities(axes, [whole["clean"], *rows], key, *curve)
        if unseen:
            curve = f"accuracy, {unseen['count']:,} unseen", GREEN, "d-."
            _draw_severities(axes, [unseen["clean"], *unseen["corruptions"][name]], "accuracy", *curve)
        axes.set_title(name.replace("_", " "), fontsize=11)
        axes.set_xticks(range(len(rows) + 1), ["none", *(f"{row['value']:g}" for row in rows)])
        axes.set_xlabel(rows[0]["parameter"], fontsize=8)
        axes.set(ylim=(-4, 104), yticks=range(0, 101, 25))
        axes.grid(alpha=0.3)
    for axes in grid[:, 0]:
        axes.set_ylabel("%")
    figure.legend(handles=grid.flat[0].lines, ncols=2, **LEGEND_ABOVE)
    save_figure(figure, path)


def list_questions(predictions: Predictions) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """List yes-or-no questions about every image.

    Returns:
        By name, bool (n,), whether it is so, and float64 (n,), how probable it was said to be.
    """
    questions = {
        label: (predictions.true == index, predictions.probs[:, index])
        for index, label in enumerate(predictions.labels)
    }
    if predictions.healthy_label is None:
        return questions
    healthy, score = questions[predictions.healthy_label]
    return {f"any {name_finding(predictions.healthy_label)}": (~healthy, 1.0 - score)} | questions


def _style_subsets(predictions: Predictions) -> dict[str, tuple[dict[str, Any], Predictions]]:
    """The subsets that figures show: by name, how their curves are drawn, and the images."""
    rows, styled = split_subsets(predictions), {}
    for name, title in title_subsets(rows).items():
        style = {"color": SUBSET_COLOURS[name], "linestyle": SUBSET_LINES[name], "label": title}
        styled[name] = style, predictions.take(rows[name])
    return styled


def _plot_by_class(predictions: Predictions, compute: Curve, across: str, up: str, path: Path) -> None:
    """A panel a question, all with one span from the good corner, so that no curve hides in it."""
    subsets = _style_subsets(predictions)
    questions = {name: list_questions(part) for name, (_, part) in subsets.items()}
    names, is_recall, span = list(questions["all"]), across == "recall", 0.0
    height = (len(names) + 1) // 2
    figure = build_figure(0.6 + 2.3 * height)
    panels = list(figure.subplots(height, 2, squeeze=False).flat)
    for axes, question in zip(panels, names, strict=False):
        for subset, (style, _) in subsets.items():
            positive, scores = questions[subset][question]
            if positive.any() and not positive.all():
                first, second, _ = compute(positive, scores)
                x, y = (second, first) if is_recall else (first, second)
                axes.plot(x, y, drawstyle="steps-post" if is_recall else "default", **style)
                span = max(span, _find_distance(1 - x if is_recall else x, y))
        if not axes.lines:
            said = {"ha": "center", "va": "center", "transform": axes.transAxes, "color": GREY}
            axes.text(0.5, 0.5, "not defined: one\nside has no images", **said)
        axes.set_title(question, fontsize=11)
    shown = next((limit for limit in SPANS if limit >= span), 1.0)
    margin = 0.03 * shown
    for axes in panels[: len(names)]:
        axes.set_xlim((1 - shown, 1 + margin) if is_recall else (-margin, shown))
        axes.set(ylim=(1 - shown, 1 + margin), xlabel=across, ylabel=up)
        axes.locator_params(nbins=4)
        axes.grid(alpha=0.3)
    for axes in panels[len(names) :]:
        axes.axis("off")
    drawn = max(panels, key=lambda axes: len(axes.lines))
    if drawn.lines:
        figure.legend(handles=drawn.lines, ncols=len(subsets), **LEGEND_ABOVE)
    save_figure(figure, path)


def _find_distance(away: np.ndarray, y: np.ndarray) -> float:
    """How much of both axes shows where a curve turns.

    Args:
        away: float64 (n,), distance from the good corner along the horizontal axis.
        y: float64 (n,), height of the curve; the corner is at 1.
    """
    turn = float(np.maximum(away, 1 - y).min())
    return max(turn, float(away[y >= NEARLY].min(initial=1.0)))


def _draw_severities(
    axes: Axes, rows: list[dict[str, Any]], key: str, label: str, colour: str, style: str
) -> None:
    """One figure by severity, none first; nothing where it is not defined."""
    if rows[0][key] is not None:
        shares = [100 * row[key] for row in rows]
        axes.plot(shares, style, color=colour, markersize=4, linewidth=1.5, label=label)


def _save_panel(axes: Axes, figure: Figure, path: Path) -> None:
    """Write a figure of one panel, with grid and legend."""
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize=9)
    save_figure(figure, path)
