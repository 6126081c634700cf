"""What is fitted after training: temperature, thresholds of prediction sets and of the alarm for any tumour.

Goes in: logits, and highest values of tumour maps, for pictures that the model was not trained on:
validation, or see `trainer.fitting.cross_calibration`. Comes out: the numbers of `config.json`. The test
split is never seen here.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar
from sklearn.metrics import log_loss

from serving.model.artefact import MapConfig, encode_map
from serving.model.calibration import compute_probabilities
from serving.model.combination import compute_answers
from trainer.fitting.tumor_map import fit_combination
from trainer.fitting.weights import weigh_groups

# Shares of pictures whose prediction set shall hold the true label; the app shows both.
COVERAGES = (0.95, 0.99)
# Shares of pictures with a tumour that the alarm for any tumour shall catch.
SENSITIVITIES = (0.95, 0.99, 0.995)


def fit_temperature(logits: np.ndarray, true: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Temperature with the lowest negative log-likelihood, between 1/20 and 20.

    Source: Guo et al. 2017 (arXiv:1706.04599), section 4.2.

    Args:
        logits: float32 (n, classes).
        true: int (n,).
        weights: float64 (n,); None: every image counts the same. The likelihood and the calibration error
            that it lowers are means over images, and promise nothing about groups.
    """
    labels = list(range(logits.shape[1]))

    def loss(log_temperature: float) -> float:
        probs = compute_probabilities(logits, math.exp(log_temperature))
        return log_loss(true, probs, labels=labels, sample_weight=weights)

    bound = math.log(20.0)
    return math.exp(minimize_scalar(loss, bounds=(-bound, bound), method="bounded").x)


def fit_prediction_set_threshold(
    probs: np.ndarray,
    true: np.ndarray,
    groups: np.ndarray,
    coverage: float,
    sources: Sequence[str] | None = None,
) -> float:
    """Least probability of a label that cannot be ruled out, so that sets hold the true label as asked.

    Conformal prediction with the score 1 - p(true) (Sadinle et al. 2019, arXiv:1609.00451). Slices of one
    patient are not exchangeable with a new one's, groups are: each of K groups has mass 1 / (K + 1), shared
    evenly by its images, and so has infinity, in place of the new group. The threshold is the quantile of
    these scores. No draw decides it, and large groups do not count more.

    The coverage holds, as a mean over calibration sets, for one image of a new group, drawn evenly: groups
    are exchangeable, so the new one's score is as likely to come from any of the K + 1 masses. The same
    images also chose the temperature, those of validation the best epoch, and groups are no sure patients:
    so it is a target, not a guarantee.

    Source: Lee, Barber and Willett 2023, "Distribution-free inference with hierarchical data"
    (arXiv:2306.06342), theorem 1.

    Args:
        probs: (n, classes), calibrated.
        true: int (n,).
        groups: int (n,).
        coverage: share of images whose set shall hold the true label.
        sources: n names; the groups then count as `weigh_groups` says, and a new image is one of a source
            drawn likewise, and of a group of it. None: all of one source.

    Returns:
        Threshold in [0, 1]; 0 (no label is ever ruled out) where there are too few groups, see
        `has_enough_groups`.
    """
    count = len(np.unique(groups))
    of_true = probs[np.arange(len(true)), true]
    order = np.argsort(-of_true, kind="stable")
    # Rounded on both sides: three thirds, or 20 * .95, may come out a little beside a whole number.
    groups_held = (count * weigh_groups(groups, sources)[order]).cumsum().round(9)
    place = np.searchsorted(groups_held, round((count + 1) * coverage, 9))
    return float(of_true[order][place]) if place < len(order) else 0.0


def has_enough_groups(count: int, coverage: float) -> bool:
    """Whether so many groups can give a threshold for a coverage: 95 % needs 19, 99 % needs 99."""
    return round((count + 1) * coverage, 9) <= count


@dataclass(frozen=True)
class UnseenMaps:
    """What tumour maps say of n images that their model was not trained on.

    Attributes:
        peaks: float64 (n,), [0, 1], highest value of each map.
        threshold: least value inside an outline.

    Example:
        >>> UnseenMaps(np.array([0.9, 0.1]), threshold=0.4).threshold
        0.4
    """

    peaks: np.ndarray
    threshold: float


def fit_calibration(
    logits: np.ndarray,
    true: np.ndarray,
    groups: np.ndarray,
    healthy: int | None,
    split: str,
    maps: UnseenMaps | None = None,
    sources: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Fit the sections `calibration`, but for slices unlike the training slices, and `map` of `config.json`.

    First the temperature, on the logits alone, then the combination with the map, then the thresholds, on the
    probabilities that come out of both.

    Args:
        logits: float32 (n, classes), of images that the model which gave them was not trained on.
        true: int (n,).
        groups: int (n,).
        healthy: column of the healthy label; None where there is none.
        split: what the images are, as the section says it.
        maps: of the same images; None where the model has no map.
        sources: n names of where the images are from, which then count as `weigh_groups` says; None: all from
            one place.

    Returns:
        Both sections by name; `map` is None where the model has no map.
    """
    sources = None if sources is None or len(set(sources)) == 1 else sources
    weights = None if sources is None else weigh_groups(groups, sources)
    temperature = fit_temperature(logits, true, weights)
    probs, tumor_map = compute_probabilities(logits, temperature), None
    if maps:
        combination = fit_combination(probs, maps.peaks, true, groups, healthy, sources)
        tumor_map = MapConfig(maps.threshold, combination)
        probs = compute_answers(logits, maps.peaks, temperature, healthy, tumor_map)
    count = len(np.unique(groups))
    section = {
        "temperature": temperature,
        "prediction_set_thresholds": fit_prediction_set_thresholds(probs, true, groups, sources),
        "any_tumour_thresholds": fit_any_tumour_thresholds(probs, true, healthy, weights),
        "fitted_on": {
            "split": split,
            "count": len(true),
            "groups": count,
            **({} if sources is None else {"sources": sorted(set(sources))}),
            "too_few_groups_for": [share for share in COVERAGES if not has_enough_groups(count, share)],
        },
    }
    return {"calibration": section, "map": tumor_map and encode_map(tumor_map)}


def explain_few_groups(fitted_on: dict[str, Any]) -> str | None:
    """Say for which coverages no label is ruled out, by `fitted_on`; None where groups are enough for all."""
    shares = " and ".join(f"{share:.0%}" for share in fitted_on["too_few_groups_for"])
    told = (
        f"Only {fitted_on['groups']} groups were left to fit thresholds on, too few for prediction sets at"
        f" {shares}: those sets hold every label. Calibrate on more groups."
    )
    return told if shares else None


def fit_prediction_set_thresholds(
    probs: np.ndarray, true: np.ndarray, groups: np.ndarray, sources: Sequence[str] | None = None
) -> dict[float, float]:
    """Threshold for each of `COVERAGES`; arguments as for `fit_prediction_set_threshold`."""
    return {share: fit_prediction_set_threshold(probs, true, groups, share, sources) for share in COVERAGES}


def fit_any_tumour_thresholds(
    probs: np.ndarray, true: np.ndarray, healthy: int | None, weights: np.ndarray | None = None
) -> dict[float, float]:
    """For each of `SENSITIVITIES` the highest 1 - p(healthy) that this share of the tumours still reaches.

    Args:
        probs: (n, classes), calibrated.
        true: int (n,).
        healthy: column of the healthy label; None where there is none.
        weights: float64 (n,), of the images; None: every image counts the same.

    Returns:
        Thresholds in [0, 1]; none without a healthy label, or where no image shows a tumour.
    """
    if healthy is None:
        return {}
    is_tumor = true != healthy
    if not is_tumor.any():
        return {}
    scores = 1.0 - probs[is_tumor, healthy]
    order = np.argsort(-scores, kind="stable")
    masses = np.ones(len(scores)) if weights is None else weights[is_tumor]
    # Rounded on both sides, as above.
    reached = (masses[order] / masses.sum()).cumsum().round(9)
    return {wanted: float(scores[order][np.searchsorted(reached, wanted)]) for wanted in SENSITIVITIES}
