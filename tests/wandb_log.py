"""Read the file that Weights & Biases writes offline: LevelDB log blocks of protobuf records.

Format: seven bytes of its own, then https://github.com/google/leveldb/blob/main/doc/log_format.md
"""

import json
from collections.abc import Iterator
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
        whole = (b"" if kind in (FULL, FIRST) else whole) + content[position + HEADER : position + HEADER + length]
        position += HEADER + length
        if kind in (FULL, LAST):
            yield wandb_internal_pb2.Record.FromString(whole)


def read_run(path: Path) -> dict[str, Any]:
    """History rows, config and the last summary of a run, as Python values."""
    found: dict[str, Any] = {"history": [], "config": {}, "summary": {}, "project": None}
    for record in read_records(path):
        kind = record.WhichOneof("record_type")
        if kind == "run":
            found["project"] = record.run.project
            found["config"] |= {item.key: json.loads(item.value_json) for item in record.run.config.update}
        elif kind == "history":
            found["history"].append({"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in record.history.item})
        elif kind == "summary":
            found["summary"] |= {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in record.summary.update}
    return found
