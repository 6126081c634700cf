"""Pictures with the true and the found outline, from the best to the worst: what a Dice of .7 looks like.

Goes in: `Predictions` of a model with a map, pictures and masks. Comes out: an `OutlinedPicture` each. These
show the dataset, which may not be redistributed: they are kept apart from the other figures.
"""

import dataclasses
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import binary_erosion

from serving import Classifier
from serving.model.outline import resize_map
from serving.model.prediction import FoundTumor
from serving.preprocess import fit_to_square
from trainer.evaluation.predictions import Predictions

# From names to pictures or masks, uint8 (h, w), [0, 255], native size.
PictureSource = Callable[[Collection[str]], dict[str, np.ndarray]]
PER_KIND = 4
# Side of a picture and width of an outline, pixels.
SIDE, WIDTH = 320, 2
# Okabe and Ito's palette, told apart by colour-blind readers; where both lie, white.
TRUE_COLOUR, FOUND_COLOUR, BOTH_COLOUR = (86, 180, 233), (230, 159, 0), (255, 255, 255)


@dataclass(frozen=True)
class OutlinedPicture:
    """A picture with an outline, and how well it was found.

    Attributes:
        kind: why it is shown: `best`, `median` or `worst`.
        filename: as in `predictions.csv`.
        true: the kind of the tumour, or what is known of it.
        dice: of the found region and the true one, [0, 1].
        picture: uint8 (SIDE, SIDE, 3), [0, 255], made square as the model sees it, both outlines drawn; None
            where pictures are left out.

    Example:
        >>> OutlinedPicture("best", "a.jpg", "glioma", 0.97).dice
        0.97
    """

    kind: str
    filename: str
    true: str
    dice: float
    picture: np.ndarray | None = None


def list_outlined(predictions: Predictions) -> list[OutlinedPicture]:
    """Choose pictures, without reading them; none where the model has no map, or no outline is known."""
    if predictions.localisation is None:
        return []
    kinds, dice = predictions.kinds, predictions.localisation.dice
    return [
        OutlinedPicture(kind, predictions.filenames[row], str(kinds[row]), float(dice[row]))
        for row, kind in choose_outlined(dice, predictions.groups)
    ]


def load_outlined(
    predictions: Predictions, classifier: Classifier, pictures: PictureSource, masks: PictureSource
) -> list[OutlinedPicture]:
    """Choose pictures, read them, and draw both outlines.

    Args:
        predictions: of the evaluated set.
        classifier: that made them.
        pictures: where the pictures are.
        masks: where the true outlines are, filled, 0 or 255.
    """
    shown, fit = list_outlined(predictions), classifier.config.image_fit
    if not shown:
        return []
    names = {one.filename for one in shown}
    grey, true = pictures(names), masks(names)
    answers = classifier.predict_batch([grey[one.filename] for one in shown])
    return [
        dataclasses.replace(
            one,
            picture=draw_outlines(
                fit_to_square(grey[one.filename], SIDE, fit)[..., 0],
                fit_to_square(true[one.filename], SIDE, fit)[..., 0] > 127,
                find_region(answer.found, SIDE),
            ),
        )
        for one, answer in zip(shown, answers, strict=True)
    ]


def choose_outlined(dice: np.ndarray, groups: np.ndarray) -> list[tuple[int, str]]:
    """Choose up to `PER_KIND` pictures of each kind, no two of one group: neighbouring slices are alike.

    Args:
        dice: float64 (n,), NaN where it is not defined.
        groups: int (n,).

    Returns:
        Rows and their kind: the best, those about the median, and the worst.
    """
    rows = np.flatnonzero(np.isfinite(dice))
    rows = rows[np.argsort(-dice[rows], kind="stable")]
    from_median = rows[np.argsort(np.abs(np.arange(len(rows)) - (len(rows) - 1) / 2), kind="stable")]
    taken: set[int] = set()
    chosen = {
        kind: list(_take_new_groups(order, groups, taken))
        for kind, order in (("best", rows), ("worst", rows[::-1]), ("median", from_median))
    }
    return [(row, kind) for kind in ("best", "median", "worst") for row in chosen[kind]]


def find_region(found: FoundTumor | None, side: int) -> np.ndarray:
    """Where the map reaches its threshold, in the square that the model saw: bool (side, side)."""
    if found is None:
        return np.zeros((side, side), bool)
    # The square is its own frame: nothing was added to it.
    return resize_map(found.square_map, side, side, found.fit) >= found.threshold


def draw_outlines(grey: np.ndarray, true: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Draw the edges of two regions over a picture.

    Args:
        grey: uint8 (s, s), [0, 255].
        true: bool (s, s), in blue.
        found: bool (s, s), in orange.

    Returns:
        uint8 (s, s, 3), [0, 255].
    """
    edges = [region & ~binary_erosion(region, iterations=WIDTH) for region in (true, found)]
    drawn = np.repeat(grey[..., None], 3, axis=2)
    drawn[edges[0]], drawn[edges[1]] = TRUE_COLOUR, FOUND_COLOUR
    drawn[edges[0] & edges[1]] = BOTH_COLOUR
    return drawn


def _take_new_groups(order: Sequence[int] | np.ndarray, groups: np.ndarray, taken: set[int]) -> Iterator[int]:
    """The first `PER_KIND` rows whose groups are not among `taken`, which grows."""
    count = 0
    for row in order:
        if groups[row] not in taken and count < PER_KIND:
            taken.add(int(groups[row]))
            count += 1
            yield int(row)
