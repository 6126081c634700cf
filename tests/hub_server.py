"""A Hugging Face Hub on 127.0.0.1, for tests with the real `huggingface_hub` client and no network.

Goes in: files, committed to model repositories that may be private or gated. Comes out: a server whose address is the client's
`HF_ENDPOINT`, and a record of what was asked of it. `Repo` is the state and `HubServer` the HTTP around it.

Source: huggingface_hub 2.4 (`hf_api.py`, `file_download.py`, `utils/_http.py`) for the addresses, headers and error codes it reads.
"""

import hashlib
import re
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Self

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

OWNER_TOKEN = "hf_owner"
STRANGER_TOKEN = "hf_stranger"
# What a new repository's .gitattributes sends to large file storage, as far as these tests need it.
LFS_SUFFIXES = (".keras", ".onnx", ".png", ".tflite", ".zip")


@dataclass(frozen=True)
class Blob:
    """The content of one file.

    Attributes:
        content: its bytes.
        is_lfs: whether it is in large file storage, which has the sha256 for its ETag.
        sha256: of the content.
        oid: as git names it.
    """

    content: bytes
    is_lfs: bool
    sha256: str
    oid: str

    @classmethod
    def of(cls, path: str, content: bytes) -> Self:
        """Hash a file's content."""
        oid = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        return cls(content, path.endswith(LFS_SUFFIXES), hashlib.sha256(content).hexdigest(), oid)

    def describe(self) -> dict:
        """Size and names, as `/tree` and `/api/models/ID?blobs=true` give them."""
        lfs = {"oid": self.sha256, "sha256": self.sha256, "size": len(self.content), "pointerSize": 134}
        return {"size": len(self.content), "oid": self.oid, "blobId": self.oid} | ({"lfs": lfs} if self.is_lfs else {})


@dataclass
class Repo:
    """One model repository.

    Attributes:
        id: `user/name`.
        private: only the owner may know that it exists.
        gated: everyone may list it, only the owner may fetch its files.
        commits: by commit sha, the files of that commit by path.
        branches: commit sha by branch.
        tags: commit sha by tag.
    """

    id: str
    private: bool = False
    gated: bool = False
    commits: dict[str, dict[str, Blob]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)

    def commit(self, files: Mapping[str, bytes], branch: str = "main") -> str:
        """Make these the files of a branch.

        Returns:
            The sha of the new commit.
        """
        blobs = {path: Blob.of(path, content) for path, content in sorted(files.items())}
        content = "".join(f"{path} {blob.oid}\n" for path, blob in blobs.items())
        sha = hashlib.sha1(f"{self.id} {len(self.commits)}\n{content}".encode()).hexdigest()
        self.commits[sha] = blobs
        self.branches[branch] = sha
        return sha

    def resolve(self, revision: str) -> str | None:
        """Find the commit sha of a branch, tag or commit."""
        found = self.branches.get(revision) or self.tags.get(revision) or revision
        return found if found in self.commits else None


def read_folder(folder: Path) -> dict[str, bytes]:
    """Read a folder's files, by path inside it."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


class Asked(NamedTuple):
    """One request and its answer's status."""

    method: str
    path: str
    status: int


class HubError(HTTPException):
    """An error as the Hub words it, in headers."""

    def __init__(self, status: int, code: str | None, message: str):
        super().__init__(status, message, {"X-Error-Message": message} | ({"X-Error-Code": code} if code else {}))


class HubServer:
    """The server; a context manager.

    Attributes:
        url: for `HF_ENDPOINT`.
        repos: by `user/name`.
        asked: every request so far, in order.
        outage: while set, the status that every request is answered with.
        cut_after: where set, the next file breaks off after so many bytes.
    """

    def __init__(self) -> None:
        self.repos: dict[str, Repo] = {}
        self.asked: list[Asked] = []
        self.outage: int | None = None
        self.cut_after: int | None = None
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        app = Starlette(routes=self._build_routes())
        self._server = uvicorn.Server(uvicorn.Config(self._record(app), log_level="critical", lifespan="off", timeout_graceful_shutdown=1))
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._socket]}, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join()
        self._socket.close()

    def add_repo(self, repo_id: str, private: bool = False, gated: bool = False) -> Repo:
        """Create an empty repository."""
        self.repos[repo_id] = Repo(repo_id, private, gated)
        return self.repos[repo_id]

    def list_fetched(self, repo_id: str) -> list[str]:
        """Paths of the files whose content was sent, sorted, one for each time."""
        pattern = re.compile(rf"/{re.escape(repo_id)}/resolve/[^/]+/(.+)")
        matches = (pattern.fullmatch(path) for method, path, status in self.asked if method == "GET" and status < 300)
        return sorted(match[1] for match in matches if match)

    def _build_routes(self) -> list[Route]:
        api = "/api/models/{user}/{name}"
        return [
            Route(api, self._get_info),
            Route(f"{api}/revision/{{revision:path}}", self._get_info),
            Route(f"{api}/tree/{{revision:path}}", self._get_tree),
            Route(f"{api}/refs", self._get_refs),
            Route("/{user}/{name}/resolve/{revision}/{path:path}", self._get_file),
        ]

    def _record(self, app: Starlette) -> Callable:
        async def recorded(scope: dict, receive: Callable, send: Callable) -> None:
            async def send_recorded(message: dict) -> None:
                if message["type"] == "http.response.start":
                    self.asked.append(Asked(scope["method"], scope["path"], message["status"]))
                await send(message)

            answer = app if self.outage is None else Response(status_code=self.outage)
            await answer(scope, receive, send_recorded)

        return recorded

    def _find_repo(self, request: Request) -> Repo:
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        if token not in ("", OWNER_TOKEN, STRANGER_TOKEN):
            raise HubError(401, None, "Invalid credentials in Authorization header")
        repo = self.repos.get("{user}/{name}".format(**request.path_params))
        if repo is None or (repo.private and token != OWNER_TOKEN):
            raise HubError(404 if token else 401, "RepoNotFound", "Repository not found")
        if repo.gated and token != OWNER_TOKEN and "path" in request.path_params:
            raise HubError(403 if token else 401, "GatedRepo", f"Access to model {repo.id} is restricted.")
        return repo

    def _find_commit(self, request: Request) -> tuple[Repo, str]:
        repo = self._find_repo(request)
        revision = request.path_params.get("revision", "main")
        sha = repo.resolve(revision)
        if sha is None:
            raise HubError(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return repo, sha

    def _get_info(self, request: Request) -> Response:
        repo, sha = self._find_commit(request)
        detailed = request.query_params.get("blobs") == "true"
        siblings = [{"rfilename": path} | (blob.describe() if detailed else {}) for path, blob in repo.commits[sha].items()]
        gated = "manual" if repo.gated else False
        return JSONResponse(
            {"id": repo.id, "modelId": repo.id, "sha": sha, "private": repo.private, "gated": gated, "tags": [], "siblings": siblings}
        )

    def _get_tree(self, request: Request) -> Response:
        """List every file, as with `recursive=true`; the client asks for nothing else here."""
        repo, sha = self._find_commit(request)
        return JSONResponse([{"type": "file", "path": path} | blob.describe() for path, blob in repo.commits[sha].items()])

    def _get_refs(self, request: Request) -> Response:
        repo = self._find_repo(request)

        def describe(kind: str, refs: dict[str, str]) -> list[dict[str, str]]:
            return [{"name": name, "ref": f"refs/{kind}/{name}", "targetCommit": sha} for name, sha in refs.items()]

        return JSONResponse({"branches": describe("heads", repo.branches), "tags": describe("tags", repo.tags), "converts": []})

    def _get_file(self, request: Request) -> Response:
        repo, sha = self._find_commit(request)
        blob = repo.commits[sha].get(request.path_params["path"])
        if blob is None:
            error = HubError(404, "EntryNotFound", "Entry not found")
            error.headers["X-Repo-Commit"] = sha
            raise error
        size = len(blob.content)
        headers = {"X-Repo-Commit": sha, "ETag": f'"{blob.sha256 if blob.is_lfs else blob.oid}"', "Accept-Ranges": "bytes"}
        if blob.is_lfs:
            headers |= {"X-Linked-Etag": headers["ETag"], "X-Linked-Size": str(size)}
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("range", ""))
        start, stop = (int(wanted[1]), min(int(wanted[2] or size - 1) + 1, size)) if wanted else (0, size)
        if wanted and start >= stop:
            return Response(status_code=416, headers={"Content-Range": f"bytes */{size}"})
        if wanted:
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
        headers["Content-Length"] = str(stop - start)
        # Starlette's Response would state the length of an empty body for HEAD.
        body = iter(()) if request.method == "HEAD" else self._send(blob.content[start:stop])
        return StreamingResponse(body, 206 if wanted else 200, headers, "application/octet-stream")

    def _send(self, content: bytes) -> Iterator[bytes]:
        cut, self.cut_after = self.cut_after, None
        yield content[:cut]
        if cut is not None:
            raise ConnectionAbortedError("cut on purpose")
