"""`figshare`: the outlined tumours that Kaggle's collection was made of, as figshare publishes them.

What: 3,064 slices of 233 patients with glioma (1,426), meningioma (708) or pituitary tumour (930), each
with the outline of its tumour. All are contrast-enhanced T1 with skull, in three planes.
From: https://figshare.com/articles/dataset/brain_tumor_dataset/1512427, four zips of MATLAB 7.3 files.
Licence: CC BY 4.0.
Citation: Cheng et al. (2015), Enhanced Performance of Brain Tumor Classification via Tumor Region
Augmentation and Partition, PLOS ONE 10(10), doi 10.1371/journal.pone.0140381; Cheng, Jun (2017), brain tumor
dataset, figshare, doi 10.6084/m9.figshare.1512427.

Folds are Jun Cheng's: no patient is in two of them.

Known faults: 15 slices have 256 x 256 pixels, all others 512 x 512. All patients come from one pair of
hospitals. There is no other sequence than contrast-enhanced T1, and no slice without a tumour. Kaggle's
collection files four of the slices under pituitary that are labelled meningioma here.
"""

import re
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from serving.files.entries import DAMAGE
from tumor_ds.collection.errors import DatasetError
from tumor_ds.collection.layout import is_clutter
from tumor_ds.grouping.facts import load_facts
from tumor_ds.sources.matlab import list_zip, open_mat, read_matrix, read_text
from tumor_ds.sources.slices import Adapter, Slice

SOURCE = "figshare"
LABELS = {1: "meningioma", 2: "glioma", 3: "pituitary"}
COUNTS = {"glioma": 1426, "meningioma": 708, "pituitary": 930}
# The four zips at figshare, in the order of their slices.
FILE_IDS = (3381290, 3381296, 3381293, 3381302)
# By figshare's name, or by the one that TFDS gives a download: its address and a checksum.
ZIP_NAME = re.compile(rf"brainTumorDataPublic_.*\.zip|.*_files_({'|'.join(map(str, FILE_IDS))})[\w-]{{43}}")
MAT_NAME = re.compile(r"[1-9]\d{0,3}\.mat")
# Numbers of the published folds, which `groups.csv` has for each slice.
FOLDS_NAME = "cvind.mat"
_REMEDY = "Get it again: tumor build figshare downloads it."


class _Unit(NamedTuple):
    archive: str  # the zip that holds the file; nothing where it lies in the folder
    path: str
    number: int  # of the slice
    fold: int  # as published


def make_adapter(counts: Mapping[str, int]) -> Adapter:
    """Make the adapter of a set that holds so many slices by label, numbered from 1 on."""
    return Adapter(_recognise, partial(_list_files, last=sum(counts.values())), _read_file, counts)


def _recognise(folder: Path) -> bool:
    return bool(_glob_mats(folder)) or any(ZIP_NAME.fullmatch(path.name) for path in folder.iterdir())


def _list_files(folder: Path, last: int) -> list[_Unit]:
    folds = {row.figshare_slice: row.patient_fold for row in load_facts().values()}
    found: dict[int, _Unit] = {}
    for archive, path in _find_files(folder):
        name = PurePosixPath(path).name
        number = int(name[:-4]) if MAT_NAME.fullmatch(name) else 0
        if not 1 <= number <= last:
            what = f"{folder / archive} holds {path}, expected 1.mat to {last}.mat"
            raise DatasetError(f"{SOURCE}: {what}. Take it out.")
        if number in found:
            places = " and in ".join(str(folder / one) for one in (found[number].archive, archive))
            raise DatasetError(f"{SOURCE}: {name} is there twice, in {places}. Remove one of them.")
        found[number] = _Unit(archive, path, number, folds[number])
    if missing := sorted(set(range(1, last + 1)) - set(found)):
        what = f"{missing[0]}.mat is not in {folder} ({len(missing):,} of {last:,} are missing)"
        raise DatasetError(f"{SOURCE}: {what}. {_REMEDY}")
    return [found[number] for number in sorted(found)]


def _find_files(folder: Path) -> Iterator[tuple[str, str]]:
    for path in _glob_mats(folder):
        yield "", path.relative_to(folder).as_posix()
    for path in sorted(folder.iterdir()):
        if ZIP_NAME.fullmatch(path.name):
            try:
                names = list_zip(path)
            except DAMAGE as error:
                raise DatasetError(f"{SOURCE}: {path} is no readable zip: {error}. {_REMEDY}") from error
            yield from ((path.name, name) for name in names if _is_mat(PurePosixPath(name)))


def _glob_mats(folder: Path) -> list[Path]:
    """The MATLAB files of a folder and of the folders in it."""
    paths = (*folder.glob("*.mat"), *folder.glob("*/*.mat"))
    return sorted(path for path in paths if _is_mat(path.relative_to(folder)))


def _is_mat(path: Path | PurePosixPath) -> bool:
    is_hidden = any(is_clutter(part) for part in path.parts)
    return path.suffix == ".mat" and path.name != FOLDS_NAME and not is_hidden


def _read_file(folder: Path, unit: _Unit) -> list[Slice]:
    place = folder / unit.archive
    try:
        with open_mat(place, unit.path) as file:
            data = file["cjdata"]
            image, mask, label = (read_matrix(data, name) for name in ("image", "tumorMask", "label"))
            patient = read_text(data, "PID")
        if image.min() == image.max():
            raise ValueError(f"all pixels are {image.min()}")
        if label.flat[0] not in LABELS:
            raise ValueError(f"label {label.flat[0]}, expected 1 to 3")
    except DAMAGE as error:
        what = f"cannot read {unit.path} in {place}: {error}"
        raise DatasetError(f"{SOURCE}: {what}. {_REMEDY}") from error
    # In place, since 3,064 slices of 512 x 512 are read twice.
    scaled = image.astype(np.float32)
    scaled -= image.min()
    scaled *= 255
    scaled /= scaled.max() / 255
    grey = np.rint(scaled, out=scaled).astype(np.uint8)
    filled = np.where(mask > 0, np.uint8(255), np.uint8(0))
    name, kind = f"{unit.number}.mat", LABELS[int(label.flat[0])]
    return [Slice(name, grey, kind, True, SOURCE, "T1C", "kept", patient, unit.fold, filled)]


ADAPTER = make_adapter(COUNTS)
