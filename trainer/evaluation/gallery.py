"""Pictures of the evaluated set: the worst mistakes with their heat maps, and samples of every class.

Goes in: `Predictions`, the pictures and the classifier that named them. Comes out: `Shown` pictures, contact
    sheets as PNG.
These show the dataset, which may not be redistributed: they are kept apart from the other figures.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from serving import Classifier
from serving.model.explain import overlay_heatmap
from serving.preprocess import decode_grey, fit_to_square
from trainer.evaluation.predictions import Predictions

if TYPE_CHECKING:
    import tensorflow_datasets as tfds

MAX_MISTAKES, SAMPLES_PER_CLASS = 24, 6
# Side of a picture, pixels: enough for a phone, and dozens of them stay below a megabyte.
SIDE = 224

# From names to pictures, uint8 (h, w), [0, 255], native size.
PictureSource = Callable[[Collection[str]], dict[str, np.ndarray]]


@dataclass(frozen=True)
class Shown:
    """An image of the evaluated set, and what was said of it.

    Attributes:
        filename: as in `predictions.csv`.
        true: the label.
        predicted: the most probable label, also where the guard refuses the picture.
        probability: of the predicted label, calibrated, [0, 1].
        refused: by the guard.
        has_train_twin: a test image that is a mirrored or turned training image.
        picture: uint8 (SIDE, SIDE), [0, 255], made square as the model sees it; None where pictures are left
            out.
        overlay: uint8 (SIDE, SIDE, 3), [0, 255]: the heat map of the predicted label over the picture; None
            like the picture.
    """

    filename: str
    true: str
    predicted: str
    probability: float
    refused: bool
    has_train_twin: bool
    picture: np.ndarray | None = None
    overlay: np.ndarray | None = None


@dataclass(frozen=True)
class Gallery:
    """What a report shows of the evaluated set.

    Attributes:
        mistakes: the surest first.
        samples: class by class; none where pictures are left out.
    """

    mistakes: list[Shown]
    samples: list[Shown]


def read_folder(folder: Path, names: Collection[str]) -> dict[str, np.ndarray]:
    """Read pictures of a folder.

    Raises:
        ImageError: one cannot be read.
    """
    return {name: decode_grey(folder / name) for name in names}


def read_split(
    builder: "tfds.core.DatasetBuilder", split: str, names: Collection[str]
) -> dict[str, np.ndarray]:
    """Read some pictures of a built dataset."""
    from trainer.data.input_pipeline import iterate_examples  # it imports TensorFlow

    return {
        example.filename: example.image[..., 0]
        for example in iterate_examples(builder, split)
        if example.filename in names
    }


def choose_mistakes(predictions: Predictions) -> np.ndarray:
    """Choose the rows, int (m,), that were named wrongly, at most `MAX_MISTAKES`, the surest first."""
    wrong = np.flatnonzero(predictions.predicted != predictions.true)
    return wrong[np.argsort(-predictions.probs[wrong].max(axis=1), kind="stable")[:MAX_MISTAKES]]


def choose_samples(predictions: Predictions) -> np.ndarray:
    """Choose up to `SAMPLES_PER_CLASS` rows of each class, int (m,), evenly from its sorted names, whatever was said of them."""
    names, chosen = np.array(predictions.filenames), []
    for label in range(len(predictions.labels)):
        rows = np.flatnonzero(predictions.true == label)
        rows = rows[np.argsort(names[rows], kind="stable")]
        chosen.append(
            rows[np.unique(np.linspace(0, len(rows) - 1, SAMPLES_PER_CLASS).round().astype(int))]
            if len(rows)
            else rows
        )
    return np.concatenate(chosen)


def list_gallery(predictions: Predictions) -> Gallery:
    """Choose mistakes, without their pictures, and no samples: for a page that may be published, or where pictures are not at hand."""
    return Gallery([_describe(predictions, row) for row in choose_mistakes(predictions)], [])


def load_gallery(predictions: Predictions, classifier: Classifier, source: PictureSource) -> Gallery:
    """Choose mistakes and samples and read their pictures.

    Args:
        predictions: of the evaluated set.
        classifier: that made them; its heat maps are drawn.
        source: where the pictures are.

    Raises:
        ImageError: a picture cannot be read any more.
    """
    mistakes, samples = choose_mistakes(predictions), choose_samples(predictions)
    names = [predictions.filenames[row] for row in (*mistakes, *samples)]
    pictures = source(set(names))
    answers = classifier.predict_batch([pictures[name] for name in names])
    shown = [
        _describe(predictions, row, *_draw(pictures[name], answer.heatmap, classifier.config.image_fit))
        for row, name, answer in zip((*mistakes, *samples), names, answers, strict=True)
    ]
    return Gallery(shown[: len(mistakes)], shown[len(mistakes) :])


def describe_facts(one: Shown) -> str:
    """Say whether the guard let it pass, and whether training has its twin."""
    return (
        f"{'refused' if one.refused else 'answered'},"
        f" {'twin in Training' if one.has_train_twin else 'no twin'}"
    )


def _describe(
    predictions: Predictions, row: int, picture: np.ndarray | None = None, overlay: np.ndarray | None = None
) -> Shown:
    predicted = int(predictions.predicted[row])
    return Shown(
        filename=predictions.filenames[row],
        true=predictions.labels[predictions.true[row]],
        predicted=predictions.labels[predicted],
        probability=float(predictions.probs[row, predicted]),
        refused=bool(predictions.refused[row]),
        has_train_twin=bool(predictions.has_train_twin[row]),
        picture=picture,
        overlay=overlay,
    )


def _draw(grey: np.ndarray, heatmap: np.ndarray, fit: str) -> tuple[np.ndarray, np.ndarray]:
    """The picture as the model sees it, and the heat map over it, both `SIDE` wide."""
    overlay = Image.fromarray(overlay_heatmap(grey, heatmap, fit)).resize(
        (SIDE, SIDE), Image.Resampling.LANCZOS
    )
    return fit_to_square(grey, SIDE, fit)[..., 0], np.asarray(overlay)
