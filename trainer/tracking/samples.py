"""Pictures of the validation split that say most about a model: per class the hardest ones and typical ones, with their heat maps.

Goes in: an artefact and the dataset. Comes out: a dozen or so `Sample`s. Validation, since the test split is
not looked at while models are made.
"""

from dataclasses import dataclass

import numpy as np
import tensorflow_datasets as tfds

from serving import Classifier
from serving.model.calibration import compute_probabilities
from serving.model.explain import overlay_heatmap
from trainer.config import DataConfig
from trainer.data.input_pipeline import load_learning_split

PER_CLASS_AND_KIND = 2


@dataclass(frozen=True)
class Sample:
    """A picture and what the model makes of it.

    Attributes:
        filename: path in Kaggle's zip.
        kind: `hardest`: of its class, the least probability for the true label; `typical`: answered rightly,
            as surely as most.
        picture: uint8 (size, size), [0, 255], as the model sees it.
        overlay: uint8 (448, 448, 3), [0, 255]: the heat map of the predicted label over the picture.
        true: the label.
        predicted: the most probable label, also where the guard refuses the picture.
        probability: of the predicted label, calibrated, [0, 1].
    """

    filename: str
    kind: str
    picture: np.ndarray
    overlay: np.ndarray
    true: str
    predicted: str
    probability: float


def load_samples(classifier: Classifier, builder: tfds.core.DatasetBuilder, data: DataConfig) -> list[Sample]:
    """Score the validation split and pick from it.

    Args:
        classifier: the artefact of the run.
        builder: the dataset it was trained on.
        data: of the run; says what validation is.
    """
    config = classifier.config
    split = load_learning_split(builder, "validation", data, config.image_size)
    probs = compute_probabilities(classifier.run(split.images).logits, config.temperature)
    chosen = choose_samples(probs, split.true)
    if not chosen:
        return []
    images = np.stack([split.images[row] for row, _ in chosen])
    samples = []
    for (row, kind), image, prediction in zip(chosen, images, classifier.score(images), strict=True):
        predicted = int(probs[row].argmax())
        samples.append(
            Sample(
                filename=split.filenames[row],
                kind=kind,
                picture=image[..., 0],
                overlay=overlay_heatmap(image[..., 0], prediction.heatmap, config.image_fit),
                true=classifier.labels[split.true[row]],
                predicted=classifier.labels[predicted],
                probability=float(probs[row, predicted]),
            )
        )
    return samples


def choose_samples(probs: np.ndarray, true: np.ndarray) -> list[tuple[int, str]]:
    """Pick the two hardest and two typical pictures of each class, or what it has of them.

    Args:
        probs: float (n, classes), rows summing to 1.
        true: int (n,).

    Returns:
        Rows and their kind, class by class, the hardest first.
    """
    chosen = []
    for label in range(probs.shape[1]):
        rows = np.flatnonzero(true == label)
        rows = rows[np.argsort(probs[rows, label], kind="stable")]
        hardest, others = rows[:PER_CLASS_AND_KIND], rows[PER_CLASS_AND_KIND:]
        right = others[probs[others].argmax(axis=1) == label]
        from_median = np.abs(np.arange(len(right)) - (len(right) - 1) / 2)
        typical = right[np.argsort(from_median, kind="stable")[:PER_CLASS_AND_KIND]]
        chosen += [(int(row), "hardest") for row in hardest] + [(int(row), "typical") for row in typical]
    return chosen
