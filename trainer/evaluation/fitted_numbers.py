"""Numbers that were fitted when a model was made, as figures apply them to its predictions.

Goes in: configs of artefacts. Comes out: `FittedNumbers`. It exists because predictions may come
from models of several folds, each with numbers of its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from serving.model.artefact import ArtefactConfig
from trainer.evaluation.metrics import Thresholds


@dataclass(frozen=True, eq=False)
class FittedNumbers:
    """One of each for all images or, where models of several folds answered, float64 (n,), each image's own.

    Attributes:
        temperature: divides the logits.
        set_thresholds: of prediction sets, by the coverage aimed at.
        unlike_set_thresholds: the same for images unlike those that the model learnt from.
        alarm_thresholds: of the alarm for any tumour, by the sensitivity aimed at.
        map_threshold: of the tumour map; None where the model has no map.

    Example:
        >>> from serving.model.artefact import BUNDLED, load_config
        >>> sorted(gather_numbers(load_config(BUNDLED)).set_thresholds)
        [0.95, 0.99]
    """

    temperature: float | np.ndarray
    set_thresholds: Thresholds
    unlike_set_thresholds: Thresholds
    alarm_thresholds: Thresholds
    map_threshold: float | np.ndarray | None

    def take(self, rows: np.ndarray) -> "FittedNumbers":
        """Those of some of the images, bool (n,) or int (m,)."""
        return FittedNumbers(
            *(_take(getattr(self, name), rows) for name in FittedNumbers.__dataclass_fields__)  # type: ignore[arg-type]
        )


def gather_numbers(config: ArtefactConfig) -> FittedNumbers:
    """Gather the numbers of one model."""
    return FittedNumbers(
        config.temperature,
        config.prediction_set_thresholds,
        config.unlike_prediction_set_thresholds,
        config.any_tumour_thresholds,
        config.map.threshold if config.map else None,
    )


def spread_numbers(configs: Sequence[ArtefactConfig], counts: Sequence[int]) -> FittedNumbers:
    """Gather the numbers of several models, each image with those of the model that answered it.

    Args:
        configs: of the models.
        counts: how many images each answered; they stand one after the other.
    """

    def spread(values: Sequence[float]) -> np.ndarray:
        return np.repeat(np.array(values, float), counts)

    def spread_thresholds(found: Sequence[dict[float, float]]) -> Thresholds:
        shares = sorted(set.intersection(*map(set, found)))
        return {share: spread([thresholds[share] for thresholds in found]) for share in shares}

    maps = [config.map for config in configs if config.map]
    return FittedNumbers(
        spread([config.temperature for config in configs]),
        spread_thresholds([config.prediction_set_thresholds for config in configs]),
        spread_thresholds([config.unlike_prediction_set_thresholds for config in configs]),
        spread_thresholds([config.any_tumour_thresholds for config in configs]),
        spread([one.threshold for one in maps]) if len(maps) == len(configs) else None,
    )


def _take(value: object, rows: np.ndarray) -> object:
    if isinstance(value, dict):
        return {share: _take(one, rows) for share, one in value.items()}
    return value[rows] if isinstance(value, np.ndarray) else value
