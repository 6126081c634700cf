"""Weights & Biases: online with a key, offline without one, never in the way.

Goes in: the config and the run folder. Comes out: a W&B run that the same run folder continues after a restart.
"""

import contextlib
import dataclasses
import netrc
import os
import secrets
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import wandb
from rich.console import Console
from wandb.integration.keras import WandbMetricsLogger

from trainer.config import Config

RUN_ID_FILE = "wandb_run_id"


@contextlib.contextmanager
def start_wandb(config: Config, run_dir: Path) -> Iterator[wandb.Run]:
    """Open the run's W&B run and close it at the end.

    Without `WANDB_MODE` the run is online where a key is found, else offline, which is said in one line.
    """
    # Always passed on: W&B itself reads the variable only once a process.
    mode = os.environ.get("WANDB_MODE") or ("online" if _has_key() else "offline")
    if mode == "offline" and "WANDB_MODE" not in os.environ:
        message = f"W&B: no key found, so this run is logged offline. Upload it later: wandb sync {run_dir}/wandb/offline-run-*"
        Console().print(message, markup=False, highlight=False, soft_wrap=True)
    run = wandb.init(
        project=config.tracking.wandb_project,
        name=run_dir.name,
        id=_load_run_id(run_dir),
        mode=mode,  # type: ignore[arg-type]  # W&B checks the value and names the valid ones
        resume="allow" if mode == "online" else None,
        dir=run_dir,
        config=dataclasses.asdict(config),
        settings=wandb.Settings(silent=True),
    )
    with run:
        yield run


def build_metrics_logger() -> WandbMetricsLogger:
    """Log loss, accuracy and learning rate every epoch."""
    return WandbMetricsLogger(log_freq="epoch")


def _has_key() -> bool:
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        host = urllib.parse.urlsplit(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname
        return netrc.netrc().authenticators(host or "") is not None
    except (FileNotFoundError, netrc.NetrcParseError):
        return False


def _load_run_id(run_dir: Path) -> str:
    """One W&B run a run folder, also after a restart."""
    path = run_dir / RUN_ID_FILE
    if not path.exists():
        path.write_text(secrets.token_hex(8), encoding="utf-8")
    return path.read_text(encoding="utf-8")
