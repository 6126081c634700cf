"""The state of a run on disk, so that it goes on after a crash, a kill or a full disk.

Goes in: named arrays and a small JSON-able state. Comes out: the same, from the newest checkpoint that is
whole. A checkpoint is two files, `checkpoint-000000128.npz` and, written after it,
`checkpoint-000000128.json` with its sha256. What has no JSON was interrupted; what does not match its sha256
is damaged; in both cases the checkpoint before it is used.
"""

import errno
import hashlib
import io
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from etils import epath

from serving.files.errors import UserError
from serving.files.writing import write_json, write_whole

KEPT = 2
NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


class CheckpointError(UserError):
    """A checkpoint that cannot be written; the message says why and what is still there."""


def save_checkpoint(
    folder: epath.Path, step: int, arrays: Mapping[str, np.ndarray], state: Mapping[str, Any]
) -> None:
    """Write a checkpoint, then delete all but the newest `KEPT`.

    Args:
        folder: made if it is missing; local or `gs://`.
        step: optimiser steps so far; names the checkpoint.
        arrays: weights, averages and optimiser variables by name.
        state: everything else, JSON-able.

    Raises:
        CheckpointError: the disk is full or cannot be written; earlier checkpoints are as they were.
    """
    buffer = io.BytesIO()
    np.savez(buffer, **dict(arrays))  # type: ignore[arg-type]  # its only keyword of its own is allow_pickle
    content = buffer.getvalue()
    manifest = {"sha256": hashlib.sha256(content).hexdigest(), "step": step, "state": dict(state)}
    name = f"checkpoint-{step:09}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / f"{name}.npz", content)
        write_json(folder / f"{name}.json", manifest)
    except OSError as error:
        kept = ", ".join(path.stem for path in _list_manifests(folder)) or "none"
        reason = "The disk is full" if error.errno in NO_SPACE else f"{error.strerror or error}"
        raise CheckpointError(
            f"Cannot write {name} to {folder}: {reason}. Checkpoints that are still there: {kept}. "
            "Make room and run the same command again: it goes on from the newest."
        ) from error
    for path in _list_manifests(folder)[KEPT:]:
        path.unlink(missing_ok=True)
        path.with_suffix(".npz").unlink(missing_ok=True)


def load_checkpoint(folder: epath.Path) -> tuple[dict[str, np.ndarray], dict[str, Any], list[str]]:
    """Read the newest checkpoint that is whole.

    Returns:
        Arrays by name, the state (both empty where there is no checkpoint), and one line for each newer
        one that is damaged.
    """
    damaged = []
    for path in _list_manifests(folder):
        try:
            manifest = json.loads(path.read_bytes())
            content = path.with_suffix(".npz").read_bytes()
            if hashlib.sha256(content).hexdigest() != manifest["sha256"]:
                raise ValueError("its bytes do not match its sha256")
        except (OSError, ValueError, KeyError, TypeError) as error:
            damaged.append(f"{path.stem} is damaged ({error}); using the one before it.")
            continue
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}, manifest["state"], damaged
    return {}, {}, damaged


def _list_manifests(folder: epath.Path) -> list[epath.Path]:
    """Newest first."""
    return sorted(folder.glob("checkpoint-*.json"), key=lambda path: path.name, reverse=True)
