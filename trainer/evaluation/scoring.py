"""Evaluation of an artefact as users download it: LiteRT, calibrated, on every image of a split or of a folder exactly once.

Goes in: a loaded `Classifier` and a built dataset, or a folder of labelled pictures. Comes out:
`predictions.csv` (a row an image), and from that alone `metrics.json` and figures. The official figure never
stands alone: beside it stands the figure on the images that have no twin in Training.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from serving import Classifier
from serving.classifier import Prediction
from serving.files.errors import UserError
from serving.files.writing import write_json
from serving.model.artefact import METRICS_FILE, ArtefactConfig
from serving.model.calibration import compute_probabilities
from serving.model.runtime import MAX_BATCH
from trainer.evaluation.metrics import Thresholds, compute_any_tumour, compute_metrics
from trainer.evaluation.predictions import (
    PREDICTIONS_FILE,
    Predictions,
    PredictionsError,
    load_predictions,
    pool_predictions,
    save_predictions,
)
from trainer.evaluation.uncertainty import compute_abstention, compute_set_figures

if TYPE_CHECKING:
    import tensorflow_datasets as tfds

    from trainer.data.input_pipeline import Split

DATASET = "tumor_ds"
# Other ways to split the same pictures: a model of one has learnt test pictures of another.
SAME_PICTURES = ("official", "grouped", "patient")
FOLDER_PREFIX = "images-"
# Digits of logits and probabilities in older files.
TEMPERATURE_TOLERANCE = 1e-4


class EvaluationError(UserError):
    """What cannot be evaluated; the message says what was expected, what came and what to do."""


def evaluate(classifier: Classifier, builder: "tfds.core.DatasetBuilder", split: str = "test") -> Predictions:
    """Score a split with the exported graph.

    Args:
        classifier: a loaded artefact.
        builder: a prepared builder; its config names the protocol.
        split: which split.

    Raises:
        EvaluationError: the dataset's labels are not the model's, it has no such split, or the model was
            trained on its pictures.
        PredictionsError: the model's answers are no numbers.
    """
    # Imported here: folders of pictures and files of predictions need no TensorFlow.
    from trainer.data.input_pipeline import load_split

    protocol = builder.builder_config.name
    _check_dataset(classifier, builder, split)
    config = classifier.config
    data = load_split(builder, split, config.image_size, config.image_fit, find_fold(config))
    return score_split(classifier, data, protocol)


def score_split(classifier: Classifier, data: "Split", protocol: str) -> Predictions:
    """Score preprocessed images; `protocol` says what they are."""
    logits, probs, refused = _stack(classifier.score(data.images))
    facts = data.filenames, data.groups, data.has_train_twin, data.true
    return Predictions(protocol, classifier.labels, *facts, logits, probs, refused)


def evaluate_folder(classifier: Classifier, folder: Path, patient_pattern: str | None = None) -> Predictions:
    """Score pictures of another source, `FOLDER/CLASS/FILE`, such as another hospital's.

    Args:
        classifier: a loaded artefact.
        folder: its subfolders are named as labels of the model, not necessarily all of them.
        patient_pattern: regular expression for the part of a file name that names the patient; pictures with
            the same part are one
            group. None: every picture is its own group, and intervals are too narrow where a patient has
                several.

    Raises:
        EvaluationError: no such folder, an unknown or an empty class, or a file name without a patient.
        ImageError: a picture cannot be read.
    """
    paths = _list_pictures(folder, classifier.labels)
    groups = _group_by_patient(paths, patient_pattern)
    batches = [
        classifier.predict_batch(paths[start : start + MAX_BATCH])
        for start in range(0, len(paths), MAX_BATCH)
    ]
    logits, probs, refused = _stack([prediction for batch in batches for prediction in batch])
    return Predictions(
        protocol=f"{FOLDER_PREFIX}{folder.resolve().name}",
        labels=classifier.labels,
        filenames=tuple(path.relative_to(folder).as_posix() for path in paths),
        groups=groups,
        has_train_twin=np.zeros(len(paths), bool),
        true=np.array([classifier.labels.index(path.parent.name) for path in paths]),
        logits=logits,
        probs=probs,
        refused=refused,
    )


def load_own_predictions(path: Path, config: ArtefactConfig, protocol: str | None = None) -> Predictions:
    """Read predictions that this artefact made, so that its thresholds may be applied to them.

    Args:
        path: `predictions.csv`.
        config: of the artefact.
        protocol: the protocol expected; None: whichever.

    Raises:
        PredictionsError: the file is damaged, cut short, of another dataset or of another model.
    """
    predictions = load_predictions(path, config.labels, protocol)
    gap = np.abs(compute_probabilities(predictions.logits, config.temperature) - predictions.probs).max()
    if gap > TEMPERATURE_TOLERANCE:
        raise PredictionsError(
            f"{path} has probabilities that differ by {gap:.2g} from those that its logits give at this"
            f" model's temperature, {config.temperature:.3f}. Name the model that made it."
        )
    expected, count = config.raw["dataset"]["counts"].get("test"), len(predictions.filenames)
    if predictions.protocol == find_protocol(config) and count != expected:
        raise PredictionsError(
            f"{path} has {count:,} images, expected the {expected:,} of the test split. It is cut short, or"
            " of another version."
        )
    return predictions


def summarise(predictions: Predictions, config: ArtefactConfig) -> dict[str, Any]:
    """Compute what `metrics.json` holds for one protocol.

    Args:
        predictions: of one split, or loaded from `predictions.csv`.
        config: of the artefact that made them; its thresholds are applied.

    Returns:
        Figures for the subset `all` and, where some images have a twin in Training, for `unseen` and
        `with_train_twin`.
    """
    return {
        name: _summarise_subset(
            predictions.take(rows), config.prediction_set_thresholds, config.any_tumour_thresholds
        )
        for name, rows in split_subsets(predictions).items()
    }


def split_subsets(predictions: Predictions) -> dict[str, np.ndarray]:
    """Rows, bool (n,), of `all` and, where some images have a twin in Training, of `unseen` and `with_train_twin`, unless it has none."""
    twin = predictions.has_train_twin
    subsets = {"all": np.ones_like(twin)} | ({"unseen": ~twin, "with_train_twin": twin} if twin.any() else {})
    return {name: rows for name, rows in subsets.items() if rows.any()}


def pool(parts: Sequence[tuple[Predictions, ArtefactConfig]]) -> tuple[Predictions, dict[str, Any]]:
    """Put the folds of a protocol together: every image was asked once, of a model that had not learnt it.

    Args:
        parts: predictions of each fold, with the config of the artefact that made them; its thresholds apply
            to its images.

    Returns:
        The predictions of all images, and what `metrics.json` holds for them.
    """
    pooled = pool_predictions([predictions for predictions, _ in parts])

    def spread(name: str) -> dict[float, np.ndarray]:
        counts = [len(predictions.filenames) for predictions, _ in parts]
        found = [getattr(config, name) for _, config in parts]
        shares = sorted(set.intersection(*map(set, found)))
        return {share: np.repeat([thresholds[share] for thresholds in found], counts) for share in shares}

    return pooled, {
        "all": _summarise_subset(pooled, spread("prediction_set_thresholds"), spread("any_tumour_thresholds"))
    }


def save_numbers(predictions: Predictions, summary: dict[str, Any], folder: Path) -> None:
    """Write `metrics.json` and `predictions.csv` into a folder, which is made if need be."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / METRICS_FILE, {predictions.protocol: summary})
    save_predictions(predictions, folder / PREDICTIONS_FILE)


def _summarise_subset(
    predictions: Predictions, set_thresholds: Thresholds, alarm_thresholds: Thresholds
) -> dict[str, Any]:
    return compute_metrics(predictions) | {
        "any_tumour": compute_any_tumour(predictions, alarm_thresholds),
        "prediction_sets": compute_set_figures(predictions, set_thresholds),
        "abstention": compute_abstention(predictions),
        "refused": int(predictions.refused.sum()),
    }


def _stack(predictions: list[Prediction]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Logits, calibrated probabilities, and who is refused."""
    return (
        np.stack([prediction.logits for prediction in predictions]),
        np.array([list(prediction.probabilities.values()) for prediction in predictions]),
        np.array([not prediction.in_domain for prediction in predictions]),
    )


def _check_dataset(classifier: Classifier, builder: "tfds.core.DatasetBuilder", split: str) -> None:
    names, protocol = tuple(builder.info.features["label"].names), builder.builder_config.name
    if names != classifier.labels:
        raise EvaluationError(
            f"The model knows {classifier.labels}, the dataset {names}. Evaluate on the dataset the model was"
            " trained for."
        )
    learnt = find_protocol(classifier.config)
    if learnt != protocol and {learnt, protocol} <= set(SAME_PICTURES):
        raise EvaluationError(
            f"The model learnt on tumor_ds/{learnt}, which shows it test pictures of tumor_ds/{protocol}: the"
            f" figure would be about memory. Evaluate it on {learnt}, or train one on tumor_ds/{protocol}."
        )
    if not find_fold(classifier.config) and split not in builder.info.splits:
        raise EvaluationError(
            f"tumor_ds/{protocol} has no split {split}, but {', '.join(builder.info.splits)}. Evaluate on"
            " another protocol."
        )


def find_protocol(config: ArtefactConfig) -> str:
    """Protocol that a model was trained on."""
    return str(config.raw["dataset"]["name"]).removeprefix(f"{DATASET}/")


def find_fold(config: ArtefactConfig) -> int:
    """Fold of `tumor_ds/patient` that is the test split of a model; 0 where its dataset has a test split of its own."""
    return int(config.raw["dataset"].get("fold", 0))


def _list_pictures(folder: Path, labels: tuple[str, ...]) -> list[Path]:
    """Files of all class folders, sorted; hidden ones are left out."""
    expected = f"Expected DIR/CLASS/FILE, with classes among {', '.join(labels)}"
    if not folder.is_dir():
        raise EvaluationError(f"{folder} is no folder. {expected}.")
    entries = [path for path in sorted(folder.iterdir()) if not path.name.startswith(".")]
    wrong = [path.name for path in entries if path.name not in labels or not path.is_dir()]
    if wrong or not entries:
        raise EvaluationError(
            f"{expected}; {folder} holds {', '.join(wrong) if wrong else 'nothing'}. Rename, or name another"
            " folder."
        )
    found = {
        entry: [path for path in sorted(entry.iterdir()) if not path.name.startswith(".")]
        for entry in entries
    }
    for entry, paths in found.items():
        if not paths:
            raise EvaluationError(f"{entry} holds no pictures. Put some there, or remove the folder.")
        if not all(path.is_file() for path in paths):
            raise EvaluationError(
                f"{expected}; {next(path for path in paths if not path.is_file())} is a folder. Move its"
                " pictures up."
            )
    return [path for paths in found.values() for path in paths]


def _group_by_patient(paths: list[Path], pattern: str | None) -> np.ndarray:
    """A number for each patient, int (n,)."""
    if pattern is None:
        return np.arange(len(paths))
    try:
        matches = [re.search(pattern, path.name) for path in paths]
    except re.error as error:
        raise EvaluationError(
            f"{pattern!r} is no regular expression: {error}. Expected one such as 'patient[0-9]+'."
        ) from error
    names = []
    for path, match in zip(paths, matches, strict=True):
        if not match or not match.group():
            raise EvaluationError(
                f"{pattern!r} does not match the file name {path.name}. Expected it to name the patient of"
                " every picture."
            )
        names.append(match.group())
    return np.unique(names, return_inverse=True)[1]
