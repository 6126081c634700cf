"""What the slices of one volume say together.

Goes in: the predictions of a volume's slices. Comes out: a `VolumeSummary`.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from serving.classifier import Prediction
from serving.model.artefact import NO_TUMOUR
from serving.model.guard import Verdict

_MOST_AFFECTED = 3


@dataclass(frozen=True)
class VolumeSummary:
    """What the slices say together. No diagnosis: the model was trained on slices that people had chosen.

    Attributes:
        counts: slices by what they say: `not_brain_mri` for refused ones, else their label; all keys are
            there, also with 0.
        unlike_training: how many of the scored slices differ from the training pictures.
        mean_probabilities: over the scored slices, by label; None where all were refused.
        most_affected: numbers, from 0, of the scored slices with the highest 1 - p(notumor), highest first,
            at most three.
        longest_runs: by label, the most slices in a row that say it.

    Example:
        >>> volume = read_volume("series.zip")  # doctest: +SKIP
        >>> summary = summarise_volume(from_pretrained().predict_batch(volume.pictures))  # doctest: +SKIP
        >>> summary.counts, summary.longest_runs["glioma"]  # doctest: +SKIP
    """

    counts: dict[str, int]
    unlike_training: int
    mean_probabilities: dict[str, float] | None
    most_affected: tuple[int, ...]
    longest_runs: dict[str, int]


def summarise_volume(predictions: Sequence[Prediction]) -> VolumeSummary:
    """Count what the slices of a volume say.

    A slice speaks for its label, however unsure, unless it is refused. The mean of the probabilities is the
    sum rule for combining answers about one object (Kittler et al. 1998, "On combining classifiers", equation
    12). The most affected slices rest on the standard assumption of multiple-instance learning, one positive
    slice makes a positive volume (Dietterich et al. 1997, section 1); but of 150 slices one says tumour by
    mistake even at 1 % false alarms, while a tumour shows on neighbouring slices: so the longest run is told.

    Args:
        predictions: of one volume, at least one, in the order of its slices.
    """
    said = [prediction.label or Verdict.not_brain_mri.value for prediction in predictions]
    probs = {n: one.probabilities for n, one in enumerate(predictions) if one.in_domain}
    labels = tuple(predictions[0].probabilities)
    found = Counter(said)
    runs = [(label, len(list(run))) for label, run in groupby(said)]
    longest = {label: max((length for name, length in runs if name == label), default=0) for label in labels}
    means = {label: float(np.mean([one[label] for one in probs.values()])) for label in labels if probs}
    return VolumeSummary(
        counts={name: found[name] for name in (Verdict.not_brain_mri.value, *labels)},
        unlike_training=sum(prediction.verdict is Verdict.unlike_training for prediction in predictions),
        mean_probabilities=means or None,
        # Sorting is stable: of equals the earlier slice comes first.
        most_affected=tuple(sorted(probs, key=lambda n: probs[n].get(NO_TUMOUR, 0.0))[:_MOST_AFFECTED]),
        longest_runs=longest,
    )
