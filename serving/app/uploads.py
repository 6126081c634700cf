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
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from gradio.utils import get_upload_folder
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.app.service import AT_ONCE, MANY_SECONDS, MAX_WAITING
from serving.files.entries import MAX_VOLUME_BYTES
from serving.files.errors import ImageError
from serving.files.owned_folders import OwnedFolders

MAX_FILES_A_REQUEST = 32
# Of all uploads that come in or wait for an answer; beyond, further ones are told to come back.
MAX_STORED_BYTES = 4 * MAX_VOLUME_BYTES
# An upload that nobody asked for goes after this: no earlier than the last in a full queue of the slowest
# requests is answered, and a minute for its sender to ask.
LIFETIME_SECONDS = (MAX_WAITING / AT_ONCE + 1) * MANY_SECONDS + 60
# An upload ends after this without a byte, and after this in all.
STALL_SECONDS = 30.0
UPLOAD_SECONDS = 600.0
# Around the files of a request: boundaries and headers.
_ENVELOPE_BYTES = 64 * 1024
# While a request is read, a file lies where it is read to and where it is kept.
_COPIES = 2
_BUSY = "The server is busy: too much is waiting for an answer. Try again in a minute."
_LATER = {"Retry-After": "60"}
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


class WebGate:
    """ASGI middleware: headers that keep the page to itself, and the answer of a busy server.

    Example:
        >>> gr.mount_gradio_app(app_kwargs={"middleware": [Middleware(WebGate)]})  # doctest: +SKIP
    """

    def __init__(self, app: ASGIApp):
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on."""
        send = _finish(scope, receive, send) if scope["type"] == "http" else send
        await self._app(scope, receive, send)


class UploadStore:
    """The uploads of one app, and the ASGI application that takes them in; safe to call from several threads.

    Example:
        >>> store = UploadStore()
        >>> Route("/upload", store, methods=["POST"])  # doctest: +SKIP
        >>> with store.open(["/no/upload"]):
        ...     pass
        Traceback (most recent call last):
        serving.files.errors.ImageError: This file is not, or no longer, among the uploads of this server. ...
    """

    def __init__(self) -> None:
        self._folders, self._roots, self._lock = OwnedFolders(), OwnedFolders(), threading.Lock()
        self._root: Path | None = None
        # Bytes of requests that are being read and of files that are kept; the latter also by folder.
        self._held = 0
        self._kept: dict[Path, int] = {}
        self._read: Counter[Path] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Store the files of one request and answer their paths, as Gradio's clients expect."""
        length, most = _read_length(scope), MAX_VOLUME_BYTES + _ENVELOPE_BYTES
        if length is not None and length > most:
            answer: Response = PlainTextResponse(_describe_limit(), 413)
        elif not self._reserve(wanted := _COPIES * (most if length is None else length)):
            answer = PlainTextResponse(_BUSY, 503, _LATER)
        else:
            try:
                answer = await self._store(Request(scope, _limit(receive, most)))
            finally:
                self._release(wanted)
        await answer(scope, receive, send)

    @contextmanager
    def open(self, names: Sequence[str]) -> Iterator[list[Path]]:
        """Give the files that a client names, by paths as the upload answered them; remove them at the end.

        Raises:
            ImageError: one of them is no upload of this server, or no longer there.
        """
        paths: list[Path] = []
        try:
            for name in names:
                paths.append(self._find(name))
            yield paths
        finally:
            for path in paths:
                self._finish_reading(path.parent)

    def close(self) -> None:
        """Remove all uploads."""
        for folder in list(self._kept):
            self._remove(folder)
        if self._root is not None:
            self._roots.remove(self._root)

    async def _store(self, request: Request) -> Response:
        paths: list[Path] = []
        try:
            async with (
                asyncio.timeout(UPLOAD_SECONDS),
                request.form(max_files=MAX_FILES_A_REQUEST) as form,
            ):
                for file in form.getlist("files"):
                    if isinstance(file, UploadFile):
                        paths.append(await run_in_threadpool(self._keep, file))
        except (HTTPException, ClientDisconnect, OSError) as error:  # OSError: also TimeoutError
            for path in paths:
                self._remove(path.parent)
            return _refuse(error)
        for path in paths:
            asyncio.get_running_loop().call_later(LIFETIME_SECONDS, self._expire, path.parent)
        return JSONResponse([str(path) for path in paths])

    def _keep(self, file: UploadFile) -> Path:
        """Copy one file into a folder of its own, under a name that is fit to show."""
        with self._lock:
            if self._root is None:
                # Inside Gradio's own folder, since Gradio copies into it what it finds elsewhere.
                parent = Path(get_upload_folder())
                parent.mkdir(parents=True, exist_ok=True)
                self._root = self._roots.make(parent, "tumor-uploads-")
        folder = self._folders.make(self._root)
        shown = re.sub(r"[^\w .()+-]", "_", (file.filename or "").replace("\\", "/").rpartition("/")[2])
        path = folder / (shown[-100:].lstrip(" .") or "upload")
        try:
            with path.open("xb") as stored:
                shutil.copyfileobj(file.file, stored)
        except BaseException:
            self._folders.remove(folder)
            raise
        with self._lock:
            self._kept[folder] = path.stat().st_size
            self._held += self._kept[folder]
        return path

    def _find(self, name: str) -> Path:
        path = Path(name)
        with self._lock:
            if path.parent not in self._kept or not os.path.isfile(path):
                raise ImageError(
                    "This file is not, or no longer, among the uploads of this server. Send it again."
                )
            self._read[path.parent] += 1
        return path

    def _finish_reading(self, folder: Path) -> None:
        with self._lock:
            self._read[folder] -= 1
            is_last = self._read[folder] <= 0
        if is_last:
            self._remove(folder)

    def _expire(self, folder: Path) -> None:
        if not self._read[folder]:  # else it goes with the answer
            self._remove(folder)

    def _remove(self, folder: Path) -> None:
        with self._lock:
            self._held -= self._kept.pop(folder, 0)
            self._read.pop(folder, None)
        self._folders.remove(folder)

    def _reserve(self, count: int) -> bool:
        """Count bytes that are about to come, so that requests that come together do not pass together."""
        with self._lock:
            if self._held + count > MAX_STORED_BYTES:
                return False
            self._held += count
            return True

    def _release(self, count: int) -> None:
        with self._lock:
            self._held -= count


def _refuse(error: Exception) -> Response:
    """What a sender is told, if it still listens."""
    if isinstance(error, HTTPException):
        return PlainTextResponse(error.detail, error.status_code)
    if isinstance(error, ClientDisconnect | TimeoutError):
        return PlainTextResponse("The upload took too long. Send it again, or less at a time.", 408)
    return PlainTextResponse(_BUSY, 503, _LATER)  # the disk is full


def _read_length(scope: Scope) -> int | None:
    """The length that a request states; None where it states none."""
    stated = dict(scope["headers"]).get(b"content-length", b"")
    return int(stated) if stated.isdigit() else None


def _describe_limit() -> str:
    return f"The upload is too large; at most {MAX_VOLUME_BYTES:,} bytes are accepted. Send less at a time."


def _limit(receive: Receive, most: int) -> Receive:
    """Stop reading a request that is longer than `most` bytes, or stalls."""
    read = 0

    async def counted() -> Message:
        nonlocal read
        message = await asyncio.wait_for(receive(), STALL_SECONDS)
        read += len(message.get("body", b""))
        if read > most:
            raise HTTPException(413, _describe_limit())
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
