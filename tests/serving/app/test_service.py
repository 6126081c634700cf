import time

import numpy as np
import pytest
from PIL import Image

from serving import ImageError, from_pretrained
from serving.app import service as desk
from serving.app.page import EXAMPLES
from serving.app.service import Desk
from tests.draw_dicom import write_series

PATHS = sorted(EXAMPLES.glob("*.png"))


@pytest.fixture(scope="module")
def one_desk() -> Desk:
    return Desk(from_pretrained())


def test_batch_keeps_the_order_over_several_chunks(one_desk, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"")
    files = [*PATHS * 5, tmp_path / "bad.png", *PATHS]
    total, chunks = one_desk.answer_batch(files)
    answers = [answer for chunk in chunks for answer in chunk]
    assert total == len(answers) == 25
    assert [answer.prediction and answer.prediction.label for answer in answers] == [
        None if path.stem == "bad" else path.stem for path in files
    ]
    assert "is empty" in answers[20].error
    assert all(max(answer.picture.grey.shape) <= desk.KEPT_SIDE for answer in answers if answer.picture)


def test_too_many_files_are_refused(one_desk, monkeypatch):
    monkeypatch.setattr(desk, "MAX_BATCH_FILES", 3)
    with pytest.raises(ImageError, match="1 to 3 pictures, got 4"):
        one_desk.answer_batch(PATHS)


def test_work_that_takes_too_long_is_told_so(one_desk, monkeypatch):
    monkeypatch.setattr(desk, "SLICE_SECONDS", 0.05)
    monkeypatch.setattr(one_desk.classifier, "predict", lambda picture: time.sleep(0.5))
    start = time.monotonic()
    with pytest.raises(ImageError, match="took too long"):
        one_desk.answer_slice(PATHS[0])
    assert time.monotonic() - start < 0.4


def test_one_dicom_slice_and_a_series(one_desk, tmp_path):
    pytest.importorskip("pydicom")
    files = write_series(
        tmp_path / "series", np.asarray(Image.open(EXAMPLES / "glioma.png").convert("L")), slices=3
    )
    single = one_desk.answer_slice(files[0])
    assert single.prediction.label == "glioma"
    assert single.picture.facts.format == "DICOM"
    volume = one_desk.answer_volume(files, None)
    assert len(volume.predictions) == len(volume.volume.slices) == 3
    assert volume.summary.counts["glioma"] == 3
