"""One slice of any source, and the terms in which it is described.

Goes in: what an adapter reads from a download. Comes out: `Slice`, checked. It exists so that all sources say
the same thing in the same words: what is known of a slice, and what is not.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tumor_ds.collection.errors import DatasetError
from tumor_ds.collection.versions import LABELS

NO_TUMOUR = "notumor"
SEQUENCES = ("T1", "T1C", "T2", "FLAIR", "unknown")
SKULLS = ("kept", "stripped", "unknown")
MASK_STATES = ("unknown", "outlined", "empty")
FOLDS = 5


@dataclass(frozen=True, eq=False)
class Slice:
    """One slice with everything that its source says of it.

    Attributes:
        filename: unique in the source; path in the download, and which part of it where a file holds several.
        image: uint8 (h, w), [0, 255].
        label: one of `LABELS`; None where unknown, and for tumours of none of the four kinds.
        tumor: whether the slice shows a tumour of any kind; None where unknown.
        source: name of the source.
        sequence: one of `SEQUENCES`.
        skull: one of `SKULLS`.
        patient: all slices of one patient have it; where patients are unknown, what comes closest.
        fold: 1..5, as published with the source; 0 where nothing is, and `deal_fold` decides.
        mask: uint8 (h, w), 0 or 255: the outline of the tumour, filled; None where it is unknown. All zero
            says that there is no tumour in the slice.

    Raises:
        DatasetError: a value is none of those above, or two of them contradict each other.

    Example:
        >>> image = np.zeros((4, 4), np.uint8)
        >>> Slice("a.png", image, "notumor", False, "mine", "T1", "kept", "p1", mask=image).mask_known
        'empty'
    """

    filename: str
    image: np.ndarray
    label: str | None
    tumor: bool | None
    source: str
    sequence: str
    skull: str
    patient: str
    fold: int = 0
    mask: np.ndarray | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        allowed = {"label": (*LABELS, None), "sequence": SEQUENCES, "skull": SKULLS, "fold": range(FOLDS + 1)}
        for name, values in allowed.items():
            if getattr(self, name) not in values:
                expected = ", ".join(str(value) for value in values)
                raise self._refuse(f"{name} {getattr(self, name)!r}, expected one of {expected}")
        if not self.patient:
            raise self._refuse("no patient, expected a name")
        if self.image.dtype != np.uint8 or self.image.ndim != 2 or 0 in self.image.shape:
            raise self._refuse(f"an image {self.image.dtype} {self.image.shape}, expected uint8 (h, w)")
        if self.mask is not None and (self.mask.dtype, self.mask.shape) != (np.uint8, self.image.shape):
            got, expected = f"{self.mask.dtype} {self.mask.shape}", f"uint8 {self.image.shape}"
            raise self._refuse(f"a mask {got}, expected {expected}, the size of its image")
        if self.label and self.tumor is not (self.label != NO_TUMOUR):
            raise self._refuse(f"label {self.label} and tumor {self.tumor}, which contradict each other")
        if self.mask_known != "unknown" and self.tumor is not (self.mask_known == "outlined"):
            raise self._refuse(f"tumor {self.tumor} and a mask that is {self.mask_known}: a contradiction")

    @property
    def mask_known(self) -> str:
        """One of `MASK_STATES`."""
        if self.mask is None:
            return "unknown"
        return "outlined" if self.mask.any() else "empty"

    def _refuse(self, what: str) -> DatasetError:
        return DatasetError(f"{self.source}: {self.filename} has {what}. Correct it at its source.")


@dataclass(frozen=True)
class Adapter:
    """How one public download is read, as it comes.

    Attributes:
        recognise: whether a folder holds this download; looks at names only.
        list_units: everything that is read at once, a file, a volume or a folder of a patient, in an order
            that is the same on every machine. Each unit can be pickled and is small. Raises `DatasetError`
            where files are missing, too many, or of an unknown kind.
        read_unit: the slices of one unit, in a fixed order. Raises `DatasetError` by the name of the file
            that is damaged.
        counts: number of slices by kind, a label, `other_tumor` or `no_tumor_in_slice`, where the whole
            download is known to hold so many; None where it is not.

    Example:
        >>> empty = Adapter(lambda folder: True, lambda folder: [], lambda folder, unit: [])
        >>> empty.list_units(Path())
        []
    """

    recognise: Callable[[Path], bool]
    list_units: Callable[[Path], list[Any]]
    read_unit: Callable[[Path, Any], list[Slice]]
    counts: Mapping[str, int] | None = None


def deal_fold(patient: str) -> int:
    """Deal a patient to a fold, the same on every machine, in every source: 1..5."""
    return 1 + int(hashlib.sha256(patient.encode()).hexdigest(), 16) % FOLDS


def check_folds(source: str, slices: Iterable[Any]) -> None:
    """Check that no patient is in two published folds.

    Args:
        source: its name, for the error.
        slices: each with `filename`, `patient` and `fold`, as `Slice` has them; fold 0 is none.

    Raises:
        DatasetError: two slices of one patient are in different folds.
    """
    first: dict[str, Any] = {}
    for one in slices:
        other = first.setdefault(one.patient, one) if one.fold else one
        if other.fold != one.fold:
            raise DatasetError(
                f"{source}: patient {one.patient} has {other.filename} in fold {other.fold} and"
                f" {one.filename} in fold {one.fold}, expected one fold. Correct it at its source."
            )
