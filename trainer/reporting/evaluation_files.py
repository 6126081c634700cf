"""What an evaluation leaves in a folder: numbers and their figures, each file whole.

Goes in: `Predictions` and their summary, a comparison of runs, or figures of worse pictures. Comes out:
`metrics.json`, `predictions.csv` and `figures/`; `comparison.json`; `corruptions.json`.
"""

from pathlib import Path
from typing import Any

from serving.files.writing import write_json
from serving.model.artefact import FIGURES_FOLDER
from trainer.evaluation.predictions import Predictions
from trainer.evaluation.scoring import save_numbers
from trainer.reporting.curves import (
    plot_corruptions,
    plot_precision_recall,
    plot_reliability,
    plot_risk_coverage,
    plot_roc,
)
from trainer.reporting.figures import plot_confusion, plot_differences, plot_per_class, plot_sets

# By name, as in NAME_PROTOCOL.png: those drawn from `metrics.json`, and those that need every image.
FIGURES = {"confusion": plot_confusion, "per_class": plot_per_class, "sets": plot_sets}
CURVES = {
    "roc": plot_roc,
    "precision_recall": plot_precision_recall,
    "reliability": plot_reliability,
    "risk_coverage": plot_risk_coverage,
}
COMPARISON_FILE, COMPARISON_FIGURE = "comparison.json", "comparison.png"
CORRUPTIONS_FILE, CORRUPTIONS_FIGURE = "corruptions.json", "corruptions.png"


def save_evaluation(predictions: Predictions, summary: dict[str, Any], folder: Path) -> None:
    """Write `metrics.json`, `predictions.csv` and `figures/` into a folder."""
    figures, known = folder / FIGURES_FOLDER, predictions.take_known()
    figures.mkdir(parents=True, exist_ok=True)
    for name, plot_summary in FIGURES.items():
        plot_summary(summary, figures / name_figure(name, predictions.protocol))
    for name, plot_predictions in CURVES.items():
        plot_predictions(known, figures / name_figure(name, predictions.protocol))
    save_numbers(predictions, summary, folder)


def save_comparison(result: dict[str, Any], folder: Path) -> list[Path]:
    """Write `comparison.json` and, where runs are paired, `comparison.png`; returns what was written."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / COMPARISON_FILE, result)
    if not result["paired"]:
        return [folder / COMPARISON_FILE]
    plot_differences(result, folder / COMPARISON_FIGURE)
    return [folder / COMPARISON_FILE, folder / COMPARISON_FIGURE]


def save_corruptions(result: dict[str, Any], folder: Path) -> None:
    """Write `corruptions.json` and `figures/corruptions.png` into a folder."""
    (folder / FIGURES_FOLDER).mkdir(parents=True, exist_ok=True)
    write_json(folder / CORRUPTIONS_FILE, result)
    plot_corruptions(result, folder / FIGURES_FOLDER / CORRUPTIONS_FIGURE)


def name_figure(name: str, protocol: str) -> str:
    """Name the PNG of a figure of one protocol."""
    return f"{name}_{protocol}.png"
