"""95 % intervals from a bootstrap over whole groups, since images of one patient are not independent.

Goes in: the groups of n images, and figures of each image. Comes out: the interval of a figure of all.
Source: cluster bootstrap, Field and Welsh 2007 (doi:10.1111/j.1467-9868.2007.00593.x), with percentile
intervals.
"""

import warnings

import numpy as np

SAMPLES = 1000
SEED = 0
INTERVAL = (2.5, 97.5)
# Numbers in one block of weights: 40 MB.
_BLOCK = 5_000_000


class GroupBootstrap:
    """The same draws of groups for every figure of one set of images.

    Attributes:
        weights: float64 (samples, groups), how often each sample drew each group.
        membership: int (n,), the group of each image, counted from 0.

    Example:
        >>> bootstrap = GroupBootstrap(np.array([0, 0, 1, 2]))
        >>> low, high = compute_interval(bootstrap.compute_means(np.array([1, 1, 0, 1])))
    """

    def __init__(self, groups: np.ndarray):
        """Draw as many groups as there are, with replacement, `SAMPLES` times.

        Args:
            groups: int (n,).
        """
        _, self.membership = np.unique(groups, return_inverse=True)
        count = int(self.membership.max()) + 1
        drawn = np.random.default_rng(SEED).integers(0, count, (SAMPLES, count))
        self.weights = np.array([np.bincount(sample, minlength=count) for sample in drawn], float)

    def compute_ratios(self, numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
        """Sum both over the images of each sample and divide.

        Args:
            numerator: (n,), such as which images are right.
            denominator: (n,), such as ones.

        Returns:
            float64 (samples,), NaN where a sample's denominator is 0.
        """
        above, below = (
            self.weights @ np.bincount(self.membership, weights=values) for values in (numerator, denominator)
        )
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(below > 0, above / below, np.nan)

    def compute_means(self, values: np.ndarray) -> np.ndarray:
        """Mean of (n,) values over the images of each sample, float64 (samples,)."""
        return self.compute_ratios(values, np.ones(len(values)))

    def compute_confusion(self, true: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
        """Confusion matrix of each sample, float64 (samples, classes, classes), rows true."""
        by_group = np.zeros((self.weights.shape[1], classes, classes))
        np.add.at(by_group, (self.membership, true, predicted), 1)
        return (self.weights @ by_group.reshape(len(by_group), -1)).reshape(-1, classes, classes)

    def compute_calibration_errors(
        self, correct: np.ndarray, confidence: np.ndarray, bins: int
    ) -> np.ndarray:
        """Expected calibration error, float64 (samples,), over bins of equal mass in each sample.

        Args:
            correct: bool (n,).
            confidence: float (n,), [0, 1].
            bins: how many.
        """
        order = np.argsort(confidence, kind="stable")
        gaps, columns = (correct - confidence)[order], self.membership[order]
        errors = []
        for weights in self.weights:
            counts = weights[columns]
            before = counts.cumsum() - counts
            places = np.minimum((before * bins / counts.sum()).astype(int), bins - 1)
            errors.append(np.abs(np.bincount(places, weights=gaps * counts)).sum() / counts.sum())
        return np.array(errors)

    def compute_auroc(self, positive: np.ndarray, scores: np.ndarray) -> np.ndarray:
        """Area under the ROC curve of each sample.

        Source: the Mann-Whitney statistic, ties counting one half, Hanley and McNeil 1982
        (doi:10.1148/radiology.143.1.7063747).

        Args:
            positive: bool (n,).
            scores: float (n,), higher for positives.

        Returns:
            float64 (samples,), NaN where a sample lacks positives or negatives.
        """
        order = np.argsort(scores, kind="stable")
        starts = np.flatnonzero(np.diff(scores[order], prepend=-np.inf))
        columns, is_positive = self.membership[order], positive[order]
        step = max(1, _BLOCK // len(scores))
        blocks = [self.weights[start : start + step] for start in range(0, len(self.weights), step)]
        return np.concatenate(
            [_compute_block_auroc(block[:, columns], is_positive, starts) for block in blocks]
        )


def compute_interval(samples: np.ndarray) -> list[float] | None:
    """95 % percentile interval of (samples,), over those with a defined figure; None without any."""
    defined = samples[np.isfinite(samples)]
    if not len(defined):
        return None
    low, high = np.percentile(defined, INTERVAL)
    return [float(low), float(high)]


def compute_basic_interval(estimate: float, samples: np.ndarray) -> list[float]:
    """95 % basic interval of a figure that cannot be negative and that samples overestimate.

    Source: Davison and Hinkley 1997, Bootstrap Methods and their Application, section 5.2: the percentiles
    mirrored at the estimate, so that what resampling adds is taken off. An expected calibration error is a
    sum of magnitudes, to which every resampling adds noise.

    Args:
        estimate: of all images.
        samples: float64 (samples,).
    """
    low, high = np.percentile(samples, INTERVAL)
    return [max(0.0, float(2 * estimate - high)), max(0.0, float(2 * estimate - low))]


def compute_recalls(confusion: np.ndarray) -> np.ndarray:
    """Recalls, float64 (samples, classes), from (samples, classes, classes); NaN without the class."""
    with np.errstate(invalid="ignore"):
        return np.diagonal(confusion, axis1=1, axis2=2) / confusion.sum(axis=2)


def compute_macro_f(confusion: np.ndarray, beta: float) -> np.ndarray:
    """Macro F, float64 (samples,), over the classes of each sample, from (samples, classes, classes)."""
    hits, support = np.diagonal(confusion, axis1=1, axis2=2), confusion.sum(axis=2)
    predicted = confusion.sum(axis=1)
    with np.errstate(invalid="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        scores = np.where(support > 0, (1 + beta**2) * hits / (beta**2 * support + predicted), np.nan)
        return np.nanmean(scores, axis=1)


def _compute_block_auroc(weights: np.ndarray, is_positive: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Weights (samples, n) in order of rising score; `starts` is where each different score begins."""
    positives = np.add.reduceat(weights * is_positive, starts, axis=1)
    negatives = np.add.reduceat(weights * ~is_positive, starts, axis=1)
    below = negatives.cumsum(axis=1) - negatives
    with np.errstate(invalid="ignore"):
        pairs = positives.sum(axis=1) * negatives.sum(axis=1)
        return (positives * (below + negatives / 2)).sum(axis=1) / pairs
