"""Uploads of the app: taken in under limits, kept apart by sender, removed after the answer.

Goes in: HTTP requests. Comes out: paths of files that this server stored, each in a folder with a name that
cannot be guessed; no other file is opened, and no other folder removed. It replaces Gradio's own upload,
which names the folder by the content, so that two people who send the same picture share one file, and which
lets everyone who knows a path read it.
"""

import asyncio
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from gradio.utils import get_upload_folder
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.files.entries import MAX_VOLUME_BYTES
from serving.files.errors import ImageError
from serving.files.owned_folders import OwnedFolders

MAX_FILES_A_REQUEST = 32
# Of all uploads that wait for an answer; beyond, further ones are told to come back.
MAX_STORED_BYTES = 4 * MAX_VOLUME_BYTES
# An upload whose answer nobody asked for goes after this.
LIFETIME_SECONDS = 600
# Around the files of a request: boundaries and headers.
_ENVELOPE_BYTES = 64 * 1024
_BUSY = "The server is busy: too much is waiting for an answer. Try again in a minute."
_LATER = {"Retry-After": "60"}
# A folder an upload; what a request names is looked up here.
_FOLDERS = OwnedFolders()
# The page needs none of these: it gets its pictures inside the answer.
_CLOSED = re.compile(r"/(?:file|proxy|stream|deep_link)(?:[=/?]|$)")
_HEADERS = {
    # The browser itself keeps the page from asking another host for anything.
    "content-security-policy": (
        "default-src 'self'; img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' data:"
        " blob:; worker-src 'self' blob:; style-src 'self' 'unsafe-inline'; script-src 'self'"
        " 'unsafe-inline' 'unsafe-eval'; object-src 'none'; base-uri 'self'"
    ),
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


class UploadGate:
    """ASGI middleware for uploads, answers of a busy server, and headers that keep the page to itself.

    It also closes the routes of Gradio that hand out files.

    Example:
        >>> app.launch(app_kwargs={"middleware": [Middleware(UploadGate)]})  # doctest: +SKIP
    """

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
    """Give the files that a client names, by paths as the upload answered them; remove them at the end.

    Raises:
        ImageError: one of them is no upload of this server, or no longer there.
    """
    paths: list[Path] = []
    try:
        paths.extend(_find(name) for name in names)
        yield paths
    finally:
        for path in paths:
            _FOLDERS.remove(path.parent)


def _find(name: str) -> Path:
    path = Path(name)
    if path.parent not in _FOLDERS or not os.path.isfile(path):
        raise ImageError("This file is not, or no longer, among the uploads of this server. Send it again.")
    return path


async def _store(scope: Scope, receive: Receive) -> Response:
    """Store the files of one request and answer their paths, as Gradio's clients expect."""
    root = Path(get_upload_folder())
    if await run_in_threadpool(_measure, root) > MAX_STORED_BYTES:
        return PlainTextResponse(_BUSY, 503, _LATER)
    root.mkdir(parents=True, exist_ok=True)
    paths: list[str] = []
    request = Request(scope, _limit(receive, MAX_VOLUME_BYTES + _ENVELOPE_BYTES))
    try:
        async with request.form(max_files=MAX_FILES_A_REQUEST) as form:
            for file in form.getlist("files"):
                if isinstance(file, UploadFile):
                    folder = _FOLDERS.make(root)
                    asyncio.get_running_loop().call_later(LIFETIME_SECONDS, _FOLDERS.remove, folder)
                    paths.append(str(await run_in_threadpool(_write, file, folder)))
    except HTTPException as error:
        return PlainTextResponse(error.detail, error.status_code)
    return JSONResponse(paths)


def _write(file: UploadFile, folder: Path) -> Path:
    """Copy one file into its folder, under a name that is fit to show."""
    shown = re.sub(r"[^\w .()+-]", "_", (file.filename or "").replace("\\", "/").rpartition("/")[2])
    path = folder / (shown[-100:].lstrip(" .") or "upload")
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
            text = f"The upload is too large; at most {MAX_VOLUME_BYTES:,} bytes are accepted."
            raise HTTPException(413, f"{text} Send less at a time.")
        return message

    return counted


def _finish(scope: Scope, receive: Receive, send: Send) -> Send:
    """Add headers to an answer; where Gradio's queue is full, answer in words that say what to do."""
    is_replaced = False

    async def sending(message: Message) -> None:
        nonlocal is_replaced
        if message["type"] == "http.response.start":
            is_replaced = message["status"] == 503
            headers = MutableHeaders(scope=message)
            for name, value in _HEADERS.items():
                headers.setdefault(name, value)
            if is_replaced:
                await JSONResponse({"detail": _BUSY}, 503, _LATER)(scope, receive, send)
        if not is_replaced:
            await send(message)

    return sending
