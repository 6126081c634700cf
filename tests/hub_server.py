"""A Hugging Face Hub on 127.0.0.1, for tests with the real `huggingface_hub` client and no network.

Goes in: files, committed by a test or pushed by the client, to repositories of models and Spaces that may be
private or gated. Comes out: a server whose address is the client's `HF_ENDPOINT`, and a record of what was
asked of it. `Repo` is the state and `HubServer` the HTTP around it.

Source: huggingface_hub 2.4 (`hf_api.py`, `_commit_api.py`, `lfs.py`, `file_download.py`, `utils/_http.py`)
for the addresses, headers and error codes it reads.
"""

import base64
import hashlib
import itertools
import json
import re
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Self

import uvicorn
import yaml
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

OWNER_TOKEN = "hf_owner"
STRANGER_TOKEN = "hf_stranger"
DATE = "2026-01-01T00:00:00.000Z"
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

    @property
    def etag(self) -> str:
        """What the client compares its own file with."""
        return self.sha256 if self.is_lfs else self.oid

    @classmethod
    def of(cls, path: str, content: bytes) -> Self:
        """Hash a file's content."""
        oid = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        return cls(content, path.endswith(LFS_SUFFIXES), hashlib.sha256(content).hexdigest(), oid)

    def describe(self) -> dict:
        """Size and names, as `/tree` and `/api/models/ID?blobs=true` give them."""
        lfs = {"oid": self.sha256, "sha256": self.sha256, "size": len(self.content), "pointerSize": 134}
        return {"size": len(self.content), "oid": self.oid, "blobId": self.oid} | (
            {"lfs": lfs} if self.is_lfs else {}
        )


class Commit(NamedTuple):
    """The files of a commit by path, its title, and the commit before it."""

    files: dict[str, Blob]
    title: str
    parent: str | None


@dataclass
class Repo:
    """One repository.

    Attributes:
        id: `user/name`, or `spaces/user/name`.
        private: only the owner may know that it exists.
        gated: everyone may list it, only the owner may fetch its files.
        commits: by commit sha.
        branches: commit sha by branch; pull requests are `refs/pr/N`.
        tags: commit sha by tag.
    """

    id: str
    private: bool = False
    gated: bool = False
    commits: dict[str, Commit] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)

    def commit(
        self, files: Mapping[str, bytes], branch: str = "main", title: str = "Commit of a person"
    ) -> str:
        """Make these the files of a branch.

        Returns:
            The sha of the new commit.
        """
        blobs = {path: Blob.of(path, content) for path, content in sorted(files.items())}
        content = "".join(f"{path} {blob.oid}\n" for path, blob in blobs.items())
        sha = hashlib.sha1(f"{self.id} {len(self.commits)}\n{content}".encode()).hexdigest()
        self.commits[sha] = Commit(blobs, title, self.branches.get(branch) or self.branches.get("main"))
        self.branches[branch] = sha
        return sha

    def read(self, revision: str = "main") -> dict[str, bytes]:
        """The files at a revision."""
        return {path: blob.content for path, blob in self.commits[self.resolve(revision)].files.items()}

    def resolve(self, revision: str) -> str | None:
        """Find the commit sha of a branch, tag or commit."""
        found = self.branches.get(revision) or self.tags.get(revision) or revision
        return found if found in self.commits else None

    def log(self, sha: str | None) -> Iterator[tuple[str, Commit]]:
        """Commits from this one back to the first."""
        while sha is not None:
            yield sha, self.commits[sha]
            sha = self.commits[sha].parent

    def find_last_commit(self, sha: str, path: str) -> tuple[str, str]:
        """Sha and title of the newest commit that touched a file."""
        blob = self.commits[sha].files[path]
        *_, (last, commit) = itertools.takewhile(lambda one: one[1].files.get(path) == blob, self.log(sha))
        return last, commit.title


def read_folder(folder: Path) -> dict[str, bytes]:
    """Read a folder's files, by path inside it."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


class Asked(NamedTuple):
    """One request and its answer's status."""

    method: str
    path: str
    status: int
    range: str = ""


class HubError(HTTPException):
    """An error as the Hub words it, in headers."""

    def __init__(self, status: int, code: str | None, message: str):
        super().__init__(
            status, message, {"X-Error-Message": message} | ({"X-Error-Code": code} if code else {})
        )


class HubServer:
    """The server; a context manager.

    Attributes:
        url: for `HF_ENDPOINT`.
        repos: by `user/name`.
        asked: every request so far, in order.
        outage: while set, the status that every request is answered with.
        failures: pairs of a regular expression for `METHOD /path` and a status; each fails one request.
        stored: large files that were uploaded, by sha256.
        cut_after: where set, the next file that is longer breaks off after so many bytes.
    """

    def __init__(self) -> None:
        self.repos: dict[str, Repo] = {}
        self.asked: list[Asked] = []
        self.outage: int | None = None
        self.failures: list[tuple[str, int]] = []
        self.stored: dict[str, bytes] = {}
        self.cut_after: int | None = None
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        app = Starlette(routes=self._build_routes())
        self._server = uvicorn.Server(
            uvicorn.Config(
                self._record(app), log_level="critical", lifespan="off", timeout_graceful_shutdown=1
            )
        )
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._socket]}, daemon=True
        )

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
        matches = (
            pattern.fullmatch(asked.path)
            for asked in self.asked
            if asked.method == "GET" and asked.status < 300
        )
        return sorted(match[1] for match in matches if match)

    def _build_routes(self) -> list[Route]:
        routes = [
            Route("/api/repos/create", self._create, methods=["POST"]),
            Route("/api/validate-yaml", self._validate_yaml, methods=["POST"]),
            Route("/lfs/{sha256}", self._store, methods=["PUT"]),
        ]
        for kind, prefix in (("models", ""), ("spaces", "/spaces")):
            api, home = f"/api/{kind}/{{user}}/{{name}}", f"{prefix}/{{user}}/{{name}}"
            routes += [
                Route(api, self._get_info),
                Route(f"{api}/revision/{{revision:path}}", self._get_info),
                Route(f"{api}/tree/{{revision:path}}", self._get_tree),
                Route(f"{api}/refs", self._get_refs),
                Route(f"{api}/commits/{{revision:path}}", self._get_commits),
                Route(f"{api}/paths-info/{{revision:path}}", self._get_paths_info, methods=["POST"]),
                Route(f"{api}/preupload/{{revision:path}}", self._preupload, methods=["POST"]),
                Route(f"{api}/commit/{{revision:path}}", self._commit, methods=["POST"]),
                Route(f"{api}/tag/{{revision:path}}", self._tag, methods=["POST"]),
                Route(f"{home}.git/info/lfs/objects/batch", self._batch, methods=["POST"]),
                Route(f"{home}.git/info/lfs/verify", self._verify, methods=["POST"]),
                Route(f"{home}/resolve/{{revision}}/{{path:path}}", self._get_file),
            ]
        return routes

    def _record(self, app: Starlette) -> Callable:
        async def recorded(scope: dict, receive: Callable, send: Callable) -> None:
            async def send_recorded(message: dict) -> None:
                if message["type"] == "http.response.start":
                    wanted = dict(scope["headers"]).get(b"range", b"").decode()
                    self.asked.append(Asked(scope["method"], scope["path"], message["status"], wanted))
                await send(message)

            due = [
                failure
                for failure in self.failures
                if re.search(failure[0], f"{scope['method']} {scope['path']}")
            ][:1]
            self.failures = [failure for failure in self.failures if failure not in due]
            status = due[0][1] if due else self.outage
            answer = app if status is None else Response(status_code=status)
            await answer(scope, receive, send_recorded)

        return recorded

    def _read_token(self, request: Request) -> str:
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        if token not in ("", OWNER_TOKEN, STRANGER_TOKEN):
            raise HubError(401, None, "Invalid credentials in Authorization header")
        return token

    def _find_repo(self, request: Request, write: bool = False) -> Repo:
        token, prefix = (
            self._read_token(request),
            "spaces/" if re.match("/(api/)?spaces/", request.url.path) else "",
        )
        repo = self.repos.get(f"{prefix}{request.path_params['user']}/{request.path_params['name']}")
        if repo is None or (repo.private and token != OWNER_TOKEN):
            raise HubError(404 if token else 401, "RepoNotFound", "Repository not found")
        if repo.gated and token != OWNER_TOKEN and "path" in request.path_params:
            raise HubError(403 if token else 401, "GatedRepo", f"Access to model {repo.id} is restricted.")
        if write and token != OWNER_TOKEN and not (token and request.query_params.get("create_pr")):
            raise HubError(403 if token else 401, None, "You don't have the rights to write here")
        return repo

    def _find_commit(self, request: Request, write: bool = False) -> tuple[Repo, str]:
        repo = self._find_repo(request, write)
        revision = request.path_params.get("revision", "main")
        sha = repo.resolve(revision)
        if sha is None:
            raise HubError(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return repo, sha

    def _get_info(self, request: Request) -> Response:
        repo, sha = self._find_commit(request)
        detailed = request.query_params.get("blobs") == "true"
        siblings = [
            {"rfilename": path} | (blob.describe() if detailed else {})
            for path, blob in repo.commits[sha].files.items()
        ]
        gated = "manual" if repo.gated else False
        return JSONResponse(
            {
                "id": repo.id.removeprefix("spaces/"),
                "sha": sha,
                "private": repo.private,
                "gated": gated,
                "tags": [],
                "siblings": siblings,
            }
        )

    def _get_tree(self, request: Request) -> Response:
        """List every file, as with `recursive=true`; the client asks for nothing else here."""
        repo, sha = self._find_commit(request)
        return JSONResponse(
            [
                {"type": "file", "path": path} | blob.describe()
                for path, blob in repo.commits[sha].files.items()
            ]
        )

    def _get_refs(self, request: Request) -> Response:
        repo = self._find_repo(request)

        def describe(kind: str, refs: dict[str, str]) -> list[dict[str, str]]:
            return [
                {"name": name, "ref": f"refs/{kind}/{name}", "targetCommit": sha}
                for name, sha in refs.items()
            ]

        return JSONResponse(
            {
                "branches": describe("heads", repo.branches),
                "tags": describe("tags", repo.tags),
                "converts": [],
            }
        )

    def _get_commits(self, request: Request) -> Response:
        repo, sha = self._find_commit(request)
        facts = {"message": "", "date": DATE, "authors": []}
        return JSONResponse([facts | {"id": found, "title": commit.title} for found, commit in repo.log(sha)])

    async def _get_paths_info(self, request: Request) -> Response:
        repo, sha = self._find_commit(request)
        answer = []
        for path in (await request.form()).getlist("paths"):
            if path in repo.commits[sha].files:
                last = dict(zip(("id", "title"), repo.find_last_commit(sha, path), strict=True)) | {
                    "date": DATE
                }
                answer.append(
                    {"type": "file", "path": path, "lastCommit": last}
                    | repo.commits[sha].files[path].describe()
                )
        return JSONResponse(answer)

    async def _create(self, request: Request) -> Response:
        asked, token = await request.json(), self._read_token(request)
        repo_id = (
            f"{'spaces/' if asked.get('type') == 'space' else ''}{asked['organization']}/{asked['name']}"
        )
        if token != OWNER_TOKEN:
            raise HubError(
                403 if token else 401, None, "You don't have the rights to create a repository here"
            )
        if repo_id not in self.repos:
            repo = self.add_repo(repo_id, asked.get("visibility") == "private")
            repo.commit({".gitattributes": b"*.tflite filter=lfs\n"}, title="initial commit")
            return JSONResponse({"url": f"{self.url}/{repo_id}"})
        return JSONResponse(
            {"error": "You already created this repository", "url": f"{self.url}/{repo_id}"}, 409
        )

    async def _validate_yaml(self, request: Request) -> Response:
        content = (await request.json())["content"]
        front = re.match(r"---\n(.*?)\n---\n", content, re.DOTALL)
        if not front or not isinstance(yaml.safe_load(front[1]), dict):
            return JSONResponse(
                {"errors": [{"message": "The card has no front matter"}], "warnings": []}, 400
            )
        return JSONResponse({"errors": [], "warnings": []})

    async def _preupload(self, request: Request) -> Response:
        repo, sha = self._find_commit(request, write=True)
        paths, known = [file["path"] for file in (await request.json())["files"]], repo.commits[sha].files
        modes = {path: {"uploadMode": "lfs" if path.endswith(LFS_SUFFIXES) else "regular"} for path in paths}
        oids = {path: {"oid": known[path].etag if path in known else None} for path in paths}
        return JSONResponse(
            {"files": [{"path": path, "shouldIgnore": False} | modes[path] | oids[path] for path in paths]}
        )

    async def _batch(self, request: Request) -> Response:
        """Say where each large file goes, or nothing where it is there."""
        home = f"{self.url}{request.url.path.removesuffix('/objects/batch')}"
        objects = (await request.json())["objects"]
        for asked in objects:
            if asked["oid"] not in self.stored:
                asked["actions"] = {
                    "upload": {"href": f"{self.url}/lfs/{asked['oid']}"},
                    "verify": {"href": f"{home}/verify"},
                }
        return JSONResponse({"transfer": "basic", "objects": objects})

    async def _store(self, request: Request) -> Response:
        content = await request.body()
        if hashlib.sha256(content).hexdigest() != request.path_params["sha256"]:
            raise HubError(400, None, "The content has another sha256")
        self.stored[request.path_params["sha256"]] = content
        return Response()

    async def _verify(self, request: Request) -> Response:
        asked = await request.json()
        return Response(status_code=200 if len(self.stored.get(asked["oid"], b"")) == asked["size"] else 422)

    async def _commit(self, request: Request) -> Response:
        repo, head = self._find_commit(request, write=True)
        header, *operations = [json.loads(line) for line in (await request.body()).splitlines()]
        if header["value"].get("parentCommit", head) != head:
            raise HubError(412, None, "A commit has happened since")
        files = repo.read(head)
        for operation in operations:
            value = operation["value"]
            if operation["key"] == "deletedFile":
                del files[value["path"]]
            else:
                files[value["path"]] = (
                    self.stored[value["oid"]]
                    if operation["key"] == "lfsFile"
                    else base64.b64decode(value["content"])
                )
        number = sum(branch.startswith("refs/pr/") for branch in repo.branches) + 1
        is_pr = "create_pr" in request.query_params
        sha = repo.commit(
            files,
            f"refs/pr/{number}" if is_pr else request.path_params["revision"],
            header["value"]["summary"],
        )
        answer = {"commitUrl": f"{self.url}/{repo.id}/commit/{sha}", "commitOid": sha}
        return JSONResponse(
            answer | ({"pullRequestUrl": f"{self.url}/{repo.id}/discussions/{number}"} if is_pr else {})
        )

    async def _tag(self, request: Request) -> Response:
        repo, sha = self._find_commit(request, write=True)
        if repo.tags.setdefault((await request.json())["tag"], sha) != sha:
            raise HubError(409, None, "Tag reference exists already")
        return Response()

    def _get_file(self, request: Request) -> Response:
        repo, sha = self._find_commit(request)
        blob = repo.commits[sha].files.get(request.path_params["path"])
        if blob is None:
            error = HubError(404, "EntryNotFound", "Entry not found")
            error.headers["X-Repo-Commit"] = sha
            raise error
        size = len(blob.content)
        headers = {"X-Repo-Commit": sha, "ETag": f'"{blob.etag}"', "Accept-Ranges": "bytes"}
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
        cut, is_cut = self.cut_after, self.cut_after is not None and self.cut_after < len(content)
        yield content[:cut] if is_cut else content
        if is_cut:
            self.cut_after = None
            raise ConnectionAbortedError("cut on purpose")
