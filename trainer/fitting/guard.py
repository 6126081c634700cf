"""Fitting of the input guard: brain slices of training, plain and varied, against drawn outliers.

Goes in: preprocessed slices, and the exported graph that embeds them. Comes out: the `guard` section of
`config.json`, and the thresholds of the prediction sets for slices unlike the training slices, both fitted on
validation. The test split is never seen here.

Slices are varied much more than training varies them, since what other hospitals send shall be scored, not
refused: without the skull, in another contrast, smaller in the frame, and with one of the corruptions of
`trainer.evaluation.corruptions`.
"""

import math
import warnings
from dataclasses import replace

import numpy as np
from PIL import Image
from scipy import ndimage
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier

from serving.model.guard import (
    Guard,
    compute_distances,
    compute_measures,
    compute_outlier_scores,
    compute_shape_features,
    encode_guard,
    parse_guard,
)
from serving.model.runtime import LiteRTModel, Outputs
from serving.preprocess import fit_to_square
from trainer.evaluation.corruptions import CORRUPTIONS, SEVERITIES, corrupt
from trainer.fitting.calibration import fit_prediction_set_thresholds
from trainer.fitting.outliers import KINDS, draw_outliers
from tumor_ds.sources.records import UNKNOWN

# Outliers of a kind: a share of the training slices, so that small data stay quick, and at most so many.
OUTLIERS_SHARE, OUTLIERS_LIMIT = 1 / 30, 150
DIRECTIONS = 16
# Inverse strength of the content classifier's penalty; size, penalty and passes of the shape network.
CONTENT_C, SHAPE_HIDDEN, SHAPE_ALPHA, SHAPE_PASSES = 0.1, 16, 3.0, 40
# Share of varied validation slices that each measure puts above 1, and that may be refused. These, the
# directions and the kinds of outliers were chosen on the bundled model by pictures that are no brain MRI and
# slices of another hospital: figures on those two sets are development figures.
BEYOND_ONE, REFUSALS = 0.02, 0.03
# Share of validation slices, as they are, that may be called unlike training.
UNLIKE = 0.05
TRAINING_SEED, VALIDATION_SEED = 0, 1


def fit_guard(
    model: LiteRTModel, training: np.ndarray, usual: Outputs, varied: np.ndarray, unusual: Outputs
) -> Guard:
    """Fit classifiers and directions on training, scales and thresholds on validation.

    Args:
        model: the exported graph.
        training: uint8 (n, size, size, 1), [0, 255].
        usual: of the graph for validation slices, of groups not in training.
        varied: uint8 (m, size, size, 1), of `vary_slices` on those.
        unusual: of the graph for the varied slices.

    Returns:
        The guard as it reads back after storage in half precision.
    """
    brains = np.concatenate([training, vary_slices(training, TRAINING_SEED)])
    images = np.concatenate([brains, _draw_all_kinds(training)])
    outlier = np.arange(len(images)) >= len(brains)
    embeddings = model.run(images).embeddings
    content_weights, content_bias = _fit_content(embeddings, outlier)
    shape = _fit_shape(images, outlier)
    # Eigenvectors of the Gram matrix: the right singular vectors, without decomposing all n rows.
    known = embeddings[~outlier].astype(np.float64)
    _, vectors = np.linalg.eigh(known.T @ known)
    directions = vectors[:, ::-1][:, :DIRECTIONS].T.astype(np.float32)
    # Centres, spreads and both thresholds are fitted next.
    unscaled = Guard(content_weights, content_bias, *shape, directions, np.zeros(3), np.ones(3), 1.0, 1.0)
    return _fit_thresholds(_store(unscaled), usual, varied, unusual)


def fit_unlike_set_thresholds(
    guard: Guard,
    outputs: Outputs,
    probs: np.ndarray,
    doubted: np.ndarray,
    true: np.ndarray,
    groups: np.ndarray,
) -> dict[float, float]:
    """Thresholds of the prediction sets for slices unlike the training slices, by coverage.

    They are fitted like the others, but on those varied validation slices that are too far from training to
    count as like it, or about which classes and tumour map contradict each other. There the model is worse,
    so the thresholds are lower and the sets wider; where there are too few groups of such slices, no label is
    ruled out. The promise is about slices that differ as these do.

    Source: conformal prediction by category, Vovk et al. 2005 (doi:10.1007/b106715), section 4.5;
    calibration on simulated shifts, Cauchois et al. 2024 (arXiv:2008.04267).

    Args:
        guard: the fitted guard.
        outputs: of the graph for the varied slices.
        probs: float64 (m, classes), of the answers for them.
        doubted: bool (m,), where classes and tumour map contradict each other.
        true: int (m,); those of unknown kind do not count.
        groups: int (m,).
    """
    unlike = doubted | (compute_distances(outputs.embeddings, guard.directions) > guard.unlike_threshold)
    rows = unlike & (true != UNKNOWN)
    return fit_prediction_set_thresholds(probs[rows], true[rows], groups[rows])


def vary_slices(images: np.ndarray, seed: int) -> np.ndarray:
    """Make each slice look as another hospital might send it, the same way for the same seed.

    Args:
        images: uint8 (n, size, size, 1), [0, 255].
        seed: of the random numbers.

    Returns:
        uint8 (n, size, size, 1), [0, 255].
    """
    rng, varied = np.random.default_rng(seed), []
    for number, grey in enumerate(images[..., 0]):
        if rng.uniform() < 0.4:
            grey = _strip_skull(rng, grey)
        if rng.uniform() < 0.5:
            grey = _change_contrast(rng, grey)
        if rng.uniform() < 0.4:
            grey = _shrink(rng, grey)
        name, severity = str(rng.choice(list(CORRUPTIONS))), int(rng.choice(SEVERITIES))
        varied.append(fit_to_square(corrupt(grey, name, severity, f"{seed} {number}"), images.shape[1]))
    return np.stack(varied)


def _draw_all_kinds(training: np.ndarray) -> np.ndarray:
    count = min(OUTLIERS_LIMIT, math.ceil(len(training) * OUTLIERS_SHARE))
    rng = np.random.default_rng(TRAINING_SEED)
    drawn = [draw_outliers(kind, rng.permutation(training)[:count], TRAINING_SEED) for kind in KINDS]
    return np.concatenate(drawn)


def _fit_content(embeddings: np.ndarray, outlier: np.ndarray) -> tuple[np.ndarray, float]:
    """Weights (d,) and bias of a logistic regression on standardised embeddings, for plain ones."""
    means, deviations = _standardise(embeddings)
    regression = LogisticRegression(C=CONTENT_C, class_weight="balanced", max_iter=300)
    regression.fit((embeddings - means) / deviations, outlier)
    weights = regression.coef_[0] / deviations
    return weights, float(regression.intercept_[0] - means @ weights)


def _fit_shape(images: np.ndarray, outlier: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Weights and biases of the two layers of the shape network, for features as they are."""
    features = compute_shape_features(images)
    means, deviations = _standardise(features)
    network = MLPClassifier(
        (SHAPE_HIDDEN,),
        alpha=SHAPE_ALPHA,
        batch_size=min(128, len(images)),
        max_iter=SHAPE_PASSES,
        random_state=TRAINING_SEED,
    )
    with warnings.catch_warnings():
        # So many passes on purpose.
        warnings.simplefilter("ignore", ConvergenceWarning)
        network.fit((features - means) / deviations, outlier)
    (first, last), (hidden_bias, last_bias) = network.coefs_, network.intercepts_
    first = first / deviations[:, None]
    return first, hidden_bias - means @ first, last[:, 0], float(last_bias[0])


def _standardise(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means and deviations; a feature that hardly varies keeps its scale, or it would swamp the others."""
    return features.mean(axis=0), features.std(axis=0) + 1e-3 * features.std() + 1e-9


def _fit_thresholds(guard: Guard, usual: Outputs, varied: np.ndarray, unusual: Outputs) -> Guard:
    """Set the last four fields."""
    measures = compute_measures(guard, unusual.embeddings, varied)
    centres = np.median(measures, axis=0)
    ends = np.quantile(measures, 1 - BEYOND_ONE, axis=0, method="higher")
    scaled = _store(replace(guard, centres=centres, spreads=np.maximum(ends - centres, 1e-6)))
    refusal = float(np.quantile(compute_outlier_scores(scaled, measures), 1 - REFUSALS, method="higher"))
    distances = compute_distances(usual.embeddings, guard.directions)
    unlike = float(np.quantile(distances, 1 - UNLIKE, method="higher"))
    return replace(scaled, unlike_threshold=unlike, refusal_threshold=max(refusal, 1e-6))


def _store(guard: Guard) -> Guard:
    """What is read back after storage."""
    return parse_guard(encode_guard(guard))


def _strip_skull(rng: np.random.Generator, grey: np.ndarray) -> np.ndarray:
    """Cut off a rim of the head, as brain extraction does, and brighten the rest; roughly, by erosion."""
    lit = grey[grey > 20]
    if not lit.size:
        return grey
    smooth = ndimage.gaussian_filter(grey.astype(np.float32), 1)
    head = ndimage.binary_fill_holes(smooth > max(12.0, 0.25 * lit.mean()))
    pieces, count = ndimage.label(head)
    if count:
        head = pieces == 1 + np.argmax(ndimage.sum_labels(head, pieces, range(1, count + 1)))
    rim = max(1, int(0.055 * len(grey) * rng.uniform(0.8, 1.5)))
    brain = ndimage.binary_erosion(head, iterations=rim)
    if not brain.any():
        return grey
    gain = rng.uniform(180, 255) / max(1.0, np.percentile(grey[brain], 98))
    return np.where(brain, np.clip(grey * gain, 0, 255), 0).astype(np.uint8)


def _change_contrast(rng: np.random.Generator, grey: np.ndarray) -> np.ndarray:
    """Mix the grey values with a random rising curve through black."""
    levels = np.linspace(0, 255, 6)
    curve = np.append(0, np.sort(rng.uniform(0, 255, 6))[1:])
    mixed = np.interp(grey, levels, 0.5 * curve + 0.5 * levels * rng.uniform(0.6, 1.4))
    return np.clip(mixed, 0, 255).astype(np.uint8)


def _shrink(rng: np.random.Generator, grey: np.ndarray) -> np.ndarray:
    """Make the slice smaller within the frame, at any place."""
    side = int(len(grey) * rng.uniform(0.6, 0.95))
    top, left = rng.integers(0, len(grey) - side + 1, 2)
    framed, small = np.zeros_like(grey), Image.fromarray(grey).resize((side, side), Image.Resampling.BICUBIC)
    framed[top : top + side, left : left + side] = np.asarray(small)
    return framed
