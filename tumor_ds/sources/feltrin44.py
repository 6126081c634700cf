"""`feltrin44`: tumours of many kinds and no tumour in three sequences, as Kaggle's 44 classes come.

What: 4,479 slices in T1, T1 with contrast agent and T2, skull kept, of all planes. A folder a kind and
sequence, with Portuguese names: `Meningioma T1C+`, `_NORMAL T2`. Healthy slices have no T1C.
From: https://www.kaggle.com/datasets/fernando2rad/brain-tumor-mri-images-44c
Licence: unclear. It is a private collection, read by radiologists: train and measure, never redistribute.
Citation: Feltrin, Fernando: Brain Tumor MRI Images 44 Classes. Kaggle.

Astrocytoma, glioblastoma and oligodendroglioma are `glioma`. All other tumours have no label and `tumor` 1.
So have the rarer gliomas (ependymoma, ganglioglioma), and tuberculoma and granuloma, which are no tumours but
look like one. There are no outlines; the mask of a healthy slice is empty.

Known faults: patients are unknown. So each picture counts as a patient, and pictures that are alike share a
group once they are compared. By their names many are screenshots and pictures of web galleries.
"""

from pathlib import Path, PurePosixPath

from tumor_ds.collection.errors import DatasetError
from tumor_ds.sources.folders import check_count, empty_mask, find_below, list_pictures, read_picture
from tumor_ds.sources.slices import NO_TUMOUR, Adapter, Slice

SOURCE = "feltrin44"
HOMEPAGE = "https://www.kaggle.com/datasets/fernando2rad/brain-tumor-mri-images-44c"
PICTURES = 4479
HEALTHY = "_NORMAL"
# Label by the first word of a folder's name; None: a tumour of none of the four kinds.
KINDS: dict[str, str | None] = {
    HEALTHY: NO_TUMOUR,
    "Astrocitoma": "glioma",
    "Carcinoma": None,
    "Ependimoma": None,
    "Ganglioglioma": None,
    "Germinoma": None,
    "Glioblastoma": "glioma",
    "Granuloma": None,
    "Meduloblastoma": None,
    "Meningioma": "meningioma",
    "Neurocitoma": None,
    "Oligodendroglioma": "glioma",
    "Papiloma": None,
    "Schwannoma": None,
    "Tuberculoma": None,
}
# Sequence by the second word.
WEIGHTINGS = {"T1": "T1", "T1C+": "T1C", "T2": "T2"}
# (label, sequence) by the name of a folder: 44 of them.
FOLDERS = {
    f"{kind} {weighting}": (label, sequence)
    for kind, label in KINDS.items()
    for weighting, sequence in WEIGHTINGS.items()
    if (kind, weighting) != (HEALTHY, "T1C+")
}


def _recognise(folder: Path) -> bool:
    return bool(find_below(folder, f"{HEALTHY} T[12]"))


def _list_pictures(folder: Path) -> list[tuple[str, str]]:
    pictures = list_pictures(folder)
    found = {str(PurePosixPath(path).parent) for _, path in pictures}
    if unknown := sorted(found - set(FOLDERS)):
        raise DatasetError(
            f"{SOURCE}: unknown folder {unknown[0]!r} in {folder}, expected one of {', '.join(FOLDERS)}."
            " Take it out, or correct its name."
        )
    if missing := sorted(set(FOLDERS) - found):
        raise DatasetError(
            f"{SOURCE}: no picture in folder {missing[0]!r} of {folder}. Get it from {HOMEPAGE}."
        )
    check_count(f"{SOURCE}: pictures in {folder}", len(pictures), PICTURES, HOMEPAGE)
    return pictures


def _read_picture(folder: Path, unit: tuple[str, str]) -> list[Slice]:
    prefix, path = unit
    label, sequence = FOLDERS[PurePosixPath(path).parent.name]
    tumor = label != NO_TUMOUR
    image = read_picture(folder, prefix + path).grey
    mask = empty_mask(image, tumor)
    return [Slice(path, image, label, tumor, SOURCE, sequence, "kept", patient=path, mask=mask)]


ADAPTER = Adapter(_recognise, _list_pictures, _read_picture)
