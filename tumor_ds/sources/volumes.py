"""Volumes: NIfTI files, cut to slices in up to three planes, with their masks.

Goes in: a folder with volumes as they were downloaded, and `volumes.csv` beside them (see `volume_rows`), or
a public download whose names are known (see `volume_names`, which says what each of these sources is). Comes
out: a `Slice` for each slice that is kept (see `volume_choice`), turned and windowed as the app shows it, so
that a model meets the same pictures there.

With a mask, a slice shows a tumour where its mask does; other slices of that patient have no label, `tumor`
False and an empty mask. Without one, every slice has the label of the patient, and may not show the tumour.
"""

import logging
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from serving.files.entries import list_entries
from serving.files.errors import ImageError
from serving.pictures.nifti import Grid, cut_grey, cut_mask, is_nifti, is_same_grid, read_grid
from tumor_ds.collection.errors import DatasetError
from tumor_ds.sources.slices import NO_TUMOUR, Adapter, Slice
from tumor_ds.sources.volume_choice import MIN_TUMOUR_PIXELS, choose_slices, find_head
from tumor_ds.sources.volume_names import has_known_names, name_rows
from tumor_ds.sources.volume_rows import OTHER_TUMOUR, TABLE, VolumeRow, read_rows

logger = logging.getLogger(__name__)


def make_adapter(source: str | None = None) -> Adapter:
    """Make the adapter of one source; without a name, of all rows of a table."""
    return Adapter(partial(_recognise, source=source), partial(_list, source=source), _read)


def _recognise(folder: Path, source: str | None) -> bool:
    return (folder / TABLE).is_file() or (source is not None and has_known_names(folder, source))


def _list(folder: Path, source: str | None) -> list[Any]:
    if source is None or (folder / TABLE).is_file():
        return read_rows(folder, source)
    return name_rows(folder, source)


def _read(folder: Path, row: VolumeRow) -> list[Slice]:
    try:
        scan = _read_grid(folder, row.file)
        mask = _read_grid(folder, row.mask) if row.mask else None
        if mask is not None:
            _check_mask(row, scan, mask)
        head = find_head(scan)
        return [piece for plane in row.planes or (None,) for piece in _cut(row, scan, head, mask, plane)]
    except ImageError as error:
        raise DatasetError(f"{row.where}: cannot read {row.file}: {error}") from error


def _read_grid(folder: Path, file: str) -> Grid:
    """Voxels of one NIfTI file of one volume."""
    [*entries] = list_entries(folder / file)
    if len(entries) != 1 or not is_nifti(entries[0].head):
        raise ImageError(f"{file} is no NIfTI file. Export it as .nii or .nii.gz.")
    grid = read_grid(entries[0])
    if "volumes" in grid.facts or grid.data.dtype.kind not in "uif":
        found = f"{grid.facts.get('volumes', 'one')}, stored as {grid.facts['stored as']}"
        raise ImageError(f"{file} holds {found}; expected one volume of plain numbers. Split or convert it.")
    return grid


def _check_mask(row: VolumeRow, scan: Grid, mask: Grid) -> None:
    if not is_same_grid(scan, mask):
        shapes = " and ".join(grid.facts["matrix"] for grid in (scan, mask))
        what = f"the mask {row.mask} lies on another grid than its scan ({shapes} voxels, or other places)"
        raise ImageError(f"{what}. Resample it to the grid of the scan, by the nearest voxel.")
    outlined = bool((mask.data * mask.slope + mask.intercept > 0.5).any())
    if outlined is (row.label == NO_TUMOUR):
        found = "marks a tumour" if outlined else "is empty"
        raise ImageError(f"the mask {row.mask} {found}, and the label is {row.label}. Correct one of them.")


def _cut(row: VolumeRow, scan: Grid, head: Grid, mask: Grid | None, plane: str | None) -> list[Slice]:
    pictures = cut_grey(scan, plane)
    heads = [int(np.count_nonzero(one)) for one in cut_mask(head, pictures.plane).slices]
    outlines = [np.zeros_like(one) for one in pictures.slices]
    if mask is not None:
        outlines = list(cut_mask(mask, pictures.plane).slices)
    tumour = [int(np.count_nonzero(outline)) for outline in outlines]
    kept, left_out = choose_slices(heads, tumour)
    if left_out:
        few = f"{left_out} {pictures.plane} slices with fewer than {MIN_TUMOUR_PIXELS} pixels of tumour"
        logger.info("%s: %s left out", row.file, few)
    return [_make_slice(row, f"{pictures.plane}_{n:03}", pictures.slices[n], outlines[n]) for n in kept]


def _make_slice(row: VolumeRow, place: str, image: np.ndarray, outline: np.ndarray) -> Slice:
    unknown = row.label != NO_TUMOUR and not row.mask
    tumor = unknown or bool(outline.any())
    label = row.label if row.label != OTHER_TUMOUR and (tumor or row.label == NO_TUMOUR) else None
    return Slice(
        filename=f"{row.file}#{place}",
        image=image,
        label=label,
        tumor=tumor,
        source=row.source,
        sequence=row.sequence,
        skull=row.skull,
        patient=row.patient,
        fold=row.fold,
        mask=None if unknown else outline,
    )
