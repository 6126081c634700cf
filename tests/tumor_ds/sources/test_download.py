"""Downloads of sources from a server on this machine, by TFDS's own manager and Kaggle's own client."""

import contextlib
import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.tumor_ds.sources.mat_files import save_zip
from tests.tumor_ds.sources.test_figshare import COUNTS, FILES
from tumor_ds import Builder
from tumor_ds.collection import kaggle
from tumor_ds.collection.errors import DatasetError
from tumor_ds.sources import building, download, figshare
from tumor_ds.sources.catalogue import SOURCES

PAGE = b"<!DOCTYPE html><html><body>We will be back</body></html>"


class FigshareServer(ThreadingHTTPServer):
    """Answers `/files/NUMBER`.

    Attributes:
        files: content by number.
        asked: numbers that were asked for.
        cut: a number whose next answer breaks off halfway.
        pages: numbers that are answered with a page for people.
        outage: whether every answer is 404; of 5xx TFDS asks again for minutes.
    """

    def __init__(self, files: dict[int, bytes]):
        self.files, self.asked, self.pages = files, [], set()
        self.cut, self.outage = None, False
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}/files/"


class _Handler(BaseHTTPRequestHandler):
    server: FigshareServer

    def log_message(self, *_: object) -> None:
        """Keep quiet."""

    def do_GET(self) -> None:
        number = int(self.path.rpartition("/")[2])
        self.server.asked.append(number)
        if self.server.outage:
            self.send_error(404)
            return
        content = PAGE if number in self.server.pages else self.server.files[number]
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.server.cut == number:
            self.server.cut = None
            content = content[: len(content) // 2]
        with contextlib.suppress(ConnectionError):
            self.wfile.write(content)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FigshareServer]:
    """A figshare of 16 slices in four zips, whose checksums the package expects."""
    files = {}
    for place, number in enumerate(figshare.FILE_IDS):
        part = dict(list(FILES.items())[4 * place : 4 * place + 4])
        save_zip(part, tmp_path / "part.zip")
        files[number] = (tmp_path / "part.zip").read_bytes()
    stated = {
        number: download.RemoteFile(len(content), hashlib.md5(content).hexdigest())
        for number, content in files.items()
    }
    monkeypatch.setattr(download, "FIGSHARE_FILES", stated)
    monkeypatch.setitem(building.ADAPTERS, "figshare", figshare.make_adapter(COUNTS))
    with FigshareServer(files) as running:
        monkeypatch.setattr(download, "FIGSHARE_URL", running.url)
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield running
        # What TFDS still asks for in its threads would wait for a server that is gone.
        deadline = time.monotonic() + 20
        while running.asked and set(running.asked) != set(files) and time.monotonic() < deadline:
            time.sleep(0.01)
        running.shutdown()
        thread.join()


@pytest.fixture
def build(tmp_path: Path) -> Callable[[], Builder]:
    """Function that builds `figshare`, with downloads kept in one place."""

    def run() -> Builder:
        builder = Builder(config="figshare", data_dir=tmp_path / "data")
        builder.download_and_prepare(download_dir=tmp_path / "downloads")
        return builder

    return run


def test_all_four_files_are_downloaded_once(server: FigshareServer, build, tmp_path: Path):
    builder = build()
    assert sum(split.num_examples for split in builder.info.splits.values()) == len(FILES)
    assert sorted(server.asked) == sorted(figshare.FILE_IDS)
    again = Builder(config="figshare", data_dir=tmp_path / "elsewhere")
    again.download_and_prepare(download_dir=tmp_path / "downloads")
    assert len(server.asked) == len(figshare.FILE_IDS)


def test_a_transfer_that_breaks_off_is_told_and_whole_files_are_kept(server: FigshareServer, build):
    server.cut = figshare.FILE_IDS[2]
    with pytest.raises(DatasetError) as caught:
        build()
    assert "By hand (0 MB): Get its pictures from https://figshare.com/" in str(caught.value)
    before = list(server.asked)
    build()
    assert server.asked[len(before) :].count(figshare.FILE_IDS[2]) == 1
    assert len(server.asked) < 2 * len(figshare.FILE_IDS)


def test_other_bytes_are_deleted_and_fetched_again(server: FigshareServer, build, tmp_path: Path):
    number = figshare.FILE_IDS[1]
    server.pages.add(number)
    with pytest.raises(DatasetError, match=rf"files/{number} gave {len(PAGE)} bytes with MD5 .* expected"):
        build()
    assert not list((tmp_path / "data").rglob("*.tfrecord*"))
    server.pages.clear()
    build()
    assert server.asked.count(number) == 2


def test_a_server_that_is_out_is_told(server: FigshareServer, build):
    server.outage = True
    with pytest.raises(DatasetError, match=r"figshare cannot be reached: .*404"):
        build()


@pytest.mark.parametrize("name", sorted(set(SOURCES) - {"figshare"} - set(download.KAGGLE_DATASETS)))
def test_what_no_command_can_download_has_its_page_in_the_message(name: str, tmp_path: Path):
    builder = Builder(config=name, data_dir=tmp_path)
    with pytest.raises(DatasetError) as caught:
        builder.download_and_prepare(download_dir=tmp_path / "downloads")
    assert f"from {SOURCES[name].homepage} and put them into a folder DIR" in str(caught.value)
    assert f"tumor build {name} --manual-dir DIR" in str(caught.value)


def test_the_checksums_are_those_of_all_slices():
    """As figshare's own interface states them for version 8 of the article."""
    assert sum(file.bytes for file in download.FIGSHARE_FILES.values()) == 879_493_326
    assert {len(file.md5) for file in download.FIGSHARE_FILES.values()} == {32}


def test_what_kaggle_gave_wrong_is_told_with_the_folder_to_delete(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    cached = tmp_path / "cached"
    cached.mkdir()
    (cached / "notes.txt").write_text("nothing here")
    monkeypatch.setattr(kaggle, "download_dataset", lambda name: cached)
    builder = Builder(config="lgg_tcga", data_dir=tmp_path / "data")
    with pytest.raises(DatasetError, match=rf"found notes\.txt.* Delete {cached} and run the same command"):
        builder.download_and_prepare(download_dir=tmp_path / "downloads")
