"""What is told of a run while it goes on: to the terminal, Weights & Biases, and TensorBoard if wanted.

Goes in: steps and epochs as they are done. Only the chief has an `Observer`; other workers have a `Listener`,
which does nothing.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Self

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

    Example:
        >>> drawn = (run_dir, labels, Console(), tracker, write_curves)  # doctest: +SKIP
        >>> with Observer(config, *drawn) as observer:  # doctest: +SKIP
        ...     train(config, builder, run_dir, strategy, observer)
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
        self.config, self.labels, self.tracker = config, labels, tracker
        self.draw = partial(draw, run_dir)
        self.display = Display(console, config.data.batch_size)
        self._steps, self._since, self._counted = 0, time.monotonic(), 0
        self._board = (
            tf.summary.create_file_writer(str(run_dir / "tensorboard"))
            if config.tracking.tensorboard
            else tf.summary.create_noop_writer()
        )

    def __enter__(self) -> Self:
        self.display.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self.display.__exit__()

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
        done = epoch * self._steps + step + 1
        seconds = max(1e-9, time.monotonic() - self._since)
        values = {
            "train/loss": loss,
            "train/learning_rate": learning_rate,
            "train/images_per_second": self._counted * self.config.data.batch_size / seconds,
            "train/epoch": epoch,
            "train/step": done,
        }
        self.tracker.log(values, done)
        self._write_board(values, done)

    def end_epoch(self, history: Sequence[dict[str, float]], best_epoch: int, scores: Scores) -> None:
        """An epoch is validated: print it, draw the curves, log it."""
        self.draw(history, best_epoch)
        row = history[-1]
        is_best = int(row["epoch"]) == best_epoch
        self.display.end_epoch(row, is_best)
        done = (int(row["epoch"]) + 1) * self._steps
        log_validation(self.tracker, row, scores, self.labels, done)
        if is_best:
            figures = {name: row[name] for name in ("epoch", "val_loss", "val_accuracy")}
            self.tracker.attempt(partial(self.tracker.run.summary.update, {"best": figures}))
        self._write_board({f"epoch/{name}": value for name, value in row.items()}, done)

    def _write_board(self, values: Mapping[str, float], step: int) -> None:
        with self._board.as_default(step):
            for name, value in values.items():
                tf.summary.scalar(name, value)
        self._board.flush()
