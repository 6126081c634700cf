"""Weights & Biases: online with a key, offline without one, never in the way.

Goes in: the config and the run folder. Comes out: a W&B run that the same folder continues after a restart.
Rows of figures go into a file that a process of W&B uploads, so they never wait. Tables and artifacts ask the
server, 19 s long where it is dead: after the first fault none is sent any more, so that a dead server costs
less than a minute in all. What was not uploaded stays in the run folder for `wandb sync`.
"""

import contextlib
import os
import secrets
import shlex
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import wandb
from etils import epath

from trainer.config import Config
from trainer.training.learner import Scores

RUN_ID_FILE = "wandb_run_id"
# How long a run waits for a server that does not answer, at its start; and at its end, once for the model and
# once for all else. W&B's own variables, such as WANDB_FINISH_TIMEOUT, win.
TIMEOUTS_SECONDS = {"init_timeout": 20, "finish_timeout": 20}
# A table or an artifact is taken in at once; W&B waits 19 s for a dead server and says nothing.
PATIENCE_SECONDS = 10
# What the figures of a group are drawn against.
AXES = {"train": "train/step", "epoch": "epoch/epoch"}


class Tracker:
    """An open W&B run whose faults are said once and never raised.

    Args:
        run: just opened.
        say: prints a line.

    Attributes:
        has_failed: something went wrong; nothing is sent any more that needs the server.

    Example:
        >>> with start_wandb(Config(), run_dir, print) as tracker:  # doctest: +SKIP
        ...     tracker.log({"train/loss": 0.5}, step=1)
    """

    def __init__(self, run: wandb.Run, say: Callable[[str], None]) -> None:
        self.run, self.has_failed, self._say = run, False, say

    def log(self, values: Mapping[str, Any], step: int) -> None:
        """Log a row, or more of a row, of the history, after a fault as well: it stays on this machine.

        Args:
            values: by name; tables are for `upload`.
            step: optimiser steps so far.
        """
        self.attempt(partial(self.run.log, dict(values), step=step))

    def upload(self, action: Callable[[], object], seconds: float = PATIENCE_SECONDS) -> None:
        """Do what asks the server, as to log a table or an artifact; nothing after a fault.

        Args:
            action: what is done.
            seconds: a server that takes longer counts as dead.
        """
        if self.has_failed or self.run.disabled:
            return
        started = time.monotonic()
        self.attempt(action)
        if not self.run.offline and time.monotonic() - started > seconds:
            self._report(f"no answer from {self.run.settings.base_url} within {seconds} s")

    def attempt(self, action: Callable[[], object]) -> None:
        """Do what W&B keeps on this machine; a fault is said."""
        try:
            action()
        # Of its server, its process, the disk: W&B's errors share no class, and none may end a training.
        except Exception as error:
            self._report(_first_line(str(error) or repr(error)))

    def close(self, exit_code: int) -> None:
        """Finish the W&B run; 0 means that the training did not fail."""
        self.attempt(partial(self.run.finish, exit_code))

    def _report(self, reason: str) -> None:
        if not self.has_failed:
            self._say(
                f"W&B: {reason}. The run goes on without it."
                f" Later: wandb sync --include-online {shlex.quote(str(self.run.settings.sync_dir))},"
                " then this command again, which logs samples and model."
            )
        self.has_failed = True


@contextlib.contextmanager
def start_wandb(config: Config, run_dir: epath.Path, say: Callable[[str], None]) -> Iterator[Tracker]:
    """Open the run's W&B run and close it at the end.

    Without `WANDB_MODE` the run is online where a key is found, else offline; where the server cannot be
    reached it is offline as well. One line says which.

    Args:
        config: the run's settings; W&B keeps them.
        run_dir: the run folder; for `gs://` W&B writes into a temporary folder.
        say: prints a line.
    """
    local = Path(tempfile.mkdtemp(prefix="wandb-")) if is_remote(run_dir) else Path(run_dir)
    with _set_defaults(local) as cache:
        tracker = Tracker(_open_run(config, run_dir, local, say), say)
        exit_code = 1
        try:
            yield tracker
            exit_code = 0
        finally:
            tracker.close(exit_code)
            if not (tracker.has_failed or tracker.run.offline):  # all of it is uploaded
                shutil.rmtree(local if is_remote(run_dir) else cache, ignore_errors=True)


def log_validation(
    tracker: Tracker, row: dict[str, float], scores: Scores, labels: Sequence[str], step: int
) -> None:
    """Log what an epoch ends with: its row, the confusion matrix, and a table of the classes.

    Args:
        tracker: of the run.
        row: an epoch of the history; logged as `epoch/NAME`.
        scores: the validation.
        labels: names of the classes.
        step: optimiser steps so far.
    """
    tracker.log({f"epoch/{name}": value for name, value in row.items()}, step)
    confusion, names = scores.confusion, list(labels)
    right, true, predicted = np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0)
    precision, recall = right / np.maximum(predicted, 1), right / np.maximum(true, 1)
    f1 = 2 * right / np.maximum(true + predicted, 1)
    counts = [[name, *row.tolist()] for name, row in zip(names, confusion, strict=True)]
    figures = list(map(list, zip(names, precision, recall, f1, true.tolist(), strict=True)))
    columns = ["class", "precision", "recall", "f1", "images"]
    tables = {"confusion": (["true", *names], counts), "classes": (columns, figures)}
    for name, (header, rows) in tables.items():
        table = wandb.Table(list(header), list(rows))
        tracker.upload(partial(tracker.run.log, {f"validation/{name}": table}, step=step))


def is_remote(path: epath.Path) -> bool:
    """Whether a path lies on `gs://` or the like."""
    return "://" in path.as_posix()


def _open_run(config: Config, run_dir: epath.Path, local: Path, say: Callable[[str], None]) -> wandb.Run:
    """Open the run as asked for or possible; offline where the server or the key is no good."""
    # One folder at a time: `wandb sync` stops at the first that was cut short, as a killed run leaves it.
    upload = f'for run in {shlex.quote(str(local))}/wandb/offline-run-*; do wandb sync "$run"; done'
    offline = f"so this run is logged offline. Upload it later: {upload}"
    mode = os.environ.get("WANDB_MODE")
    try:
        if mode is None and not wandb.login(prompt=False, verify=False):
            say(f"W&B: no key found, {offline}")
            mode = "offline"
        run = _init(config, run_dir, local, mode or "online")
    except wandb.Error as error:
        wandb.teardown()  # its process would still hold the run's id
        say(f"W&B: {_first_line(str(error))}, {offline}")
        return _init(config, run_dir, local, "offline")
    if not run.offline and not run.disabled:
        say(f"W&B: logged online at {run.url}")
    return run


def _init(config: Config, run_dir: epath.Path, local: Path, mode: str) -> wandb.Run:
    timeouts: dict[str, Any] = {
        name: value for name, value in TIMEOUTS_SECONDS.items() if f"WANDB_{name.upper()}" not in os.environ
    }
    run = wandb.init(
        project=config.tracking.wandb_project,
        name=run_dir.name,
        id=_load_run_id(run_dir),
        # Always passed on: W&B itself reads its variable only once a process.
        mode=mode,  # type: ignore[arg-type]  # W&B checks the value and names the valid ones
        # Offline too: `wandb sync` then puts a restarted run behind its first part instead of over it.
        resume="allow",
        dir=local,
        config=config.model_dump(),
        settings=wandb.Settings(silent=True, finish_timeout_raises=True, **timeouts),
    )
    # Not against W&B's own step, which `wandb sync` shifts where a restarted run does some steps again.
    for group, axis in AXES.items():
        run.define_metric(axis)
        run.define_metric(f"{group}/*", step_metric=axis)
    return run


@contextlib.contextmanager
def _set_defaults(local: Path) -> Iterator[Path]:
    """Set W&B's variables, but none that is set already, for as long as a run is open.

    Its copies of artifacts stay in the run folder: those of an offline run are what `wandb sync` uploads. Its
    reports about itself, which go to the same server and keep a process for 10 s where that is dead, are off.

    Yields:
        The folder for what is uploaded already.
    """
    cache = local / "wandb" / "cache"
    defaults = {
        "WANDB_DATA_DIR": str(local / "wandb"),
        "WANDB_CACHE_DIR": str(cache),
        "WANDB_SILENT": "true",
        "WANDB_ERROR_REPORTING": "false",
    }
    added = defaults.keys() - os.environ.keys()
    os.environ.update({name: defaults[name] for name in added})
    try:
        yield cache
    finally:
        for name in added:
            os.environ.pop(name, None)


def _load_run_id(run_dir: epath.Path) -> str:
    """One W&B run a run folder, also after a restart; a new folder takes the id that `wandb agent` gives."""
    path = run_dir / RUN_ID_FILE
    if not path.exists():
        path.write_text(os.environ.get("WANDB_RUN_ID") or secrets.token_hex(8))
    return path.read_text()


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0].rstrip(".")
