"""The learning rate of every step, the size of an epoch's images, and what a validation decides.

Goes in: the config, the step, the figures of each validation. Comes out: a rate, a size, or the decision to
lower the rate or to stop. Plain numbers, so that all of it is in a checkpoint, and a resumed run decides as
an uninterrupted one.
"""

import dataclasses
import math
from dataclasses import dataclass

from trainer.config import Config, OptimizationConfig

SIZE_STEP = 32  # pixels; the networks halve the picture five times


def compute_learning_rate(
    config: OptimizationConfig, step: int, steps_per_epoch: int, batch_size: int, factor: float = 1.0
) -> float:
    """Compute the learning rate of one step.

    Linear warm-up, then constant or a cosine to zero at the end of the last epoch (Loshchilov and Hutter
    2017, arXiv:1608.03983). The peak is `learning_rate` for `reference_batch_size` images a step and grows in
    proportion with the batch (Goyal et al. 2017, arXiv:1706.02677), or with its square root where the config
    says so.

    Args:
        config: peak, warm-up, schedule.
        step: steps done before this one.
        steps_per_epoch: steps in an epoch.
        batch_size: images a step over all replicas.
        factor: what plateaus have left of it, in (0, 1].
    """
    ratio = batch_size / config.reference_batch_size
    scaling = {"none": 1.0, "linear": ratio, "sqrt": math.sqrt(ratio)}[config.batch_scaling]
    peak = config.learning_rate * scaling * factor
    warmup = min(config.warmup_epochs, config.epochs / 2) * steps_per_epoch
    if step < warmup:
        return peak * (step + 1) / (warmup + 1)
    if config.schedule == "constant":
        return peak
    progress = (step - warmup) / max(1.0, config.epochs * steps_per_epoch - warmup)
    return peak * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def choose_size(config: Config, epoch: int) -> int:
    """Side of an epoch's training images, pixels: smaller ones first, each for as many of the epochs.

    The last epoch has full size, also where there are fewer epochs than sizes.
    """
    size = config.data.image_size
    smaller = [SIZE_STEP * round(scale * size / SIZE_STEP) for scale in config.data.progressive_scales]
    sizes = [*(max(SIZE_STEP, side) for side in smaller), size]
    return sizes[((epoch + 1) * len(sizes) - 1) // config.optimization.epochs]


@dataclass
class Judge:
    """What the validations so far say: which epoch is best, whether to lower the rate, whether to stop.

    Attributes:
        best: the best monitored value so far, smaller is better: the loss, or the accuracy with a minus.
        best_epoch: its epoch, -1 before the first validation.
        since_best: validations since then.
        lowest_loss: the lowest validation loss so far.
        since_drop: validations since then, or since the rate was last lowered.
        factor: what plateaus have left of the learning rate.

    Example:
        >>> Judge().observe(0, loss=0.5, accuracy=0.8, config=OptimizationConfig())
        True
    """

    best: float = math.inf
    best_epoch: int = -1
    since_best: int = 0
    lowest_loss: float = math.inf
    since_drop: int = 0
    factor: float = 1.0

    def observe(self, epoch: int, loss: float, accuracy: float, config: OptimizationConfig) -> bool:
        """Take in one validation.

        Args:
            epoch: counted from 0.
            loss: of the validation; NaN never counts as better.
            accuracy: of the validation.
            config: which of the two is monitored, plateau and patience settings.

        Returns:
            Whether this epoch is the best so far.
        """
        self._lower_rate_on_plateau(loss, config)
        value = loss if config.monitor == "val_loss" else -accuracy
        if value < self.best:
            self.best, self.best_epoch, self.since_best = value, epoch, 0
            return True
        self.since_best += 1
        return False

    def wants_to_stop(self, config: OptimizationConfig) -> bool:
        """Whether patience is used up."""
        return bool(config.early_stopping_patience) and self.since_best >= config.early_stopping_patience

    def _lower_rate_on_plateau(self, loss: float, config: OptimizationConfig) -> None:
        if loss < self.lowest_loss:
            self.lowest_loss, self.since_drop = loss, 0
            return
        self.since_drop += 1
        if config.plateau_patience and self.since_drop >= config.plateau_patience:
            lowest = config.plateau_floor / config.learning_rate
            # A rate that is below the floor from the start on stays where it is.
            self.factor = min(self.factor, max(self.factor * config.plateau_factor, lowest))
            self.since_drop = 0

    def to_dict(self) -> dict[str, float]:
        """JSON-able state; infinity before the first validation is left out."""
        return {name: value for name, value in dataclasses.asdict(self).items() if value != math.inf}
