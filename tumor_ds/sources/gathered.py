"""Pictures of any origin that a table describes: `sources.csv` beside folders.

Goes in: a folder with `sources.csv`, a row a picture. Columns:

    file      path from the table, with forward slashes (needed)
    class     glioma, meningioma, notumor or pituitary; other_tumor or glioma_other for a tumour of none of
              these kinds; no_tumor_in_slice or glioma_patient_no_tumor_in_slice for a slice of a patient with
              a tumour that shows none (needed)
    patient   all pictures of one patient share it (needed)
    source    name of where it comes from; by default the name of the folder
    fold      1..5, or nothing: then it is dealt by patient
    sequence  T1, T1C, T2, FLAIR; nothing or `unknown`
    skull     kept or stripped; nothing or `unknown`
    mask      path of the filled outline, any value but 0 is tumour; or figshare_outlines.csv for the outlines
              that this package holds; nothing: unknown, but empty where the class says no tumour
    plane, licence, origin, note    for people; not read

Comes out: a `Slice` a row. Licences, citations and faults are those of the pictures: the table names them.
"""

from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from serving.files.errors import ImageError
from serving.preprocess import decode_grey
from tumor_ds.collection.errors import DatasetError
from tumor_ds.collection.versions import LABELS
from tumor_ds.outlines import draw_mask, load_outlines
from tumor_ds.sources.slices import NO_TUMOUR, SEQUENCES, SKULLS, Adapter, Slice
from tumor_ds.sources.tables import check_choice, check_file, read_table

TABLE = "sources.csv"
OUTLINES = "figshare_outlines.csv"
NEEDED = ("file", "class", "patient")
OPTIONAL = ("source", "fold", "sequence", "skull", "mask", "plane", "licence", "origin", "note")
# Label and whether there is a tumour, by class.
CLASSES: dict[str, tuple[str | None, bool]] = {
    **{label: (label, label != NO_TUMOUR) for label in LABELS},
    **dict.fromkeys(("other_tumor", "glioma_other"), (None, True)),
    **dict.fromkeys(("no_tumor_in_slice", "glioma_patient_no_tumor_in_slice"), (None, False)),
}

Row = dict[str, str]


def make_adapter(source: str | None = None) -> Adapter:
    """Make the adapter of one source in the table; of all of them where none is named."""
    return Adapter(_recognise, partial(_list_rows, source=source), _read_row)


def _recognise(folder: Path) -> bool:
    return (folder / TABLE).is_file()


def _list_rows(folder: Path, source: str | None) -> list[Any]:
    rows = [_check_row(where, row, folder) for where, row in read_table(folder / TABLE, NEEDED, OPTIONAL)]
    chosen = [row for row in rows if source in (None, row["source"])]
    if not chosen:
        found = ", ".join(sorted({row["source"] for row in rows})) or "nothing"
        raise DatasetError(f"{folder / TABLE} has no row of {source or 'a picture'}, but of {found}.")
    return sorted(chosen, key=lambda row: row["file"])


def _check_row(where: str, row: Row, folder: Path) -> Row:
    check_choice(where, "class", row["class"], CLASSES)
    check_choice(where, "sequence", row["sequence"] or "unknown", SEQUENCES)
    check_choice(where, "skull", row["skull"] or "unknown", SKULLS)
    check_choice(where, "fold", row["fold"], ("", *"12345"))
    check_file(where, "file", row["file"], folder)
    if row["mask"] not in ("", OUTLINES):
        check_file(where, "mask", row["mask"], folder)
    return row | {"source": row["source"] or folder.resolve().name}


def _read_row(folder: Path, row: Row) -> list[Slice]:
    label, tumor = CLASSES[row["class"]]
    image = _read(folder, row["file"])
    return [
        Slice(
            filename=row["file"],
            image=image,
            label=label,
            tumor=tumor,
            source=row["source"],
            sequence=row["sequence"] or "unknown",
            skull=row["skull"] or "unknown",
            patient=row["patient"],
            fold=int(row["fold"] or 0),
            mask=_read_mask(folder, row, image.shape) if tumor else np.zeros_like(image),
        )
    ]


def _read_mask(folder: Path, row: Row, shape: tuple[int, ...]) -> np.ndarray | None:
    if not row["mask"]:
        return None
    if row["mask"] == OUTLINES:
        number = int(PurePosixPath(row["file"]).stem.partition("_")[0])
        return draw_mask(load_outlines()[number], shape[0], shape[1])
    return np.where(_read(folder, row["mask"]) > 0, 255, 0).astype(np.uint8)


def _read(folder: Path, name: str) -> np.ndarray:
    """Pixels of a picture: uint8 (h, w)."""
    try:
        return decode_grey(folder / name)
    except ImageError as error:
        raise DatasetError(f"Cannot decode {name} in {folder}: {error}") from error
