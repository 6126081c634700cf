"""Training: from a config to the best weights by validation, on any strategy, restartable after any interruption.

Goes in: a `Config`, a built dataset, a run folder. Comes out: a run folder with what
    `trainer.training.run_folder` names.
"""

import dataclasses
import math
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf
import tensorflow_datasets as tfds
from etils import epath

from serving.files.writing import write_whole
from trainer.config import Config
from trainer.data.augmentation import choose_variation
from trainer.data.batches import (
    Shares,
    TrainingBatches,
    build_validation,
    choose_for_statistics,
    compute_class_weights,
)
from trainer.data.input_pipeline import Split, load_learning_split
from trainer.training.checkpoints import load_checkpoint, save_checkpoint
from trainer.training.learner import Learner, Scores
from trainer.training.listener import Listener
from trainer.training.run_folder import (
    BEST_WEIGHTS_FILE,
    CHECKPOINTS,
    FINISHED_FILE,
    RunError,
    write_history,
)
from trainer.training.schedules import Judge, compute_learning_rate
from trainer.training.strategies import is_chief

SECONDS_PER_MINUTE = 60
SIZE_STEP = 32  # pixels; the networks halve the picture five times


class Preempted(RunError):
    """SIGTERM came; the state is saved."""

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
        history: a row an epoch.
    """

    epoch: int = 0
    step: int = 0
    judge: Judge = field(default_factory=Judge)
    loss_sum: float = 0.0
    accuracy_sum: float = 0.0
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
        run_dir: the run folder, claimed by `claim_run_dir`; local or `gs://`.
        strategy: where it runs.
        observer: is told of every step and epoch.

    Raises:
        RunError: the batch does not fit the strategy, or the loss is no longer finite.
        Preempted: SIGTERM came.
        CheckpointError: the disk is full.
    """
    if (run_dir / FINISHED_FILE).exists():
        return
    shares = share_out(config.data.batch_size, strategy)
    keras.utils.set_random_seed(config.seed)
    keras.config.set_dtype_policy(config.precision)
    classes = builder.info.features["label"].num_classes
    run = Run(config, run_dir, strategy, shares, Learner(config, strategy, classes), observer)
    run.resume()
    run.train(builder, classes)
    if is_chief(strategy):
        (run_dir / FINISHED_FILE).touch()


class Run:
    """One run in progress.

    Args:
        config: the run.
        run_dir: its folder.
        strategy: where it runs.
        shares: what this process feeds.
        learner: what learns.
        observer: is told of every step and epoch.
    """

    def __init__(
        self,
        config: Config,
        run_dir: epath.Path,
        strategy: tf.distribute.Strategy,
        shares: Shares,
        learner: Learner,
        observer: Listener,
    ):
        self.config, self.run_dir, self.strategy, self.shares, self.learner, self.observer = (
            config,
            run_dir,
            strategy,
            shares,
            learner,
            observer,
        )
        self.position = Position()
        self.steps_per_epoch = 0
        self.saved_at = time.monotonic()

    def resume(self) -> None:
        """Take up the newest checkpoint that is whole."""
        arrays, state, damaged = load_checkpoint(self.run_dir / CHECKPOINTS)
        for line in damaged:
            self.observer.say(line)
        if arrays:
            self.learner.load_arrays(arrays)
            self.position = Position.from_dict(state)
            self.observer.say(f"Resuming at epoch {self.position.epoch + 1}, step {self.position.step + 1}.")

    def train(self, builder: tfds.core.DatasetBuilder, classes: int) -> None:
        """Run the epochs that are left."""
        optimization = self.config.optimization
        data = self.config.data
        validation = build_validation(
            load_learning_split(builder, "validation", data, data.image_size), classes, self.shares
        )
        split: Split | None = None
        batches: TrainingBatches | None = None
        plain: tf.data.Dataset | None = None
        if optimization.batch_norm_images:
            split = load_learning_split(builder, "train", data, data.image_size)
            chosen = choose_for_statistics(split, optimization.batch_norm_images, data.batch_size)
            plain = build_validation(chosen, classes, self.shares)
        with catch_sigterm() as told_to_stop:
            for epoch in range(self.position.epoch, optimization.epochs):
                if self.position.judge.wants_to_stop(optimization):
                    break
                size = choose_size(self.config, epoch)
                if split is None or split.images.shape[1] != size:
                    split = load_learning_split(builder, "train", data, size)
                variation = choose_variation(self.config.augmentation, epoch, optimization.epochs)
                if batches is None or batches.split is not split or batches.variation != variation:
                    weights = compute_class_weights(split.true, classes, optimization.class_weights)
                    batches = TrainingBatches(
                        split, classes, variation, self.config.seed, self.shares, weights
                    )
                    self.steps_per_epoch = batches.steps
                self._train_epoch(batches, told_to_stop)
                self._end_epoch(validation, plain)

    def _train_epoch(self, batches: TrainingBatches, told_to_stop: "list[int]") -> None:
        position, optimization = self.position, self.config.optimization
        self.observer.start_epoch(position.epoch, optimization.epochs, batches.steps, position.step)
        dataset = self.strategy.distribute_datasets_from_function(
            lambda _: batches.start(position.epoch, position.step)
        )
        pending: list[tuple[int, float, tf.Tensor, tf.Tensor]] = []
        for batch in dataset:
            done = position.epoch * batches.steps + position.step
            rate = compute_learning_rate(
                optimization, done, batches.steps, self.config.data.batch_size, position.judge.factor
            )
            momentum = min(optimization.ema_momentum, (1 + done) / (10 + done))
            loss, accuracy = self.learner.train_step(
                batch, rate, momentum, frozen=position.epoch < optimization.freeze_epochs
            )
            pending.append((position.step, rate, loss, accuracy))
            position.step += 1
            if position.step % self.config.tracking.log_every == 0 or position.step == batches.steps:
                self._take_in(pending)
            if (
                told_to_stop
                or time.monotonic() - self.saved_at
                > SECONDS_PER_MINUTE * self.config.tracking.checkpoint_minutes
            ):
                self._take_in(pending)
                self._save()
                if told_to_stop:
                    raise Preempted(
                        f"Told to stop (signal {told_to_stop[0]}). Saved; the same command goes on from here."
                    )

    def _take_in(self, pending: list[tuple[int, float, tf.Tensor, tf.Tensor]]) -> None:
        """Read the losses of the last steps, which waits for the device; stop where one is not finite."""
        position = self.position
        for step, rate, loss, accuracy in pending:
            value = float(loss)
            if not math.isfinite(value):
                raise RunError(
                    f"The loss became {value} in epoch {position.epoch + 1}, step {step + 1}, at learning"
                    f" rate {rate:.3g}. Lower optimization.learning_rate and use a new --run-dir."
                )
            position.loss_sum += value
            position.accuracy_sum += float(accuracy)
            self.observer.take_step(position.epoch, step, value, rate)
        pending.clear()

    def _end_epoch(self, validation: tf.data.Dataset, plain: tf.data.Dataset | None) -> None:
        position, optimization = self.position, self.config.optimization
        self.learner.swap_averages()
        # While all but the head is frozen, batch norms keep the statistics of the pretrained weights.
        if plain is not None and position.epoch >= optimization.freeze_epochs:
            self.learner.refresh_batch_norms(self.strategy.distribute_datasets_from_function(lambda _: plain))
        scores = self.learner.validate(self.strategy.distribute_datasets_from_function(lambda _: validation))
        best = position.judge.observe(position.epoch, scores.loss, scores.accuracy, optimization)
        if best and is_chief(self.strategy):
            self._save_best()
        self.learner.swap_averages()
        self._close_row(scores)
        self.observer.end_epoch(position.history, position.judge.best_epoch, scores)
        position.epoch, position.step, position.loss_sum, position.accuracy_sum = (
            position.epoch + 1,
            0,
            0.0,
            0.0,
        )
        self._save()
        if is_chief(self.strategy):
            write_history(self.run_dir, position.history)

    def _close_row(self, scores: Scores) -> None:
        position, steps = self.position, self.steps_per_epoch
        rate = compute_learning_rate(
            self.config.optimization,
            (position.epoch + 1) * steps - 1,
            steps,
            self.config.data.batch_size,
            position.judge.factor,
        )
        row = {
            "epoch": position.epoch,
            "loss": position.loss_sum / steps,
            "accuracy": position.accuracy_sum / steps,
            "val_loss": scores.loss,
            "val_accuracy": scores.accuracy,
            "learning_rate": rate,
        }
        position.history.append(row)

    def _save(self) -> None:
        self.saved_at = time.monotonic()
        arrays = self.learner.to_arrays()  # on every worker: reading may take part of all of them
        if is_chief(self.strategy):
            done = self.position.epoch * self.steps_per_epoch + self.position.step
            save_checkpoint(self.run_dir / CHECKPOINTS, done, arrays, self.position.to_dict())

    def _save_best(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            local = Path(folder) / BEST_WEIGHTS_FILE
            self.learner.model.save_weights(local)
            write_whole(self.run_dir / BEST_WEIGHTS_FILE, local.read_bytes())


def share_out(batch_size: int, strategy: tf.distribute.Strategy) -> Shares:
    """Say what of each step this process feeds.

    Raises:
        RunError: the batch cannot be shared out evenly.
    """
    replicas = strategy.num_replicas_in_sync
    if batch_size % replicas:
        raise RunError(
            f"data.batch_size is the batch over all {replicas} replicas, expected a multiple of {replicas},"
            f" got {batch_size}."
        )
    resolver = strategy.cluster_resolver
    spec = resolver.cluster_spec().as_dict() if resolver else {}
    workers = len(spec.get("chief", [])) + len(spec.get("worker", []))
    if workers < 2:
        return Shares(batch_size, replicas, 0, replicas)
    number = resolver.task_id + (len(spec.get("chief", [])) if resolver.task_type == "worker" else 0)
    return Shares(batch_size, replicas, number * replicas // workers, replicas // workers)


def choose_size(config: Config, epoch: int) -> int:
    """Side of the training images in an epoch, pixels: the smaller ones first, each for an equal share of the epochs."""
    size = config.data.image_size
    sizes = [
        max(SIZE_STEP, SIZE_STEP * round(scale * size / SIZE_STEP))
        for scale in config.data.progressive_scales
    ] + [size]
    return sizes[min(len(sizes) - 1, epoch * len(sizes) // config.optimization.epochs)]


@contextmanager
def catch_sigterm() -> Iterator[list[int]]:
    """Collect SIGTERM instead of dying of it, so that the state can be saved first."""
    received: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: received.append(number))
    try:
        yield received
    finally:
        signal.signal(signal.SIGTERM, before)


def resolve_precision(precision: str, strategy: tf.distribute.Strategy) -> str:
    """Pick the dtype policy for `auto`: bfloat16 on TPUs and on GPUs since Ampere, float16 on Volta and Turing, else float32."""
    if precision != "auto":
        return precision
    if isinstance(strategy, tf.distribute.TPUStrategy):
        return "mixed_bfloat16"
    details = [
        tf.config.experimental.get_device_details(gpu) for gpu in tf.config.list_physical_devices("GPU")
    ]
    weakest = min((detail.get("compute_capability", (0, 0)) for detail in details), default=(0, 0))
    return "mixed_bfloat16" if weakest >= (8, 0) else "mixed_float16" if weakest >= (7, 0) else "float32"
