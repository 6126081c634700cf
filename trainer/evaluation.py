"""Evaluation of an artefact as users download it: LiteRT, calibrated, on every image of a split exactly once.

Goes in: a loaded `Classifier` and a built dataset. Comes out: `predictions.csv` (a row an image), `metrics.json` and a figure.
The official figure never stands alone: beside it stands the figure on the images that have no twin in Training.
"""

import csv
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from rich.console import Console
from rich.table import Table

from serving import Classifier
from serving.artefact import METRICS_FILE
from serving.calibration import compute_prediction_sets, compute_probabilities
from serving.guard import compute_distances
from trainer.figures import plot_confusion_matrix
from trainer.input_pipeline import Split, load_split
from trainer.metrics import compute_metrics

PREDICTIONS_FILE = "predictions.csv"
FIGURES_FOLDER = "figures"
DATASET = "tumor_ds"
SUBSET_TITLES = {
    "all": "all test images",
    "unseen": "test images without a twin in Training",
    "with_train_twin": "test images that are a mirrored or turned training image",
}


@dataclass(frozen=True)
class Evaluation:
    """Scores of one split.

    Attributes:
        protocol: config of the dataset, such as `official`.
        labels: in the order of the columns.
        split: what was scored.
        logits: float32 (n, classes).
        probs: float64 (n, classes), calibrated.
        members: bool (n, classes), prediction sets.
        refused: bool (n,), by the input guard; refused images are scored all the same.
    """

    protocol: str
    labels: tuple[str, ...]
    split: Split
    logits: np.ndarray
    probs: np.ndarray
    members: np.ndarray
    refused: np.ndarray


def evaluate(classifier: Classifier, builder: tfds.core.DatasetBuilder, split: str = "test") -> Evaluation:
    """Score a split with the exported graph.

    Args:
        classifier: a loaded artefact.
        builder: a prepared builder; its config names the protocol.
        split: which split.

    Raises:
        ValueError: the dataset's labels are not the model's.
    """
    names = tuple(builder.info.features["label"].names)
    if names != classifier.labels:
        raise ValueError(f"The model knows {classifier.labels}, the dataset {names}. Evaluate on the dataset the model was trained for.")
    config = classifier.config
    data = load_split(builder, split, config.image_size, config.image_fit)
    outputs = classifier.run(data.images)
    probs = compute_probabilities(outputs.logits, config.temperature)
    return Evaluation(
        protocol=builder.builder_config.name,
        labels=names,
        split=data,
        logits=outputs.logits,
        probs=probs,
        members=compute_prediction_sets(probs, config.prediction_set_threshold),
        refused=compute_distances(outputs.embeddings, config.guard.directions) > config.guard.threshold,
    )


def summarise(evaluation: Evaluation) -> dict[str, Any]:
    """Compute what `metrics.json` holds for one protocol: a section a subset, see `SUBSET_TITLES`."""
    twin = evaluation.split.has_train_twin
    subsets = {"all": np.ones_like(twin), "unseen": ~twin, "with_train_twin": twin}
    return {name: _summarise_subset(evaluation, rows) for name, rows in subsets.items() if rows.any()}


def save_evaluation(evaluation: Evaluation, summary: dict[str, Any], folder: Path) -> None:
    """Write `metrics.json`, `predictions.csv` and `figures/` into a folder, each file whole or not at all."""
    figures = folder / FIGURES_FOLDER
    figures.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        metrics, predictions = Path(scratch, METRICS_FILE), Path(scratch, PREDICTIONS_FILE)
        confusion = Path(scratch, f"confusion_{evaluation.protocol}.png")
        metrics.write_text(json.dumps({evaluation.protocol: summary}, indent=2) + "\n", encoding="utf-8")
        save_predictions(evaluation, predictions)
        plot_confusion_matrix(summary, evaluation.labels, confusion)
        for path in (metrics, predictions):
            path.replace(folder / path.name)
        confusion.replace(figures / confusion.name)


def save_predictions(evaluation: Evaluation, path: Path) -> None:
    """Write a row an image: filename, group, has_train_twin, true label, predicted label, refused, logits, probabilities."""
    labels = evaluation.labels
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        header = ["filename", "group", "has_train_twin", "label", "predicted", "refused"]
        writer.writerow(header + [f"logit_{label}" for label in labels] + [f"prob_{label}" for label in labels])
        for row, filename in enumerate(evaluation.split.filenames):
            facts = [filename, evaluation.split.groups[row], int(evaluation.split.has_train_twin[row]), labels[evaluation.split.true[row]]]
            answer = [labels[evaluation.probs[row].argmax()], int(evaluation.refused[row])]
            logits = [f"{value:.6f}" for value in evaluation.logits[row]]
            writer.writerow(facts + answer + logits + [f"{value:.6f}" for value in evaluation.probs[row]])


def print_summary(protocol: str, summary: dict[str, Any], console: Console) -> None:
    """Print one table a subset, with the figures that `metrics.json` holds."""
    for name, figures in summary.items():
        low, high = figures["accuracy_interval"]
        table = Table(
            title=f"{protocol}: {SUBSET_TITLES[name]}",
            caption=f"accuracy {figures['accuracy']:.2%} ({figures['errors']} errors of {figures['count']}), "
            f"95 % interval over {figures['groups']} groups {low:.2%} to {high:.2%}; ECE {figures['ece']:.4f}; NLL {figures['nll']:.4f}; "
            f"prediction sets hold the label for {figures['set_coverage']:.2%}, mean size {figures['set_size']:.3f}; "
            f"refused by the guard: {figures['refused']}",
        )
        columns = ("precision", "recall", "f1", "f2")
        for column in ("class", *columns, "images"):
            table.add_column(column, justify="left" if column == "class" else "right")
        for label, values in figures["per_class"].items():
            table.add_row(label, *(f"{values[column]:.4f}" for column in columns), str(values["support"]))
        for average in ("macro", "weighted"):
            table.add_row(f"{average} mean", *(f"{figures[average][column]:.4f}" for column in columns), str(figures["count"]), style="bold")
        console.print(table)


def _summarise_subset(evaluation: Evaluation, rows: np.ndarray) -> dict[str, Any]:
    true, members = evaluation.split.true[rows], evaluation.members[rows]
    return compute_metrics(true, evaluation.probs[rows], evaluation.split.groups[rows], evaluation.labels) | {
        "set_coverage": float(members[np.arange(len(true)), true].mean()),
        "set_size": float(members.sum(axis=1).mean()),
        "refused": int(evaluation.refused[rows].sum()),
    }
