"""What is known of each picture besides its pixels: its group, its patient fold, its twin in training.

Goes in: `groups.csv` for the files of Kaggle's version 1, the pictures themselves for any other collection.
Comes out: one `ImageFacts` a picture.
"""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from tumor_ds.collection.archive import Collection
from tumor_ds.collection.layout import SPLIT_FOLDERS, split_and_label
from tumor_ds.grouping.duplicates import find_duplicates, match_twins

GROUPS_CSV = Path(__file__).parents[1] / "groups.csv"


@dataclass(frozen=True)
class ImageFacts:
    """What is known of one picture.

    Attributes:
        path: `Training/glioma/Tr-gl_0010.jpg`, as in the collection.
        group: near-duplicates and, where known, neighbouring slices share it.
        patient_fold: 1..5 as published with figshare 1512427, 0 where unknown.
        has_train_twin: a picture in Testing that is one in Training up to one of the eight flips and turns.
        figshare_slice: 1..3064, the slice of figshare 1512427 that it shows; 0 where it is none.
        is_mirrored: whether the file is the mirror image, left to right, of that slice.

    Example:
        >>> load_facts()["Testing/glioma/Te-glTr_0000.jpg"].figshare_slice
        1979
    """

    path: str
    group: int
    patient_fold: int
    has_train_twin: bool
    figshare_slice: int = 0
    is_mirrored: bool = False

    @property
    def label(self) -> str:
        """Name of the class folder."""
        return split_and_label(self.path)[1]


def load_facts() -> dict[str, ImageFacts]:
    """Read `groups.csv` as shipped with the package, by path."""
    with GROUPS_CSV.open(newline="", encoding="utf-8") as file:
        return {
            row["path"]: ImageFacts(
                path=row["path"],
                group=int(row["group"]),
                patient_fold=int(row["patient_fold"] or 0),
                has_train_twin=bool(row["train_twin"]),
                figshare_slice=int(row["figshare_slice"] or 0),
                is_mirrored=row["mirrored"] == "1",
            )
            for row in csv.DictReader(file)
        }


def compute_facts(collection: Collection) -> list[ImageFacts]:
    """Group the pictures of a collection by what they show; every picture is decoded once.

    Args:
        collection: open pictures.

    Returns:
        One entry a picture, in the order of `collection.paths`; no patient fold is known.

    Raises:
        DatasetError: a picture cannot be decoded.
    """
    paths = tqdm(collection.paths, desc="Comparing pictures", unit=" pictures")
    duplicates = find_duplicates(collection.read_grey(path) for path in paths)
    folder = np.array([split_and_label(path)[0] for path in collection.paths])
    training, testing = (folder == name for name in SPLIT_FOLDERS)
    has_twin = match_twins(duplicates, testing, training).partner >= 0
    return [
        ImageFacts(path, int(group), 0, bool(twin))
        for path, group, twin in zip(collection.paths, duplicates.groups, has_twin, strict=True)
    ]
