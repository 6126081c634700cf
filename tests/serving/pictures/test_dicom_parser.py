"""Reading DICOM leaves the process as it was, and nothing that pydicom says of a header gets out."""

import io
import subprocess
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pydicom
import pytest

from serving.files.entries import HEAD_BYTES, Entry
from serving.files.errors import ImageError
from serving.pictures.anatomy import Volume
from serving.pictures.dicom import read_dicom
from tests.bad_volumes import PATIENT, make_dicom, save_dicom
from tests.process_state import describe_process

ROOT = Path(__file__).resolve().parents[3]


class File:
    """A file in memory; whoever opens it says so and waits until it may go on.

    It is opened twice: for its header and for its pixels.
    """

    def __init__(self, content: bytes):
        self.content, self.opened, self.may_go_on = content, threading.Event(), threading.Event()

    def open(self) -> io.BytesIO:
        self.opened.set()
        assert self.may_go_on.wait(timeout=60)
        return io.BytesIO(self.content)

    def read(self) -> Volume:
        return read_dicom([Entry("a.dcm", self.content[:HEAD_BYTES], self.open)])


def read_content(content: bytes) -> Volume:
    file = File(content)
    file.may_go_on.set()
    return file.read()


@pytest.fixture
def wrong() -> bytes:
    """A slice that pydicom warns of when it reads the header and when it decodes; it quotes the values."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = make_dicom(SpecificCharacterSet=PATIENT, SeriesInstanceUID=f"1.2.{PATIENT}")
        dataset.PixelData += bytes(64)
        return save_dicom(dataset)


def test_pydicom_warns_of_the_slice(wrong):
    with pytest.warns(UserWarning, match=PATIENT.replace("^", r"\^")) as caught:
        assert pydicom.dcmread(io.BytesIO(wrong)).pixel_array.any()
    assert "excess padding" in str(caught.list[-1].message)


def test_import_and_reading_leave_the_process_as_it_was(tmp_path, wrong):
    (tmp_path / "a.dcm").write_bytes(wrong)
    code = (
        "import pydicom, pydicom.pixels, pydicom.pixels.decoders\n"
        "from tests.process_state import describe_process\n"
        "before = describe_process()\n"
        "import serving.pictures.volumes, serving.preprocess\n"
        "assert describe_process() == before, 'import'\n"
        f"serving.preprocess.decode({str(tmp_path / 'a.dcm')!r})\n"
        "assert describe_process() == before, 'reading'\n"
    )
    finished = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr[-2000:]
    assert finished.stdout + finished.stderr == ""


def test_two_threads_that_read_at_once_leave_the_process_as_it_was(wrong, caplog, recwarn):
    before, first, second = describe_process(), File(wrong), File(wrong)
    with ThreadPoolExecutor(2) as workers:
        futures = [workers.submit(file.read) for file in (first, second)]
        assert first.opened.wait(timeout=60)
        assert second.opened.wait(timeout=60)
        # The one who comes last goes on alone, and is as silent.
        for file, future in zip((first, second), futures, strict=True):
            file.may_go_on.set()
            assert len(future.result(timeout=60).slices) == 1
    assert describe_process() == before
    assert caplog.records == recwarn.list == []


def test_damaged_files_leave_the_process_as_it_was(wrong):
    before = describe_process()
    with pytest.raises(ImageError, match="damaged pixels"):
        read_content(wrong[:-1000])
    assert describe_process() == before


@pytest.mark.parametrize("action", ["always", "error"])
def test_nothing_is_said_of_a_header(wrong, caplog, capfd, action):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter(action)
        assert read_content(wrong).facts["modality"] == "MR"
    assert caught == caplog.records == []
    assert PATIENT not in "".join(capfd.readouterr())


def test_other_threads_are_warned_while_one_reads(wrong, caplog):
    file, mode = File(wrong), pydicom.config.settings.reading_validation_mode
    with ThreadPoolExecutor(1) as workers:
        future = workers.submit(file.read)
        assert file.opened.wait(timeout=60)
        with pytest.warns(UserWarning, match="of another thread") as caught:
            pydicom.misc.warn_and_log("of another thread")
        assert caught.list[0].filename == __file__
        assert [record.message for record in caplog.records] == ["of another thread"]
        assert pydicom.config.settings.reading_validation_mode == mode
        file.may_go_on.set()
        assert len(future.result(timeout=60).slices) == 1
