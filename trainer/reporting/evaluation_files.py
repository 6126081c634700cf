"""What an evaluation leaves in a folder: numbers and their figures.

Goes in: `Predictions` and their summary. Comes out: `metrics.json`, `predictions.csv` and `figures/`.
"""

from pathlib import Path
from typing import Any

from serving.model.artefact import FIGURES_FOLDER
from trainer.evaluation.predictions import Predictions
from trainer.evaluation.scoring import save_numbers
from trainer.reporting.curves import plot_precision_recall, plot_reliability, plot_risk_coverage, plot_roc
from trainer.reporting.figures import plot_confusion, plot_per_class, plot_sets

# By name, as in NAME_PROTOCOL.png: those drawn from `metrics.json`, and those that need every image.
FIGURES = {"confusion": plot_confusion, "per_class": plot_per_class, "sets": plot_sets}
CURVES = {
    "roc": plot_roc,
    "precision_recall": plot_precision_recall,
    "reliability": plot_reliability,
    "risk_coverage": plot_risk_coverage,
}


def save_evaluation(predictions: Predictions, summary: dict[str, Any], folder: Path) -> None:
    """Write `metrics.json`, `predictions.csv` and `figures/` into a folder, each file whole or not at all."""
    figures = folder / FIGURES_FOLDER
    figures.mkdir(parents=True, exist_ok=True)
    for name, plot_summary in FIGURES.items():
        plot_summary(summary, figures / name_figure(name, predictions.protocol))
    for name, plot_predictions in CURVES.items():
        plot_predictions(predictions, figures / name_figure(name, predictions.protocol))
    save_numbers(predictions, summary, folder)


def name_figure(name: str, protocol: str) -> str:
    """Name the PNG of a figure of one protocol."""
    return f"{name}_{protocol}.png"
