"""Evaluation of an artefact as users download it: LiteRT, calibrated, every image of a split exactly once.

Goes in: a loaded `Classifier` and a built dataset. Comes out: `predictions.csv` (a row an image), and from
that alone `metrics.json`. The official figure never stands alone: beside it stands the figure on the images
that have no twin in Training. Folders of pictures: `trainer.evaluation.labelled_folder`; built datasets of
other sources: `trainer.evaluation.other_sources`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from serving import Classifier
from serving.files.errors import UserError
from serving.files.writing import write_json
from serving.model.artefact import METRICS_FILE, ArtefactConfig
from serving.model.combination import compute_answers
from trainer.evaluation.agreement import summarise_agreement
from trainer.evaluation.fitted_numbers import FittedNumbers, gather_numbers, spread_numbers
from trainer.evaluation.localisation import summarise_localisation
from trainer.evaluation.metrics import compute_any_tumour, compute_metrics, get_common_threshold
from trainer.evaluation.predictions import (
    PREDICTIONS_FILE,
    Predictions,
    PredictionsError,
    pool_predictions,
)
from trainer.evaluation.predictions_file import load_predictions, save_predictions
from trainer.evaluation.sources import summarise_sources
from trainer.evaluation.split_scoring import score_split
from trainer.evaluation.uncertainty import compute_abstention, compute_set_figures

if TYPE_CHECKING:
    import tensorflow_datasets as tfds

DATASET = "tumor_ds"
# Other ways to split the same pictures: a model of one has learnt test pictures of another.
SAME_PICTURES = ("official", "grouped", "patient")
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
        EvaluationError: the dataset's labels are not the model's, it has no such split, the model was
            trained on its test pictures, or on another version of it.
        PredictionsError: the model's answers are no numbers.
    """
    # Imported here: folders of pictures and files of predictions need no TensorFlow.
    from trainer.config import DataConfig
    from trainer.data.input_pipeline import load_learning_split

    _check_dataset(classifier.config, builder, split)
    config = classifier.config
    chosen = DataConfig().replace(fit=config.image_fit, fold=find_fold(config))
    data = load_learning_split(builder, split, chosen, config.image_size, with_masks=config.map is not None)
    return score_split(classifier, data, builder.builder_config.name)


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
    answers = compute_answers(
        predictions.logits, predictions.tumor_peak, config.temperature, config.healthy, config.map
    )
    gap = np.abs(answers - predictions.probs).max()
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
        `with_train_twin`; source by source only where none has: a leaked split is no test of a source.
    """
    numbers, subsets = gather_numbers(config), split_subsets(predictions)
    is_leaked = bool(predictions.has_train_twin.any())
    return {
        name: _summarise_subset(predictions.take(rows), numbers, by_source=not is_leaked)
        for name, rows in subsets.items()
    }


def split_subsets(predictions: Predictions) -> dict[str, np.ndarray]:
    """Rows, bool (n,), of `all` and, where some images have a twin in Training, of those with and without."""
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
    counts = [len(predictions.filenames) for predictions, _ in parts]
    numbers = spread_numbers([config for _, config in parts], counts)
    return pooled, {"all": _summarise_subset(pooled, numbers, by_source=True)}


def save_numbers(predictions: Predictions, summary: dict[str, Any], folder: Path) -> None:
    """Write `metrics.json` and `predictions.csv` into a folder, which is made if need be."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / METRICS_FILE, {predictions.protocol: summary})
    save_predictions(predictions, folder / PREDICTIONS_FILE)


def _summarise_subset(predictions: Predictions, numbers: FittedNumbers, by_source: bool) -> dict[str, Any]:
    """Figures of classes over images of known kind; then those that need no kind, where there are such."""
    known, of_known = predictions.take_known(), numbers.take(predictions.is_known)
    figures = compute_metrics(known) | {
        "any_tumour": compute_any_tumour(known, of_known.alarm_thresholds),
        "prediction_sets": compute_set_figures(known, of_known.set_thresholds),
        "abstention": compute_abstention(known),
        "refused": int(known.refused.sum()),
    }
    if predictions.localisation is not None:
        figures["localisation"] = summarise_localisation(
            predictions.localisation,
            predictions.kinds,
            predictions.groups,
            predictions.origins,
            get_common_threshold(numbers.map_threshold),
        )
    sections = {
        "agreement": summarise_agreement(predictions, numbers),
        "sources": summarise_sources(predictions, numbers) if by_source else None,
    }
    return figures | {name: section for name, section in sections.items() if section is not None}


def find_protocol(config: ArtefactConfig) -> str:
    """Protocol that a model was trained on."""
    return str(config.raw["dataset"]["name"]).removeprefix(f"{DATASET}/")


def find_fold(config: ArtefactConfig) -> int:
    """Fold of `tumor_ds/patient` that is the test split of a model; 0 where its dataset has a test split."""
    return int(config.raw["dataset"].get("fold", 0))


def name_dataset(config: ArtefactConfig, protocol: str | None = None) -> str:
    """TFDS name of a protocol; of the one that a model learnt (None), with its major version, `...:1.*.*`.

    Minor versions have the same pictures and splits; `_check_version` compares them.
    """
    learnt = find_protocol(config)
    major = str(config.raw["dataset"]["version"]).partition(".")[0]
    return f"{DATASET}/{learnt}:{major}.*.*" if protocol in (None, learnt) else f"{DATASET}/{protocol}"


def _check_dataset(config: ArtefactConfig, builder: "tfds.core.DatasetBuilder", split: str) -> None:
    names, protocol = tuple(builder.info.features["label"].names), builder.builder_config.name
    if names != config.labels:
        raise EvaluationError(
            f"The model knows {config.labels}, the dataset {names}. Evaluate on the dataset the model was"
            " trained for."
        )
    learnt = find_protocol(config)
    if learnt != protocol and {learnt, protocol} <= set(SAME_PICTURES):
        raise EvaluationError(
            f"The model learnt on tumor_ds/{learnt}, which shows it test pictures of tumor_ds/{protocol}: the"
            f" figure would be about memory. Evaluate it on {learnt}, or train one on tumor_ds/{protocol}."
        )
    if learnt == protocol:
        _check_version(config, builder)
    if not find_fold(config) and split not in builder.info.splits:
        raise EvaluationError(
            f"tumor_ds/{protocol} has no split {split}, but {', '.join(builder.info.splits)}. Evaluate on"
            " another protocol."
        )


def _check_version(config: ArtefactConfig, builder: "tfds.core.DatasetBuilder") -> None:
    """Compare a dataset with the one of the same name that a model learnt."""
    from trainer.data.input_pipeline import compute_fingerprint

    expected, version = config.raw["dataset"], str(builder.version)
    if version.partition(".")[0] != str(expected["version"]).partition(".")[0]:
        raise EvaluationError(
            f"Expected {expected['name']} {expected['version']}, which the model was trained on, got version"
            f" {version}: its pictures are others. Build version {expected['version']} and evaluate on that"
            f" (tumor build --help), or train a model on {version}."
        )
    fingerprint = compute_fingerprint(builder)
    if fingerprint != expected["fingerprint"]:
        raise EvaluationError(
            f"Expected the pictures of {expected['name']} that the model was trained on, fingerprint"
            f" {expected['fingerprint'][:12]}, got {fingerprint[:12]} in {builder.data_dir}. Build it again"
            " from the same pictures (tumor build --overwrite); score other pictures with --images DIR."
        )
