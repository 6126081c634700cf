"""Many inputs at once, as `tumor predict` takes them: files, folders, patterns and standard input; pictures and volumes.

Goes in: arguments and a classifier. Comes out: an answer an input, ready for JSON, in the order of the
arguments; one that cannot be read is an answer, too. Pictures are scored in batches, and only one batch or
one volume is in memory at a time.
"""

import glob
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import IO, Any

import numpy as np
from PIL import Image

from serving.classifier import Classifier, Prediction
from serving.files.entries import HEAD_BYTES, MAX_VOLUME_BYTES
from serving.files.errors import ImageError
from serving.model.explain import overlay_heatmap
from serving.model.runtime import MAX_BATCH
from serving.pictures.dicom import is_dicom
from serving.pictures.volumes import is_volume, read_volume
from serving.preprocess import Picture, decode
from serving.summary import summarise_volume

STDIN = "-"


@dataclass(frozen=True)
class Input:
    """One thing to be answered.

    Attributes:
        name: as it is named in the answer.
        source: a file, the DICOM files of one folder, or the content of a file; an `ImageError` where there
            is nothing.
        is_volume: whether it may hold several slices.
    """

    name: str
    source: Path | list[Path] | bytes | ImageError
    is_volume: bool = False


def find_inputs(arguments: Sequence[str], stdin: IO[bytes]) -> list[Input]:
    """Resolve arguments, each by the first that fits: `-`, a folder, a file, a pattern.

    A folder stands for all files in it and its subfolders but hidden ones; DICOM files that lie in the same
    folder are one volume.

    Args:
        arguments: as on a command line; patterns as `glob.glob` knows them, with `**` for any depth.
        stdin: read once, where `-` is among them.
    """
    found: list[Input] = []
    for argument in arguments:
        if argument == STDIN:
            content = stdin.read(MAX_VOLUME_BYTES + 1)
            found.append(Input("stdin", content, is_volume(content[:HEAD_BYTES])))
        elif os.path.isdir(argument):
            found += _find_in_folder(Path(argument))
        elif os.path.lexists(argument) or not glob.has_magic(argument):
            found.append(_open(Path(argument)))
        else:
            matches = [
                match for match in sorted(glob.glob(argument, recursive=True)) if os.path.isfile(match)
            ]
            found += [_open(Path(match)) for match in matches] or [
                Input(argument, ImageError(f"{argument} matches no file."))
            ]
    return found


def score_inputs(
    classifier: Classifier, inputs: Sequence[Input], plane: str | None, heatmaps: Path | None
) -> Iterator[dict[str, Any]]:
    """Answer input by input.

    Args:
        classifier: answers.
        inputs: see `find_inputs`.
        plane: for NIfTI, see `serving.pictures.volumes.read_volume`.
        heatmaps: folder for an overlay a scored slice, named in the answer; None: none are made.

    Yields:
        For a picture `file` and the fields of `Prediction.to_dict`; DICOM and NIfTI of one slice have
        `format`, `plane`, `facts` and `skipped` as well; those of several have, in place of the prediction,
        `summary` and `slices`, a list with `slice` (from 0), `position_mm` and the fields of a prediction
        each. What cannot be read has `file` and `error`. `heatmap` is the overlay's path.
    """
    writer = _HeatmapWriter(classifier.config.image_fit, heatmaps)
    for are_volumes, group in groupby(inputs, key=lambda one: one.is_volume):
        members = list(group)
        if are_volumes:
            yield from (_score_volume(classifier, one, plane, writer) for one in members)
        else:
            for start in range(0, len(members), MAX_BATCH):
                yield from _score_pictures(classifier, members[start : start + MAX_BATCH], writer)


def _score_pictures(
    classifier: Classifier, inputs: Sequence[Input], writer: "_HeatmapWriter"
) -> list[dict[str, Any]]:
    decoded: list[Picture | ImageError] = [_decode(one) for one in inputs]
    pictures = [picture for picture in decoded if isinstance(picture, Picture)]
    predictions = iter(classifier.predict_batch(pictures))
    rows = []
    for one, picture in zip(inputs, decoded, strict=True):
        if isinstance(picture, ImageError):
            rows.append({"file": one.name, "error": str(picture)})
        else:
            prediction = next(predictions)
            rows.append(
                {"file": one.name} | prediction.to_dict() | writer.write(one.name, picture.grey, prediction)
            )
    return rows


def _decode(one: Input) -> Picture | ImageError:
    try:
        if isinstance(one.source, ImageError):
            return one.source
        assert not isinstance(one.source, list)
        return decode(one.source)
    except ImageError as error:
        return error


def _score_volume(
    classifier: Classifier, one: Input, plane: str | None, writer: "_HeatmapWriter"
) -> dict[str, Any]:
    assert not isinstance(one.source, ImageError)
    try:
        volume = read_volume(one.source, plane)
    except ImageError as error:
        return {"file": one.name, "error": str(error)}
    predictions = classifier.predict_batch(volume.slices)
    described = {
        "file": one.name,
        "format": volume.format,
        "plane": volume.plane,
        "facts": volume.facts,
        "skipped": list(volume.skipped),
    }
    if len(predictions) == 1:
        return described | predictions[0].to_dict() | writer.write(one.name, volume.slices[0], predictions[0])
    positions = volume.positions or (None,) * len(predictions)
    rows = []
    for number, (grey, position, prediction) in enumerate(
        zip(volume.slices, positions, predictions, strict=True)
    ):
        where = {"slice": number, "position_mm": position}
        rows.append(
            where | prediction.to_dict() | writer.write(f"{one.name}_slice{number:03d}", grey, prediction)
        )
    return described | {"summary": asdict(summarise_volume(predictions)), "slices": rows}


class _HeatmapWriter:
    """Writes overlays under names that no two of one run share."""

    def __init__(self, fit: str, folder: Path | None):
        self.fit, self.folder, self.count = fit, folder, 0

    def write(self, name: str, grey: np.ndarray, prediction: Prediction) -> dict[str, str]:
        if self.folder is None or prediction.label is None:
            return {}
        self.count += 1
        stem = re.sub(r"[^\w.-]", "_", Path(name).name)[:100]
        path = self.folder / f"{self.count:04d}_{stem}_{prediction.label}.png"
        temporary = path.with_name(f"{path.name}.partial")
        Image.fromarray(overlay_heatmap(grey, prediction.heatmap, self.fit)).save(temporary, "PNG")
        temporary.replace(path)
        return {"heatmap": str(path)}


def _find_in_folder(folder: Path) -> list[Input]:
    """Pictures one by one, DICOM files by folder, in the order of their paths."""
    found = []
    for parent, _, names in sorted(os.walk(folder)):
        paths = [Path(parent, name) for name in sorted(names) if not name.startswith(".")]
        opened = [_open(path) for path in paths if os.path.isfile(path)]
        series = [
            one.source
            for one in opened
            if one.is_volume and isinstance(one.source, Path) and _is_dicom(one.source)
        ]
        found += [one for one in opened if one.source not in series]
        if series:
            found.append(Input(str(parent if len(series) > 1 else series[0]), series, is_volume=True))
    return found or [Input(str(folder), ImageError(f"{folder.name} holds no file."))]


def _open(path: Path) -> Input:
    # A pipe or a device would be waited for, and what its first bytes were is gone when the rest is read.
    if os.path.exists(path) and not os.path.isfile(path):
        return Input(
            str(path),
            ImageError(f"{path.name} is no regular file. Hand it over as standard input: tumor predict -"),
        )
    return Input(str(path), path, is_volume(_read_head(path)))


def _is_dicom(path: Path) -> bool:
    return is_dicom(_read_head(path))


def _read_head(path: Path) -> bytes:
    """The first bytes; none where a file cannot be read, which scoring will say."""
    try:
        with path.open("rb") as file:
            return file.read(HEAD_BYTES)
    except OSError:
        return b""
