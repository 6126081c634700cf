"""Many inputs at once, as `tumor predict` takes them: files, folders, patterns and standard input.

Goes in: arguments and a classifier. Comes out: an answer an input, ready for JSON, in the order of the
arguments; one that cannot be read is an answer, too. Pictures are scored in batches, and only one batch or
one volume is in memory at a time.
"""

import errno
import glob
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image

from serving.classifier import Classifier, Prediction
from serving.cli.answers import Row, build_row, build_volume_row
from serving.cli.terminal import describe_os_error
from serving.files.entries import HEAD_BYTES, MAX_VOLUME_BYTES, read_start
from serving.files.errors import ImageError
from serving.files.writing import cut_name, replace_whole
from serving.model.explain import overlay_heatmap
from serving.model.runtime import MAX_BATCH
from serving.pictures.dicom import is_dicom
from serving.pictures.volumes import is_volume, read_volume
from serving.preprocess import Picture, decode

STDIN = "-"
# Of a picture's name in that of its overlay; a name has at most 255 bytes, its temporary one included.
_MOST_STEM_BYTES = 100


@dataclass(frozen=True)
class Input:
    """One thing to be answered.

    Attributes:
        name: as it is named in the answer.
        source: a file, the DICOM files of one folder, or the content of a file; an `ImageError` where there
            is nothing.
        is_volume: whether it may hold several slices.

    Example:
        >>> Input("scan.png", Path("scan.png")).is_volume
        False
    """

    name: str
    source: Path | list[Path] | bytes | ImageError
    is_volume: bool = False


def find_inputs(arguments: Sequence[str], stdin: IO[bytes]) -> list[Input]:
    """Resolve arguments, each by the first that fits: `-`, a folder, a file, a pattern.

    A folder stands for all files in it and its subfolders but hidden ones; DICOM files that lie in the same
    folder are one volume. Patterns are those of `glob.glob`, with `**` for any depth.
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
            matches = filter(os.path.isfile, sorted(glob.glob(argument, recursive=True)))
            none = Input(argument, ImageError(f"{argument} matches no file."))
            found += [_open(Path(match)) for match in matches] or [none]
    return found


def score_inputs(
    classifier: Classifier, inputs: Sequence[Input], plane: str | None, heatmaps: Path | None
) -> Iterator[Row]:
    """Answer input by input.

    `plane` is for NIfTI, see `serving.pictures.volumes.read_volume`; `heatmaps` is a folder that gets an
    overlay a scored slice.

    Yields:
        What `serving.cli.answers` builds; `heatmap` of a picture or slice is the overlay's path.
    """
    writer = _HeatmapWriter(classifier.config.image_fit, heatmaps)
    for are_volumes, group in groupby(inputs, key=lambda one: one.is_volume):
        members = list(group)
        if are_volumes:
            yield from (_score_volume(classifier, one, plane, writer) for one in members)
        else:
            for start in range(0, len(members), MAX_BATCH):
                yield from _score_pictures(classifier, members[start : start + MAX_BATCH], writer)


def _score_pictures(classifier: Classifier, inputs: list[Input], writer: "_HeatmapWriter") -> Iterator[Row]:
    decoded = [_decode(one) for one in inputs]
    pictures = [picture for picture in decoded if isinstance(picture, Picture)]
    predictions = iter(classifier.predict_batch(pictures))
    for one, picture in zip(inputs, decoded, strict=True):
        if isinstance(picture, ImageError):
            yield build_row(one.name, str(picture))
        else:
            prediction = next(predictions)
            yield build_row(one.name, prediction) | writer.write(one.name, picture.grey, prediction)


def _decode(one: Input) -> Picture | ImageError:
    assert not isinstance(one.source, list)
    try:
        return one.source if isinstance(one.source, ImageError) else decode(one.source)
    except ImageError as error:
        return error


def _score_volume(classifier: Classifier, one: Input, plane: str | None, writer: "_HeatmapWriter") -> Row:
    assert not isinstance(one.source, ImageError)
    try:
        volume = read_volume(one.source, plane)
    except ImageError as error:
        return build_row(one.name, str(error))
    predictions = classifier.predict_batch(volume.pictures)
    row = build_volume_row(one.name, volume, predictions)
    for each, grey, prediction in zip(row.get("slices", [row]), volume.slices, predictions, strict=True):
        suffix = f"_slice{each['slice']:03d}" if "slice" in each else ""
        each.update(writer.write(one.name + suffix, grey, prediction))
    return row


class _HeatmapWriter:
    """Writes overlays under names that no two of one run share."""

    def __init__(self, fit: str, folder: Path | None):
        self.fit, self.folder, self.count = fit, folder, 0

    def write(self, name: str, grey: np.ndarray, prediction: Prediction) -> dict[str, str]:
        if self.folder is None or prediction.label is None:
            return {}
        self.count += 1
        stem = cut_name(re.sub(r"[^\w.-]", "_", Path(name).name), _MOST_STEM_BYTES)
        path = self.folder / f"{self.count:04d}_{stem}_{prediction.label}.png"
        try:
            with replace_whole(path) as partial:
                Image.fromarray(overlay_heatmap(grey, prediction.heatmap, self.fit)).save(partial, "PNG")
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):  # the next would fail as well
                raise
            return {"error": f"Its heat map cannot be written. {describe_os_error(error)}"}
        return {"heatmap": str(path)}


def _find_in_folder(folder: Path) -> list[Input]:
    """Pictures one by one, DICOM files by folder, in the order of their paths."""
    found = []
    for parent, _, names in sorted(os.walk(folder)):
        paths = [Path(parent, name) for name in sorted(names) if not name.startswith(".")]
        heads = {path: _read_head(path) for path in paths if os.path.isfile(path)}
        series = [path for path, head in heads.items() if is_dicom(head)]
        found += [Input(str(path), path, is_volume(heads[path])) for path in heads if path not in series]
        if series:
            found.append(Input(str(parent if len(series) > 1 else series[0]), series, is_volume=True))
    return found or [Input(str(folder), ImageError(f"{folder.name} holds no file."))]


def _open(path: Path) -> Input:
    # A pipe or a device would be waited for, and what its first bytes were is gone when the rest is read.
    if os.path.exists(path) and not os.path.isfile(path):
        text = f"{path.name} is no regular file. Hand it over as standard input: tumor predict -"
        return Input(str(path), ImageError(text))
    return Input(str(path), path, is_volume(_read_head(path)))


def _read_head(path: Path) -> bytes:
    """The first bytes; none where a file cannot be read, which scoring will say."""
    try:
        return read_start(path, HEAD_BYTES)
    except ImageError:
        return b""
