import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from serving import ImageError
from serving.app import uploads
from serving.app.service import AT_ONCE, MANY_SECONDS, MAX_WAITING
from serving.app.uploads import LIFETIME_SECONDS, UploadStore, WebGate


@pytest.fixture
def store(tmp_path, monkeypatch) -> Iterator[UploadStore]:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    store = UploadStore()
    yield store
    store.close()
    assert list(tmp_path.glob("tumor-uploads-*")) == []


@pytest.fixture
def client(store) -> TestClient:
    async def full(request):
        return JSONResponse({"detail": "Queue is full. Max size is 32 and size is 32."}, 503)

    async def nothing(request):
        return JSONResponse({})

    routes = [
        Route("/gradio_api/upload", store, methods=["POST"]),
        Route("/gradio_api/queue/join", full, methods=["POST"]),
        Route("/", nothing),
    ]
    return TestClient(WebGate(Starlette(routes=routes)))


def send(client: TestClient, content: bytes, name: str = "slice.png"):
    return client.post("/gradio_api/upload", files={"files": (name, content)})


def test_upload_is_stored_and_removed_at_the_end(client, store):
    (name,) = send(client, b"content").json()
    with store.open([name]) as (path,):
        assert path.read_bytes() == b"content"
    assert not path.parent.exists()


def test_upload_is_removed_after_an_error_too(client, store):
    (name,) = send(client, b"content").json()
    with pytest.raises(ImageError, match="nothing good"), store.open([name]):
        raise ImageError("nothing good")
    assert not Path(name).exists()


def test_upload_that_is_too_large_is_refused_and_not_kept(client, tmp_path, monkeypatch):
    monkeypatch.setattr(uploads, "MAX_VOLUME_BYTES", 1000)
    response = send(client, bytes(200_000))
    assert response.status_code == 413
    assert "at most 1,000 bytes" in response.text
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_uploads_beyond_what_the_server_holds_are_told_to_wait(client, monkeypatch):
    monkeypatch.setattr(uploads, "MAX_STORED_BYTES", 6000)
    assert send(client, bytes(2000)).status_code == 200
    response = send(client, bytes(2000))
    assert response.status_code == 503
    assert "busy" in response.text


def test_what_was_removed_leaves_its_place(client, store, monkeypatch):
    monkeypatch.setattr(uploads, "MAX_STORED_BYTES", 6000)
    for _ in range(5):
        with store.open(send(client, bytes(2000)).json()):
            pass
    assert store._held == 0


def test_two_hundred_uploads_at_once_keep_to_the_limit(store, tmp_path, monkeypatch):
    """Each stops half-way until all others have come."""
    most, size = 100_000, 4000
    monkeypatch.setattr(uploads, "MAX_STORED_BYTES", most)

    async def flood() -> list[int]:
        come = asyncio.Event()
        asyncio.get_running_loop().call_later(0.5, come.set)
        return await asyncio.gather(*(upload(store, [bytes(size // 2)] * 2, come) for _ in range(200)))

    statuses = asyncio.run(flood())
    assert set(statuses) == {200, 503}
    stored = sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())
    assert stored == size * statuses.count(200) <= most / 2
    assert store._held == stored


async def upload(store: UploadStore, parts: list[bytes], between: asyncio.Event, length: bool = True) -> int:
    """Send a file part by part; after the first one wait. Gives the status."""
    head = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'
    chunks = [head + parts[0], *parts[1:-1], parts[-1] + b"\r\n--x--\r\n"]
    headers = [(b"content-type", b"multipart/form-data; boundary=x")]
    if length:
        headers.append((b"content-length", str(sum(map(len, chunks))).encode()))
    scope = {"type": "http", "method": "POST", "path": "/upload", "headers": headers}
    statuses, waiting = [], list(chunks)

    async def receive():
        if len(waiting) < len(chunks):
            await between.wait()
        body = waiting.pop(0)
        return {"type": "http.request", "body": body, "more_body": bool(waiting)}

    async def send(message):
        statuses.extend([message["status"]] if "status" in message else [])

    await store(scope, receive, send)
    return statuses[0]


@pytest.mark.parametrize("limit", ["STALL_SECONDS", "UPLOAD_SECONDS"])
def test_an_upload_that_stalls_ends(store, tmp_path, monkeypatch, limit):
    monkeypatch.setattr(uploads, limit, 0.1)

    async def stall() -> int:
        return await asyncio.wait_for(upload(store, [b"con", b"tent"], asyncio.Event()), 30)

    assert asyncio.run(stall()) == 408
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    assert store._held == 0


def test_an_upload_that_never_ends_is_cut_off(store, tmp_path, monkeypatch):
    """It states no length, so the most that is accepted is held for it meanwhile."""
    monkeypatch.setattr(uploads, "MAX_VOLUME_BYTES", 10_000)

    async def flood() -> int:
        come = asyncio.Event()
        come.set()
        return await upload(store, [bytes(1000)] * 1000, come, length=False)

    assert asyncio.run(flood()) == 413
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    monkeypatch.setattr(uploads, "MAX_STORED_BYTES", 100_000)
    assert asyncio.run(flood()) == 503
    assert store._held == 0


def test_an_upload_whose_sender_leaves_is_not_kept(store, tmp_path):
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/upload",
        "headers": [(b"content-type", b"multipart/form-data; boundary=x"), (b"content-length", b"5000")],
    }

    async def receive():
        return {"type": "http.disconnect"}

    async def send(message):
        pass

    asyncio.run(store(scope, receive, send))
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    assert store._held == 0


def test_a_disk_that_is_full_is_told_as_busy(client, store, monkeypatch):
    def fail(source, target):
        target.write(source.read(3))
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(uploads.shutil, "copyfileobj", fail)
    assert send(client, b"content").status_code == 503
    assert store._held == 0
    assert [path for path in store._root.rglob("*") if path.is_file()] == []


def test_an_upload_outlives_the_longest_queue():
    """A full queue of requests that each take as long as they may, and those before them."""
    assert (MAX_WAITING / AT_ONCE + 1) * MANY_SECONDS < LIFETIME_SECONDS


def test_full_queue_is_told_as_busy(client):
    response = client.post("/gradio_api/queue/join")
    assert response.status_code == 503
    assert "busy" in response.json()["detail"]
    assert response.headers["Retry-After"] == "60"


def test_upload_that_nobody_asks_for_goes_and_one_that_is_read_stays(store, tmp_path, monkeypatch):
    monkeypatch.setattr(uploads, "LIFETIME_SECONDS", 0.05)

    def list_files() -> list[Path]:
        return [path for path in tmp_path.rglob("*") if path.is_file()]

    async def wait() -> None:
        come = asyncio.Event()
        come.set()
        for _ in range(2):
            assert await upload(store, [b"con", b"tent"], come) == 200
        read, _ = list_files()
        with store.open([str(read)]) as [path]:
            await asyncio.sleep(0.3)
            assert list_files() == [path]
        assert list_files() == []

    asyncio.run(wait())
    assert store._held == 0


@pytest.fixture
def foreign(tmp_path):
    """A file in a folder that lies among the uploads, but that the server did not make."""
    folder = tmp_path / "foreign"
    folder.mkdir()
    (folder / "slice.png").write_bytes(b"foreign")
    return folder / "slice.png"


def test_other_files_are_no_uploads(client, store, tmp_path, foreign, monkeypatch):
    # What is relative is meant for a folder of the test, too.
    monkeypatch.chdir(foreign.parent)
    (own,) = send(client, b"content").json()
    folder = str(Path(own).parent)
    (tmp_path / "slice.png").write_bytes(b"foreign")
    (tmp_path / "link").symlink_to(folder)
    for claimed in (
        *(str(foreign), str(tmp_path / "slice.png"), f"{folder}/../foreign/slice.png", "../slice.png"),
        *(f"{folder}/..", folder, f"{folder}/other.png", f"{tmp_path}/link/slice.png", "slice.png"),
        *("", ".", "a\0b", "x" * 5000),
    ):
        with pytest.raises(ImageError, match="not, or no longer, among the uploads"), store.open([claimed]):
            pytest.fail("opened")
    assert foreign.read_bytes() == b"foreign"
    with store.open([own]) as (path,):
        assert path.read_bytes() == b"content"


def test_foreign_folder_is_kept_even_where_its_path_is_let_through(client, store, foreign, monkeypatch):
    """As after a mistake in the one condition on what a request names."""
    monkeypatch.setattr(store, "_find", Path)
    for name in (str(foreign), str(foreign.parent / "gone.png"), str(foreign.parent)):
        with store.open([name]):
            pass
    assert foreign.read_bytes() == b"foreign"


def test_upload_that_is_asked_for_with_one_that_is_none_is_removed(client, store, foreign):
    (own,) = send(client, b"content").json()
    with pytest.raises(ImageError), store.open([own, str(foreign)]):
        pytest.fail("opened")
    assert not Path(own).parent.exists()
    assert foreign.exists()


def test_page_asks_no_other_host(client):
    assert client.get("/").headers["Content-Security-Policy"].startswith("default-src 'self'")
