"""What a model said about every image of a set: `predictions.csv`, the one source of every figure.

Goes in: logits, probabilities and facts of the images, or the file. Comes out: `Predictions`, checked.
`trainer.evaluation.predictions_file` writes and reads them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from serving.files.errors import UserError
from serving.model.artefact import find_default_healthy
from trainer.evaluation.localisation import Localisation
from trainer.evaluation.origins import Origins

PREDICTIONS_FILE = "predictions.csv"
# Beside it where models of several folds answered.
OVER_FOLDS_FILE = "over_folds.json"
ARRAYS = ("groups", "has_train_twin", "true", "logits", "probs", "refused")
# Those that a file need not have; the last two are groups of columns.
OPTIONAL = ("unlike_training", "tumor_peak", "origins", "localisation")
# `true` of a picture whose kind is unknown, or none of the labels.
UNKNOWN_KIND = -1
# What is known of such pictures instead, in the words of `tumor_ds.sources.catalogue`.
OTHER_TUMOR, NO_TUMOR_IN_SLICE, NOTHING_KNOWN = "other_tumor", "no_tumor_in_slice", "unknown"
# Far above what rounding to six digits does, far below any damage that matters.
SUM_TOLERANCE = 1e-4
REMEDY = "Write it again: tumor evaluate"


class PredictionsError(UserError):
    """Predictions that cannot be scored; the message says what was expected, what came and what to do."""


@dataclass(frozen=True, eq=False)
class Predictions:
    """Answers for n images, each image once; checked when made.

    Attributes:
        protocol: what the images are: a config of `tumor_ds`, or `images-FOLDER`.
        labels: in the order of the columns.
        filenames: n different paths.
        groups: int (n,); images of one group are not independent of each other.
        has_train_twin: bool (n,), test images that are a mirrored or turned training image.
        true: int (n,), indices into `labels`; `UNKNOWN_KIND` where the kind is unknown or none of them, which
            needs `origins` to say what is known instead.
        logits: float32 (n, classes).
        probs: float64 (n, classes), calibrated, rows sum to 1.
        refused: bool (n,), by the input guard; refused images are scored all the same.
        unlike_training: bool (n,), images that are answered with wider sets, since they are unlike those that
            the model learnt from; None where the file is older.
        tumor_peak: float64 (n,), [0, 1], highest value of the tumour map; None where the model has no map.
        origins: what is known of the images beside their kind; None for pictures in folders.
        localisation: how the map lies to the true outlines; None where the model has no map, or no outline
            was at hand.
        named_healthy: the label that says that nothing is found, where it has to be named; see
            `healthy_label`.

    Raises:
        PredictionsError: no images, an image twice, arrays that do not fit each other, logits or
            probabilities that are no numbers.

    Example:
        >>> from pathlib import Path
        >>> from trainer.evaluation.predictions_file import load_predictions
        >>> predictions = load_predictions(Path("configs/results/official/predictions.csv"))
        >>> unseen = predictions.take(~predictions.has_train_twin)
        >>> round(float((unseen.predicted == unseen.true).mean()), 4)
        0.9875
    """

    protocol: str
    labels: tuple[str, ...]
    filenames: tuple[str, ...]
    groups: np.ndarray
    has_train_twin: np.ndarray
    true: np.ndarray
    logits: np.ndarray
    probs: np.ndarray
    refused: np.ndarray
    unlike_training: np.ndarray | None = None
    tumor_peak: np.ndarray | None = None
    origins: Origins | None = None
    localisation: Localisation | None = None
    named_healthy: str | None = None

    def __post_init__(self) -> None:
        if not self.filenames:
            raise PredictionsError(
                "Expected at least one image to score, got none. Check the split, or the folder."
            )
        if len(set(self.filenames)) < len(self.filenames):
            twice = next(name for name in self.filenames if self.filenames.count(name) > 1)
            raise PredictionsError(f"Expected every image once, got {twice} more than once. {REMEDY}")
        self._check_shapes()
        self._check_numbers()

    @property
    def predicted(self) -> np.ndarray:
        """Most probable label, int (n,), indices into `labels`."""
        return self.probs.argmax(axis=1)

    @property
    def healthy_label(self) -> str | None:
        """The label that says that nothing is found: as named, else `notumor`; None without either."""
        return self.named_healthy or find_default_healthy(self.labels)

    @property
    def healthy(self) -> int | None:
        """Index of the healthy label; None where there is none."""
        return None if self.healthy_label is None else self.labels.index(self.healthy_label)

    @property
    def is_known(self) -> np.ndarray:
        """Images whose kind is known, bool (n,)."""
        return self.true != UNKNOWN_KIND

    @property
    def kinds(self) -> np.ndarray:
        """True kinds in words, str (n,): labels, or what is known where the kind is not."""
        kinds = np.array([*self.labels, NOTHING_KNOWN], object)[self.true]
        if self.origins is not None:
            kinds[~self.is_known & (self.origins.tumor == 1)] = OTHER_TUMOR
            kinds[~self.is_known & (self.origins.tumor == 0)] = NO_TUMOR_IN_SLICE
        return kinds.astype(str)

    def take(self, rows: np.ndarray) -> "Predictions":
        """Some of the images: bool (n,), or int (m,) in the order given."""
        chosen = np.arange(len(self.filenames))[rows]
        names = tuple(self.filenames[row] for row in chosen)
        taken = {name: _take(getattr(self, name), chosen) for name in (*ARRAYS, *OPTIONAL)}
        return Predictions(self.protocol, self.labels, names, named_healthy=self.named_healthy, **taken)

    def take_known(self) -> "Predictions":
        """The images whose kind is known, which all figures of classes are about.

        Raises:
            PredictionsError: there is none.
        """
        if not self.is_known.any():
            raise PredictionsError(
                f"Expected images of the kinds {', '.join(self.labels)}, got {len(self.filenames):,} of other"
                " or unknown kind. Score them together with a source that has such images."
            )
        return self if self.is_known.all() else self.take(self.is_known)

    def _check_shapes(self) -> None:
        count, classes = len(self.filenames), len(self.labels)
        for name in ARRAYS:
            shape = (count, classes) if name in ("logits", "probs") else (count,)
            found = getattr(self, name).shape
            if found != shape:
                raise PredictionsError(f"Expected {name} of shape {shape}, got {found}. {REMEDY}")
        for name in OPTIONAL:
            value = getattr(self, name)
            if value is not None and len(value) != count:
                raise PredictionsError(f"Expected {name} of {count} images, got {len(value)}. {REMEDY}")
        least = 0 if self.origins is None else UNKNOWN_KIND
        if self.true.min() < least or self.true.max() >= classes:
            raise PredictionsError(
                f"Expected labels {least} to {classes - 1}, got {self.true.min()} to {self.true.max()}."
                f" {REMEDY}"
            )

    def _check_numbers(self) -> None:
        broken = ~(np.isfinite(self.logits).all(axis=1) & np.isfinite(self.probs).all(axis=1))
        if broken.any():
            name = self.filenames[int(broken.argmax())]
            raise PredictionsError(
                f"Expected finite logits and probabilities, got NaN or infinity for {broken.sum()} of"
                f" {len(broken)} images, first {name}. The model's weights or the file are damaged: export"
                " the model, or download it, again."
            )
        if (
            self.tumor_peak is not None
            and (beyond := ~((self.tumor_peak >= 0) & (self.tumor_peak <= 1))).any()
        ):
            row = int(beyond.argmax())
            raise PredictionsError(
                f"Expected tumor_peak from 0 to 1, got {self.tumor_peak[row]} for {self.filenames[row]}."
                f" {REMEDY}"
            )
        wrong = (np.abs(self.probs.sum(axis=1) - 1) > SUM_TOLERANCE) | (self.probs < 0).any(axis=1)
        if wrong.any():
            row = int(wrong.argmax())
            raise PredictionsError(
                f"Expected probabilities from 0 that sum to 1, got {self.probs[row].tolist()} for"
                f" {self.filenames[row]}. {REMEDY}"
            )


def number_groups(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Number the groups of several sets of images anew, since each set counts its own: int (all,)."""
    starts = np.cumsum([0, *(groups.max() + 1 for groups in parts)])
    return np.concatenate([groups + start for groups, start in zip(parts, starts, strict=False)])


def pool_predictions(parts: Sequence[Predictions]) -> Predictions:
    """Put the predictions of several models about different images together, as of folds.

    Raises:
        PredictionsError: they are about other labels or protocols, or an image is in two of them.
    """
    first = parts[0]
    for part in parts[1:]:
        if (part.labels, part.protocol) != (first.labels, first.protocol):
            raise PredictionsError(
                f"Expected predictions about {first.protocol} {first.labels}, got {part.protocol}"
                f" {part.labels}. {REMEDY}"
            )
    names = tuple(name for part in parts for name in part.filenames)
    pooled = {name: _pool([getattr(part, name) for part in parts]) for name in (*ARRAYS, *OPTIONAL)}
    return Predictions(first.protocol, first.labels, names, named_healthy=first.named_healthy, **pooled)


def _take(value: Any, rows: np.ndarray) -> Any:
    if value is None:
        return None
    return value[rows] if isinstance(value, np.ndarray) else value.take(rows)


def _pool(values: Sequence[Any]) -> Any:
    """What all parts have, put together; None where one has not."""
    if any(value is None for value in values):
        return None
    if isinstance(values[0], np.ndarray):
        return np.concatenate(values)
    return type(values[0]).concatenate(values)
