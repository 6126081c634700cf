"""What the training loop tells, and whom: a `Listener` that does nothing, from which others are derived.

Goes in: steps and epochs as they are done. The loop knows only this class: it draws and prints nothing.
"""

from collections.abc import Sequence
from typing import Self

from trainer.training.learner import Scores


class Listener:
    """Hears of a run and does nothing; what a worker that is not the chief has.

    Example:
        >>> class Printer(Listener):
        ...     def take_step(self, epoch, step, loss, learning_rate):
        ...         print(epoch, step, loss)
    """

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        return None

    def say(self, line: str) -> None:
        """Print a line."""

    def start_epoch(self, epoch: int, epochs: int, steps: int, step: int) -> None:
        """An epoch begins, or goes on at a step."""

    def take_step(self, epoch: int, step: int, loss: float, learning_rate: float) -> None:
        """A step is done."""

    def end_epoch(self, history: Sequence[dict[str, float]], best_epoch: int, scores: Scores) -> None:
        """An epoch is validated.

        Args:
            history: a row an epoch, this one the last.
            best_epoch: by validation so far, from 0.
            scores: of this epoch.
        """
