"""How a model holds up on worse pictures: each corruption at each severity, scored.

Goes in: a loaded `Classifier` and decoded pictures. Comes out: a dictionary, as it stands in
`corruptions.json`. The evaluation chooses nothing. Training varies its images by weaker forms of some
corruptions, and the guard's thresholds are fitted on validation slices with these very ones
(`trainer.fitting.guard`), so the figures, above all the share refused, say little about changes never seen.
Source of the summary: Hendrycks and Dietterich 2019 (arXiv:1903.12261).
"""

import hashlib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.metrics import f1_score

from serving import Classifier
from serving.preprocess import fit_to_square
from trainer.evaluation.bootstrap import GroupBootstrap, compute_interval
from trainer.evaluation.corruptions import CORRUPTIONS, SEVERITIES, corrupt
from trainer.evaluation.metrics import compute_calibration_error
from trainer.evaluation.predictions import Predictions
from trainer.evaluation.split_scoring import stack_answers

if TYPE_CHECKING:  # it imports TensorFlow
    from trainer.data.input_pipeline import Example

# 800 pictures of four classes take 3.3 CPU minutes at 224 pixels with the bundled model, about 5 at 512; as
# many of each class, so that a frequent one does not hide a rare one.
PICTURES_PER_CLASS = 200
# Scored in other batches, the same model's probabilities differ in the last digits; another model's
# calibration error does not fit so well.
SAME_MODEL_TOLERANCE = 2e-3


def choose_filenames(
    filenames: Sequence[str], true: Sequence[int] | np.ndarray, limit: int = PICTURES_PER_CLASS
) -> set[str]:
    """Choose up to `limit` pictures of each label of int (n,), those whose names have the lowest sha256."""
    names, labels = np.array(filenames), np.array(true)
    order = np.argsort([hashlib.sha256(name.encode()).hexdigest() for name in filenames])
    return {str(name) for label in np.unique(labels) for name in names[order][labels[order] == label][:limit]}


def evaluate_corruptions(classifier: Classifier, examples: Iterable["Example"]) -> dict[str, Any]:
    """Score a model on pictures as they are and under every corruption; one picture at a time is in memory.

    Args:
        classifier: a loaded artefact.
        examples: pictures with label, filename and group, each scored once.

    Returns:
        For the subset `all` and, where some pictures have a twin in Training, for `unseen`: `count`; figures
        of the `clean` pictures and, by name and severity, of `corruptions`; `mean_corruption_accuracy`: 1
        minus the mean corruption error of Hendrycks and Dietterich 2019, section 4, that is not divided by
        AlexNet's; `relative_drop`, the share of the clean accuracy that is lost: 1 minus rPC of Michaelis et
        al. 2019 (arXiv:1907.07484). Figures: count, accuracy with its interval, macro F1 over the classes
        present, tumour sensitivity (of pictures with a tumour, the share called any tumour; null without a
        healthy class), share refused by the guard (they are scored all the same), calibration error.

    Raises:
        ValueError: no pictures, or not uint8.
    """
    rows = []
    for example in examples:
        answers = stack_answers(classifier.score(_make_versions(classifier, example)))
        facts = example.facts.label, example.facts.group, example.facts.has_train_twin
        rows.append((answers["probs"], answers["refused"], *facts))
    if not rows:
        raise ValueError("Expected at least one picture to corrupt, got none.")
    probs, refused, true, groups, twin = (np.array(column) for column in zip(*rows, strict=True))
    subsets = {"all": np.ones_like(twin)} | ({"unseen": ~twin} if twin.any() and not twin.all() else {})
    columns = (true, probs, refused, groups)
    return {
        name: _summarise(classifier.config.healthy, *(column[rows] for column in columns))
        for name, rows in subsets.items()
    }


def is_about(result: dict[str, Any], predictions: Predictions) -> bool:
    """Whether figures of worse pictures go with predictions of the same model; another may have left them."""
    chosen = choose_filenames(predictions.filenames, predictions.true)
    part = predictions.take(np.array([name in chosen for name in predictions.filenames]))
    correct = part.predicted == part.true
    expected = (len(correct), correct.mean(), compute_calibration_error(correct, part.probs.max(axis=1)))
    try:
        written = [result["all"]["clean"][name] for name in ("count", "accuracy", "ece")]
    except (KeyError, TypeError):  # of a version that wrote other keys
        return False
    return bool(np.allclose(expected, written, rtol=0, atol=SAME_MODEL_TOLERANCE))


def _make_versions(classifier: Classifier, example: "Example") -> np.ndarray:
    """The clean picture, then every corruption at severities 1 to 3: uint8 (31, size, size, 1)."""
    grey, config = example.image[..., 0], classifier.config
    versions = [grey]
    versions += [
        corrupt(grey, name, level, example.facts.filename) for name in CORRUPTIONS for level in SEVERITIES
    ]
    return np.stack([fit_to_square(one, config.image_size, config.image_fit) for one in versions])


def _summarise(
    healthy: int | None, true: np.ndarray, probs: np.ndarray, refused: np.ndarray, groups: np.ndarray
) -> dict[str, Any]:
    """Figures from labels and groups int (n,), probs (n, 31, classes) and refusals bool (n, 31)."""
    bootstrap = GroupBootstrap(groups)
    correct = probs.argmax(axis=2) == true[:, None]
    figures = (
        _compute_figures(true, probs[:, version], refused[:, version], bootstrap, healthy)
        for version in range(probs.shape[1])
    )
    clean = next(figures)
    corruptions = {
        name: [
            {"severity": level, "parameter": one.quantity, "value": value, **next(figures)}
            for level, value in zip(SEVERITIES, one.strengths, strict=True)
        ]
        for name, one in CORRUPTIONS.items()
    }
    # Every corruption has three severities, so this is the mean over corruptions as well.
    worse = correct[:, 1:].mean(axis=1)
    # A sample of few pictures may hold none that is right when clean.
    with np.errstate(divide="ignore"):
        drops = 1 - bootstrap.compute_ratios(worse, correct[:, 0])
    return {
        "count": len(true),
        "clean": clean,
        "corruptions": corruptions,
        "mean_corruption_accuracy": float(worse.mean()),
        "mean_corruption_accuracy_interval": compute_interval(bootstrap.compute_means(worse)),
        "relative_drop": float(1 - worse.mean() / clean["accuracy"]) if clean["accuracy"] else None,
        "relative_drop_interval": compute_interval(drops),
    }


def _compute_figures(
    true: np.ndarray,
    probs: np.ndarray,
    refused: np.ndarray,
    bootstrap: GroupBootstrap,
    healthy: int | None,
) -> dict[str, Any]:
    predicted = probs.argmax(axis=1)
    correct, present = predicted == true, np.unique(true)
    tumours = true != healthy
    called = predicted[tumours] != healthy
    return {
        "count": len(true),
        "accuracy": float(correct.mean()),
        "accuracy_interval": compute_interval(bootstrap.compute_means(correct)),
        "macro_f1": float(f1_score(true, predicted, labels=present, average="macro", zero_division=0)),
        "tumour_sensitivity": None if healthy is None or not tumours.any() else float(called.mean()),
        "refused": float(refused.mean()),
        "ece": compute_calibration_error(correct, probs.max(axis=1)),
    }
