"""What each volume of a folder is: from the table beside them, or from the names of a public download.

Goes in: a folder with NIfTI files, in any subfolders. Comes out: a `VolumeRow` a volume. Where `volumes.csv`
lies in the folder, it alone says what is read. Its columns:

    file      path from the table, with forward slashes (needed)
    patient   all volumes of one patient share it (needed)
    label     glioma, meningioma, pituitary or other_tumor: what the tumour is; or notumor (needed)
    mask      path of the mask of the tumour, on the grid of `file`; nothing: unknown, none for notumor
    sequence  T1, T1C, T2, FLAIR; nothing or `unknown`
    skull     kept or stripped; nothing or `unknown`
    planes    of axial;coronal;sagittal; nothing: the one that it was taken in
    fold      1..5, the same for all volumes of a patient; nothing: dealt by patient
    source    name of where it comes from; nothing: the name of the config or of the folder

For example, of `brats_samples`, as its repository lays it out:

    file,mask,patient,sequence,skull,label,planes
    raw_bet/TCGA-DU-7294_t1c_bet.nii.gz,fusion/simple.nii.gz,TCGA_DU_7294,T1C,stripped,glioma,axial;sagittal

Without a table, four downloads and anything named as BraTS names its volumes are known by their names, see
`volume_names`.
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from tumor_ds.collection.errors import DatasetError
from tumor_ds.collection.versions import LABELS
from tumor_ds.sources.slices import FOLDS, SEQUENCES, SKULLS
from tumor_ds.sources.tables import check_choice, check_file, read_table

TABLE = "volumes.csv"
NEEDED = ("file", "patient", "label")
OPTIONAL = ("mask", "sequence", "skull", "planes", "fold", "source")
OTHER_TUMOUR = "other_tumor"
KINDS = (*LABELS, OTHER_TUMOUR)
FOLD_NAMES = tuple(str(fold) for fold in range(1, FOLDS + 1))
# The order in which slices come, whatever the order in a table.
PLANES = ("axial", "coronal", "sagittal")


@dataclass(frozen=True)
class VolumeRow:
    """One volume.

    Attributes:
        where: place that says all this, for messages.
        file: path from the folder, with forward slashes.
        patient: all volumes of one patient share it.
        label: one of `KINDS`.
        source: name of the source.
        mask: path of its mask; "" where there is none.
        sequence: one of `SEQUENCES`.
        skull: one of `SKULLS`.
        planes: of `PLANES`, in that order; empty for the one that it was taken in.
        fold: 1..5; 0 where nothing is stated.

    Example:
        >>> VolumeRow("volumes.csv, line 2", "a.nii.gz", "p1", "notumor", "mine").sequence
        'unknown'
    """

    where: str
    file: str
    patient: str
    label: str
    source: str
    mask: str = ""
    sequence: str = "unknown"
    skull: str = "unknown"
    planes: tuple[str, ...] = ()
    fold: int = 0


def read_rows(folder: Path, source: str | None) -> list[VolumeRow]:
    """Read the table of a folder.

    Args:
        folder: that holds `TABLE`.
        source: whose rows are wanted; None for all.

    Returns:
        Rows in the order of their files.

    Raises:
        DatasetError: a value is unknown, a file is missing or named twice, a patient is in two folds, or
            there is no row of the source.
    """
    default = source or folder.resolve().name
    rows = [
        _check_row(where, row, folder, default) for where, row in read_table(folder / TABLE, NEEDED, OPTIONAL)
    ]
    chosen = [row for row in rows if source in (None, row.source)]
    if not chosen:
        found = ", ".join(sorted({row.source for row in rows})) or "nothing"
        raise DatasetError(f"{folder / TABLE} has no row of {source or 'a volume'}, but of {found}.")
    return check_rows(chosen)


def check_rows(rows: list[VolumeRow]) -> list[VolumeRow]:
    """Sort rows by file; each file is there once, and each patient in one fold.

    Raises:
        DatasetError: a file is named twice, or a patient is in two folds.
    """
    counts = Counter(row.file for row in rows)
    folds: dict[tuple[str, str], int] = {}
    for row in rows:
        if counts[row.file] > 1:
            raise DatasetError(
                f"{row.where}: file {row.file} is named {counts[row.file]} times, expected once."
            )
        known = folds.setdefault((row.source, row.patient), row.fold)
        if known != row.fold:
            what = f"patient {row.patient} is in fold {row.fold or 'unknown'} and in {known or 'unknown'}"
            raise DatasetError(f"{row.where}: {what}; expected one fold a patient.")
    return sorted(rows, key=lambda row: row.file)


def _check_row(where: str, row: dict[str, str], folder: Path, default: str) -> VolumeRow:
    planes = [plane.strip() for plane in row["planes"].split(";") if plane.strip()]
    for plane in planes:
        check_choice(where, "planes", plane, PLANES)
    return VolumeRow(
        where,
        check_file(where, "file", row["file"], folder),
        row["patient"],
        check_choice(where, "label", row["label"], KINDS),
        row["source"] or default,
        row["mask"] and check_file(where, "mask", row["mask"], folder),
        check_choice(where, "sequence", row["sequence"] or "unknown", SEQUENCES),
        check_choice(where, "skull", row["skull"] or "unknown", SKULLS),
        tuple(plane for plane in PLANES if plane in planes),
        int(check_choice(where, "fold", row["fold"], FOLD_NAMES)) if row["fold"] else 0,
    )
