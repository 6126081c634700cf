"""The run folder: what lies in it, and how it is written, also on `gs://`.

Goes in: what a run has to keep. Comes out, in the run folder:
    config.json             the resolved config; the same run continues only with the same config
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
import dataclasses
import gc
import io
import json
import math
import tempfile
from pathlib import Path

from etils import epath

from trainer.config import Config
from trainer.reporting.figures import plot_learning_curves

CONFIG_FILE = "config.json"
CHECKPOINTS = "checkpoints"
BEST_WEIGHTS_FILE = "best.weights.h5"
HISTORY_FILE = "history.csv"
CURVES_FILE = "learning_curves.png"
FINISHED_FILE = "finished"
HISTORY_COLUMNS = ("epoch", "loss", "accuracy", "val_loss", "val_accuracy")
HISTORY_REMEDY = "Bring back a copy of it, or move it away: the report then goes without learning curves."


class RunError(RuntimeError):
    """A run folder that cannot be used, or a run that cannot go on; the message says why and what to do."""


def claim_run_dir(config: Config, run_dir: epath.Path) -> None:
    """Write the config into a new run folder, or check that an old one has the same.

    Raises:
        RunError: another config lies there.
    """
    run_dir.mkdir(parents=True, exist_ok=True)
    path = run_dir / CONFIG_FILE
    wanted = json.loads(json.dumps(dataclasses.asdict(config)))
    if path.exists():
        if json.loads(path.read_text()) != wanted:
            raise RunError(
                f"{run_dir} holds a run with another config. Choose another folder with --run-dir, or delete"
                " that one."
            )
        return
    publish(path, (json.dumps(wanted, indent=2) + "\n").encode())


def write_history(run_dir: epath.Path, history: list[dict[str, float]]) -> None:
    """Write `history.csv`, whole, under a temporary name first."""
    buffer = io.StringIO(newline="")
    writer = csv.DictWriter(buffer, fieldnames=list(history[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(history)
    publish(run_dir / HISTORY_FILE, buffer.getvalue().encode())


def write_curves(run_dir: epath.Path, history: list[dict[str, float]], best_epoch: int) -> None:
    """Draw `learning_curves.png`, whole, under a temporary name first."""
    publish(run_dir / CURVES_FILE, draw_curves(history, best_epoch))


def draw_curves(history: list[dict[str, float]], best_epoch: int) -> bytes:
    """Draw the learning curves; the content of a PNG."""
    with tempfile.TemporaryDirectory() as folder:
        local = Path(folder) / CURVES_FILE
        plot_learning_curves(history, best_epoch, local)
        content = local.read_bytes()
    # A figure and its canvas hold each other: without this, pictures pile up over the epochs of a long run.
    gc.collect()
    return content


def publish(path: epath.Path, content: bytes) -> None:
    """Write a file under a temporary name, then rename it; also on `gs://`."""
    partial = path.with_name(f"{path.name}.partial")
    partial.write_bytes(content)
    partial.replace(path)


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


def load_learning_curves(run_dir: epath.Path, monitor: str) -> bytes | None:
    """Draw the learning curves of a run, its best epoch by `monitor`; None where it has no history.

    Raises:
        RunError: `history.csv` is damaged.
    """
    history = load_history(run_dir)
    return draw_curves(history, find_best_epoch(history, monitor)) if history else None


def find_best_epoch(history: list[dict[str, float]], monitor: str) -> int:
    """The first epoch, counted from 0, with the lowest `val_loss` or the highest `val_accuracy`; NaN is never best."""
    sign = 1 if monitor == "val_loss" else -1
    return min(
        range(len(history)),
        key=lambda epoch: (math.isnan(history[epoch][monitor]), sign * history[epoch][monitor]),
    )
