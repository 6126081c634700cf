"""`alzheimer_oasis`: aged and demented people without tumour, as Kaggle's four classes of Alzheimer's come.

What: 6,400 axial T1 slices, 176 x 208, skull-stripped, of 200 people: 100 without dementia, 70 with very mild
dementia, 28 with mild, 2 with moderate; 32 slices each. All are `notumor` with an empty mask.
From: https://www.kaggle.com/datasets/tourist55/alzheimers-dataset-4-class-of-images
Licence: ODbL as Kaggle states it; pixels of OASIS-1, for research.
Citation: Marcus et al. (2007), OASIS-1, doi 10.1162/jocn.2007.19.9.1498

The names do not say who is who, but their order does. Files of `train` are numbered slice by slice: file `N`
of a class with P people shows person N modulo P, slice N // P. That holds for the first 25 slices of each:
5,000 pictures. It was checked on 992 of them: the median distance of two histograms of grey values is .12
within a person, and .21 between people whose numbers differ by one to three.

Left out and logged: the other 1,400. The last numbers of `train` are an incomplete row, and files of `test`
(`26 (62).jpg`) show the remaining slices of the same people in another order. So their people are not known
from the names, and in a split of whole patients they would leak. The published split leaks in the same way:
everybody in `test` is in `train`.

Known faults: brains are shrunken. Grey values were stretched, and pictures squeezed to one shape.
"""

import logging
import re
from collections import Counter
from pathlib import Path, PurePosixPath

from tumor_ds.collection.errors import DatasetError
from tumor_ds.sources.folders import check_count, empty_mask, find_below, list_pictures, read_picture
from tumor_ds.sources.slices import NO_TUMOUR, Adapter, Slice

SOURCE = "alzheimer_oasis"
HOMEPAGE = "https://www.kaggle.com/datasets/tourist55/alzheimers-dataset-4-class-of-images"
# Number of people by class, and how its files of `train` are named.
PEOPLE = {"MildDemented": 28, "ModerateDemented": 2, "NonDemented": 100, "VeryMildDemented": 70}
NAMES = {
    "MildDemented": "mildDem",
    "ModerateDemented": "moderateDem",
    "NonDemented": "nonDem",
    "VeryMildDemented": "verymildDem",
}
COUNTS = {
    "train/MildDemented": 717,
    "train/ModerateDemented": 52,
    "train/NonDemented": 2560,
    "train/VeryMildDemented": 1792,
    "test/MildDemented": 179,
    "test/ModerateDemented": 12,
    "test/NonDemented": 640,
    "test/VeryMildDemented": 448,
}
# Slices of each person whose numbers follow the order above.
ORDERED_SLICES = 25

logger = logging.getLogger(__name__)


def _recognise(folder: Path) -> bool:
    return bool(find_below(folder, "train/ModerateDemented"))


def _list_pictures(folder: Path) -> list[tuple[str, str, str]]:
    """(folders above, path, person) of each picture whose person is known."""
    pictures = list_pictures(folder)
    found = Counter(str(PurePosixPath(path).parent) for _, path in pictures)
    if unknown := sorted(set(found) - set(COUNTS)):
        raise DatasetError(
            f"{SOURCE}: unknown folder {unknown[0]} in {folder}, expected {', '.join(COUNTS)}. Take it out."
        )
    for name, expected in COUNTS.items():
        check_count(f"{SOURCE}: pictures in {folder / name}", found[name], expected, HOMEPAGE)
    known = [(prefix, path, person) for prefix, path in pictures if (person := _find_person(path))]
    logger.warning(
        "%s: %d of %d pictures left out: their names do not say whom they show",
        SOURCE,
        len(pictures) - len(known),
        len(pictures),
    )
    return known


def _find_person(path: str) -> str | None:
    """The person that a picture shows, such as `mildDem000`; None where its name does not say."""
    split, label, file = PurePosixPath(path).parts
    if split == "test":
        return None
    name = re.fullmatch(NAMES[label] + r"(\d+)\.jpg", file)
    if name is None:
        raise DatasetError(f"{SOURCE}: unknown file {path}, expected {NAMES[label]}N.jpg. Take it out.")
    slice_number, person = divmod(int(name[1]), PEOPLE[label])
    return f"{NAMES[label]}{person:03d}" if slice_number < ORDERED_SLICES else None


def _read_picture(folder: Path, unit: tuple[str, str, str]) -> list[Slice]:
    prefix, path, person = unit
    image = read_picture(folder, prefix + path).grey
    mask = empty_mask(image, tumor=False)
    return [Slice(path, image, NO_TUMOUR, False, SOURCE, "T1", "stripped", person, mask=mask)]


ADAPTER = Adapter(_recognise, _list_pictures, _read_picture)
