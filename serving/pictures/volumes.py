"""Volumes: a DICOM series or a NIfTI file as a row of slices that the classifier takes.

Goes in: a path, a folder, a zip, paths, or bytes. Comes out: a `Volume`, or the `Picture` of its one slice.
Formats are told apart by content, not by name.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from serving.files.entries import ZIP_MAGIC, Entry, VolumeSource, list_entries
from serving.files.errors import ImageError
from serving.pictures.anatomy import PLANES, Volume
from serving.pictures.dicom import is_dicom, read_dicom
from serving.pictures.foreign import describe_foreign
from serving.pictures.image_files import FileFacts, Picture
from serving.pictures.nifti import GZIP_MAGIC, is_nifti, read_nifti
from serving.pictures.nifti_masks import encode_mask

_ADVICE = "Send a DICOM series, a zip of it, or a NIfTI file."


def is_volume(head: bytes) -> bool:
    """Tell DICOM, NIfTI and zip by the first `HEAD_BYTES` bytes of a file; pictures are none of them."""
    return is_dicom(head) or head.startswith((*ZIP_MAGIC, GZIP_MAGIC)) or is_nifti(head)


def read_volume(source: VolumeSource, plane: str | None = None) -> Volume:
    """Read a DICOM series or a NIfTI file.

    Args:
        source: see `serving.files.entries.list_entries`.
        plane: "axial", "coronal" or "sagittal", for NIfTI; None: the one it was taken in. A DICOM series
            comes in its own plane only: its slices are mostly too far apart to be cut another way.

    Raises:
        ImageError: there is nothing to score; the message says why, and is fit for the person who sent it.
    """
    if plane is not None and plane not in PLANES:
        raise ImageError(f"Expected a plane of {', '.join(PLANES)}; got {plane!r}.")
    entries = list_entries(source)
    niftis = [entry for entry in entries if is_nifti(entry.head)]
    dicoms = [entry for entry in entries if is_dicom(entry.head)]
    others = [entry for entry in entries if entry not in niftis and entry not in dicoms]
    skipped = [f"{entry.name} is {_describe(entry)}" for entry in others]
    if len(niftis) > 1 or (niftis and dicoms):
        found = f"There are {len(niftis)} NIfTI files and {len(dicoms)} DICOM files"
        raise ImageError(f"{found}; one volume is read at a time. {_ADVICE}")
    if not niftis and not dicoms:
        many = f"None of {len(entries):,} files is DICOM or NIfTI: {', '.join(skipped[:1])}"
        raise ImageError(f"{skipped[0] if len(entries) == 1 else many}. {_ADVICE}")
    volume = read_nifti(niftis[0], plane) if niftis else read_dicom(dicoms)
    if plane is not None and plane != volume.plane:
        taken = volume.plane or "of a plane that it does not state"
        raise ImageError(f"The series is {taken} and cannot be shown as {plane}. Leave the plane out.")
    return replace(volume, skipped=(*skipped, *volume.skipped))


def _describe(entry: Entry) -> str:
    return describe_foreign(entry.head, entry.name) or "neither DICOM nor NIfTI"


def decode_single(source: str | Path | bytes) -> Picture:
    """Read a DICOM or NIfTI file of one slice.

    Raises:
        ImageError: it cannot be read, or holds several slices.
    """
    volume = read_volume(source)
    if len(volume.slices) != 1:
        name = "The upload" if isinstance(source, bytes) else Path(source).name
        advice = "Open it in the app's Volume tab, or with serving.pictures.volumes.read_volume."
        raise ImageError(f"{name} holds {len(volume.slices):,} slices, expected one. {advice}")
    [picture] = volume.pictures
    size = len(source) if isinstance(source, bytes) else Path(source).stat().st_size
    facts = FileFacts(volume.format, "", picture.grey.T.shape, size, (), volume.facts)
    return replace(picture, facts=facts)


def encode_volume_mask(source: VolumeSource, plane: str | None, masks: Sequence[np.ndarray]) -> bytes:
    """Make the NIfTI file of a mask on the grid of a NIfTI file, see `serving.pictures.nifti_masks`.

    Args:
        source: as for `read_volume`, which read NIfTI there.
        plane: as for `read_volume`.
        masks: bool (h, w), of each slice that it gave.

    Raises:
        ImageError: the file cannot be read any more.
    """
    [entry] = [one for one in list_entries(source) if is_nifti(one.head)]
    return encode_mask(entry, plane, masks)
