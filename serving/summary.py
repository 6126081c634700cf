"""What the slices of one volume say together, and how large what is outlined is.

Goes in: the predictions of a volume's slices, and how far slices and pixels lie apart. Comes out: a
`VolumeSummary`; of one slice an area.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from serving.classifier import Prediction
from serving.model.guard import Verdict
from serving.model.outline import compute_area
from serving.pictures.anatomy import Volume

_MOST_AFFECTED = 3


@dataclass(frozen=True)
class VolumeSummary:
    """What the slices say together. No diagnosis: the model was trained on slices that people had chosen.

    Attributes:
        counts: slices by what they say: `not_brain_mri` for refused ones, else their label; all keys are
            there, also with 0.
        unlike_training: how many of the scored slices differ from the training pictures.
        mean_probabilities: over the scored slices, by label; None where all were refused.
        most_affected: numbers, from 0, of the scored slices with the highest 1 - p(healthy label), highest
            first, at most three; none where the model has no such label.
        longest_runs: by label, the most slices in a row that say it.
        outlined_slices: how many have an outline; None where the model has no tumour map.
        largest_slice: number, from 0, of the slice with the largest outlined area; None without outlines.
        volume_ml: of what is outlined, millilitres; None where the model has no tumour map, or the file does
            not say how far pixels and slices lie apart.
        volume_basis: what it rests on beside the pixels: `positions` of the slices, or, where these are not
            stated, their `thickness`, which leaves gaps between slices out.

    Example:
        >>> volume = read_volume("series.zip")  # doctest: +SKIP
        >>> predictions = from_pretrained().predict_batch(volume.pictures)  # doctest: +SKIP
        >>> summary = summarise_volume(predictions, volume)  # doctest: +SKIP
        >>> summary.counts, summary.longest_runs["glioma"], summary.volume_ml  # doctest: +SKIP
    """

    counts: dict[str, int]
    unlike_training: int
    mean_probabilities: dict[str, float] | None
    most_affected: tuple[int, ...]
    longest_runs: dict[str, int]
    outlined_slices: int | None
    largest_slice: int | None
    volume_ml: float | None
    volume_basis: str | None


def measure_area(prediction: Prediction, pixel_mm2: float | None) -> float | None:
    """Area inside the outlines of one slice, mm²: that of the pixels of its mask, as in the files written.

    Args:
        prediction: of the slice.
        pixel_mm2: area of one of its pixels; None: not known.

    Returns:
        0 where nothing is outlined. None where the slice is refused, the model has no tumour map, or the area
        of a pixel is not known.
    """
    if pixel_mm2 is None or prediction.tumor_share is None:
        return None
    mask = prediction.tumor_mask
    return None if mask is None else pixel_mm2 * int(np.count_nonzero(mask))


def summarise_volume(predictions: Sequence[Prediction], volume: Volume) -> VolumeSummary:
    """Count what the slices of a volume say.

    A slice speaks for its label, however unsure, unless it is refused. The mean of the probabilities is the
    sum rule for combining answers about one object (Kittler et al. 1998, "On combining classifiers", equation
    12). The most affected slices rest on the standard assumption of multiple-instance learning, one positive
    slice makes a positive volume (Dietterich et al. 1997, section 1); but of 150 slices one says tumour by
    mistake even at 1 % false alarms, while a tumour shows on neighbouring slices: so the longest run is told.

    Args:
        predictions: of one volume, at least one, in the order of its slices.
        volume: which they are of.
    """
    said = [prediction.label or Verdict.not_brain_mri.value for prediction in predictions]
    probs = {n: one.probabilities for n, one in enumerate(predictions) if one.probabilities is not None}
    labels = tuple(predictions[0].unguarded_probabilities)
    found = Counter(said)
    runs = [(label, len(list(run))) for label, run in groupby(said)]
    longest = {label: max((length for name, length in runs if name == label), default=0) for label in labels}
    has_map = predictions[0].tumor_peak is not None
    areas = [sum(map(compute_area, prediction.outlines)) for prediction in predictions]
    volume_ml, basis = _measure_volume(predictions, volume) if has_map else (None, None)
    means = {label: float(np.mean([one[label] for one in probs.values()])) for label in labels if probs}
    return VolumeSummary(
        counts={name: found[name] for name in (Verdict.not_brain_mri.value, *labels)},
        unlike_training=sum(prediction.verdict is Verdict.unlike_training for prediction in predictions),
        mean_probabilities=means or None,
        most_affected=_find_most_affected(probs, predictions[0].healthy_label),
        longest_runs=longest,
        outlined_slices=sum(bool(prediction.outlines) for prediction in predictions) if has_map else None,
        largest_slice=int(np.argmax(areas)) if any(areas) else None,
        volume_ml=volume_ml,
        volume_basis=basis,
    )


def _find_most_affected(
    probs: Mapping[int, Mapping[str, float]], healthy_label: str | None
) -> tuple[int, ...]:
    """Numbers of the slices that are least probably healthy; of equals the earlier slice comes first."""
    if healthy_label is None:
        return ()
    return tuple(sorted(probs, key=lambda number: probs[number][healthy_label])[:_MOST_AFFECTED])


def _measure_volume(
    predictions: Sequence[Prediction], volume: Volume
) -> tuple[float, str] | tuple[None, None]:
    """Millilitres inside the outlines, and what this rests on; refused slices count as nothing.

    A slice stands for half of the way to each of its neighbours, as in the trapezoidal rule; the first and
    the last stand for as much on their outer side.
    """
    if volume.pixel_mm2 is None or len(predictions) < 2:
        return None, None
    areas = [measure_area(prediction, volume.pixel_mm2) or 0.0 for prediction in predictions]
    if volume.positions is not None:
        return float(np.dot(areas, np.gradient(volume.positions))) / 1000, "positions"
    if volume.thickness_mm is not None:
        return sum(areas) * volume.thickness_mm / 1000, "thickness"
    return None, None
