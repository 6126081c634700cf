"""The download of the collection, by the real client from a server on this machine, and how it fails."""

import io
import json
import os
import random
import socket
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from kagglesdk import kaggle_env

from tests.kaggle_server import CALL, MOUNT_CALL, MOUNT_NAME, KaggleServer
from tumor_ds.collection import archive, kaggle
from tumor_ds.collection.errors import DatasetError
from tumor_ds.collection.layout import SPLIT_FOLDERS
from tumor_ds.collection.versions import VERSIONS

ROOT = Path(__file__).resolve().parents[3]
MEBIBYTE = 1 << 20
CUT_AFTER = 3 * MEBIBYTE // 2
KEPT = MEBIBYTE  # the client writes whole mebibytes
PAGES = [
    b"<!DOCTYPE html>\n<html><body>Sign in</body></html>",
    b"\n<HTML lang='en'>I understand and accept</HTML>" * 100,
]
# Unpacks one file and dies, as if it were killed.
KILLED = """
import os, sys, zipfile
from kagglesdk import kaggle_env
from tumor_ds.collection import kaggle

def unpack_one_and_die(self, folder):
    self.extract(self.namelist()[0], folder)
    os._exit(9)

kaggle_env._env_to_endpoint[kaggle_env.KaggleEnv.PROD] = sys.argv[1]
zipfile.ZipFile.extractall = unpack_one_and_die
kaggle.download_collection(1)
"""


def build_files(seed: int) -> dict[str, bytes]:
    """Files that do not compress, 3 MiB in all."""
    source = random.Random(seed)
    return {
        f"{split}/{label}/{seed}.jpg": source.randbytes(3 * MEBIBYTE // 8)
        for split in SPLIT_FOLDERS
        for label in "abcd"
    }


def build_zip(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as zipped:
        for name, content in files.items():
            zipped.writestr(name, content)
    return buffer.getvalue()


FILES = {version: build_files(version) for version in VERSIONS}
ARCHIVES = {version: build_zip(files) for version, files in FILES.items()}
ARCHIVE = ARCHIVES[1]
FLIPPED = (
    ARCHIVE[:2_000_000] + bytes(byte ^ 255 for byte in ARCHIVE[2_000_000:2_000_016]) + ARCHIVE[2_000_016:]
)

DAMAGED = {
    "flipped": FLIPPED,
    "cut": ARCHIVE[: len(ARCHIVE) // 2],
    "last byte missing": ARCHIVE[:-1],
    "of an unknown compression": ARCHIVE.replace(
        b"\x14\x00\x00\x00\x08\x00", b"\x14\x00\x00\x00\x63\x00"
    ),  # RuntimeError
    "offset out of range": ARCHIVE[:-6] + b"\xff\xff\xff\x7f" + ARCHIVE[-2:],  # OSError
    "nothing": b"",
    "zeros, an empty tar": bytes(len(ARCHIVE)),
    "empty zip": build_zip({}),
    "other files": build_zip({"notes.txt": b"nothing here"}),
}


@pytest.fixture
def server() -> Iterator[KaggleServer]:
    with KaggleServer(dict(ARCHIVES)) as running:
        yield running


@pytest.fixture(autouse=True)
def cache(server: KaggleServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """The client's cache, in a session without credentials that knows no Kaggle but the server's."""
    for name in list(os.environ):
        if name.startswith("KAGGLE") or name == "TBE_RUNTIME_ADDR" or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    for name, folder in (
        ("HOME", "home"),
        ("KAGGLE_CONFIG_DIR", "home/.kaggle"),
        ("KAGGLEHUB_CACHE", "cache"),
    ):
        monkeypatch.setenv(name, str(tmp_path / folder))
    # The client has no setting for its address but "http://localhost", without a port.
    monkeypatch.setitem(kaggle_env._env_to_endpoint, kaggle_env.KaggleEnv.PROD, server.url)
    yield tmp_path / "cache"
    assert not (tmp_path / "home").exists()


def list_files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def get_archive_path(cache: Path) -> Path:
    return cache / "datasets" / archive.KAGGLE_NAME / "1.archive"


def get_marker_path(cache: Path) -> Path:
    return get_archive_path(cache).with_suffix(".complete")


def get_folder(cache: Path) -> Path:
    return cache / "datasets" / archive.KAGGLE_NAME / "versions" / "1"


@pytest.fixture
def assert_downloads(server: KaggleServer, cache: Path) -> Callable[[], None]:
    """Function `check()`: version 1 arrives whole, from the server, and leaves nothing else in the cache."""

    def check() -> None:
        asked = len(server.asked)
        folder = kaggle.download_collection(1)
        assert folder == get_folder(cache)
        assert list_files(folder) == FILES[1]
        assert not get_archive_path(cache).exists()
        assert len(server.asked) > asked

    return check


@pytest.fixture
def assert_refused(cache: Path) -> Callable[..., str]:
    """Function `check(*expected, version=1)`: the download fails, says so and ends with the manual steps."""

    def check(*expected: str, version: int = 1) -> str:
        with pytest.raises(DatasetError) as caught:
            kaggle.download_collection(version)
        message = str(caught.value)
        for text in expected:
            assert text in message
        assert "\n" not in message
        assert "secret" not in message
        url = archive.DOWNLOAD_URL[:-1] + str(version if version in VERSIONS else 1)
        steps = (
            f"download {url} in a browser or with curl -L, put it as {archive.ZIP_NAMES[0]} in a folder DIR"
        )
        assert message.endswith(f" By hand: {steps}, then run the same command with --manual-dir DIR")
        assert not get_marker_path(cache).exists()
        return message

    return check


# What it gives


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("states_md5", [True, False])
def test_a_whole_download(server: KaggleServer, cache: Path, version: int, states_md5: bool):
    server.states_md5 = states_md5
    folder = kaggle.download_collection(version)
    assert list_files(folder) == FILES[version]
    assert sorted(path.name for path in folder.iterdir()) == sorted(SPLIT_FOLDERS)
    assert set(list_files(cache)) == {
        (folder / name).relative_to(cache).as_posix() for name in FILES[version]
    } | {f"datasets/{archive.KAGGLE_NAME}/{version}.complete"}
    assert [(asked.method, asked.path, asked.status) for asked in server.asked] == [
        ("POST", CALL, 302),
        ("GET", f"/storage/{version}.zip", 200),
    ]
    assert not any(asked.has_credentials for asked in server.asked)


def test_a_second_call_asks_nothing(server: KaggleServer):
    folder = kaggle.download_collection(1)
    server.asked.clear()
    assert kaggle.download_collection(1) == folder
    assert server.asked == []


@pytest.mark.parametrize("states_md5", [True, False])
def test_a_broken_transfer_goes_on(
    server: KaggleServer,
    cache: Path,
    assert_refused: Callable[..., str],
    assert_downloads: Callable[[], None],
    states_md5: bool,
):
    server.states_md5, server.cut_after = states_md5, CUT_AFTER
    assert_refused("broke off", f"{KEPT:,} bytes are kept: the same command goes on where it stopped")
    assert get_archive_path(cache).read_bytes() == ARCHIVE[:KEPT]
    server.asked.clear()
    assert_downloads()
    whole, rest = server.list_fetched()
    assert (rest.range, rest.status, rest.sent_bytes) == (f"bytes={KEPT}-", 206, len(ARCHIVE) - KEPT)
    assert whole.range is None
    assert (
        whole.sent_bytes < KEPT
    )  # the client asks for the whole first, for the headers, and does not read it


def test_a_transfer_may_break_off_twice(
    server: KaggleServer, assert_refused: Callable[..., str], assert_downloads: Callable[[], None]
):
    server.cut_after = CUT_AFTER
    assert_refused(f"{KEPT:,} bytes are kept")
    server.storage_outage = 503
    assert_refused("503")  # and what is kept stays
    server.storage_outage = None
    assert_downloads()
    assert server.list_fetched()[-1].range == f"bytes={KEPT}-"


def test_a_transfer_that_breaks_off_early_starts_again(
    server: KaggleServer, assert_refused: Callable[..., str], assert_downloads: Callable[[], None]
):
    server.cut_after = 1000
    assert "goes on" not in assert_refused("broke off")
    assert_downloads()


# What it refuses


def test_a_damaged_transfer_is_refused_by_its_md5(
    server: KaggleServer,
    cache: Path,
    assert_refused: Callable[..., str],
    assert_downloads: Callable[[], None],
):
    server.damaged = FLIPPED
    assert_refused("MD5 checksum", "starts afresh")
    assert list_files(cache) == {}
    server.damaged = None
    assert_downloads()


@pytest.mark.parametrize("damaged", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_zip_is_refused_without_an_md5(
    server: KaggleServer,
    cache: Path,
    assert_refused: Callable[..., str],
    assert_downloads: Callable[[], None],
    damaged: bytes,
):
    server.states_md5, server.damaged = False, damaged
    assert_refused()
    assert list_files(cache) == {}
    server.damaged = None
    assert_downloads()


@pytest.mark.parametrize(
    "kept",
    [FLIPPED, FLIPPED[:-MEBIBYTE], bytes(100), FLIPPED + b"more"],
    ids=["whole", "part", "zeros", "longer"],
)
@pytest.mark.parametrize("states_md5", [True, False])
def test_a_bad_archive_left_in_the_cache_does_not_fail_for_ever(
    server: KaggleServer,
    cache: Path,
    assert_refused: Callable[..., str],
    assert_downloads: Callable[[], None],
    kept: bytes,
    states_md5: bool,
):
    """One of the right size counts as downloaded, and its MD5 is not looked at again."""
    server.states_md5 = states_md5
    get_archive_path(cache).parent.mkdir(parents=True)
    get_archive_path(cache).write_bytes(kept)
    assert_refused()
    assert list_files(cache) == {}
    assert_downloads()


@pytest.mark.parametrize("states_md5", [True, False])
def test_a_refused_rest_is_not_taken_for_the_rest(
    server: KaggleServer,
    cache: Path,
    assert_refused: Callable[..., str],
    assert_downloads: Callable[[], None],
    states_md5: bool,
):
    """The client appends whatever is answered."""
    server.states_md5, server.cut_after = states_md5, CUT_AFTER
    assert_refused("broke off")
    server.range_outage = 403
    assert_refused("starts afresh")
    assert list_files(cache) == {}
    assert_downloads()


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("interrupted", [False, True])
def test_a_page_in_place_of_the_zip_is_refused(
    server: KaggleServer,
    cache: Path,
    assert_refused: Callable[..., str],
    assert_downloads: Callable[[], None],
    page: bytes,
    interrupted: bool,
):
    if interrupted:
        server.cut_after = CUT_AFTER
        assert_refused("broke off")
    server.page = page
    assert_refused("expected a zip, got an HTML page (login or consent page?)")
    assert list_files(cache) == {}
    server.page = None
    assert_downloads()


def test_something_else_in_place_of_the_zip_is_refused(
    server: KaggleServer, cache: Path, assert_refused: Callable[..., str]
):
    server.page = b'{"hint": "sign in"}'
    assert_refused("""expected a zip, got a file that starts with b'{"hint": "sign in"}'""")
    assert list_files(cache) == {}


@pytest.mark.parametrize("status", [401, 403, 404, 429, 500, 503])
@pytest.mark.parametrize("place", ["outage", "storage_outage"])
def test_a_refusal_is_told(
    server: KaggleServer,
    cache: Path,
    assert_refused: Callable[..., str],
    assert_downloads: Callable[[], None],
    status: int,
    place: str,
):
    setattr(server, place, status)
    assert_refused("Kaggle refused the download", str(status))
    assert list_files(cache) == {}
    setattr(server, place, None)
    assert_downloads()


def test_a_version_that_kaggle_lacks_is_told(server: KaggleServer, assert_refused: Callable[..., str]):
    del server.archives[2]
    assert_refused("Kaggle refused the download", "404", "Resource not found", version=2)


@pytest.mark.parametrize("version", [0, 3, -1])
def test_an_unknown_version_is_refused_unasked(
    server: KaggleServer, assert_refused: Callable[..., str], version: int
):
    """kagglehub takes 0 for the newest."""
    assert_refused("Expected version 1 or 2", f"got {version}", version=version)
    assert server.asked == []


def test_an_unreachable_host_is_told_and_what_is_kept_stays(
    server: KaggleServer,
    assert_refused: Callable[..., str],
    assert_downloads: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
):
    with socket.create_server(("127.0.0.1", 0)) as free:
        nobody = f"http://127.0.0.1:{free.getsockname()[1]}"
    with monkeypatch.context() as patch:
        patch.setitem(kaggle_env._env_to_endpoint, kaggle_env.KaggleEnv.PROD, nobody)
        assert "goes on" not in assert_refused("Kaggle cannot be reached", "Connection refused")
    server.cut_after = CUT_AFTER
    assert_refused("broke off")
    with monkeypatch.context() as patch:
        patch.setitem(kaggle_env._env_to_endpoint, kaggle_env.KaggleEnv.PROD, nobody)
        assert_refused("Kaggle cannot be reached", "goes on where it stopped")
    assert_downloads()
    assert server.list_fetched()[-1].range == f"bytes={KEPT}-"


def test_a_cache_that_cannot_be_written_is_told(cache: Path, assert_refused: Callable[..., str]):
    cache.write_bytes(b"a file where the folder should be")
    assert_refused("The download failed", str(cache))


# In a Kaggle notebook


@pytest.fixture
def notebook(server: KaggleServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The folder of the mount, in a process that looks like a Kaggle notebook."""
    settings = {
        "KERNEL_RUN_TYPE": "Interactive",
        "DATA_PROXY_URL": server.url,
        "CACHE_MOUNT_FOLDER": str(tmp_path / "input"),
    }
    for name, value in (settings | {"USER_SECRETS_TOKEN": "secret", "DATA_PROXY_TOKEN": "secret"}).items():
        monkeypatch.setenv(f"KAGGLE_{name}", value)
    folder = tmp_path / "input" / MOUNT_NAME
    for split in SPLIT_FOLDERS:
        (folder / split).mkdir(parents=True)
    return folder


def test_a_notebook_uses_the_mount(server: KaggleServer, cache: Path, notebook: Path):
    assert kaggle.download_collection(1) == notebook
    assert [asked.path for asked in server.asked] == [MOUNT_CALL]
    assert list_files(cache) == {}


def test_a_notebook_without_its_token_is_told(
    notebook: Path, assert_refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("KAGGLE_USER_SECRETS_TOKEN")
    assert_refused("cannot mount the collection", "JWT Token")


# What counts as complete


@pytest.mark.parametrize("is_marker_left", [False, True])
def test_a_half_unpacked_folder_never_counts_as_complete(
    server: KaggleServer, cache: Path, assert_downloads: Callable[[], None], is_marker_left: bool
):
    if is_marker_left:  # as where someone deletes the folder of an earlier download
        get_marker_path(cache).parent.mkdir(parents=True)
        get_marker_path(cache).touch()
    command = [sys.executable, "-c", KILLED, server.url]
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 9, done.stderr[-2000:]
    assert len(list_files(get_folder(cache))) == 1
    assert not get_marker_path(cache).exists()
    assert_downloads()


def test_a_folder_that_lost_a_split_is_downloaded_again(
    cache: Path, assert_refused: Callable[..., str], assert_downloads: Callable[[], None]
):
    folder = kaggle.download_collection(1)
    (folder / "Training").rename(cache / "elsewhere")
    assert_refused("Expected the folders Training and Testing", str(folder))
    assert_downloads()


def test_a_complete_collection_outlives_a_failure(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The client reads the credentials before it looks into the cache."""
    folder = kaggle.download_collection(1)
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    (credentials / "kaggle.json").write_text(json.dumps({"username": "someone"}))
    monkeypatch.setenv("KAGGLE_CONFIG_DIR", str(credentials))
    with pytest.raises(DatasetError, match="credentials file"):
        kaggle.download_collection(1)
    assert list_files(folder) == FILES[1]
    assert get_marker_path(cache).exists()


# Other datasets


def test_another_dataset_comes_in_the_version_that_is_named(server: KaggleServer, cache: Path):
    folder = kaggle.download_dataset(f"{archive.KAGGLE_NAME}/versions/2")
    assert list_files(folder) == FILES[2]
    asked = len(server.asked)
    assert kaggle.download_dataset(f"{archive.KAGGLE_NAME}/versions/2") == folder
    assert len(server.asked) == asked


def test_another_dataset_comes_in_its_newest_version_where_none_is_named(server: KaggleServer, cache: Path):
    assert list_files(kaggle.download_dataset(archive.KAGGLE_NAME)) == FILES[max(VERSIONS)]


@pytest.mark.parametrize("version", ["", "/versions/1"])
def test_a_dataset_that_kaggle_refuses_is_told_with_its_page(server: KaggleServer, version: str):
    with pytest.raises(DatasetError) as caught:
        kaggle.download_dataset(f"somebody/something{version}")
    message = str(caught.value)
    assert message.startswith("Kaggle refused the download: ")
    assert "By hand: download https://www.kaggle.com/datasets/somebody/something in a browser" in message
    assert archive.ZIP_NAMES[0] not in message


def test_a_damaged_archive_of_another_dataset_is_not_kept(server: KaggleServer, cache: Path):
    server.damaged = FLIPPED
    with pytest.raises(DatasetError, match="Nothing of it is kept"):
        kaggle.download_dataset(archive.KAGGLE_NAME)
    server.damaged = None
    assert list_files(kaggle.download_dataset(archive.KAGGLE_NAME)) == FILES[2]
