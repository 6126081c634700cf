"""What is told of a run while it goes on: the terminal, Weights & Biases, and TensorBoard where it is wanted.

Goes in: steps and epochs as they are done. Only the chief has an `Observer`; other
workers have a `Listener`, which does nothing.
"""

import contextlib
import time
from collections.abc import Callable, Sequence

import tensorflow as tf
from etils import epath
from rich.console import Console

from trainer.config import Config
from trainer.tracking.display import Display
from trainer.tracking.wandb_run import Tracker, log_validation
from trainer.training.learner import Scores
from trainer.training.listener import Listener


class Observer(Listener):
    """Tells the terminal, W&B and TensorBoard; a context manager.

    Args:
        config: the run.
        run_dir: its folder.
        labels: names of the classes.
        console: where the progress is shown.
        tracker: of the run; it stays open when the progress is closed.
        draw: draws the learning curves of the run folder, from its history and its best epoch.
    """

    def __init__(
        self,
        config: Config,
        run_dir: epath.Path,
        labels: Sequence[str],
        console: Console,
        tracker: Tracker,
        draw: Callable[[epath.Path, Sequence[dict[str, float]], int], None],
    ) -> None:
        self.config, self.run_dir, self.labels, self.tracker, self.draw = (
            config,
            run_dir,
            labels,
            tracker,
            draw,
        )
        self.display = Display(console, config.data.batch_size)
        self._open = contextlib.ExitStack()
        self._steps, self._since, self._counted = 0, time.monotonic(), 0
        self._board: tf.summary.SummaryWriter | None = None

    def __enter__(self) -> "Observer":
        if self.config.tracking.tensorboard:
            self._board = tf.summary.create_file_writer(str(self.run_dir / "tensorboard"))
        self._open.enter_context(self.display)
        return self

    def __exit__(self, *error: object) -> None:
        self._open.close()

    def say(self, line: str) -> None:
        """Print a line."""
        self.display.say(line)

    def start_epoch(self, epoch: int, epochs: int, steps: int, step: int) -> None:
        """An epoch begins, or goes on at a step."""
        self._steps, self._since, self._counted = steps, time.monotonic(), 0
        self.display.start_epoch(epoch, epochs, steps, step)

    def take_step(self, epoch: int, step: int, loss: float, learning_rate: float) -> None:
        """A step is done; every `log_every` steps it is logged."""
        self.display.take_step(step, loss, learning_rate)
        self._counted += 1
        if (step + 1) % self.config.tracking.log_every and step + 1 != self._steps:
            return
        speed = self._counted * self.config.data.batch_size / max(1e-9, time.monotonic() - self._since)
        done = epoch * self._steps + step + 1
        values = {
            "train/loss": loss,
            "train/learning_rate": learning_rate,
            "train/images_per_second": speed,
            "train/epoch": epoch,
        }
        self._log({**values, "train/step": done}, done)

    def end_epoch(self, history: Sequence[dict[str, float]], best_epoch: int, scores: Scores) -> None:
        """An epoch is validated: print it, draw the curves, log it."""
        self.draw(self.run_dir, history, best_epoch)
        row = history[-1]
        best = int(row["epoch"]) == best_epoch
        self.display.end_epoch(row, best)
        done = (int(row["epoch"]) + 1) * self._steps
        log_validation(self.tracker, row, scores, self.labels, done)
        if best:
            figures = {name: row[name] for name in ("epoch", "val_loss", "val_accuracy")}
            self.tracker.submit(lambda run: run.summary.update({"best": figures}))
        self._write_board({f"epoch/{name}": value for name, value in row.items()}, done)

    def _log(self, values: dict[str, float], step: int) -> None:
        self.tracker.log(values, step)
        self._write_board(values, step)

    def _write_board(self, values: dict[str, float], step: int) -> None:
        if self._board is None:
            return
        with self._board.as_default(step):
            for name, value in values.items():
                tf.summary.scalar(name, value)
            self._board.flush()
