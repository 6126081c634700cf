"""What is fitted to the tumour map: from which value on a place is tumour, and its say in tumour or none.

Goes in: maps, outlines and class probabilities of pictures that the model was not trained on. Comes out: the
`map` section of `config.json`. The test split is never seen here.
"""

from collections.abc import Sequence

import numpy as np
from sklearn.linear_model import LogisticRegression

from serving.model.artefact import Combination
from serving.model.combination import compute_class_log_odds, compute_log_odds
from serving.model.outline import find_heads, resize_map
from trainer.data.input_pipeline import Split
from trainer.fitting.weights import weigh_groups
from tumor_ds.sources.slices import MASK_STATES

# Tried for the threshold. Steps of .02: Dice hardly differs between neighbours.
THRESHOLDS = tuple(np.round(np.arange(0.1, 0.92, 0.02), 2).tolist())
# Where no picture has an outline.
DEFAULT_THRESHOLD = 0.5
# Most of the head, on average, that may be called tumour in a picture without one.
MOST_FALSE_SHARE = 0.005
# The classes alone.
CLASSES_ALONE = Combination(intercept=0.0, class_weight=1.0, map_weight=0.0)


def fit_map_threshold(tumor_maps: np.ndarray, split: Split) -> float:
    """Threshold with the best outlines on average, among those that call little of healthy heads tumour.

    Of `THRESHOLDS` the one with the highest mean Dice over the pictures with an outline, if on the pictures
    that are known to show none no more than `MOST_FALSE_SHARE` of the head lies inside outlines, on average;
    where no threshold keeps to that, the highest. In both means each group counts once, as elsewhere.

    Args:
        tumor_maps: float32 (n, m, m), [0, 1].
        split: the n pictures, with their masks; those whose outline is unknown do not count.

    Returns:
        `DEFAULT_THRESHOLD` where no picture has an outline.
    """
    assert split.masks is not None
    states = np.array([MASK_STATES[record.mask_known] for record in split.records])
    outlined, empty = np.flatnonzero(states == "outlined"), np.flatnonzero(states == "empty")
    # A small outline may vanish when its picture is made small.
    outlined = outlined[split.masks[outlined].any(axis=(1, 2, 3))] if len(outlined) else outlined
    if not len(outlined):
        return DEFAULT_THRESHOLD
    dice = np.array([compute_dice(tumor_maps[row], split.masks[row, ..., 0] > 0) for row in outlined])
    means = weigh_groups(split.groups[outlined]) @ dice
    allowed = np.ones(len(THRESHOLDS), bool)
    if len(empty):
        shares = np.array([compute_shares(tumor_maps[row], split.images[row]) for row in empty])
        allowed = weigh_groups(split.groups[empty]) @ shares <= MOST_FALSE_SHARE
    if not allowed.any():
        return THRESHOLDS[-1]
    return THRESHOLDS[int(np.where(allowed, means, -1.0).argmax())]


def compute_dice(tumor_map: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Dice of a map and an outline at each of `THRESHOLDS`: twice what both have, over the sum of both.

    Source: Dice 1945 (doi:10.2307/1932409).

    Args:
        tumor_map: float32 (m, m), [0, 1].
        mask: bool (size, size), not empty: the outline, filled.

    Returns:
        float64 (thresholds,), [0, 1].
    """
    values = resize_map(tumor_map, len(mask), len(mask), "pad")
    return 2 * _count_from(values[mask]) / (_count_from(values) + mask.sum())


def compute_shares(tumor_map: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Share of the head's area where the map reaches each of `THRESHOLDS`.

    Args:
        tumor_map: float32 (m, m), [0, 1].
        image: uint8 (size, size, 1), [0, 255].

    Returns:
        float64 (thresholds,), [0, 1].
    """
    [head] = find_heads(image[None], len(image) // len(tumor_map))
    values = resize_map(tumor_map, len(head), len(head), "pad")
    return _count_from(values[head]) / max(head.sum(), 1)


def fit_combination(
    probs: np.ndarray,
    peaks: np.ndarray,
    true: np.ndarray,
    groups: np.ndarray,
    healthy: int | None,
    sources: Sequence[str] | None = None,
) -> Combination:
    """Weights of classes and map in tumour or none, by logistic regression on the log-odds of both.

    Pictures count as `weigh_groups` says. A weight below 0 would turn evidence round; then the other is
    fitted alone.

    Source: Platt 1999, "Probabilistic outputs for support vector machines", for two scores instead of one;
    the penalty is scikit-learn's default, which keeps the weights finite where the scores tell all apart.

    Args:
        probs: float64 (n, classes), by the classes alone, calibrated.
        peaks: float64 (n,), [0, 1], highest values of the maps.
        true: int (n,).
        groups: int (n,).
        healthy: column of the healthy label; None where there is none.
        sources: n names; None: all pictures are of one source.

    Returns:
        The classes alone where there is no healthy label, or all pictures show a tumour, or none does.
    """
    if healthy is None:
        return CLASSES_ALONE
    is_tumor = true != healthy
    if is_tumor.all() or not is_tumor.any():
        return CLASSES_ALONE
    scores = np.stack([compute_class_log_odds(probs, healthy), compute_log_odds(peaks)], axis=1)
    weights = weigh_groups(groups, sources)
    # As many as there are groups, so that the penalty weighs less the more of them were seen.
    weights = weights * len(np.unique(groups))
    intercept, of_classes, of_map = _fit_weights(scores, is_tumor, weights)
    if min(of_classes, of_map) >= 0:
        return Combination(intercept, of_classes, of_map)
    alone = 0 if of_classes > of_map else 1
    intercept, weight = _fit_weights(scores[:, [alone]], is_tumor, weights)
    if weight < 0:
        return CLASSES_ALONE
    return Combination(intercept, *((weight, 0.0) if alone == 0 else (0.0, weight)))


def _fit_weights(scores: np.ndarray, is_tumor: np.ndarray, weights: np.ndarray) -> list[float]:
    """Intercept and weights of a logistic regression on scores (n, d)."""
    found = LogisticRegression().fit(scores, is_tumor, sample_weight=weights)
    return [float(found.intercept_[0]), *map(float, found.coef_[0])]


def _count_from(values: np.ndarray) -> np.ndarray:
    """How many values reach each of `THRESHOLDS`, int (thresholds,)."""
    return values.size - np.searchsorted(np.sort(values, axis=None), THRESHOLDS)
