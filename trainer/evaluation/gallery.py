"""Pictures and what a model said of them: mistakes and samples for the report, samples of validation for W&B.

Goes in: `Predictions`, the pictures and the classifier that named them. Comes out: a `GalleryPicture` each.
These show the dataset, which may not be redistributed: they are kept apart from the other figures.
"""

import dataclasses
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from serving import Classifier
from serving.model.explain import overlay_heatmap
from serving.model.prediction import Prediction
from serving.preprocess import decode_grey, fit_to_square
from trainer.config import DataConfig
from trainer.evaluation.outline_gallery import (
    OutlinedPicture,
    PictureSource,
    draw_outlines,
    find_region,
    list_outlined,
    load_outlined,
)
from trainer.evaluation.predictions import Predictions
from trainer.evaluation.split_scoring import score_split

if TYPE_CHECKING:
    import tensorflow_datasets as tfds

MAX_MISTAKES, SAMPLES_PER_CLASS = 24, 6
HARDEST_PER_CLASS = TYPICAL_PER_CLASS = 2
# Side of a picture, pixels: enough for a phone, and dozens of them stay below a megabyte.
SIDE = 224


@dataclass(frozen=True)
class GalleryPicture:
    """A picture that a model has named, and what was said of it.

    Attributes:
        kind: why it is shown: `mistake`, `sample`, `hardest` or `typical`.
        filename: as in `predictions.csv`.
        true: the label.
        predicted: the most probable label, also where the guard refuses the picture.
        probability: of the predicted label, calibrated, [0, 1].
        refused: by the guard.
        has_train_twin: a test image that is a mirrored or turned training image.
        picture: uint8 (SIDE, SIDE), [0, 255], made square as the model sees it; None where pictures are left
            out.
        overlay: uint8 (SIDE, SIDE, 3), [0, 255]: over the picture, the outline that was found or, where the
            model has no tumour map, the heat map of the predicted label; None like the picture.

    Example:
        >>> GalleryPicture("mistake", "a.jpg", "glioma", "notumor", 0.75, False, False).predicted
        'notumor'
    """

    kind: str
    filename: str
    true: str
    predicted: str
    probability: float
    refused: bool
    has_train_twin: bool
    picture: np.ndarray | None = None
    overlay: np.ndarray | None = None

    def describe_facts(self) -> str:
        """Say whether the guard let it pass, and whether training has its twin."""
        twin = "twin in Training" if self.has_train_twin else "no twin"
        return f"{'refused' if self.refused else 'answered'}, {twin}"


@dataclass(frozen=True)
class Gallery:
    """What a report shows of the evaluated set.

    Attributes:
        mistakes: the surest first.
        samples: class by class; none where pictures are left out.
        outlined: with true and found outline, the best first; none where the model has no map.

    Example:
        >>> Gallery(mistakes=[], samples=[]).samples
        []
    """

    mistakes: list[GalleryPicture]
    samples: list[GalleryPicture]
    outlined: list[OutlinedPicture] = field(default_factory=list)


def list_gallery(predictions: Predictions) -> Gallery:
    """Choose mistakes without their pictures, and no samples: for a page that may be published."""
    known = predictions.take_known()
    mistakes = [_describe(known, row, "mistake") for row in choose_mistakes(known)]
    return Gallery(mistakes, [], list_outlined(predictions))


def load_gallery(
    predictions: Predictions,
    classifier: Classifier,
    source: PictureSource,
    masks: PictureSource | None = None,
) -> Gallery:
    """Choose mistakes and samples, of known kind, and outlined pictures, and read them.

    Args:
        predictions: of the evaluated set.
        classifier: that made them; its outlines or, without a map, its heat maps are drawn.
        source: where the pictures are.
        masks: where the true outlines are; None: no outlined pictures are shown.

    Raises:
        ImageError: a picture cannot be read any more.
    """
    known = predictions.take_known()
    mistakes = [(row, "mistake") for row in choose_mistakes(known)]
    samples = [(row, "sample") for row in choose_samples(known)]
    shown = _load_pictures(known, mistakes + samples, classifier, source)
    outlined = load_outlined(predictions, classifier, source, masks) if masks else []
    return Gallery(shown[: len(mistakes)], shown[len(mistakes) :], outlined)


def load_validation_samples(
    classifier: Classifier, builder: "tfds.core.DatasetBuilder", data: DataConfig
) -> list[GalleryPicture]:
    """Choose pictures of validation that say most about a model; the test split is not looked at meanwhile.

    Args:
        classifier: the artefact of the run.
        builder: the dataset it was trained on.
        data: of the run; says what validation is.
    """
    from trainer.data.input_pipeline import load_learning_split  # it imports TensorFlow

    split = load_learning_split(builder, "validation", data, classifier.config.image_size)
    predictions = score_split(classifier, split, "validation")
    pictures = dict(zip(split.filenames, split.images[..., 0], strict=True))
    chosen = choose_hard_and_typical(predictions)
    return _load_pictures(predictions, chosen, classifier, lambda names: pictures)


def read_folder(folder: Path, names: Collection[str]) -> dict[str, np.ndarray]:
    """Read pictures of a folder.

    Raises:
        ImageError: one cannot be read.
    """
    return {name: decode_grey(folder / name) for name in names}


def read_split(
    builder: "tfds.core.DatasetBuilder", split: str, names: Collection[str], feature: str = "image"
) -> dict[str, np.ndarray]:
    """Read some pictures of a built dataset, or the `mask` of each."""
    from trainer.data.input_pipeline import iterate_examples  # it imports TensorFlow

    return {
        example.facts.filename: getattr(example, feature)[..., 0]
        for example in iterate_examples(builder, split)
        if example.facts.filename in names
    }


def choose_mistakes(predictions: Predictions) -> np.ndarray:
    """Choose the rows, int (m,), that were named wrongly, at most `MAX_MISTAKES`, the surest first."""
    wrong = np.flatnonzero(predictions.predicted != predictions.true)
    return wrong[np.argsort(-predictions.probs[wrong].max(axis=1), kind="stable")[:MAX_MISTAKES]]


def choose_samples(predictions: Predictions) -> np.ndarray:
    """Choose up to `SAMPLES_PER_CLASS` rows of each class, int (m,), evenly from its sorted names."""
    names, chosen = np.array(predictions.filenames), []
    for label in range(len(predictions.labels)):
        rows = np.flatnonzero(predictions.true == label)
        rows = rows[np.argsort(names[rows], kind="stable")]
        if len(rows):
            places = np.linspace(0, len(rows) - 1, SAMPLES_PER_CLASS).round().astype(int)
            chosen.append(rows[np.unique(places)])
    return np.concatenate(chosen)


def choose_hard_and_typical(predictions: Predictions) -> list[tuple[int, str]]:
    """Choose rows and their kind, class by class.

    Returns:
        `hardest`: those with the least probability for their label; `typical`: of the others those that were
        named rightly, as surely as most.
    """
    chosen = []
    for label in range(len(predictions.labels)):
        rows = np.flatnonzero(predictions.true == label)
        rows = rows[np.argsort(predictions.probs[rows, label], kind="stable")]
        hardest, others = rows[:HARDEST_PER_CLASS], rows[HARDEST_PER_CLASS:]
        right = others[predictions.predicted[others] == label]
        from_median = np.abs(np.arange(len(right)) - (len(right) - 1) / 2)
        typical = right[np.argsort(from_median, kind="stable")[:TYPICAL_PER_CLASS]]
        chosen += [(int(row), "hardest") for row in hardest] + [(int(row), "typical") for row in typical]
    return chosen


def _load_pictures(
    predictions: Predictions, chosen: Iterable[tuple[int, str]], classifier: Classifier, source: PictureSource
) -> list[GalleryPicture]:
    """Read the pictures of rows with their kinds, and draw their heat maps."""
    shown = [_describe(predictions, row, kind) for row, kind in chosen]
    pictures, fit = source({one.filename for one in shown}), classifier.config.image_fit
    answers = classifier.predict_batch([pictures[one.filename] for one in shown])
    return [
        dataclasses.replace(
            one,
            picture=fit_to_square(pictures[one.filename], SIDE, fit)[..., 0],
            overlay=_draw_overlay(pictures[one.filename], answer, fit),
        )
        for one, answer in zip(shown, answers, strict=True)
    ]


def _describe(predictions: Predictions, row: int, kind: str) -> GalleryPicture:
    predicted = int(predictions.predicted[row])
    return GalleryPicture(
        kind=kind,
        filename=predictions.filenames[row],
        true=predictions.labels[predictions.true[row]],
        predicted=predictions.labels[predicted],
        probability=float(predictions.probs[row, predicted]),
        refused=bool(predictions.refused[row]),
        has_train_twin=bool(predictions.has_train_twin[row]),
    )


def _draw_overlay(grey: np.ndarray, answer: Prediction, fit: str) -> np.ndarray:
    """The outline that was found over the picture, or the heat map where the model has no tumour map."""
    if answer.found is not None:
        square = fit_to_square(grey, SIDE, fit)[..., 0]
        return draw_outlines(square, np.zeros_like(square, bool), find_region(answer.found, SIDE))
    overlay = Image.fromarray(overlay_heatmap(grey, answer.heatmap, fit))
    return np.asarray(overlay.resize((SIDE, SIDE), Image.Resampling.LANCZOS))
