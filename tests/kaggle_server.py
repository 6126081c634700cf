"""Kaggle on 127.0.0.1, for tests with the real `kagglehub` client and no network.

Goes in: the zip of each version. Comes out: a server that answers the client's two calls as Kaggle does, the
one for a download with a redirect to its storage, and a record of what was asked of it. It can fail in the
ways that a test names.
Inside a Kaggle notebook the client asks for a mount instead, and gets its name.

Source: kagglesdk 0.1.37 (`kaggle_http_client.py`) for the address of the call; kagglehub 1.0.2 (`clients.py`,
`integrity.py`) for the headers that it reads.
"""

import base64
import contextlib
import hashlib
import json
import re
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import SO_SNDBUF, SOL_SOCKET
from typing import Self

CALL = "/v1/datasets.DatasetApiService/DownloadDataset"
VERSION_CALL = "/v1/datasets.DatasetApiService/GetDataset"
MOUNT_CALL = "/kaggle-jwt-handler/AttachDatasourceUsingJwtRequest"
MOUNT_NAME = "brain-tumor-mri-dataset"
COLLECTION = {"ownerSlug": "masoudnickparvar", "datasetSlug": "brain-tumor-mri-dataset"}
CHUNK_BYTES = 1 << 14


@dataclass
class Asked:
    """One request and its answer.

    Attributes:
        method: GET or POST.
        path: without the query.
        range: the Range header.
        has_credentials: whether it came with an Authorization header.
        status: of the answer.
        sent_bytes: of the body, as handed to the socket; the client may have read fewer.
    """

    method: str
    path: str
    range: str | None
    has_credentials: bool
    status: int = 0
    sent_bytes: int = 0


class KaggleServer:
    """The server; a context manager.

    Attributes:
        url: for the client's endpoint.
        archives: the zip by version.
        asked: every request so far, in order.
        states_md5: whether the storage states the MD5 of the zip.
        outage: while set, the status of every answer.
        storage_outage: while set, the status of the storage's answers.
        range_outage: while set, the status of the storage's answers to a request for a range.
        page: while set, what is sent with status 200 in place of the zip, as a page for people.
        damaged: while set, what is sent in place of the zip, under its headers.
        cut_after: where set, the next body breaks off after so many bytes.
    """

    def __init__(self, archives: dict[int, bytes]):
        self.archives = archives
        self.asked: list[Asked] = []
        self.states_md5 = True
        self.outage: int | None = None
        self.storage_outage: int | None = None
        self.range_outage: int | None = None
        self.page: bytes | None = None
        self.damaged: bytes | None = None
        self.cut_after: int | None = None
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"kaggle": self}))
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def list_fetched(self) -> list[Asked]:
        """The requests to the storage."""
        return [asked for asked in self.asked if asked.path.startswith("/storage/")]


class _Handler(BaseHTTPRequestHandler):
    kaggle: KaggleServer
    protocol_version = "HTTP/1.1"

    def setup(self) -> None:
        # A small buffer, so that a body which the client does not read is not sent either.
        self.request.setsockopt(SOL_SOCKET, SO_SNDBUF, CHUNK_BYTES)
        super().setup()

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError):  # the client does not want the rest
            super().handle()

    def log_message(self, *_: object) -> None:
        """Keep quiet."""

    def do_POST(self) -> None:
        asked = self._record()
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        version = request.get("datasetVersionNumber")
        if self.kaggle.outage:
            self._answer(asked, self.kaggle.outage, b"out of order")
        elif asked.path == MOUNT_CALL:
            self._answer(
                asked, 200, json.dumps({"wasSuccessful": True, "result": {"mountSlug": MOUNT_NAME}}).encode()
            )
        elif asked.path == VERSION_CALL and request.items() >= COLLECTION.items():
            newest = json.dumps({"currentVersionNumber": max(self.kaggle.archives)}).encode()
            self._answer(asked, 200, newest, {"Content-Type": "application/json"})
        elif (
            asked.path != CALL
            or not request.items() >= COLLECTION.items()
            or version not in self.kaggle.archives
        ):
            self._answer(
                asked, 404, b'{"code": 404, "message": "Not found"}', {"Content-Type": "application/json"}
            )
        else:
            self._answer(
                asked, 302, b"", {"Location": f"{self.kaggle.url}/storage/{version}.zip?Signature=secret"}
            )

    def do_GET(self) -> None:
        asked = self._record()
        outage = (
            self.kaggle.outage
            or self.kaggle.storage_outage
            or (self.kaggle.range_outage if asked.range else None)
        )
        if outage:
            self._answer(asked, outage, b"out of order")
        elif self.kaggle.page is not None:
            self._answer(asked, 200, self.kaggle.page, {"Content-Type": "text/html; charset=utf-8"})
        else:
            self._send_archive(
                asked, self.kaggle.archives[int(re.fullmatch(r"/storage/(\d+)\.zip", asked.path)[1])]
            )

    def _record(self) -> Asked:
        asked = Asked(
            self.command, self.path.split("?")[0], self.headers.get("Range"), "Authorization" in self.headers
        )
        self.kaggle.asked.append(asked)
        return asked

    def _send_archive(self, asked: Asked, archive: bytes) -> None:
        headers = {"Content-Type": "application/zip", "Accept-Ranges": "bytes"}
        if self.kaggle.states_md5:
            headers["x-goog-hash"] = (
                f"crc32c=AAAAAA==, md5={base64.b64encode(hashlib.md5(archive).digest()).decode()}"
            )
        content = archive if self.kaggle.damaged is None else self.kaggle.damaged
        start = int(re.fullmatch(r"bytes=(\d+)-", asked.range)[1]) if asked.range else 0
        if start >= len(content):
            self._answer(asked, 416, b"", {"Content-Range": f"bytes */{len(content)}"})
            return
        if asked.range:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        self._answer(asked, 206 if asked.range else 200, content[start:], headers)

    def _answer(self, asked: Asked, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        asked.status = status
        cut = None
        if body and status in (200, 206):
            cut, self.kaggle.cut_after = self.kaggle.cut_after, None
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | (headers or {})).items():
            self.send_header(name, value)
        self.end_headers()
        for start in range(0, len(body[:cut]), CHUNK_BYTES):
            chunk = body[:cut][start : start + CHUNK_BYTES]
            asked.sent_bytes += len(chunk)
            self.wfile.write(chunk)
        if cut is not None:
            self.close_connection = True
