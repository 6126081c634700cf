"""Training: from a config to the best weights by validation, on any strategy, through any interruption.

Goes in: a `Config`, a built dataset, a run folder. Comes out: the files of the run folder that
`trainer.training.run_folder` names.
"""

import dataclasses
import math
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf
import tensorflow_datasets as tfds
from etils import epath

from serving.files.writing import write_json, write_whole
from trainer.config import Config
from trainer.data.augmentation import choose_variation
from trainer.data.batches import TrainingBatches, build_validation, choose_for_statistics
from trainer.data.input_pipeline import Split, load_learning_split
from trainer.data.mixing import Addition, Mix, describe_additions, find_additions, load_mix
from trainer.data.supervision import supervise, supervise_known
from trainer.models.build import use_dtype_policy
from trainer.training.checkpoints import load_checkpoint, save_checkpoint
from trainer.training.learner import Learner, Scores, StepFigures
from trainer.training.listener import Listener
from trainer.training.run_folder import (
    BEST_WEIGHTS_FILE,
    CHECKPOINTS,
    FINISHED_FILE,
    START_FILE,
    RunError,
    write_history,
)
from trainer.training.schedules import Judge, choose_size, compute_learning_rate
from trainer.training.strategies import is_chief
from tumor_ds.sources.own_pictures import find_healthy_label
from tumor_ds.sources.slices import MASK_STATES

SECONDS_PER_MINUTE = 60
# What `distribute_datasets_from_function` takes.
MakeBatches = Callable[[tf.distribute.InputContext], tf.data.Dataset]


class Preempted(RunError):
    """SIGTERM came; the state is saved.

    Example:
        >>> Preempted("Told to stop (signal 15).").exit_code
        143
    """

    exit_code = 143  # 128 + SIGTERM, as a shell reports it


@dataclass
class Position:
    """Where a run stands; all of it is in a checkpoint.

    Attributes:
        epoch: the epoch that comes next or is under way, from 0.
        step: steps of it that are done.
        judge: what the validations say.
        loss_sum: of the steps done in this epoch.
        accuracy_sum: likewise.
        map_loss_sum: likewise.
        history: a row an epoch.

    Example:
        >>> Position.from_dict(Position(epoch=2).to_dict()).epoch
        2
    """

    epoch: int = 0
    step: int = 0
    judge: Judge = field(default_factory=Judge)
    loss_sum: float = 0.0
    accuracy_sum: float = 0.0
    map_loss_sum: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return {**dataclasses.asdict(self), "judge": self.judge.to_dict()}

    @classmethod
    def from_dict(cls, state: dict[str, Any]) -> "Position":
        """What `to_dict` gave."""
        return cls(**{**state, "judge": Judge(**state["judge"])})


def train(
    config: Config,
    builder: tfds.core.DatasetBuilder,
    run_dir: epath.Path,
    strategy: tf.distribute.Strategy,
    observer: Listener,
) -> None:
    """Train to the end, or from where an earlier call with the same config stopped.

    Args:
        config: the run, its precision resolved.
        builder: a prepared dataset builder.
        run_dir: claimed by `claim_run_dir`; local or `gs://`.
        strategy: where it runs.
        observer: is told of every step and epoch.

    Raises:
        RunError: the batch does not fit the strategy, or the loss is no longer finite.
        Preempted: SIGTERM came.
        CheckpointError: the disk is full.
    """
    if (run_dir / FINISHED_FILE).exists():
        return
    check_batch_size(config, strategy)
    keras.utils.set_random_seed(config.seed)
    labels = tuple(builder.info.features["label"].names)
    with use_dtype_policy(config.precision):
        learner, healthy = Learner(config, strategy, len(labels)), find_healthy_label(builder)
        run = TrainingRun(config, run_dir, strategy, learner, observer, labels, healthy)
        if not run.resume() and config.model.start:
            run.start_from_model()
        run.train(builder)
    if is_chief(strategy):
        (run_dir / FINISHED_FILE).touch()


@dataclass
class TrainingRun:
    """One run in progress; its first five fields are as `train` describes them.

    Attributes:
        labels: names of the classes.
        healthy_label: the one that says that nothing is found; None where no class does.
        position: where it stands.
        saved_at: time of the last checkpoint, seconds.
        additions: datasets that are mixed in.
        mix: the training images of the size that was last asked for.
        batches: of the epoch under way.

    Example:
        >>> learner = Learner(config, strategy, classes=4)  # doctest: +SKIP
        >>> run = TrainingRun(config, run_dir, strategy, learner, Listener(), *names)  # doctest: +SKIP
        >>> run.resume()  # doctest: +SKIP
        >>> run.train(builder)  # doctest: +SKIP
    """

    config: Config
    run_dir: epath.Path
    strategy: tf.distribute.Strategy
    learner: Learner
    observer: Listener
    labels: tuple[str, ...]
    healthy_label: str | None
    position: Position = field(default_factory=Position)
    saved_at: float = field(default_factory=time.monotonic)
    additions: tuple[Addition, ...] = ()
    mix: Mix | None = None
    batches: TrainingBatches | None = None

    def resume(self) -> bool:
        """Take up the newest checkpoint that is whole, and say whether there is one."""
        arrays, state, damaged = load_checkpoint(self.run_dir / CHECKPOINTS)
        for line in damaged:
            self.observer.say(line)
        if arrays:
            self.learner.load_arrays(arrays)
            self.position = Position.from_dict(state)
            self.observer.say(f"Resuming at epoch {self.position.epoch + 1}, step {self.position.step + 1}.")
        return bool(arrays)

    def start_from_model(self) -> None:
        """Take the weights of `model.start`, and note in the run folder what was taken."""
        start = self.learner.start_from_model(self.labels)
        if is_chief(self.strategy):
            write_json(self.run_dir / START_FILE, start.to_dict())
        taken, total = start.layers
        self.observer.say(
            f"Starting from {start.model}: {taken} of {total} layers, and of the last one the weights of"
            f" {', '.join(start.labels) or 'no label'}."
        )

    def train(self, builder: tfds.core.DatasetBuilder) -> None:
        """Run the epochs that are left."""
        data, optimization = self.config.data, self.config.optimization
        self.additions = find_additions(builder, data)
        for line in describe_additions(self.additions):
            self.observer.say(line)
        has_map = bool(self.config.model.decoder_channels)
        validation = self._build_validation(
            load_learning_split(builder, "validation", data, data.image_size, has_map)
        )
        statistics = None
        if optimization.batch_norm_images:
            mix = self._load_training(builder, data.image_size)
            statistics = self._build_validation(
                choose_for_statistics(mix.split, mix.draws, optimization.batch_norm_images, data.batch_size)
            )
        with catch_sigterm() as told_to_stop:
            while self.position.epoch < optimization.epochs:
                if self.position.judge.wants_to_stop(optimization):
                    break
                batches = self._choose_batches(builder)
                self._train_epoch(batches, told_to_stop)
                self._end_epoch(batches.steps, validation, statistics)

    def _build_validation(self, split: Split) -> MakeBatches:
        known = supervise_known(split.records, self.labels, self.healthy_label)
        return build_validation(split, known, self.config.data.batch_size)

    def _load_training(self, builder: tfds.core.DatasetBuilder, size: int) -> Mix:
        if self.mix is None or self.mix.split.images.shape[1] != size:
            data, has_map = self.config.data, bool(self.config.model.decoder_channels)
            self.mix = load_mix(builder, data, self.additions, size, has_map)
            check_outlines(self.config, self.mix.split)
        return self.mix

    def _choose_batches(self, builder: tfds.core.DatasetBuilder) -> TrainingBatches:
        """Those of the epoch before, unless size or variation change."""
        epoch, config = self.position.epoch, self.config
        mix = self._load_training(builder, choose_size(config, epoch))
        variation = choose_variation(config.augmentation, epoch, config.optimization.epochs)
        batches, size = self.batches, config.data.batch_size
        if batches is None or batches.split is not mix.split or batches.variation != variation:
            weight = config.optimization.no_tumor_weight
            supervision = supervise(mix.split.records, self.labels, self.healthy_label, weight)
            batches = TrainingBatches(mix.split, supervision, variation, config.seed, size, mix.draws)
        self.batches = batches
        return batches

    def _train_epoch(self, batches: TrainingBatches, told_to_stop: list[int]) -> None:
        position, tracking = self.position, self.config.tracking
        epochs, epoch, start = self.config.optimization.epochs, position.epoch, position.step
        self.observer.start_epoch(epoch, epochs, batches.steps, start)
        pending: list[tuple[int, float, StepFigures]] = []
        for batch in self._distribute(lambda context: batches.start(epoch, start, context)):
            done = epoch * batches.steps + position.step
            rate = self._compute_rate(done, batches.steps)
            momentum = min(self.config.optimization.ema_momentum, (1 + done) / (10 + done))
            pending.append((position.step, rate, self.learner.train_step(batch, rate, momentum)))
            position.step += 1
            if position.step % tracking.log_every == 0 or position.step == batches.steps:
                self._take_in(pending)
            unsaved = time.monotonic() - self.saved_at
            if told_to_stop or unsaved > SECONDS_PER_MINUTE * tracking.checkpoint_minutes:
                self._take_in(pending)
                self._save(done + 1)
            if told_to_stop:
                raise Preempted(
                    f"Told to stop (signal {told_to_stop[0]}). Saved; the same command goes on from here."
                )

    def _distribute(self, make_batches: MakeBatches) -> tf.distribute.DistributedDataset:
        """Each worker, and each host of a TPU, makes the batches of its own replicas."""
        return self.strategy.distribute_datasets_from_function(make_batches)

    def _compute_rate(self, step: int, steps_per_epoch: int) -> float:
        size, factor = self.config.data.batch_size, self.position.judge.factor
        return compute_learning_rate(self.config.optimization, step, steps_per_epoch, size, factor)

    def _take_in(self, pending: list[tuple[int, float, StepFigures]]) -> None:
        """Read the losses of the last steps, which waits for the device; stop where one is not finite."""
        position = self.position
        for step, rate, figures in pending:
            value = float(figures.loss)
            if not math.isfinite(value):
                raise RunError(
                    f"The loss became {value} in epoch {position.epoch + 1}, step {step + 1}, at learning"
                    f" rate {rate:.3g}. Lower optimization.learning_rate and use a new --run-dir."
                )
            position.loss_sum += value
            position.accuracy_sum += float(figures.accuracy)
            position.map_loss_sum += float(figures.map_loss)
            self.observer.take_step(position.epoch, step, value, rate)
        pending.clear()

    def _end_epoch(self, steps: int, validation: MakeBatches, statistics: MakeBatches | None) -> None:
        position, optimization = self.position, self.config.optimization
        self.learner.swap_averages()
        if statistics is not None:
            self.learner.refresh_batch_norms(self._distribute(statistics))
        scores = self.learner.validate(self._distribute(validation))
        best = position.judge.observe(position.epoch, scores.loss, scores.accuracy, optimization)
        if best and is_chief(self.strategy):
            self._save_best()
        self.learner.swap_averages()
        position.history.append(self._describe_epoch(steps, scores))
        self.observer.end_epoch(position.history, position.judge.best_epoch, scores)
        position.epoch, position.step = position.epoch + 1, 0
        position.loss_sum = position.accuracy_sum = position.map_loss_sum = 0.0
        self._save(position.epoch * steps)
        if is_chief(self.strategy):
            write_history(self.run_dir, position.history)

    def _describe_epoch(self, steps: int, scores: Scores) -> dict[str, float]:
        position = self.position
        maps = {"map_loss": position.map_loss_sum / steps, "val_map_loss": scores.map_loss}
        return {
            "epoch": position.epoch,
            "loss": position.loss_sum / steps,
            "accuracy": position.accuracy_sum / steps,
            "val_loss": scores.loss,
            "val_accuracy": scores.accuracy,
            "learning_rate": self._compute_rate((position.epoch + 1) * steps - 1, steps),
            **(maps if self.config.model.decoder_channels else {}),
        }

    def _save(self, done: int) -> None:
        """Write a checkpoint after so many steps in all."""
        self.saved_at = time.monotonic()
        arrays = self.learner.to_arrays()  # on every worker: reading may take part of all of them
        if is_chief(self.strategy):
            save_checkpoint(self.run_dir / CHECKPOINTS, done, arrays, self.position.to_dict())

    def _save_best(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            local = Path(folder) / BEST_WEIGHTS_FILE
            self.learner.model.save_weights(local)
            write_whole(self.run_dir / BEST_WEIGHTS_FILE, local.read_bytes())


def check_batch_size(config: Config, strategy: tf.distribute.Strategy) -> None:
    """Raise a `RunError` where the batch cannot be shared out evenly."""
    size, replicas = config.data.batch_size, strategy.num_replicas_in_sync
    if size % replicas:
        over = f"the batch over all {replicas} replicas"
        raise RunError(f"data.batch_size is {over}, expected a multiple of {replicas}, got {size}.")


def check_outlines(config: Config, split: Split) -> None:
    """Raise a `RunError` where a map should be learnt from images of which none has an outline."""
    outlined = MASK_STATES.index("outlined")
    if config.model.decoder_channels and not any(record.mask_known == outlined for record in split.records):
        raise RunError(
            f"model.decoder_channels is {config.model.decoder_channels}, but none of the"
            f" {len(split.records):,} training images of {config.data.dataset} has the outline of a tumour."
            " Set model.decoder_channels=0, or choose a dataset with outlines."
        )


@contextmanager
def catch_sigterm() -> Iterator[list[int]]:
    """Collect SIGTERM instead of dying of it, so that the state can be saved first."""
    received: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: received.append(number))
    try:
        yield received
    finally:
        signal.signal(signal.SIGTERM, before)
