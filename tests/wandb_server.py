"""A Weights & Biases server on 127.0.0.1, for tests with the real client and no other network.

Goes in: what the client sends. Comes out: the runs with their history, summary and files, and the artifacts
with their bytes and their lineage. It can fail in the ways that a dead server does, from the start or from a
given moment on.

Source: the requests of wandb 0.31, as recorded; GraphQL is told apart by the names of its operations.
"""

import base64
import contextlib
import hashlib
import json
import re
import threading
import urllib.parse
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

ENTITY = {"id": "entity", "name": "tester"}
# What a query gives; what a mutation gives has the name of the operation.
QUERIES = {
    **{"RunResumeStatus": "model", "Viewer": "viewer", "GetDefaultEntity": "viewer"},
    **{"ArtifactByID": "artifact", "FetchArtifactManifest": "artifact"},
    **{"ArtifactMembershipByName": "project", "GetArtifactMembershipFileUrls": "project"},
}
MANIFEST_FILE = "wandb_manifest.json"


@dataclass
class ServedRun:
    """A run.

    Attributes:
        config: as the client last sent it.
        history: rows.
        summary: the last one.
        files: content by path.
        sweep: id of the sweep that it is a trial of.
    """

    config: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    sweep: str | None = None


@dataclass
class ServedArtifact:
    """An artifact.

    Attributes:
        name: of its collection.
        type: `dataset`, `model`, or `run_table`, which W&B makes of every table.
        aliases: such as `latest`.
        metadata: as given.
        made_by: id of the run that made it; None where runs only used it.
        used_by: ids of the runs that used it.
        files: content by path.
        is_committed: whether it is whole.
    """

    name: str
    type: str
    aliases: list[str]
    metadata: dict[str, Any]
    made_by: str | None
    used_by: list[str] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    is_committed: bool = False


class WandbServer:
    """The server; a context manager.

    Attributes:
        url: for `WANDB_BASE_URL`.
        runs: by id.
        artifacts: in the order of their making.
        outage: while set, the status of every answer; 0: there is no answer at all.
        on_answer: is called with the name of each GraphQL answer once it is given.
    """

    def __init__(self) -> None:
        self.runs: dict[str, ServedRun] = {}
        self.artifacts: list[ServedArtifact] = []
        self.outage: int | None = None
        self.on_answer: Callable[[str], None] = lambda name: None
        self.closing = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"wandb": self}))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def find_artifacts(self, kind: str) -> list[ServedArtifact]:
        """The artifacts of a type."""
        return [artifact for artifact in self.artifacts if artifact.type == kind]

    def add_artifact(
        self, name: str, kind: str, files: dict[str, bytes], references: Mapping[str, str] = {}
    ) -> None:
        """Make an artifact as if a run had logged it, with alias `latest`; references are URLs by path."""
        contents = {
            path: {"digest": base64.b64encode(hashlib.md5(content).digest()).decode(), "size": len(content)}
            for path, content in files.items()
        }
        contents |= {path: {"digest": "other", "size": 1, "ref": url} for path, url in references.items()}
        policy = {"storagePolicy": "wandb-storage-policy-v1", "storagePolicyConfig": {"storageLayout": "V2"}}
        manifest = json.dumps({"version": 1, **policy, "contents": contents}).encode()
        self.artifacts.append(
            ServedArtifact(
                name, kind, ["latest"], {}, None, files=files | {MANIFEST_FILE: manifest}, is_committed=True
            )
        )

    def answer(self, operation: str, asked: dict[str, Any]) -> dict[str, Any]:
        """Answer a GraphQL operation; null where it asks for nothing that matters here."""
        if operation == "ArtifactType":  # of the project, which needs no type of an artifact
            return {"project": None}
        key = QUERIES.get(operation) or operation[:1].lower() + operation[1:]
        method = getattr(self, f"_{key}", None)
        return {key: method(asked) if method else None}

    def _model(self, asked: dict[str, Any]) -> dict[str, Any]:
        """What there is of a run that may be resumed."""
        run = self.runs.get(asked["name"])
        bucket = run and {
            **dict.fromkeys(("id", "name", "displayName"), asked["name"]),
            "historyLineCount": len(run.history),
            "historyTail": json.dumps([json.dumps(row) for row in run.history[-1:]]),
            "summaryMetrics": json.dumps(run.summary),
            "config": json.dumps(run.config),
            **{
                "logLineCount": 0,
                "eventsLineCount": 0,
                "eventsTail": "[]",
                "tags": [],
                "notes": "",
                "wandbConfig": '{"t": 1}',
            },
        }
        return {**self._name_project(asked["project"]), "bucket": bucket}

    def _upsertBucket(self, asked: dict[str, Any]) -> dict[str, Any]:
        is_new = asked["name"] not in self.runs
        run = self.runs.setdefault(asked["name"], ServedRun())
        run.config, run.sweep = json.loads(asked["config"] or "{}"), run.sweep or asked["sweep"]
        names = dict.fromkeys(("id", "name", "displayName"), asked["name"])
        project = self._name_project(asked["project"])
        bucket = {
            **names,
            "description": "",
            "config": asked["config"],
            "sweepName": asked["sweep"],
            "project": project,
        }
        return {"bucket": {**bucket, "historyLineCount": len(run.history)}, "inserted": is_new}

    def _viewer(self, asked: dict[str, Any]) -> dict[str, Any]:
        return {
            "id": "user",
            "entity": ENTITY["name"],
            "username": "tester",
            "email": "",
            "flags": "{}",
            "teams": {"edges": []},
        }

    def _createRunFiles(self, asked: dict[str, Any]) -> dict[str, Any]:
        files = [
            {"name": name, "uploadUrl": f"{self.url}/run/{asked['run']}/{name}"} for name in asked["files"]
        ]
        return {"runID": asked["run"], "uploadHeaders": [], "files": files}

    def _createArtifact(self, asked: dict[str, Any]) -> dict[str, Any]:
        aliases, metadata = (
            [item["alias"] for item in asked["aliases"]],
            json.loads(asked["metadata"] or "{}"),
        )
        self.artifacts.append(
            ServedArtifact(
                asked["artifactCollectionName"],
                asked["artifactTypeName"],
                aliases,
                metadata,
                asked["runName"],
            )
        )
        return {
            "artifact": {
                "id": str(len(self.artifacts) - 1),
                "state": "PENDING",
                "artifactSequence": {"latestArtifact": None},
            }
        }

    def _createArtifactManifest(self, asked: dict[str, Any]) -> dict[str, Any]:
        url = f"{self.url}/artifact/{asked['artifactID']}/{asked['name']}"
        return {
            "artifactManifest": {
                "id": "manifest",
                "file": {"id": "file", "uploadUrl": url, "uploadHeaders": []},
            }
        }

    def _createArtifactFiles(self, asked: dict[str, Any]) -> dict[str, Any]:
        nodes = [
            {
                **{
                    "storagePath": file["name"],
                    "uploadUrl": f"{self.url}/artifact/{file['artifactID']}/{file['name']}",
                },
                **{"uploadHeaders": [], "uploadMultipartUrls": None, "artifact": {"id": file["artifactID"]}},
            }
            for file in asked["artifactFiles"]
        ]
        return {"files": {"edges": [{"node": node} for node in nodes]}}

    def _commitArtifact(self, asked: dict[str, Any]) -> dict[str, Any]:
        self.artifacts[int(asked["artifactID"])].is_committed = True
        return {"artifact": {"id": asked["artifactID"], "digest": "digest"}}

    def _useArtifact(self, asked: dict[str, Any]) -> dict[str, Any]:
        self.artifacts[int(asked["artifactID"])].used_by.append(asked["runName"])
        return {"artifact": {"id": asked["artifactID"]}}

    def _project(self, asked: dict[str, Any]) -> dict[str, Any] | None:
        """One version of an artifact, asked for by name, and its files; null where there is none."""
        wanted = asked.get("name") or f"{asked.get('collection')}:{asked.get('alias')}"
        numbers = [
            number
            for number, artifact in enumerate(self.artifacts)
            if artifact.name == wanted.partition(":")[0]
        ]
        chosen = [
            number
            for index, number in enumerate(numbers)
            if wanted.partition(":")[2] in (f"v{index}", *self.artifacts[number].aliases)
        ]
        if not chosen:
            return {"artifactCollectionMembership": None} if "name" in asked else None
        artifact = self._artifact({"id": chosen[-1]})
        names = [name for name in self.artifacts[chosen[-1]].files if name != MANIFEST_FILE]
        edges = [
            {
                "node": {
                    "name": name,
                    "directUrl": f"{self.url}/artifact/{chosen[-1]}/{urllib.parse.quote(name)}",
                },
                "cursor": "0",
            }
            for name in names
        ]
        membership = {
            **{
                "__typename": "ArtifactCollectionMembership",
                "id": "membership",
                "versionIndex": numbers.index(chosen[-1]),
                "aliases": [],
            },
            **{
                "createdAt": artifact["createdAt"],
                "artifactCollection": artifact["artifactSequence"],
                "artifact": artifact,
            },
            "files": {"pageInfo": {"endCursor": None, "hasNextPage": False}, "edges": edges},
        }
        return {
            "artifactCollectionMembership": membership,
            "artifactCollection": {"__typename": "ArtifactSequence", "artifactMembership": membership},
        }

    def _artifact(self, asked: dict[str, Any]) -> dict[str, Any]:
        """An artifact as the client reads it once it is uploaded."""
        artifact = self.artifacts[int(asked["id"])]
        collection = {
            "__typename": "ArtifactSequence",
            "name": artifact.name,
            "project": {**self._name_project("project"), "internalId": "1"},
        }
        manifest = {"file": {"directUrl": f"{self.url}/artifact/{asked['id']}/{MANIFEST_FILE}"}}
        return {
            **{
                "currentManifest": manifest,
                "__typename": "Artifact",
                "id": str(asked["id"]),
                "artifactSequence": collection,
                "artifactType": {"name": artifact.type},
            },
            **{
                "versionIndex": 0,
                "state": "COMMITTED",
                "size": 1,
                "digest": "digest",
                "commitHash": "hash",
                "fileCount": len(artifact.files),
            },
            **{
                "description": None,
                "metadata": "{}",
                "tags": [],
                "aliases": [],
                "historyStep": None,
                "createdAt": "2026-01-01T00:00:00Z",
            },
            **{"updatedAt": None, "ttlDurationSeconds": -2, "ttlIsInherited": True},
        }

    @staticmethod
    def _name_project(name: str) -> dict[str, Any]:
        return {"id": "project", "name": name, "entity": ENTITY}


class _Handler(BaseHTTPRequestHandler):
    wandb: WandbServer
    protocol_version = "HTTP/1.1"

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError):  # the client was killed
            super().handle()

    def log_message(self, *_: object) -> None:
        """Keep quiet."""

    def do_GET(self) -> None:
        """A file of an artifact, or a sign of life."""
        if not self.path.startswith("/artifact/"):
            return self._answer({})
        _, _, number, path = self.path.split("/", 3)
        return self._answer(self.wandb.artifacts[int(number)].files[urllib.parse.unquote(path)])

    def do_PUT(self) -> None:
        """A file of a run or of an artifact: `/run/ID/PATH`, `/artifact/NUMBER/PATH`."""
        content = self.rfile.read(int(self.headers["Content-Length"]))
        if not self.wandb.outage:
            _, kind, owner, path = self.path.split("/", 3)
            (self.wandb.runs[owner] if kind == "run" else self.wandb.artifacts[int(owner)]).files[
                urllib.parse.unquote(path)
            ] = content
        self._answer({})

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path == "/graphql" and self.wandb.outage is None:
            asked = json.loads(content)
            operation = asked["operationName"] or re.split(r"\W+", asked["query"].strip())[1]
            variables = asked.get("variables") or {}
            data = self.wandb.answer(operation, variables.get("input", variables))
            self._answer({"data": data})
            self.wandb.on_answer(next(iter(data)))
        elif self.path.endswith("/file_stream") and self.wandb.outage is None:
            self._take_in(self.path.split("/")[-2], json.loads(content))
        else:
            self._answer({}, 404)

    def _take_in(self, run_id: str, sent: dict[str, Any]) -> None:
        run, files = self.wandb.runs[run_id], sent.get("files", {})
        if "wandb-history.jsonl" in files:
            # As the real server: lines have their place, and a line that is sent again takes its own.
            offset = files["wandb-history.jsonl"]["offset"]
            run.history[offset:] = [json.loads(line) for line in files["wandb-history.jsonl"]["content"]]
        if "wandb-summary.json" in files:
            run.summary = json.loads(files["wandb-summary.json"]["content"][-1])
        self._answer({})

    def _answer(self, content: dict[str, Any] | bytes, status: int = 200) -> None:
        if self.wandb.outage == 0:
            self.wandb.closing.wait()
            return
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(self.wandb.outage or status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
