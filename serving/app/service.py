"""Answers what people and scripts send to the app, on a few workers and in limited time.

Goes in: paths of uploads. Comes out: an `Answer` a file; of a volume its slices and their predictions. In a
batch a file that cannot be read is an answer too, so that one bad file never stops the rest. There are as
many workers as interpreters. Whoever waits longer than the limit gets an error.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from serving.classifier import Classifier, Prediction
from serving.files.entries import Entry, list_entries
from serving.files.errors import ImageError
from serving.model.runtime import MAX_BATCH, MAX_INTERPRETERS
from serving.pictures.anatomy import Volume
from serving.pictures.image_files import MAX_BYTES
from serving.pictures.volumes import read_volume
from serving.preprocess import Picture, decode, fit_to_square
from serving.summary import measure_area

# Requests that wait; further ones are told that the server is busy. How many of a kind are answered at once.
MAX_WAITING = 32
AT_ONCE = 4
SLICE_SECONDS = 20.0
# For a batch or a volume.
MANY_SECONDS = 180.0
MAX_BATCH_FILES = 1000
# Of a picture in a batch only this much is kept, to be shown when its row is opened.
KEPT_SIDE = 224

# Without the name, which the message of such an error would take into the server's log.
_GONE = "The file cannot be read any more. Send it again."

Task = TypeVar("Task")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Answer:
    """What came of one file.

    Attributes:
        name: of the file, as it was sent.
        picture: None where the file could not be read.
        prediction: None where the file could not be read.
        error: why the file could not be read; else empty.
        area_mm2: inside the outlines; None where the model outlines nothing, or the file does not say how
            large a pixel is.

    Example:
        >>> Answer("notes.txt", error="notes.txt is no picture.").prediction is None
        True
    """

    name: str
    picture: Picture | None = None
    prediction: Prediction | None = None
    error: str = ""
    area_mm2: float | None = None


class AnswerService:
    """Answers requests; safe to call from several threads.

    Attributes:
        classifier: gives the answers.

    Example:
        >>> AnswerService(from_pretrained()).answer_slice(Path("slice.png")).prediction  # doctest: +SKIP
        'glioma'
    """

    def __init__(self, classifier: Classifier):
        self.classifier = classifier
        self._workers = ThreadPoolExecutor(MAX_INTERPRETERS, "answers")

    def answer_slice(self, path: Path) -> Answer:
        """Answer one picture, or a DICOM or NIfTI file of one slice.

        Raises:
            ImageError: it cannot be read, or not in time.
        """
        (answer,) = self._run(self._score_slice, [path], time.monotonic() + SLICE_SECONDS)
        return answer

    def answer_batch(self, paths: Sequence[Path]) -> tuple[int, Iterator[list[Answer]]]:
        """Answer many pictures, and zips of pictures.

        Returns:
            Their number, and the answers, in order, some at a time.

        Raises:
            ImageError: there are none, or too many; the iterator raises it where they take too long.
        """
        deadline = time.monotonic() + MANY_SECONDS
        files = [file for path in paths for file in _list_files(path)]
        if not 0 < len(files) <= MAX_BATCH_FILES:
            text = f"Expected 1 to {MAX_BATCH_FILES:,} pictures, got {len(files):,}."
            raise ImageError(f"{text} Send fewer at a time.")
        return len(files), self._run(self._score_chunk, _split(files), deadline)

    def answer_volume(
        self, paths: Sequence[Path], plane: str | None
    ) -> tuple[Volume, Iterator[list[Prediction]]]:
        """Read a DICOM series or a NIfTI file, and answer each of its slices, some at a time.

        Args:
            paths: one file or zip, or the files of a series.
            plane: for NIfTI, one of `serving.pictures.anatomy.PLANES`; None: the one it was taken in.

        Raises:
            ImageError: it cannot be read, or not in time; the iterator raises it where answers take too long.
        """
        deadline = time.monotonic() + MANY_SECONDS
        sources = [paths[0] if len(paths) == 1 else paths]
        (volume,) = self._run(lambda source: read_volume(source, plane), sources, deadline)
        return volume, self._run(self.classifier.predict_batch, _split(volume.pictures), deadline)

    def _run(self, work: Callable[[Task], Result], tasks: list[Task], deadline: float) -> Iterator[Result]:
        """Give results in order; keep every worker busy, and few results in memory.

        Once the deadline has passed, or whoever takes the results has left, no further task begins.
        """
        waiting, pending = deque(tasks), deque[Future[Result]]()
        try:
            while waiting or pending:
                while waiting and len(pending) <= MAX_INTERPRETERS:
                    pending.append(self._workers.submit(work, waiting.popleft()))
                yield pending[0].result(max(0.0, deadline - time.monotonic()))
                pending.popleft()
        except TimeoutError as error:
            text = "This took too long: the server is busy, or the file is too much work."
            raise ImageError(f"{text} Try again later, or with less.") from error
        except OSError as error:
            raise ImageError(_GONE) from error
        finally:
            for future in pending:
                future.cancel()

    def _score_slice(self, path: Path) -> Answer:
        picture = decode(path)
        return _answer(path.name, picture, self.classifier.predict(picture))

    def _score_chunk(self, files: Sequence[Entry | Answer]) -> list[Answer]:
        """Read up to `MAX_BATCH` files and score together those that could be read."""
        answers, fit = [_read_file(file) for file in files], self.classifier.config.image_fit
        pictures = [answer.picture for answer in answers if answer.picture is not None]
        predictions = iter(self.classifier.predict_batch(pictures))
        for at, answer in enumerate(answers):
            if answer.picture is not None:
                thumbnail = Picture(fit_to_square(answer.picture.grey, KEPT_SIDE, fit)[..., 0])
                answers[at] = replace(
                    _answer(answer.name, answer.picture, next(predictions)), picture=thumbnail
                )
        return answers


def _answer(name: str, picture: Picture, prediction: Prediction) -> Answer:
    return Answer(name, picture, prediction, area_mm2=measure_area(prediction, picture.pixel_mm2))


def _split(items: Sequence[Task]) -> list[Sequence[Task]]:
    return [items[start : start + MAX_BATCH] for start in range(0, len(items), MAX_BATCH)]


def _list_files(path: Path) -> list[Entry | Answer]:
    """The file, or the members of a zip; what cannot be opened is an answer already."""
    try:
        return list(list_entries(path))
    except ImageError as error:
        return [Answer(path.name, error=str(error))]
    except OSError:
        return [Answer(path.name, error=_GONE)]


def _read_file(file: Entry | Answer) -> Answer:
    if isinstance(file, Answer):
        return file
    try:
        with file.open() as stream:
            return Answer(file.name, decode(stream.read(MAX_BYTES + 1)))
    except ImageError as error:
        return Answer(file.name, error=str(error))
    except OSError:
        return Answer(file.name, error=_GONE)
