import threading

import numpy as np
import pytest
from PIL import Image

from serving import ImageError, from_pretrained
from serving.app import service
from serving.app.service import AnswerService
from serving.app.views import EXAMPLES
from serving.model.runtime import MAX_BATCH, MAX_INTERPRETERS
from serving.pictures.anatomy import Volume
from tests.draw_dicom import write_series

PATHS = sorted(EXAMPLES.glob("*.png"))


@pytest.fixture(scope="module")
def answers() -> AnswerService:
    return AnswerService(from_pretrained())


def test_batch_keeps_the_order_over_several_chunks(answers, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"")
    files = [*PATHS * 5, tmp_path / "bad.png", *PATHS]
    total, chunks = answers.answer_batch(files)
    found = [answer for chunk in chunks for answer in chunk]
    assert total == len(found) == 25
    assert [answer.prediction and answer.prediction.label for answer in found] == [
        None if path.stem == "bad" else path.stem for path in files
    ]
    assert "is empty" in found[20].error
    assert all(max(answer.picture.grey.shape) <= service.KEPT_SIDE for answer in found if answer.picture)


def test_too_many_files_are_refused(answers, monkeypatch):
    monkeypatch.setattr(service, "MAX_BATCH_FILES", 3)
    with pytest.raises(ImageError, match="1 to 3 pictures, got 4"):
        answers.answer_batch(PATHS)


def test_files_that_vanish_while_they_are_read(answers, tmp_path, monkeypatch):
    """As when another program clears the folder: the answer says so, and the log has no name of a file."""

    def vanish(path, limit=0):
        raise FileNotFoundError(2, "No such file or directory", str(path))

    monkeypatch.setattr(service, "decode", vanish)
    monkeypatch.setattr(service, "read_volume", vanish)
    with pytest.raises(ImageError, match="cannot be read any more"):
        answers.answer_slice(PATHS[0])
    with pytest.raises(ImageError, match="cannot be read any more"):
        answers.answer_volume([PATHS[0]], None)
    _, chunks = answers.answer_batch(PATHS)
    assert [answer.error for answer in next(chunks)] == [service._GONE] * len(PATHS)


class SlowClassifier:
    """Counts the chunks that it is asked for, and answers none before `release`."""

    config = from_pretrained().config

    def __init__(self):
        self.asked, self.release = 0, threading.Event()

    def predict_batch(self, sources):
        self.asked += 1
        assert self.release.wait(60)
        return [None] * len(sources)

    def predict(self, source):
        return self.predict_batch([source])[0]


@pytest.fixture
def slow(monkeypatch):
    """A service whose every worker is busy with its first chunk until the deadline, and its classifier."""
    monkeypatch.setattr(service, "SLICE_SECONDS", 1.0)
    monkeypatch.setattr(service, "MANY_SECONDS", 1.0)
    pixels = np.zeros((9, 9), np.uint8)
    volume = Volume((pixels,) * 10 * MAX_INTERPRETERS * MAX_BATCH, "DICOM", None, None, {}, ())
    monkeypatch.setattr(service, "read_volume", lambda source, plane: volume)
    slow = AnswerService(SlowClassifier())
    yield slow
    slow.classifier.release.set()


def count_chunks(slow: AnswerService) -> int:
    """Let the workers finish all that they still have to do; the chunks that were computed."""
    slow.classifier.release.set()
    slow._workers.shutdown(wait=True)
    return slow.classifier.asked


def test_slice_that_takes_too_long(slow):
    with pytest.raises(ImageError, match="took too long"):
        slow.answer_slice(PATHS[0])


def test_slice_that_waits_too_long_is_not_computed(slow):
    for _ in range(MAX_INTERPRETERS):
        slow._workers.submit(slow.classifier.release.wait, 60)
    with pytest.raises(ImageError, match="took too long"):
        slow.answer_slice(PATHS[0])
    assert count_chunks(slow) == 0


def test_volume_that_takes_too_long_is_not_computed_any_further(slow):
    with pytest.raises(ImageError, match="took too long"):
        list(slow.answer_volume([PATHS[0]], None)[1])
    assert count_chunks(slow) <= MAX_INTERPRETERS


def test_batch_that_takes_too_long_is_not_computed_any_further(slow):
    _, chunks = slow.answer_batch(PATHS * 10 * MAX_INTERPRETERS)
    with pytest.raises(ImageError, match="took too long"):
        list(chunks)
    assert count_chunks(slow) <= MAX_INTERPRETERS


def test_batch_whose_reader_leaves_is_not_computed_any_further(slow, monkeypatch):
    monkeypatch.setattr(service, "MANY_SECONDS", 60.0)
    slow.classifier.release.set()
    _, chunks = slow.answer_batch(PATHS * 10 * MAX_INTERPRETERS)
    next(chunks)
    chunks.close()
    assert count_chunks(slow) <= MAX_INTERPRETERS + 1


def test_one_dicom_slice_and_a_series(answers, tmp_path):
    pytest.importorskip("pydicom")
    grey = np.asarray(Image.open(EXAMPLES / "glioma.png").convert("L"))
    files = write_series(tmp_path / "series", grey, slices=3)
    single = answers.answer_slice(files[0])
    assert single.prediction.label == "glioma"
    assert single.picture.facts.format == "DICOM"
    volume, chunks = answers.answer_volume(files, None)
    assert len(volume.slices) == 3
    assert [prediction.label for chunk in chunks for prediction in chunk] == ["glioma"] * 3
