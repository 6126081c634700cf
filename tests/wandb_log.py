"""Read the file that Weights & Biases writes offline: LevelDB log blocks of protobuf records.

Format: seven bytes of its own, then https://github.com/google/leveldb/blob/main/doc/log_format.md
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wandb.proto import wandb_internal_pb2

BLOCK = 32 * 1024
HEADER = 7
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4


def read_records(path: Path) -> Iterator[wandb_internal_pb2.Record]:
    """Every record of a `.wandb` file, in order."""
    content = path.read_bytes()
    position, whole = HEADER, b""
    while position + HEADER <= len(content):
        if BLOCK - position % BLOCK < HEADER:
            position += BLOCK - position % BLOCK
            continue
        length, kind = int.from_bytes(content[position + 4 : position + 6], "little"), content[position + 6]
        if kind == 0:
            break
        whole = (b"" if kind in (FULL, FIRST) else whole) + content[
            position + HEADER : position + HEADER + length
        ]
        position += HEADER + length
        if kind in (FULL, LAST):
            yield wandb_internal_pb2.Record.FromString(whole)


@dataclass(frozen=True)
class LoggedArtifact:
    """An artifact as a run logged it.

    Attributes:
        name: of its collection.
        type: `dataset`, `model`, or `run_table`, which W&B makes of every table.
        aliases: such as `latest`.
        metadata: as given.
        is_input: whether the run used it; else it made it.
        files: where the copy lies that is to be uploaded, by path in the artifact.
    """

    name: str
    type: str
    aliases: list[str]
    metadata: dict[str, Any]
    is_input: bool
    files: dict[str, Path]

    def read_json(self, path: str) -> Any:
        """Content of one of its files."""
        return json.loads(self.files[path].read_text(encoding="utf-8"))


def read_run(path: Path) -> dict[str, Any]:
    """History rows, config, last summary, axes of metrics, and the artifacts of a run, as Python values."""
    found: dict[str, Any] = {
        "history": [],
        "config": {},
        "summary": {},
        "project": None,
        "axes": {},
        "artifacts": [],
    }
    for record in read_records(path):
        kind = record.WhichOneof("record_type")
        if kind == "run":
            found["project"] = record.run.project
            found["id"] = record.run.run_id
            found["config"] |= {item.key: json.loads(item.value_json) for item in record.run.config.update}
        elif kind == "history":
            found["history"].append(
                {
                    "/".join(item.nested_key) or item.key: json.loads(item.value_json)
                    for item in record.history.item
                }
            )
        elif kind == "summary":
            found["summary"] |= {
                "/".join(item.nested_key) or item.key: json.loads(item.value_json)
                for item in record.summary.update
            }
        elif kind == "metric":
            found["axes"][record.metric.glob_name or record.metric.name] = record.metric.step_metric
        elif kind == "artifact":
            found["artifacts"].append(_read_artifact(record.artifact))
    return found


def _read_artifact(record: wandb_internal_pb2.ArtifactRecord) -> LoggedArtifact:
    files = {entry.path: Path(entry.local_path) for entry in record.manifest.contents}
    metadata = json.loads(record.metadata or "{}")
    return LoggedArtifact(
        record.name, record.type, list(record.aliases), metadata, record.use_after_commit, files
    )
