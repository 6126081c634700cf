"""The nearest-neighbour baseline: what the label of the most similar training picture reaches, memory alone.

Goes in: a built dataset. Comes out: `Predictions`, and their section of `metrics.json` without what needs a
probability.
"""

from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from trainer.config import FOLDED_DATASET, FOLDS
from trainer.data.input_pipeline import RecordFacts, iterate_examples, name_test_split
from trainer.evaluation.metrics import compute_any_tumour, compute_metrics
from trainer.evaluation.predictions import Predictions, pool_predictions
from trainer.evaluation.scoring import DATASET, split_subsets
from tumor_ds.audit.baselines import predict_nearest, shrink
from tumor_ds.sources.own_pictures import find_healthy_label

# A neighbour names one label and no probability; as a logit it is as good as certain.
_CERTAIN = 50.0
# What a classifier that only names a label does not have.
_NEEDS_PROBABILITIES = ("nll", "brier", "ece", "uncalibrated")


def predict_baseline(builder: tfds.core.DatasetBuilder) -> Predictions:
    """Give every test picture the label of the most similar other picture, by grey levels at 56x56 pixels.

    Args:
        builder: a prepared builder with a test split, or with folds; then every fold is asked of the others.
    """
    examples = {split: _read_split(builder, split) for split in builder.info.splits}
    folds = range(1, FOLDS + 1) if f"{DATASET}/{builder.builder_config.name}" == FOLDED_DATASET else (0,)
    return pool_predictions([_predict_split(builder, examples, name_test_split(fold)) for fold in folds])


def summarise_baseline(predictions: Predictions) -> dict[str, Any]:
    """Compute what `metrics.json` holds for one protocol, by subset; figures of probabilities are None."""
    summary = {}
    for name, rows in split_subsets(predictions).items():
        part = predictions.take(rows)
        figures = compute_metrics(part) | dict.fromkeys(_NEEDS_PROBABILITIES)
        figures["intervals"]["ece"] = None
        summary[name] = figures | {"any_tumour": compute_any_tumour(part, {}), "prediction_sets": {}}
    return summary


def _read_split(builder: tfds.core.DatasetBuilder, split: str) -> tuple[np.ndarray, list[RecordFacts]]:
    """Thumbnails uint8 (n, 56, 56), since whole pictures would fill the memory, and what the records say."""
    thumbnails, records = [], []
    for example in iterate_examples(builder, split):
        thumbnails.append(shrink(example.image))
        records.append(example.facts)
    return np.stack(thumbnails), records


def _predict_split(
    builder: tfds.core.DatasetBuilder, examples: dict[str, tuple[np.ndarray, list[RecordFacts]]], test: str
) -> Predictions:
    labels = tuple(builder.info.features["label"].names)
    known = [part for split, part in examples.items() if split != test]
    taught = np.array([record.label for _, records in known for record in records])
    thumbnails, records = examples[test]
    order = sorted(range(len(records)), key=lambda row: records[row].filename)
    asked = [records[row] for row in order]
    answers = predict_nearest(np.concatenate([part for part, _ in known]), taught, thumbnails[order])
    chosen = np.eye(len(labels))[answers]
    return Predictions(
        protocol=builder.builder_config.name,
        labels=labels,
        filenames=tuple(record.filename for record in asked),
        groups=np.array([record.group for record in asked]),
        has_train_twin=np.array([record.has_train_twin for record in asked]),
        true=np.array([record.label for record in asked]),
        logits=(_CERTAIN * chosen).astype(np.float32),
        probs=chosen,
        refused=np.zeros(len(asked), bool),
        named_healthy=find_healthy_label(builder),
    )
