"""Weights & Biases: online with a key, offline without one, never in the way.

Goes in: the config and the run folder. Comes out: a W&B run that the same run folder continues after a restart.
"""

import contextlib
import dataclasses
import netrc
import os
import secrets
import tempfile
import urllib.parse
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import wandb
from etils import epath

from trainer.config import Config
from trainer.learner import Scores

RUN_ID_FILE = "wandb_run_id"


INIT_TIMEOUT_SECONDS = 20  # a key without a network would else wait for 90


@contextlib.contextmanager
def start_wandb(config: Config, run_dir: epath.Path, say: Callable[[str], None]) -> Iterator[wandb.Run]:
    """Open the run's W&B run and close it at the end.

    Without `WANDB_MODE` the run is online where a key is found, else offline; where the server cannot be reached it is offline as well.
    Either is said in one line. A server that dies later neither stops nor slows the run: W&B sends in the background.

    Args:
        config: the run's settings; W&B keeps them.
        run_dir: the run folder; for `gs://` W&B writes into a temporary folder.
        say: prints a line.
    """
    # Always passed on: W&B itself reads the variable only once a process.
    mode = os.environ.get("WANDB_MODE") or ("online" if _has_key() else "offline")
    if mode == "offline" and "WANDB_MODE" not in os.environ:
        say(f"W&B: no key found, so this run is logged offline. Upload it later: wandb sync {run_dir}/wandb/offline-run-*")
    try:
        run = _open_run(config, run_dir, mode)
    except wandb.errors.CommError as error:
        say(
            f"W&B: no answer ({str(error).splitlines()[0]}), so this run is logged offline. Upload it later: wandb sync {run_dir}/wandb/offline-run-*"
        )
        run = _open_run(config, run_dir, "offline")
    with run:
        yield run


def log_validation(run: wandb.Run, row: dict[str, float], scores: Scores, labels: Sequence[str], step: int) -> None:
    """Log what an epoch ends with: its row, the confusion matrix, and a table of the classes.

    Args:
        run: open W&B run.
        row: an epoch of the history; logged as `epoch/NAME`.
        scores: the validation.
        labels: names of the classes.
        step: optimiser steps so far.
    """
    names = list(labels)
    headings: list[str | int] = ["true", *names]
    confusion = wandb.Table(columns=headings, data=[[name, *map(int, counts)] for name, counts in zip(names, scores.confusion, strict=True)])
    right, true, predicted = np.diag(scores.confusion), scores.confusion.sum(axis=1), scores.confusion.sum(axis=0)
    precision, recall = right / np.maximum(predicted, 1), right / np.maximum(true, 1)
    f1 = 2 * right / np.maximum(true + predicted, 1)
    columns: list[str | int] = ["class", "precision", "recall", "f1", "images"]
    per_class = wandb.Table(columns=columns, data=[list(values) for values in zip(names, precision, recall, f1, true.tolist(), strict=True)])
    epoch = {f"epoch/{name}": value for name, value in row.items()}
    run.log({**epoch, "validation/confusion": confusion, "validation/classes": per_class}, step=step)


def _open_run(config: Config, run_dir: epath.Path, mode: str) -> wandb.Run:
    local = Path(run_dir) if epath.Path(run_dir).as_posix().find("://") < 0 else Path(tempfile.mkdtemp(prefix="wandb-"))
    return wandb.init(
        project=config.tracking.wandb_project,
        name=run_dir.name,
        id=_load_run_id(run_dir),
        mode=mode,  # type: ignore[arg-type]  # W&B checks the value and names the valid ones
        resume="allow" if mode == "online" else None,
        dir=local,
        config=dataclasses.asdict(config),
        settings=wandb.Settings(silent=True, init_timeout=INIT_TIMEOUT_SECONDS),
    )


def _has_key() -> bool:
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        host = urllib.parse.urlsplit(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname
        return netrc.netrc().authenticators(host or "") is not None
    except (FileNotFoundError, netrc.NetrcParseError):
        return False


def _load_run_id(run_dir: epath.Path) -> str:
    """One W&B run a run folder, also after a restart."""
    path = run_dir / RUN_ID_FILE
    if not path.exists():
        path.write_text(secrets.token_hex(8))
    return path.read_text()
