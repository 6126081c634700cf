import asyncio
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from serving import ImageError
from serving.app import uploads
from serving.app.uploads import UploadGate, open_uploads


@pytest.fixture
def client(tmp_path, monkeypatch) -> TestClient:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))

    async def full(request):
        return JSONResponse({"detail": "Queue is full. Max size is 32 and size is 32."}, 503)

    async def nothing(request):
        return JSONResponse({})

    return TestClient(
        UploadGate(
            Starlette(routes=[Route("/gradio_api/queue/join", full, methods=["POST"]), Route("/", nothing)])
        )
    )


def send(client: TestClient, content: bytes, name: str = "slice.png"):
    return client.post("/gradio_api/upload", files={"files": (name, content)})


def test_upload_is_stored_and_removed_at_the_end(client):
    (name,) = send(client, b"content").json()
    with open_uploads([name]) as (path,):
        assert path.read_bytes() == b"content"
    assert not path.parent.exists()


def test_upload_is_removed_after_an_error_too(client):
    (name,) = send(client, b"content").json()
    with pytest.raises(ImageError, match="nothing good"), open_uploads([name]):
        raise ImageError("nothing good")
    assert not Path(name).exists()


def test_upload_that_is_too_large_is_refused_and_not_kept(client, tmp_path, monkeypatch):
    monkeypatch.setattr(uploads, "MAX_VOLUME_BYTES", 1000)
    response = send(client, bytes(200_000))
    assert response.status_code == 413
    assert "at most 1,000 bytes" in response.text
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_uploads_beyond_what_the_server_holds_are_told_to_wait(client, monkeypatch):
    monkeypatch.setattr(uploads, "MAX_STORED_BYTES", 1000)
    assert send(client, bytes(2000)).status_code == 200
    response = send(client, b"more")
    assert response.status_code == 503
    assert "busy" in response.text


def test_full_queue_is_told_as_busy(client):
    response = client.post("/gradio_api/queue/join")
    assert response.status_code == 503
    assert "busy" in response.json()["detail"]
    assert response.headers["Retry-After"] == "60"


def test_upload_that_nobody_asks_for_goes(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    monkeypatch.setattr(uploads, "LIFETIME_SECONDS", 0.05)
    body = (
        b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\ncontent\r\n--x--\r\n'
    )
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/upload",
        "headers": [(b"content-type", b"multipart/form-data; boundary=x")],
        "app": None,
    }

    async def receive():
        return {"type": "http.request", "body": body, "more_body": False}

    async def store() -> tuple[int, int]:
        async def send(message):
            pass

        await UploadGate(None)(scope, receive, send)
        before = len(list(tmp_path.glob("*/*")))
        await asyncio.sleep(0.3)
        return before, len(list(tmp_path.glob("*/*")))

    assert asyncio.run(store()) == (1, 0)


@pytest.fixture
def foreign(tmp_path):
    """A file in a folder that lies among the uploads, but that the server did not make."""
    folder = tmp_path / "foreign"
    folder.mkdir()
    (folder / "slice.png").write_bytes(b"foreign")
    return folder / "slice.png"


def test_other_files_are_no_uploads(client, tmp_path, foreign, monkeypatch):
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
        with pytest.raises(ImageError, match="not, or no longer, among the uploads"), open_uploads([claimed]):
            pytest.fail("opened")
    assert foreign.read_bytes() == b"foreign"
    with open_uploads([own]) as (path,):
        assert path.read_bytes() == b"content"


def test_foreign_folder_is_kept_even_where_its_path_is_let_through(client, foreign, monkeypatch):
    """As after a mistake in the one condition on what a request names."""
    monkeypatch.setattr(uploads, "_find", Path)
    for name in (str(foreign), str(foreign.parent / "gone.png"), str(foreign.parent)):
        with open_uploads([name]):
            pass
    assert foreign.read_bytes() == b"foreign"


def test_upload_that_is_asked_for_with_one_that_is_none_is_removed(client, foreign):
    (own,) = send(client, b"content").json()
    with pytest.raises(ImageError), open_uploads([own, str(foreign)]):
        pytest.fail("opened")
    assert not Path(own).parent.exists()
    assert foreign.exists()


def test_page_asks_no_other_host(client):
    assert client.get("/").headers["Content-Security-Policy"].startswith("default-src 'self'")
