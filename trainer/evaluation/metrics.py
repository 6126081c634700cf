"""Figures of merit of one set of predictions, the main ones with an interval over groups.

Goes in: `Predictions`. Comes out: plain dictionaries, as they stand in `metrics.json`.
A figure that is not defined is None (null in the file): a class without images has no recall, F score, AUROC
or average precision, and takes no part in macro means; a class that has images but is never predicted has
precision 0.
"""

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
from sklearn import metrics

from serving.model.calibration import compute_probabilities
from trainer.evaluation.bootstrap import (
    GroupBootstrap,
    compute_basic_interval,
    compute_interval,
    compute_macro_f,
    compute_recalls,
)
from trainer.evaluation.predictions import Predictions

CALIBRATION_BINS = 15
# By the share aimed at: one for all images or, where models of several folds answered, float64 (n,), each
# image's own.
Thresholds = Mapping[float, float | np.ndarray]
# Undefined without images of the class; specificity is not.
_NEEDS_IMAGES = ("precision", "recall", "f1", "f2", "auroc", "average_precision")


def compute_metrics(predictions: Predictions) -> dict[str, Any]:
    """Compute all figures that need no threshold.

    Returns:
        `count`, `groups`, `errors`; `accuracy`, `kappa`, `mcc`; figures `per_class` and their `macro`
        and `weighted` means; `confusion_matrix` (rows true, columns predicted); `nll`, `brier`, `ece` of the
        calibrated probabilities and, under `uncalibrated`, of those at temperature 1; 95 % intervals under
        `accuracy_interval` and `intervals`.
    """
    true, predicted, classes = predictions.true, predictions.predicted, len(predictions.labels)
    indices = list(range(classes))
    support = np.bincount(true, minlength=classes)
    per_class = compute_class_figures(predictions)
    bootstrap = GroupBootstrap(predictions.groups)
    return {
        "count": len(true),
        "groups": len(np.unique(predictions.groups)),
        "errors": int((predicted != true).sum()),
        "accuracy": float((predicted == true).mean()),
        "accuracy_interval": compute_interval(bootstrap.compute_means(predicted == true)),
        "kappa": compute_kappa(true, predicted),
        "mcc": compute_mcc(true, predicted),
        "per_class": {
            label: {name: _none_if_nan(values[index]) for name, values in per_class.items()}
            | {"support": int(support[index])}
            for index, label in enumerate(predictions.labels)
        },
        "macro": {name: _average(values[support > 0]) for name, values in per_class.items()},
        "weighted": {
            name: _average(values[support > 0], support[support > 0]) for name, values in per_class.items()
        },
        "confusion_matrix": metrics.confusion_matrix(true, predicted, labels=indices).tolist(),
        **compute_probability_figures(true, predictions.probs),
        "uncalibrated": compute_probability_figures(true, compute_probabilities(predictions.logits, 1.0)),
        "intervals": _compute_intervals(predictions, bootstrap),
    }


def compute_class_figures(predictions: Predictions) -> dict[str, np.ndarray]:
    """Figures of each class against the rest, float64 (classes,) each; NaN where undefined.

    F2 weighs recall twice as much as precision (van Rijsbergen 1979): a missed tumour is worse than a false
    alarm.
    """
    true, predicted = predictions.true, predictions.predicted
    indices = list(range(len(predictions.labels)))
    compute = partial(
        metrics.precision_recall_fscore_support, true, predicted, labels=indices, zero_division=0
    )
    (precision, recall, f1, support), (_, _, f2, _) = compute(), compute(beta=2)
    # Of each class, (true negatives, false positives).
    rest = metrics.multilabel_confusion_matrix(true, predicted, labels=indices)[:, 0].astype(float)
    questions = [(true == index, predictions.probs[:, index]) for index in indices]
    figures = {
        "precision": precision,
        "recall": recall,
        "specificity": np.array([row[0] / row.sum() if row.sum() else np.nan for row in rest]),
        "f1": f1,
        "f2": f2,
        "auroc": np.array([compute_auroc(*question) for question in questions]),
        "average_precision": np.array([compute_average_precision(*question) for question in questions]),
    }
    return {
        name: np.where(support > 0, values, np.nan) if name in _NEEDS_IMAGES else values
        for name, values in figures.items()
    }


def compute_any_tumour(predictions: Predictions, thresholds: Thresholds) -> dict[str, Any] | None:
    """Figures of the question "any tumour, or none?", with the score 1 - p(healthy label).

    Args:
        predictions: what was said.
        thresholds: by the sensitivity aimed at, the least score that raises the alarm, as `config.json` has
            them: a threshold chosen on the images that it is reported on would be too good. float64 (n,)
            where each image has that of its own fold.

    Returns:
        Counts, AUROC and average precision of the whole ROC curve; sensitivity and specificity where the
        most probable label decides, and at each threshold. None where no label is healthy, or the
        images no tumour.
    """
    healthy = predictions.healthy
    if healthy is None:
        return None
    tumour, score = predictions.true != healthy, 1.0 - predictions.probs[:, healthy]
    if not tumour.any():
        return None
    bootstrap = GroupBootstrap(predictions.groups)
    decisions = {target: score >= threshold for target, threshold in thresholds.items()}
    return {
        "tumour": int(tumour.sum()),
        "no_tumour": int((~tumour).sum()),
        "auroc": _none_if_nan(compute_auroc(tumour, score)),
        "auroc_interval": compute_interval(bootstrap.compute_auroc(tumour, score)),
        "average_precision": _none_if_nan(compute_average_precision(tumour, score)),
        "most_probable_label": _summarise_alarm(tumour, predictions.predicted != healthy, bootstrap),
        "operating_points": [
            {"target_sensitivity": target, "threshold": get_common_threshold(thresholds[target])}
            | _summarise_alarm(tumour, alarm, bootstrap)
            for target, alarm in sorted(decisions.items())
        ],
    }


def get_common_threshold(threshold: float | np.ndarray | None) -> float | None:
    """The threshold of all images; None where each has its own."""
    return None if isinstance(threshold, np.ndarray) else threshold


def compute_probability_figures(true: np.ndarray, probs: np.ndarray) -> dict[str, float]:
    """Negative log-likelihood, Brier score and expected calibration error.

    Source of the Brier score: Brier 1950 (Monthly Weather Review 78), the sum over all classes, [0, 2].

    Args:
        true: int (n,).
        probs: float64 (n, classes), rows sum to 1.
    """
    labels = list(range(probs.shape[1]))
    # Files may hold fewer digits, and scikit-learn wants rows that sum to 1 to its own precision.
    whole = probs / probs.sum(axis=1, keepdims=True)
    return {
        "nll": float(metrics.log_loss(true, whole, labels=labels)),
        "brier": float(metrics.brier_score_loss(true, whole, labels=labels, scale_by_half=False)),
        "ece": compute_calibration_error(probs.argmax(axis=1) == true, probs.max(axis=1)),
    }


def compute_calibration_error(correct: np.ndarray, confidence: np.ndarray) -> float:
    """Expected calibration error over 15 bins of equal mass.

    Source: Naeini et al. 2015 (AAAI), with the equal-mass bins of Nguyen and O'Connor 2015
    (arXiv:1508.05154).

    Args:
        correct: bool (n,).
        confidence: float (n,), [0, 1], probability of the predicted label.
    """
    bins = split_into_bins(confidence)
    gaps = [len(rows) * abs(correct[rows].mean() - confidence[rows].mean()) for rows in bins if len(rows)]
    return float(sum(gaps) / len(correct))


def split_into_bins(confidence: np.ndarray) -> list[np.ndarray]:
    """Rows of 15 bins of equal mass, by rising confidence; some are empty where there are fewer images."""
    return np.array_split(np.argsort(confidence, kind="stable"), CALIBRATION_BINS)


def compute_auroc(positive: np.ndarray, scores: np.ndarray) -> float:
    """Area under the ROC curve, [0, 1]; NaN without positives or negatives."""
    return _score(metrics.roc_auc_score, positive, scores)


def compute_average_precision(positive: np.ndarray, scores: np.ndarray) -> float:
    """Average precision, [0, 1]; NaN without positives or negatives."""
    return _score(metrics.average_precision_score, positive, scores)


def _score(score: Callable[..., float], positive: np.ndarray, scores: np.ndarray) -> float:
    return float(score(positive, scores)) if positive.any() and not positive.all() else math.nan


def compute_kappa(true: np.ndarray, predicted: np.ndarray) -> float | None:
    """Cohen's kappa, 1960 (doi:10.1177/001316446002000104), [-1, 1]; None where one class is all there is."""
    return float(metrics.cohen_kappa_score(true, predicted)) if len(np.union1d(true, predicted)) > 1 else None


def compute_mcc(true: np.ndarray, predicted: np.ndarray) -> float | None:
    """Matthews correlation, Gorodkin 2004 (doi:10.1016/j.compbiolchem.2004.09.006); None if undefined."""
    constant = len(np.unique(true)) == 1 or len(np.unique(predicted)) == 1
    return None if constant else float(metrics.matthews_corrcoef(true, predicted))


def _compute_intervals(predictions: Predictions, bootstrap: GroupBootstrap) -> dict[str, Any]:
    labels, true, probs = predictions.labels, predictions.true, predictions.probs
    confusion = bootstrap.compute_confusion(true, predictions.predicted, len(labels))
    recalls = compute_recalls(confusion)
    areas = [bootstrap.compute_auroc(true == index, probs[:, index]) for index in range(len(labels))]
    correct, confidence = predictions.predicted == true, probs.max(axis=1)
    errors = bootstrap.compute_calibration_errors(correct, confidence, CALIBRATION_BINS)
    return {
        "ece": compute_basic_interval(compute_calibration_error(correct, confidence), errors),
        "macro_f1": compute_interval(compute_macro_f(confusion, 1.0)),
        "macro_f2": compute_interval(compute_macro_f(confusion, 2.0)),
        "recall": dict(zip(labels, map(compute_interval, recalls.T), strict=True)),
        "auroc": dict(zip(labels, map(compute_interval, areas), strict=True)),
    }


def _summarise_alarm(tumour: np.ndarray, alarm: np.ndarray, bootstrap: GroupBootstrap) -> dict[str, Any]:
    """Sensitivity and specificity of one rule, with counts; no specificity where all show a tumour."""
    healthy = int((~tumour).sum())
    return {
        "sensitivity": float(alarm[tumour].mean()),
        "sensitivity_interval": compute_interval(bootstrap.compute_ratios(alarm & tumour, tumour)),
        "specificity": float((~alarm[~tumour]).mean()) if healthy else None,
        "specificity_interval": compute_interval(bootstrap.compute_ratios(~alarm & ~tumour, ~tumour)),
        "missed_tumours": int((tumour & ~alarm).sum()),
        "false_alarms": int((alarm & ~tumour).sum()),
    }


def _average(values: np.ndarray, weights: np.ndarray | None = None) -> float | None:
    """Mean of the values that are defined; None where none is."""
    defined = ~np.isnan(values)
    if not defined.any():
        return None
    return float(np.average(values[defined], weights=None if weights is None else weights[defined]))


def _none_if_nan(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
