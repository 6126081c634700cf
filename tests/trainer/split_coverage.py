"""Coverage of prediction sets, measured: half of the groups fit the threshold, the other half is asked."""

from typing import NamedTuple

import numpy as np

from serving.model.calibration import compute_prediction_sets
from trainer.evaluation.predictions import Predictions
from trainer.evaluation.uncertainty import compute_group_mean
from trainer.fitting.calibration import fit_prediction_set_threshold

RANDOM_SPLITS = 200


class SplitCoverage(NamedTuple):
    """Means over the groups asked, float64 (splits,) each, so that large groups do not count more.

    Attributes:
        sets: of the labels above the threshold alone; such a set may be empty.
        served: of the same sets with the most probable label, as they are served.
    """

    sets: np.ndarray
    served: np.ndarray


def measure_split_coverage(
    predictions: Predictions, coverage: float, splits: int = RANDOM_SPLITS, seed: int = 0
) -> SplitCoverage:
    """The coverage is promised as a mean over such splits, for one image of a new group."""
    generator = np.random.default_rng(seed)
    names, membership = np.unique(predictions.groups, return_inverse=True)
    found: list[list[float]] = []
    for _ in range(splits):
        is_fitting = np.zeros(len(names), bool)
        is_fitting[generator.permutation(len(names))[: len(names) // 2]] = True
        known = predictions.take(is_fitting[membership])
        asked = predictions.take(~is_fitting[membership])
        threshold = fit_prediction_set_threshold(known.probs, known.true, known.groups, coverage)
        rows = np.arange(len(asked.true))
        found.append(
            [
                compute_group_mean(members[rows, asked.true], asked.groups)
                for members in (asked.probs >= threshold, compute_prediction_sets(asked.probs, threshold))
            ]
        )
    return SplitCoverage(*np.array(found).T)
