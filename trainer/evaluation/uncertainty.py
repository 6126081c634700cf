"""What prediction sets and abstention are worth, measured on images that fitted nothing.

Goes in: `Predictions` and the thresholds of the artefact. Comes out: plain dictionaries, as they stand in
`metrics.json`.
"""

from typing import Any

import numpy as np

from serving.model.calibration import compute_prediction_sets
from trainer.evaluation.bootstrap import GroupBootstrap, compute_interval
from trainer.evaluation.metrics import Thresholds, get_common_threshold
from trainer.evaluation.predictions import Predictions

# Shares of the images that are answered, for the curve in `metrics.json`.
ANSWERED_SHARES = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0)


def compute_set_figures(predictions: Predictions, thresholds: Thresholds) -> dict[str, Any]:
    """Coverage and size of the prediction sets as served.

    A set holds the labels at or above the threshold, and always the most probable one.

    Args:
        predictions: what was said.
        thresholds: by the coverage aimed at, as `config.json` has them.

    Returns:
        By coverage aimed at: `threshold` (None where each image has its own), `coverage` of images,
        `group_coverage` (mean over groups, which is what the target is about), `size` (mean) with its 95 %
        interval over groups, and `coverage`, `size` and `count` `by_class` and `by_size`.
    """
    bootstrap = GroupBootstrap(predictions.groups)
    return {
        str(coverage): _summarise_sets(predictions, threshold, bootstrap)
        for coverage, threshold in sorted(thresholds.items())
    }


def compute_group_mean(values: np.ndarray, groups: np.ndarray) -> float:
    """Mean over groups of the mean within each, of (n,) values."""
    _, membership = np.unique(groups, return_inverse=True)
    return float((np.bincount(membership, weights=values) / np.bincount(membership)).mean())


def compute_risk_coverage(correct: np.ndarray, confidence: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Error among the images that are answered, when the least certain ones are left to a person.

    Source: selective classification, Geifman and El-Yaniv 2017 (arXiv:1705.08500), with the highest
    probability as confidence. Images of the same confidence are answered together, so their order does not
    matter.

    Args:
        correct: bool (n,).
        confidence: float (n,).

    Returns:
        Share answered and error among those, float64 (n,) each, from the most certain image to all.
    """
    values, membership = np.unique(-confidence, return_inverse=True)
    counts, errors = np.bincount(membership), np.bincount(membership, weights=~correct)
    # Within one confidence the errors are spread evenly.
    rank = np.arange(1, len(correct) + 1)
    before = np.concatenate([[0], counts.cumsum()])[: len(values)]
    errors_before = np.concatenate([[0.0], errors.cumsum()])[: len(values)]
    tied = np.sort(membership)
    wrong = errors_before[tied] + errors[tied] * (rank - before[tied]) / counts[tied]
    return rank / len(correct), wrong / rank


def compute_abstention(predictions: Predictions) -> dict[str, Any]:
    """Area under the risk-coverage curve, and the curve at some shares.

    Source of the area: Geifman, Uziel and El-Yaniv 2019 (arXiv:1805.08206), the mean error over all shares;
    `aurc_best` is what a confidence that ranks every error last would reach with as many errors.
    """
    correct, confidence = predictions.predicted == predictions.true, predictions.probs.max(axis=1)
    share, error = compute_risk_coverage(correct, confidence)
    ranked = correct - np.arange(len(correct)) / (2 * len(correct))
    _, best = compute_risk_coverage(correct, ranked)
    rows = [max(1, round(wanted * len(share))) - 1 for wanted in ANSWERED_SHARES]
    columns = {"answered": share, "least_confidence": np.sort(confidence)[::-1], "error": error}
    return {
        "aurc": float(error.mean()),
        "aurc_best": float(best.mean()),
        "curve": [{name: float(values[row]) for name, values in columns.items()} for row in rows],
    }


def _summarise_sets(
    predictions: Predictions, threshold: float | np.ndarray, bootstrap: GroupBootstrap
) -> dict[str, Any]:
    members = compute_prediction_sets(predictions.probs, threshold)
    holds, sizes = members[np.arange(len(members)), predictions.true], members.sum(axis=1)
    of_class = {label: predictions.true == index for index, label in enumerate(predictions.labels)}
    of_size = {str(size): sizes == size for size in range(1, len(predictions.labels) + 1)}
    return {
        "threshold": get_common_threshold(threshold),
        "coverage": float(holds.mean()),
        "group_coverage": compute_group_mean(holds, predictions.groups),
        "size": float(sizes.mean()),
        "size_interval": compute_interval(bootstrap.compute_means(sizes)),
        "by_class": {label: _describe(holds[rows], sizes[rows]) for label, rows in of_class.items()},
        "by_size": {size: _describe(holds[rows], sizes[rows]) for size, rows in of_size.items()},
    }


def _describe(holds: np.ndarray, sizes: np.ndarray) -> dict[str, Any]:
    if not len(holds):
        return {"count": 0, "coverage": None, "size": None}
    return {"count": len(holds), "coverage": float(holds.mean()), "size": float(sizes.mean())}
