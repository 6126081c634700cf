"""The run folder: what lies in it, and how it is written, also on `gs://`.

Goes in: what a run has to keep. Comes out, in the run folder:
    config.json             the resolved config; the same run continues only with the same config
    start.json              what model the run started from, where it did not start from ImageNet weights
    checkpoints/            the newest two states; the same command goes on from there, at the very step
    best.weights.h5         averaged weights of the best epoch by validation
    history.csv             a row an epoch
    learning_curves.png     the same, drawn
    sessions.csv            a row for each time that it was started: how long it took and on what
    finished                is there once all epochs are done
    artefact/               the model as `serving` loads it, with its metrics and card
    predictions.csv         of the artefact on the test split
    report.html             the same for people, with pictures of the dataset
    wandb/, tensorboard/    Weights & Biases and TensorBoard files
    wandb_run_id            of the W&B run, which a restart continues
    wandb_logged            is there once W&B has all of a finished run
"""

import csv
import io
import json
import math
from typing import Any

from etils import epath

from serving.files.errors import UserError
from serving.files.writing import write_json, write_whole
from trainer.config import Config, ConfigError, build_config

CONFIG_FILE = "config.json"
START_FILE = "start.json"
CHECKPOINTS = "checkpoints"
BEST_WEIGHTS_FILE = "best.weights.h5"
HISTORY_FILE = "history.csv"
CURVES_FILE = "learning_curves.png"
FINISHED_FILE = "finished"
HISTORY_COLUMNS = ("epoch", "loss", "accuracy", "val_loss", "val_accuracy")
HISTORY_REMEDY = "Bring back a copy of it, or move it away: the report then goes without learning curves."


class RunError(UserError):
    """A run folder that cannot be used, or a run that cannot go on; the message says why and what to do.

    Example:
        >>> load_run_config(epath.Path("runs/none"))
        Traceback (most recent call last):
        trainer.training.run_folder.RunError: runs/none holds no config.json, so it is no run. ...
    """


def claim_run_dir(config: Config, run_dir: epath.Path) -> None:
    """Write the config into a new run folder, or check that an old one has the same.

    A setting that has come since counts with its default.

    Raises:
        RunError: another config lies there, or one that does not fit this version of the program.
    """
    run_dir.mkdir(parents=True, exist_ok=True)
    path = run_dir / CONFIG_FILE
    if not path.exists():
        write_json(path, config.model_dump(mode="json"))
    elif load_run_config(run_dir) != config:
        raise RunError(
            f"{run_dir} holds a run with another config. Choose another folder with --run-dir, or delete that"
            " one."
        )


def load_run_config(run_dir: epath.Path) -> Config:
    """Read the resolved config of a run.

    Raises:
        RunError: the folder holds no run, or its config is damaged or of another version of this program.
    """
    path = run_dir / CONFIG_FILE
    if not path.exists():
        raise RunError(f"{run_dir} holds no {CONFIG_FILE}, so it is no run. `tumor train` makes one.")
    try:
        return build_config(_read_json(path))
    except ConfigError as error:
        raise RunError(f"{path} does not fit this version of the program: {error}") from error


def _read_json(path: epath.Path) -> Any:
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise RunError(f"{path} is damaged: {error}. Train again with another --run-dir.") from error


def load_start(run_dir: epath.Path) -> dict[str, Any] | None:
    """What model a run started from, see `trainer.models.start`; None where from none."""
    path = run_dir / START_FILE
    return _read_json(path) if path.exists() else None


def write_history(run_dir: epath.Path, history: list[dict[str, float]]) -> None:
    """Write `history.csv`."""
    buffer = io.StringIO(newline="")
    writer = csv.DictWriter(buffer, fieldnames=list(history[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(history)
    write_whole(run_dir / HISTORY_FILE, buffer.getvalue())


def load_history(run_dir: epath.Path) -> list[dict[str, float]]:
    """Rows of `history.csv`, one an epoch; none where there is no file yet.

    Raises:
        RunError: it is damaged.
    """
    path = run_dir / HISTORY_FILE
    if not path.exists():
        return []
    try:
        rows = [
            {name: float(value) for name, value in row.items()}
            for row in csv.DictReader(io.StringIO(path.read_text()))
        ]
    except (ValueError, TypeError) as error:  # no text, no number, or a row that is too short or too long
        raise RunError(f"{path} is damaged: {error}. {HISTORY_REMEDY}") from error
    missing = [name for name in HISTORY_COLUMNS if not rows or name not in rows[0]]
    if missing:
        raise RunError(
            f"{path} is damaged: expected rows with {', '.join(HISTORY_COLUMNS)}; missing:"
            f" {', '.join(missing)}. {HISTORY_REMEDY}"
        )
    return rows


def find_best_epoch(history: list[dict[str, float]], monitor: str) -> int:
    """The first epoch, from 0, with the lowest `val_loss` or the highest `val_accuracy`; never one of NaN."""
    sign = 1 if monitor == "val_loss" else -1
    return min(
        range(len(history)),
        key=lambda epoch: (math.isnan(history[epoch][monitor]), sign * history[epoch][monitor]),
    )
