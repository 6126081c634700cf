"""The app's desk: answers what people and scripts send, on a few workers and in limited time.

Goes in: paths of uploads. Comes out: an `Answer` a file, and a `VolumeAnswer` a volume. In a batch a file
that cannot be read is an answer too, so that one bad file never stops the rest. Decoding and scoring happen
on as many workers as there are interpreters, and whoever waits longer than the limit is told so.
"""

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from serving.classifier import Classifier, Prediction
from serving.files.entries import Entry, list_entries
from serving.files.errors import ImageError
from serving.model.runtime import MAX_BATCH, MAX_INTERPRETERS
from serving.pictures.anatomy import Volume
from serving.pictures.image_files import MAX_BYTES
from serving.pictures.volumes import read_volume
from serving.preprocess import Picture, decode, fit_to_square
from serving.summary import VolumeSummary, summarise_volume

SLICE_SECONDS = 20.0
# For a batch or a volume.
MANY_SECONDS = 180.0
MAX_BATCH_FILES = 1000
# Of a picture in a batch only this much is kept, for its thumbnail.
KEPT_SIDE = 96

Result = TypeVar("Result")


@dataclass(frozen=True)
class Answer:
    """What came of one file.

    Attributes:
        name: of the file, as it was sent.
        picture: None where the file could not be read.
        prediction: None where the file could not be read.
        error: why the file could not be read; else empty.
    """

    name: str
    picture: Picture | None
    prediction: Prediction | None
    error: str = ""


@dataclass(frozen=True)
class VolumeAnswer:
    """What came of one volume: its slices, an answer for each, and all of them together."""

    volume: Volume
    predictions: list[Prediction]
    summary: VolumeSummary


class Desk:
    """Answers requests; safe to call from several threads.

    Attributes:
        classifier: gives the answers.
    """

    def __init__(self, classifier: Classifier):
        self.classifier = classifier
        self._workers = ThreadPoolExecutor(MAX_INTERPRETERS, "desk")

    def answer_slice(self, path: Path) -> Answer:
        """Answer one picture, or a DICOM or NIfTI file of one slice.

        Raises:
            ImageError: it cannot be read, or not in time.
        """
        return _wait(self._workers.submit(self._score_slice, path), time.monotonic() + SLICE_SECONDS)

    def answer_batch(self, paths: Sequence[Path]) -> tuple[int, Iterator[list[Answer]]]:
        """Answer many pictures.

        Args:
            paths: of pictures, and of zips of pictures.

        Returns:
            Their number, and the answers, in order, some at a time.

        Raises:
            ImageError: there are none, or too many; the iterator raises it where they take too long.
        """
        deadline = time.monotonic() + MANY_SECONDS
        files = [file for path in paths for file in _list_files(path)]
        if not 0 < len(files) <= MAX_BATCH_FILES:
            raise ImageError(
                f"Expected 1 to {MAX_BATCH_FILES:,} pictures, got {len(files):,}. Send fewer at a time."
            )
        return len(files), self._score_in_turn(files, deadline)

    def answer_volume(self, paths: Sequence[Path], plane: str | None) -> VolumeAnswer:
        """Answer a DICOM series or a NIfTI file.

        Args:
            paths: one file or zip, or the files of a series.
            plane: for NIfTI, one of `serving.pictures.anatomy.PLANES`; None: the one it was taken in.

        Raises:
            ImageError: it cannot be read, or not in time.
        """
        deadline = time.monotonic() + MANY_SECONDS
        volume = _wait(
            self._workers.submit(read_volume, paths[0] if len(paths) == 1 else paths, plane), deadline
        )
        starts = range(0, len(volume.slices), MAX_BATCH)
        futures = [
            self._workers.submit(self.classifier.predict_batch, volume.slices[start : start + MAX_BATCH])
            for start in starts
        ]
        predictions = [prediction for future in futures for prediction in _wait(future, deadline)]
        return VolumeAnswer(volume, predictions, summarise_volume(predictions))

    def _score_slice(self, path: Path) -> Answer:
        picture = decode(path)
        return Answer(path.name, picture, self.classifier.predict(picture))

    def _score_in_turn(self, files: list[Entry | Answer], deadline: float) -> Iterator[list[Answer]]:
        """Keep every worker busy, and few pictures in memory."""
        pending: list[Future[list[Answer]]] = []
        for start in range(0, len(files), MAX_BATCH):
            pending.append(self._workers.submit(self._score_chunk, files[start : start + MAX_BATCH]))
            if len(pending) > MAX_INTERPRETERS:
                yield _wait(pending.pop(0), deadline)
        for future in pending:
            yield _wait(future, deadline)

    def _score_chunk(self, files: Sequence[Entry | Answer]) -> list[Answer]:
        """Read up to `MAX_BATCH` files and score together those that could be read."""
        config = self.classifier.config
        answers, inputs, coloured = [_read_file(file) for file in files], [], []
        for at, answer in enumerate(answers):
            if answer.picture is not None:
                inputs.append(fit_to_square(answer.picture.grey, config.image_size, config.image_fit))
                coloured.append(answer.picture.coloured)
                kept = Picture(fit_to_square(answer.picture.grey, KEPT_SIDE, config.image_fit)[..., 0])
                answers[at] = Answer(answer.name, kept, None)
        predictions = iter(self.classifier.score(np.stack(inputs), np.array(coloured)) if inputs else ())
        return [
            answer if answer.picture is None else Answer(answer.name, answer.picture, next(predictions))
            for answer in answers
        ]


def _wait(future: "Future[Result]", deadline: float) -> Result:
    """The result of a worker, until the deadline; a worker that has not begun never will."""
    try:
        return future.result(max(0.0, deadline - time.monotonic()))
    except TimeoutError as error:
        future.cancel()
        raise ImageError(
            "This took too long: the server is busy, or the file is too much work. Try again later, or with"
            " less."
        ) from error


def _list_files(path: Path) -> list[Entry | Answer]:
    """The file, or the members of a zip; what cannot be opened is an answer already."""
    try:
        return list(list_entries(path))
    except ImageError as error:
        return [Answer(path.name, None, None, error=str(error))]


def _read_file(file: Entry | Answer) -> Answer:
    if isinstance(file, Answer):
        return file
    try:
        with file.open() as stream:
            return Answer(file.name, decode(stream.read(MAX_BYTES + 1)), None)
    except ImageError as error:
        return Answer(file.name, None, None, error=str(error))
