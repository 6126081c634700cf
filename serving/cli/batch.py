"""Many inputs at once, as `tumor predict` takes them: files, folders, patterns and standard input.

Goes in: arguments and a classifier. Comes out: an answer an input, ready for JSON, in the order of the
arguments; one that cannot be read is an answer, too. Pictures are scored in batches, and only one batch or
one volume is in memory at a time.
"""

import glob
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import IO

from serving.classifier import Classifier
from serving.cli.answers import Row, build_row, build_volume_row
from serving.cli.pictures import PictureWriter
from serving.files.entries import HEAD_BYTES, MAX_VOLUME_BYTES, read_start
from serving.files.errors import ImageError
from serving.model.runtime import MAX_BATCH
from serving.pictures.dicom import is_dicom
from serving.pictures.volumes import encode_volume_mask, is_volume, read_volume
from serving.preprocess import Picture, decode
from serving.summary import measure_area

STDIN = "-"


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
    classifier: Classifier, inputs: Sequence[Input], plane: str | None, writer: PictureWriter
) -> Iterator[Row]:
    """Answer input by input.

    Args:
        classifier: gives the answers.
        inputs: in the order of the answers.
        plane: for NIfTI, see `serving.pictures.volumes.read_volume`.
        writer: of the files that are wanted beside the answers.

    Yields:
        What `serving.cli.answers` builds, with the paths of what was written: `heatmap` and `mask` of a
        picture or slice; of NIfTI one `mask` of the whole volume.
    """
    for are_volumes, group in groupby(inputs, key=lambda one: one.is_volume):
        members = list(group)
        if are_volumes:
            yield from (_score_volume(classifier, one, plane, writer) for one in members)
        else:
            for start in range(0, len(members), MAX_BATCH):
                yield from _score_pictures(classifier, members[start : start + MAX_BATCH], writer)


def _score_pictures(classifier: Classifier, inputs: list[Input], writer: PictureWriter) -> Iterator[Row]:
    decoded = [_decode(one) for one in inputs]
    pictures = [picture for picture in decoded if isinstance(picture, Picture)]
    predictions = iter(classifier.predict_batch(pictures))
    for one, picture in zip(inputs, decoded, strict=True):
        if isinstance(picture, ImageError):
            yield build_row(one.name, str(picture))
        else:
            prediction = next(predictions)
            area = measure_area(prediction, picture.pixel_mm2)
            yield build_row(one.name, prediction, area) | writer.write(one.name, picture.grey, prediction)


def _decode(one: Input) -> Picture | ImageError:
    assert not isinstance(one.source, list)
    try:
        return one.source if isinstance(one.source, ImageError) else decode(one.source)
    except ImageError as error:
        return error


def _score_volume(classifier: Classifier, one: Input, plane: str | None, writer: PictureWriter) -> Row:
    assert not isinstance(one.source, ImageError)
    try:
        volume = read_volume(one.source, plane)
    except ImageError as error:
        return build_row(one.name, str(error))
    predictions = classifier.predict_batch(volume.pictures)
    row = build_volume_row(one.name, volume, predictions)
    is_nifti = volume.format == "NIfTI"
    for each, grey, prediction in zip(row.get("slices", [row]), volume.slices, predictions, strict=True):
        suffix = f"_slice{each['slice']:03d}" if "slice" in each else ""
        each.update(writer.write(one.name + suffix, grey, prediction, with_mask=not is_nifti))
    if is_nifti and writer.outlines is not None:
        masks = [mask for prediction in predictions if (mask := prediction.tumor_mask) is not None]
        row |= writer.write_volume(one.name, encode_volume_mask(one.source, plane, masks))
    return row


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
