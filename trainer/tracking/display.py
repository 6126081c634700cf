"""The live view of a run in the terminal.

Goes in: what the run reports. Comes out: one progress display with images a second, time left, losses and the
best epoch so far; a line an epoch where the output is no terminal.
"""

import time
from collections.abc import Mapping, Sequence

from etils import epath
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from trainer.training.run_folder import BEST_WEIGHTS_FILE, CHECKPOINTS, CONFIG_FILE, CURVES_FILE, HISTORY_FILE

RUN_FILES = {
    "artefact": "model, metrics and card",
    HISTORY_FILE: "figures by epoch",
    CURVES_FILE: "learning curves",
    "predictions.csv": "predictions on the test split",
    BEST_WEIGHTS_FILE: "best weights",
    CHECKPOINTS: "last states",
    CONFIG_FILE: "resolved config",
    "wandb": "Weights & Biases files",
    "tensorboard": "TensorBoard files",
}


def print_run_summary(
    console: Console, run_dir: epath.Path, history: Sequence[Mapping[str, float]], best_epoch: int
) -> None:
    """Print how a run ended and where everything lies.

    Args:
        console: where to.
        run_dir: the run folder; what it does not hold is left out.
        history: a row an epoch, as in `history.csv`.
        best_epoch: counted from 0.
    """
    best = history[best_epoch]
    figures = f"val_loss {best['val_loss']:.4f}, val_accuracy {best['val_accuracy']:.2%}"
    console.print(f"{len(history)} epochs; best: epoch {best_epoch + 1}, {figures}", highlight=False)
    width = max(map(len, RUN_FILES.values()))
    for name, meaning in RUN_FILES.items():
        if (run_dir / name).exists():
            line = f"{meaning:<{width}}  {run_dir / name}"
            console.print(line, markup=False, highlight=False, soft_wrap=True)


class Display:
    """Shows a run.

    Args:
        console: where to.
        batch_size: images a step over all replicas.

    Example:
        >>> with Display(Console(), batch_size=32) as display:
        ...     display.say("epoch 1")
        epoch 1
    """

    def __init__(self, console: Console, batch_size: int) -> None:
        self.console, self.batch_size = console, batch_size
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[speed]:.0f} images/s"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[figures]}"),
            console=console,
            disable=not console.is_terminal,
        )
        self.best = ""
        self._started = time.monotonic()
        self._first_step = 0

    def __enter__(self) -> "Display":
        self.progress.start()
        self.task = self.progress.add_task("", speed=0.0, figures="", total=None)
        return self

    def __exit__(self, *error: object) -> None:
        self.progress.stop()

    def say(self, line: str) -> None:
        """Print a line above the progress."""
        self.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def start_epoch(self, epoch: int, epochs: int, steps: int, step: int) -> None:
        """An epoch begins, or goes on at a step."""
        self._started, self._first_step = time.monotonic(), step
        name = f"epoch {epoch + 1}/{epochs}"
        self.progress.update(self.task, description=name, completed=step, total=steps, figures=self.best)

    def take_step(self, step: int, loss: float, learning_rate: float) -> None:
        """A step of the current epoch is done."""
        seconds = max(1e-9, time.monotonic() - self._started)
        speed = (step + 1 - self._first_step) * self.batch_size / seconds
        figures = f"loss {loss:.4f}  {self.best}"
        self.progress.update(self.task, completed=step + 1, speed=speed, figures=figures)

    def end_epoch(self, row: Mapping[str, float], best: bool) -> None:
        """An epoch is validated."""
        epoch, accuracy = int(row["epoch"]) + 1, f"{row['val_accuracy']:.2%}"
        if best:
            self.best = f"best: epoch {epoch}, {accuracy}"
        figures = f"loss {row['loss']:.4f}  val_loss {row['val_loss']:.4f}  val_accuracy {accuracy}"
        self.say(f"epoch {epoch}: {figures}{'  (best so far)' if best else ''}")
