"""Figures of merit from labels and probabilities, each with its count and an interval over groups.

Goes in: true labels, calibrated probabilities, groups. Comes out: plain dictionaries, as they stand in `metrics.json`.
"""

from typing import Any

import numpy as np
from sklearn import metrics

CALIBRATION_BINS = 15
BOOTSTRAP_SAMPLES = 1000
BOOTSTRAP_SEED = 0


def compute_metrics(true: np.ndarray, probs: np.ndarray, groups: np.ndarray, labels: tuple[str, ...]) -> dict[str, Any]:
    """Compute all figures of one set of images.

    Args:
        true: int (n,), indices into `labels`.
        probs: float (n, classes), rows sum to 1.
        groups: int (n,); images of one group are resampled together.
        labels: names in the order of the columns.

    Returns:
        `count`, `groups`, `accuracy` with its 95 % interval, figures `per_class`, their `macro` and `weighted` means, the
        confusion matrix (rows true, columns predicted), negative log-likelihood and expected calibration error.
        A figure whose denominator is zero counts as 0.

    Raises:
        ValueError: no images, or probabilities that are not finite.
    """
    if len(true) == 0:
        raise ValueError("Expected at least one image to score, got none.")
    if not np.isfinite(probs).all():
        raise ValueError("Expected finite probabilities, got NaN or infinity. The model's weights are damaged.")
    predicted = probs.argmax(axis=1)
    indices = list(range(len(labels)))
    per_class = _per_class(true, predicted, indices)
    support = per_class["support"]
    averaged = {name: values for name, values in per_class.items() if name != "support"}
    return {
        "count": len(true),
        "groups": len(np.unique(groups)),
        "errors": int((predicted != true).sum()),
        "accuracy": float((predicted == true).mean()),
        "accuracy_interval": bootstrap_accuracy(predicted == true, groups),
        "per_class": {label: {name: values[index].item() for name, values in per_class.items()} for index, label in enumerate(labels)},
        "macro": {name: float(values.mean()) for name, values in averaged.items()},
        "weighted": {name: float(np.average(values, weights=support)) for name, values in averaged.items()},
        "confusion_matrix": metrics.confusion_matrix(true, predicted, labels=indices).tolist(),
        "nll": float(metrics.log_loss(true, probs, labels=indices)),
        "ece": compute_calibration_error(predicted == true, probs.max(axis=1)),
    }


def bootstrap_accuracy(correct: np.ndarray, groups: np.ndarray) -> list[float]:
    """95 % percentile interval of the accuracy; whole groups are drawn, because images of one patient are not independent.

    Source: cluster bootstrap, Field and Welsh 2007 (doi:10.1111/j.1467-9868.2007.00593.x).

    Args:
        correct: bool (n,).
        groups: int (n,).
    """
    _, membership = np.unique(groups, return_inverse=True)
    sizes = np.bincount(membership)
    hits = np.bincount(membership, weights=correct)
    drawn = np.random.default_rng(BOOTSTRAP_SEED).integers(0, len(sizes), (BOOTSTRAP_SAMPLES, len(sizes)))
    low, high = np.percentile(hits[drawn].sum(axis=1) / sizes[drawn].sum(axis=1), [2.5, 97.5])
    return [float(low), float(high)]


def compute_calibration_error(correct: np.ndarray, confidence: np.ndarray) -> float:
    """Expected calibration error over 15 bins of equal mass.

    Source: Naeini et al. 2015 (AAAI), with the equal-mass bins of Nguyen and O'Connor 2015 (arXiv:1508.05154).

    Args:
        correct: bool (n,).
        confidence: float (n,), [0, 1], probability of the predicted label.
    """
    bins = np.array_split(np.argsort(confidence, kind="stable"), CALIBRATION_BINS)
    gaps = [len(rows) * abs(correct[rows].mean() - confidence[rows].mean()) for rows in bins if len(rows)]
    return float(sum(gaps) / len(correct))


def _per_class(true: np.ndarray, predicted: np.ndarray, indices: list[int]) -> dict[str, np.ndarray]:
    precision, recall, f1, support = metrics.precision_recall_fscore_support(true, predicted, labels=indices, zero_division=0)
    # F2 weighs recall twice as much as precision (van Rijsbergen 1979): a missed tumour is worse than a false alarm.
    _, _, f2, _ = metrics.precision_recall_fscore_support(true, predicted, beta=2, labels=indices, zero_division=0)
    return {"precision": precision, "recall": recall, "f1": f1, "f2": f2, "support": support}
