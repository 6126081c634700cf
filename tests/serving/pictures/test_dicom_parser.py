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
from serving.pictures.dicom import read_dicom
from tests.bad_volumes import PATIENT, make_dicom, save_dicom
from tests.process_state import describe_process

ROOT = Path(__file__).resolve().parents[3]


def make_entry(content: bytes, before: threading.Barrier | None = None) -> Entry:
    """A file that is opened once all who read at once have come so far."""

    def open_file() -> io.BytesIO:
        if before is not None:
            before.wait(timeout=60)
        return io.BytesIO(content)

    return Entry("a.dcm", content[:HEAD_BYTES], open_file)


@pytest.fixture
def wrong() -> bytes:
    """A slice whose fields break the rules of their types, which pydicom warns of, and quotes."""
    fields = {"ScanningSequence": PATIENT, "ImageType": [PATIENT], "RescaleSlope": "1.0000000000000000000001"}
    return save_dicom(make_dicom(RescaleIntercept="0", **fields))


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


def test_two_threads_that_read_at_once_leave_the_process_as_it_was(wrong):
    before, barrier = describe_process(), threading.Barrier(2)
    entries = [make_entry(wrong, barrier), make_entry(wrong, barrier)]
    with ThreadPoolExecutor(2) as workers:
        # A file is opened twice: for its header and for its pixels.
        volumes = list(workers.map(lambda entry: read_dicom([entry]), entries, timeout=60))
    assert [len(volume.slices) for volume in volumes] == [1, 1]
    assert describe_process() == before


def test_damaged_files_leave_the_process_as_it_was(wrong):
    before = describe_process()
    with pytest.raises(ImageError, match="damaged pixels"):
        read_dicom([make_entry(wrong[:-1000])])
    assert describe_process() == before


@pytest.mark.parametrize("action", ["always", "error"])
def test_nothing_is_said_of_a_header(wrong, caplog, capfd, action):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter(action)
        assert read_dicom([make_entry(wrong)]).facts["modality"] == "MR"
    assert caught == []
    assert caplog.records == []
    assert PATIENT not in "".join(capfd.readouterr())


def test_other_threads_are_warned_while_one_reads(wrong, caplog):
    mode = pydicom.config.settings.reading_validation_mode
    opened, barrier = threading.Event(), threading.Barrier(2)

    def open_file() -> io.BytesIO:
        opened.set()
        barrier.wait(timeout=60)
        return io.BytesIO(wrong)

    with ThreadPoolExecutor(1) as workers:
        future = workers.submit(read_dicom, [Entry("a.dcm", wrong[:HEAD_BYTES], open_file)])
        assert opened.wait(timeout=60)
        with pytest.warns(UserWarning, match="of another thread"):
            pydicom.misc.warn_and_log("of another thread")
        assert [record.message for record in caplog.records] == ["of another thread"]
        assert pydicom.config.settings.reading_validation_mode == mode
        # Once for the header, once for the pixels.
        barrier.wait(timeout=60)
        barrier.wait(timeout=60)
        assert len(future.result(timeout=60).slices) == 1
