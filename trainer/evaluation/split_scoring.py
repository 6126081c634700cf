"""From preprocessed pictures to `Predictions`: what a model answers, and how its map lies to true outlines.

Goes in: a loaded `Classifier`, and pictures with what is known of them. Comes out: `Predictions`.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from serving import Classifier
from serving.model.guard import Verdict
from serving.model.outline import resize_map
from serving.model.prediction import Prediction
from trainer.evaluation.localisation import Localisation, measure_localisation
from trainer.evaluation.origins import describe_origins
from trainer.evaluation.predictions import Predictions, pool_predictions

if TYPE_CHECKING:  # it imports TensorFlow
    from trainer.data.input_pipeline import RecordFacts, Split

# Pictures whose answers, with all maps, are in memory together.
BLOCK = 256


def score_split(classifier: Classifier, data: "Split", protocol: str) -> Predictions:
    """Score preprocessed images; `protocol` says what they are.

    Where the model has a map and the split its outlines, the two are held against each other, a block of
    pictures at a time: the answers of thousands hold more than memory does.
    """
    starts = range(0, len(data.records), BLOCK)
    blocks = (np.arange(start, min(start + BLOCK, len(data.records))) for start in starts)
    return pool_predictions([_score_block(classifier, data.take(rows), protocol) for rows in blocks])


def _score_block(classifier: Classifier, data: "Split", protocol: str) -> Predictions:
    answers = classifier.score(data.images)
    localisation = None
    if classifier.config.map is not None and data.masks is not None:
        outline = np.array([name_outline(record) for record in data.records])
        localisation = locate(answers, data.masks[..., 0] > 0, outline)
    return Predictions(
        protocol=protocol,
        labels=classifier.labels,
        filenames=data.filenames,
        groups=data.groups,
        has_train_twin=data.has_train_twin,
        true=data.true,
        origins=describe_origins(data.records),
        localisation=localisation,
        **stack_answers(answers),
    )


def stack_answers(answers: Sequence[Prediction]) -> dict[str, Any]:
    """What n answers say, as fields of `Predictions`."""
    peaks = [answer.tumor_peak for answer in answers]
    return {
        "logits": np.stack([answer.logits for answer in answers]),
        "probs": np.array([list(answer.unguarded_probabilities.values()) for answer in answers]),
        "refused": np.array([not answer.in_domain for answer in answers]),
        "unlike_training": np.array([answer.verdict is Verdict.unlike_training for answer in answers]),
        "tumor_peak": None if None in peaks else np.array(peaks, float),
        "named_healthy": answers[0].healthy_label,
    }


def name_outline(record: "RecordFacts") -> str:
    """Say what is known of the outline of a picture, as `Localisation` has it."""
    from tumor_ds.sources.slices import MASK_STATES

    return MASK_STATES[record.mask_known]


def locate(answers: Sequence[Prediction], masks: np.ndarray, outline: np.ndarray) -> Localisation:
    """Hold the maps of answers about preprocessed images against true outlines.

    Args:
        answers: n, of a model with a map.
        masks: bool (n, size, size), the true outlines, filled.
        outline: str (n,), what is known of them.
    """
    # Not `tumor_mask` and `tumor_share`, which are withheld where a picture is refused: all are scored.
    found = [answer.found for answer in answers if answer.found is not None]
    side = masks.shape[1]
    # Of the most probable kind of tumour, so that the floor does not fall where no tumour is called.
    kinds = [name for name in answers[0].unguarded_probabilities if name != answers[0].healthy_label]
    labels = list(answers[0].unguarded_probabilities)
    cams = [
        answer.cams[..., labels.index(max(kinds, key=answer.unguarded_probabilities.__getitem__))]
        for answer in answers
    ]
    return measure_localisation(
        maps=np.stack([one.square_map for one in found]),
        regions=np.stack([resize_map(one.square_map, side, side, one.fit) >= one.threshold for one in found]),
        masks=masks,
        outline=outline,
        tumor_share=np.array([one.share for one in found]),
        cams=np.stack(cams),
    )
