"""What a run would do, without doing it: `tumor train --dry-run`.

Goes in: a config, a dataset, a strategy. Comes out, printed: the resolved config, the model, the steps, and
    how long it should take.
"""

import dataclasses
import json
import time

import keras
import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds
from rich.console import Console

from trainer.config import Config
from trainer.data.batches import TrainingBatches, compute_class_weights
from trainer.data.input_pipeline import load_learning_split
from trainer.training.learner import Learner
from trainer.training.loop import choose_size, share_out

TIMED_STEPS = 10


def describe_run(
    config: Config, builder: tfds.core.DatasetBuilder, strategy: tf.distribute.Strategy, console: Console
) -> None:
    """Print what would be trained and an estimate from ten timed steps; nothing is written.

    Args:
        config: the run, its precision resolved.
        builder: a prepared dataset builder.
        strategy: where it would run.
        console: where to.
    """
    console.print_json(json.dumps(dataclasses.asdict(config)))
    keras.utils.set_random_seed(config.seed)
    keras.config.set_dtype_policy(config.precision)
    classes = builder.info.features["label"].num_classes
    learner = Learner(config, strategy, classes)
    learner.model.summary(
        print_fn=lambda text, line_break=True: console.print(text, markup=False, highlight=False)
    )
    split = load_learning_split(
        builder, "train", config.data, choose_size(config, config.optimization.epochs - 1)
    )
    weights = compute_class_weights(split.true, classes, config.optimization.class_weights)
    batches = TrainingBatches(
        split, classes, config.augmentation, config.seed, share_out(config.data.batch_size, strategy), weights
    )
    seconds = _time_steps(learner, batches, strategy)
    sizes = np.array([choose_size(config, epoch) for epoch in range(config.optimization.epochs)])
    steps, area = batches.steps * len(sizes), np.mean((sizes / sizes[-1]) ** 2)
    console.print(
        f"{strategy.num_replicas_in_sync} replicas, {config.precision}, {len(split.true):,} training images,"
        f" {batches.steps:,} steps an epoch of {config.data.batch_size} images, {config.optimization.epochs}"
        f" epochs at most: {steps:,} steps.\n{TIMED_STEPS} steps at {sizes[-1]} pixels took"
        f" {seconds * TIMED_STEPS:.1f} s, {config.data.batch_size / seconds:.0f} images/s; all epochs would"
        f" take about {_format_minutes(seconds * steps * area)}, smaller pictures counted by their area,"
        " validation and export not counted.",
        highlight=False,
    )


def _time_steps(learner: Learner, batches: TrainingBatches, strategy: tf.distribute.Strategy) -> float:
    """Mean seconds of a step; the first one, which traces, is not counted."""
    dataset = iter(strategy.distribute_datasets_from_function(lambda _: batches.start(0).repeat()))
    started = 0.0
    for number in range(TIMED_STEPS + 1):
        loss, _ = learner.train_step(next(dataset), 0.0, 0.0, frozen=False)
        float(loss)  # waits for the device
        if number == 0:
            started = time.monotonic()
    return (time.monotonic() - started) / TIMED_STEPS


def _format_minutes(seconds: float) -> str:
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{max(1, minutes)} min"
