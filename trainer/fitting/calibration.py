"""What is fitted after training: temperature, thresholds of prediction sets and of the alarm for any tumour.

Goes in: logits for pictures that the model was not trained on: validation, or see
`trainer.fitting.cross_calibration`. Comes out: the numbers of `config.json`. The test split is never seen
here.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar
from sklearn.metrics import log_loss

from serving.model.artefact import NO_TUMOUR
from serving.model.calibration import compute_probabilities

# Shares of pictures whose prediction set shall hold the true label; the app shows both.
COVERAGES = (0.95, 0.99)
# Shares of pictures with a tumour that the alarm for any tumour shall catch.
SENSITIVITIES = (0.95, 0.99, 0.995)
DRAW_SEED = 0


def fit_temperature(logits: np.ndarray, true: np.ndarray) -> float:
    """Temperature with the lowest negative log-likelihood, between 1/20 and 20.

    Source: Guo et al. 2017 (arXiv:1706.04599), section 4.2.

    Args:
        logits: float32 (n, classes).
        true: int (n,).
    """
    labels = list(range(logits.shape[1]))

    def loss(log_temperature: float) -> float:
        return log_loss(true, compute_probabilities(logits, math.exp(log_temperature)), labels=labels)

    bound = math.log(20.0)
    return math.exp(minimize_scalar(loss, bounds=(-bound, bound), method="bounded").x)


def draw_one_per_group(groups: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Rows int (groups,), one a group, drawn evenly within each; from groups int (n,).

    Conformal prediction needs images that are exchangeable with a new one, and slices of one patient are not;
    one image a group is as
    near to it as the data allow. Source: subsampling once, Dunn et al. 2023 (arXiv:1809.07441), section 4.
    """
    order = generator.permutation(len(groups))
    _, first = np.unique(groups[order], return_index=True)
    return np.sort(order[first])


def fit_prediction_set_threshold(probs: np.ndarray, true: np.ndarray, coverage: float) -> float:
    """Least probability of a label that cannot be ruled out, so that sets hold the true label as often as asked.

    Source: split conformal prediction with the score 1 - p(true), Sadinle et al. 2019 (arXiv:1609.00451): the
    ceil((n + 1) coverage)-th smallest score of the calibration images is the threshold. The promise is about
    one image of a new group of the same kind. The same images also chose the temperature, those of validation
    the best epoch, and groups are no sure patients: so it is a target, not a guarantee.

    Args:
        probs: (n, classes), calibrated, of one image a group.
        true: int (n,).
        coverage: share of images whose set shall hold the true label.

    Returns:
        Threshold in [0, 1]; 0 (no label is ever ruled out) where n is too small for the coverage: 95 %
        needs 19 groups, 99 % needs 99.
    """
    of_true = np.sort(probs[np.arange(len(true)), true])[::-1]
    # Rounded first: 20 * .95 may come out a little above 19.
    rank = math.ceil(round((len(of_true) + 1) * coverage, 9))
    return float(of_true[rank - 1]) if rank <= len(of_true) else 0.0


def fit_calibration(
    logits: np.ndarray, true: np.ndarray, groups: np.ndarray, labels: Sequence[str], split: str
) -> dict[str, Any]:
    """Fit the `calibration` section of `config.json`, all but the thresholds for slices unlike the training slices.

    Args:
        logits: float32 (n, classes), of images that the model which gave them was not trained on.
        true: int (n,).
        groups: int (n,).
        labels: in the order of the columns.
        split: what the images are, as the section says it.
    """
    temperature = fit_temperature(logits, true)
    probs = compute_probabilities(logits, temperature)
    return {
        "temperature": temperature,
        "prediction_set_thresholds": fit_prediction_set_thresholds(probs, true, groups),
        "any_tumour_thresholds": fit_any_tumour_thresholds(probs, true, labels),
        "fitted_on": {"split": split, "count": len(true), "groups": len(np.unique(groups))},
    }


def fit_prediction_set_thresholds(
    probs: np.ndarray, true: np.ndarray, groups: np.ndarray
) -> dict[float, float]:
    """Threshold for each of `COVERAGES`, from one image a group.

    Args:
        probs: (n, classes), calibrated.
        true: int (n,).
        groups: int (n,).
    """
    rows = draw_one_per_group(groups, np.random.default_rng(DRAW_SEED))
    return {
        coverage: fit_prediction_set_threshold(probs[rows], true[rows], coverage) for coverage in COVERAGES
    }


def fit_any_tumour_thresholds(
    probs: np.ndarray, true: np.ndarray, labels: Sequence[str]
) -> dict[float, float]:
    """For each of `SENSITIVITIES` the highest 1 - p(notumor) that this share of the tumours still reaches.

    Args:
        probs: (n, classes), calibrated.
        true: int (n,).
        labels: in the order of the columns.

    Returns:
        Thresholds in [0, 1]; none where the labels have no `notumor`, or the images no tumour.
    """
    if NO_TUMOUR not in labels:
        return {}
    healthy = list(labels).index(NO_TUMOUR)
    scores = np.sort(1.0 - probs[true != healthy, healthy])[::-1]
    return {
        wanted: float(scores[math.ceil(round(wanted * len(scores), 9)) - 1])
        for wanted in SENSITIVITIES
        if len(scores)
    }
