"""Uploads of the app: taken in under limits, kept apart by sender, removed after the answer.

Goes in: HTTP requests. Comes out: paths of files that this server stored, each in a folder with a name that
cannot be guessed. It replaces Gradio's own upload, which names the folder by the content, so that two people
who send the same picture share one file, and which lets everyone who knows a path read it.
"""

import asyncio
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from gradio.utils import get_upload_folder
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.files.entries import MAX_VOLUME_BYTES
from serving.files.errors import ImageError

MAX_FILES_A_REQUEST = 32
# Of all uploads that wait for an answer; beyond, further ones are told to come back.
MAX_STORED_BYTES = 4 * MAX_VOLUME_BYTES
# An upload whose answer nobody asked for goes after this.
LIFETIME_SECONDS = 600
# Around the files of a request: boundaries and headers.
_ENVELOPE_BYTES = 64 * 1024
_BUSY = "The server is busy: too much is waiting for an answer. Try again in a minute."
_LATER = {"Retry-After": "60"}
# The page needs none of these: it gets its pictures inside the answer.
_CLOSED = re.compile(r"/(?:file|proxy|stream|deep_link)(?:[=/?]|$)")
_HEADERS = {
    # The browser itself keeps the page from asking another host for anything.
    b"content-security-policy": (
        b"default-src 'self'; img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' data:"
        b" blob:; worker-src 'self' blob:; style-src 'self' 'unsafe-inline'; script-src 'self'"
        b" 'unsafe-inline' 'unsafe-eval'; object-src 'none'; base-uri 'self'"
    ),
    b"referrer-policy": b"no-referrer",
    b"x-content-type-options": b"nosniff",
}


class UploadGate:
    """ASGI middleware: stores uploads, closes the routes that hand out files, says "busy", and adds headers that keep the page to itself."""

    def __init__(self, app: ASGIApp):
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or pass it on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif scope["path"].endswith("/upload") and scope["method"] == "POST":
            await (await _store(scope, receive))(scope, receive, send)
        elif _CLOSED.search(scope["path"]):
            await PlainTextResponse("Not found.", 404)(scope, receive, send)
        else:
            await self._app(scope, receive, _finish(scope, receive, send))


@contextmanager
def open_uploads(names: Sequence[str]) -> Iterator[list[Path]]:
    """Give the files that a client names, and remove them at the end.

    Args:
        names: paths as the upload answered them.

    Raises:
        ImageError: one of them is no upload of this server, or no longer there.
    """
    paths: list[Path] = []
    try:
        paths.extend(_find(name) for name in names)
        yield paths
    finally:
        for path in paths:
            shutil.rmtree(path.parent, ignore_errors=True)


def _find(name: str) -> Path:
    path, folder = Path(name), Path(get_upload_folder())
    if path.parts[:-2] != folder.parts or ".." in path.parts or not os.path.isfile(path):
        raise ImageError("This file is not, or no longer, among the uploads of this server. Send it again.")
    return path


async def _store(scope: Scope, receive: Receive) -> Response:
    """Store the files of one request and answer their paths, as Gradio's clients expect."""
    folder = Path(get_upload_folder())
    if await run_in_threadpool(_measure, folder) > MAX_STORED_BYTES:
        return PlainTextResponse(_BUSY, 503, _LATER)
    paths: list[Path] = []
    try:
        async with Request(scope, _limit(receive, MAX_VOLUME_BYTES + _ENVELOPE_BYTES)).form(
            max_files=MAX_FILES_A_REQUEST
        ) as form:
            for file in form.getlist("files"):
                if isinstance(file, UploadFile):
                    paths.append(await run_in_threadpool(_write, file, folder))
                    asyncio.get_running_loop().call_later(
                        LIFETIME_SECONDS, shutil.rmtree, paths[-1].parent, True
                    )
    except HTTPException as error:
        return PlainTextResponse(error.detail, error.status_code)
    return JSONResponse([str(path) for path in paths])


def _write(file: UploadFile, folder: Path) -> Path:
    """Copy one file into a folder of its own that no other user of the machine may open."""
    shown = re.sub(r"[^\w .()+-]", "_", (file.filename or "").replace("\\", "/").rpartition("/")[2])
    own = folder / secrets.token_urlsafe(24)
    folder.mkdir(parents=True, exist_ok=True)
    own.mkdir(mode=0o700)
    path = own / (shown[-100:].lstrip(" .") or "upload")
    with path.open("xb") as stored:
        shutil.copyfileobj(file.file, stored)
    return path


def _measure(folder: Path) -> int:
    """Bytes of all uploads; those that vanish meanwhile count nothing."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                total += os.stat(os.path.join(parent, name)).st_size
    return total


def _limit(receive: Receive, most: int) -> Receive:
    """Stop reading a request once it is longer than `most` bytes."""
    read = 0

    async def counted() -> Message:
        nonlocal read
        message = await receive()
        read += len(message.get("body", b""))
        if read > most:
            raise HTTPException(
                413,
                f"The upload is too large; at most {MAX_VOLUME_BYTES:,} bytes are accepted. Send less at a"
                " time.",
            )
        return message

    return counted


def _finish(scope: Scope, receive: Receive, send: Send) -> Send:
    """Add headers to an answer; where Gradio's queue is full, answer in words that say what to do."""
    is_replaced = False

    async def sending(message: Message) -> None:
        nonlocal is_replaced
        if message["type"] == "http.response.start":
            is_replaced = message["status"] == 503
            present = {name for name, _ in message["headers"]}
            message["headers"] = [
                *message["headers"],
                *((name, value) for name, value in _HEADERS.items() if name not in present),
            ]
            if is_replaced:
                await JSONResponse({"detail": _BUSY}, 503, _LATER)(scope, receive, send)
        if not is_replaced:
            await send(message)

    return sending
