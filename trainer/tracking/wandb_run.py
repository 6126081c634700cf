"""Weights & Biases: online with a key, offline without one, never in the way.

Goes in: the config and the run folder. Comes out: a W&B run that the same run folder continues after a
restart. W&B waits for its server when a table or an artifact is logged: 19 s where that has died, and then it
raises. So a thread of its own logs, asks the server first, and says once what goes wrong; training never
waits for it.
"""

import contextlib
import http.client
import netrc
import os
import queue
import secrets
import shlex
import shutil
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import wandb
from etils import epath

from trainer.config import Config
from trainer.training.learner import Scores

RUN_ID_FILE = "wandb_run_id"
# How long a run waits for a server that does not answer, at its start and at its end. W&B's own variables,
# such as WANDB_INIT_TIMEOUT, win.
TIMEOUTS_SECONDS = {"init_timeout": 20, "finish_timeout": 10}
PROBE_SECONDS = 3
UPLOAD_TIMEOUT_SECONDS = 600
# What the figures of a group are drawn against.
AXES = {"train": "train/step", "epoch": "epoch/epoch"}
# Of the public server; a key for it may stand under either name of it.
PUBLIC_HOST = "api.wandb.ai"

Action = Callable[[wandb.Run], object]


class Tracker:
    """An open W&B run and the thread that logs to it.

    Args:
        run: just opened.
        say: prints a line.

    Attributes:
        is_off: W&B is disabled; whatever is submitted is dropped.
    """

    def __init__(self, run: wandb.Run, say: Callable[[str], None]) -> None:
        self.run, self.is_off = run, run.disabled
        self._say, self._has_said, self._gave_up = say, False, False
        self._actions: queue.SimpleQueue[tuple[Action, bool] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="wandb", daemon=True)
        self._thread.start()

    def submit(self, action: Action, uploads: bool = False) -> None:
        """Queue something to be done with the run; returns at once.

        Args:
            action: what is done.
            uploads: whether it needs the server, as tables and artifacts do; it is then left out where that
                does not answer.
        """
        if not self.is_off:
            self._actions.put((action, uploads))

    def log(self, values: Mapping[str, Any], step: int) -> None:
        """Queue a row, or more of a row, of the history.

        Args:
            values: by name.
            step: optimiser steps so far.
        """
        self.submit(lambda run: run.log(dict(values), step=step))

    def can_upload(self) -> bool:
        """Whether the server answers, or none is needed; a fault is said."""
        fault = None if self.is_off or self.run.offline else find_fault(self.run.settings.base_url)
        if fault:
            self._report(fault)
        return not fault

    def drain(self) -> bool:
        """Wait until all that was submitted is done; what needs the server, only as long as that answers.

        Returns:
            Whether it is done.
        """
        done = threading.Event()
        self._actions.put((lambda _: done.set(), False))
        deadline = time.monotonic() + UPLOAD_TIMEOUT_SECONDS
        while not done.wait(PROBE_SECONDS) and self._thread.is_alive():
            if time.monotonic() > deadline:
                self._report(f"not uploaded within {UPLOAD_TIMEOUT_SECONDS} s")
                self._gave_up = True
            elif not self.can_upload():
                self._gave_up = True
            if self._gave_up:
                done.wait(PROBE_SECONDS)  # for the rows that stand behind a table
                break
        return done.is_set() and not self._gave_up

    def close(self, exit_code: int) -> bool:
        """Finish the W&B run.

        Returns:
            Whether everything is logged and uploaded.
        """
        is_whole = not self._gave_up and self.drain()
        self._actions.put(None)
        try:
            self.run.finish(exit_code)
        except Exception as error:  # see `_work`
            self._report(str(error) or repr(error))
            return False
        return is_whole

    def _work(self) -> None:
        for action, uploads in iter(self._actions.get, None):
            if uploads and (self._gave_up or not self.can_upload()):
                continue
            try:
                action(self.run)
            except Exception as error:  # of its server, its process, the disk: W&B's errors share no class, and none may end a training
                self._report(str(error) or repr(error))

    def _report(self, reason: str) -> None:
        if self._has_said:
            return
        self._has_said = True
        self._say(
            f"W&B: {_first_line(reason)}. The run goes on without it. "
            f"Later: wandb sync --include-online {shlex.quote(str(self.run.settings.sync_dir))}, "
            "then this command again, which logs samples and model."
        )


@contextlib.contextmanager
def start_wandb(config: Config, run_dir: epath.Path, say: Callable[[str], None]) -> Iterator[Tracker]:
    """Open the run's W&B run and close it at the end.

    Without `WANDB_MODE` the run is online where a key is found, else offline; where the server cannot be
    reached it is offline as well. One line says which. A server that dies later neither stops nor slows the
    run.

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
            if tracker.close(exit_code) and not tracker.run.offline:
                shutil.rmtree(
                    local if is_remote(run_dir) else cache, ignore_errors=True
                )  # all of it is uploaded


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
    tracker.log(
        {f"epoch/{name}": value for name, value in row.items()}, step
    )  # by themselves: tables may be left out
    names = list(labels)
    headings: list[str | int] = ["true", *names]
    confusion: list[Iterable[Any]] = [
        [name, *map(int, counts)] for name, counts in zip(names, scores.confusion, strict=True)
    ]
    right, true, predicted = (
        np.diag(scores.confusion),
        scores.confusion.sum(axis=1),
        scores.confusion.sum(axis=0),
    )
    precision, recall = right / np.maximum(predicted, 1), right / np.maximum(true, 1)
    f1 = 2 * right / np.maximum(true + predicted, 1)
    columns: list[str | int] = ["class", "precision", "recall", "f1", "images"]
    classes: list[Iterable[Any]] = [
        list(values) for values in zip(names, precision, recall, f1, true.tolist(), strict=True)
    ]

    def log_tables(run: wandb.Run) -> None:
        tables = {
            "validation/confusion": wandb.Table(headings, confusion),
            "validation/classes": wandb.Table(columns, classes),
        }
        run.log(tables, step=step)

    tracker.submit(log_tables, uploads=True)


def is_remote(path: epath.Path) -> bool:
    """Whether a path lies on `gs://` or the like."""
    return "://" in path.as_posix()


def find_fault(url: str) -> str | None:
    """Ask a server for anything at all.

    Returns:
        What is wrong with it; None where it answers.
    """
    try:
        with urllib.request.urlopen(url, timeout=PROBE_SECONDS):
            return None
    except urllib.error.HTTPError as error:
        return f"{url} answers {error.code}" if error.code >= http.HTTPStatus.INTERNAL_SERVER_ERROR else None
    except (OSError, http.client.HTTPException) as error:
        return f"no answer from {url} ({error})"


def _open_run(config: Config, run_dir: epath.Path, local: Path, say: Callable[[str], None]) -> wandb.Run:
    """Open the run in the mode that is asked for or possible; offline where the server or the key is no good."""
    # Always passed on: W&B itself reads the variable only once a process.
    mode = os.environ.get("WANDB_MODE") or ("online" if _has_key() else "offline")
    # One folder at a time: `wandb sync` stops at the first that was cut short, as a killed run leaves it.
    upload = f'for run in {shlex.quote(str(local))}/wandb/offline-run-*; do wandb sync "$run"; done'
    if mode == "offline" and "WANDB_MODE" not in os.environ:
        say(f"W&B: no key found, so this run is logged offline. Upload it later: {upload}")
    try:
        run = _init(config, run_dir, local, mode)
    except wandb.Error as error:
        wandb.teardown()  # its process would still hold the run's id
        say(f"W&B: {_first_line(str(error))}, so this run is logged offline. Upload it later: {upload}")
        return _init(config, run_dir, local, "offline")
    if mode == "online":
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
        mode=mode,  # type: ignore[arg-type]  # W&B checks the value and names the valid ones
        resume="allow",  # offline too: `wandb sync` then puts a restarted run behind its first part instead of over it
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


def _has_key() -> bool:
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    url = os.environ.get("WANDB_BASE_URL")
    hosts = [
        urllib.parse.urlsplit(url or wandb.setup().settings.base_url).netloc,
        *([] if url else [PUBLIC_HOST]),
    ]
    try:
        known = netrc.netrc(os.environ.get("NETRC")).hosts
    except (OSError, netrc.NetrcParseError):
        return False
    return any(host in known for host in hosts)


def _load_run_id(run_dir: epath.Path) -> str:
    """One W&B run a run folder, also after a restart; a new folder takes the id that `wandb agent` gives."""
    path = run_dir / RUN_ID_FILE
    if not path.exists():
        path.write_text(os.environ.get("WANDB_RUN_ID") or secrets.token_hex(8))
    return path.read_text()


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0].rstrip(".")
