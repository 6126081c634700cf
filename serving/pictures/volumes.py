"""Volumes: a DICOM series or a NIfTI file as a row of slices that the classifier takes, and a summary of its answers.

Goes in: a path, a folder, a zip, paths, or bytes. Comes out: a `Volume`, and after scoring a `VolumeSummary`.
Formats are told apart by content, not by name.

Example:
    >>> volume = read_volume("series.zip")
    >>> predictions = classifier.predict_batch(volume.slices)
    >>> summarise_volume(predictions).counts
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from serving.files.entries import ZIP_MAGIC, VolumeSource, list_entries
from serving.files.errors import ImageError
from serving.model.guard import Verdict
from serving.pictures.anatomy import PLANES
from serving.pictures.dicom import is_dicom, read_dicom
from serving.pictures.nifti import GZIP_MAGIC, is_nifti, read_nifti
from serving.preprocess import FileFacts, Picture

if TYPE_CHECKING:
    from serving.classifier import Prediction

NO_TUMOUR = "notumor"
_MOST_AFFECTED = 3
_ADVICE = "Send a DICOM series, a zip of it, or a NIfTI file."


@dataclass(frozen=True)
class Volume:
    """Slices that are ready to be scored.

    Attributes:
        slices: uint8 (h, w), [0, 255], each; native size in the plane but for pixels that were not square;
            axial ones from feet to head, coronal ones from front to back, sagittal ones from right to left.
        format: "DICOM" or "NIfTI".
        plane: "axial", "coronal" or "sagittal"; None where the file does not say.
        positions: of each slice along the normal of the plane, mm, rising; None where the file does not say.
        facts: harmless technical facts to show, by name; never an identifier, never a text that a person
            typed.
        skipped: what was left out, and why.
    """

    slices: tuple[np.ndarray, ...]
    format: str
    plane: str | None
    positions: tuple[float, ...] | None
    facts: dict[str, str]
    skipped: tuple[str, ...]


@dataclass(frozen=True)
class VolumeSummary:
    """What the slices of a volume say together. No diagnosis: the model was trained on slices that people had chosen.

    Attributes:
        counts: slices by what they say: `not_brain_mri` for refused ones, else their label; all keys are
            there, also with 0.
        unlike_training: how many of the scored slices differ from the training pictures.
        mean_probabilities: over the scored slices, by label; None where all were refused.
        most_affected: numbers, from 0, of the scored slices with the highest 1 - p(notumor), highest first,
            at most three.
        longest_runs: by label, the most slices in a row that say it.
    """

    counts: dict[str, int]
    unlike_training: int
    mean_probabilities: dict[str, float] | None
    most_affected: tuple[int, ...]
    longest_runs: dict[str, int]


def is_volume(head: bytes) -> bool:
    """Tell DICOM, NIfTI and zip by the first `HEAD_BYTES` bytes of a file; pictures are none of them."""
    return is_dicom(head) or head.startswith((*ZIP_MAGIC, GZIP_MAGIC)) or is_nifti(head)


def read_volume(source: VolumeSource, plane: str | None = None) -> Volume:
    """Read a DICOM series or a NIfTI file.

    Args:
        source: path of a file, of a zip, or of a folder with all its subfolders; paths of several files; or
            the bytes of a file or a zip.
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
    skipped = [
        f"{entry.name} is neither DICOM nor NIfTI"
        for entry in entries
        if entry not in niftis and entry not in dicoms
    ]
    if len(niftis) > 1 or (niftis and dicoms):
        raise ImageError(
            f"There are {len(niftis)} NIfTI files and {len(dicoms)} DICOM files; one volume is read at a"
            f" time. {_ADVICE}"
        )
    if niftis:
        cut = read_nifti(niftis[0], plane)
        return Volume(cut.slices, "NIfTI", cut.plane, cut.positions, cut.facts, tuple(skipped))
    if not dicoms:
        what = (
            f"{entries[0].name} is neither DICOM nor NIfTI"
            if len(entries) == 1
            else f"None of {len(entries):,} files is DICOM or NIfTI"
        )
        raise ImageError(f"{what}. {_ADVICE}")
    series = read_dicom(dicoms)
    if plane is not None and plane != series.plane:
        raise ImageError(
            f"The series is {series.plane or 'of a plane that it does not state'} and cannot be shown as"
            f" {plane}. Leave the plane out."
        )
    return Volume(
        series.slices, "DICOM", series.plane, series.positions, series.facts, (*skipped, *series.skipped)
    )


def decode_single(source: str | Path | bytes) -> Picture:
    """Read a DICOM or NIfTI file of one slice.

    Raises:
        ImageError: it cannot be read, or holds several slices.
    """
    volume = read_volume(source)
    if len(volume.slices) != 1:
        name = "The upload" if isinstance(source, bytes) else Path(source).name
        raise ImageError(
            f"{name} holds {len(volume.slices):,} slices, expected one. Open it as a volume: in the app's"
            " Volume tab, or with serving.pictures.volumes.read_volume."
        )
    (grey,) = volume.slices
    size = len(source) if isinstance(source, bytes) else Path(source).stat().st_size
    return Picture(
        grey, facts=FileFacts(volume.format, "", (grey.shape[1], grey.shape[0]), size, (), volume.facts)
    )


def summarise_volume(predictions: Sequence["Prediction"]) -> VolumeSummary:
    """Count what the slices of a volume say.

    A slice speaks for its label, however unsure, unless it is refused. The mean of the probabilities is the
    sum rule for combining answers about one object (Kittler et al. 1998, "On combining classifiers", equation
    12). The most affected slices rest on the standard assumption of multiple-instance learning, one positive
    slice makes a positive volume (Dietterich et al. 1997, section 1); but of 150 slices one says tumour by
    mistake even at 1 % false alarms, while a tumour shows on neighbouring slices: so the longest run is told.

    Args:
        predictions: of one volume, at least one, in the order of its slices.
    """
    said = [prediction.label or Verdict.not_brain_mri.value for prediction in predictions]
    scored = [number for number, prediction in enumerate(predictions) if prediction.in_domain]
    labels = tuple(predictions[0].probabilities)
    found = Counter(said)
    runs = [(label, len(list(run))) for label, run in groupby(said)]
    tumour = {number: 1 - predictions[number].probabilities.get(NO_TUMOUR, 0.0) for number in scored}
    means = (
        {
            label: float(np.mean([predictions[number].probabilities[label] for number in scored]))
            for label in labels
        }
        if scored
        else None
    )
    return VolumeSummary(
        counts={name: found[name] for name in (Verdict.not_brain_mri.value, *labels)},
        unlike_training=sum(prediction.verdict is Verdict.unlike_training for prediction in predictions),
        mean_probabilities=means,
        most_affected=tuple(sorted(scored, key=lambda number: (-tumour[number], number))[:_MOST_AFFECTED]),
        longest_runs={
            label: max((length for name, length in runs if name == label), default=0) for label in labels
        },
    )
