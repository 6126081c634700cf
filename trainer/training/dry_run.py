"""What a run would do, without doing it: `tumor train --dry-run`.

Goes in: a config, a dataset, a strategy. Comes out, printed: the resolved config, the model, the steps, and
how long it should take.
"""

import time

import keras
import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds
from rich.console import Console

from trainer.config import Config
from trainer.data.batches import TrainingBatches
from trainer.data.mixing import find_additions, load_mix
from trainer.data.supervision import supervise
from trainer.models.build import use_dtype_policy
from trainer.models.decoder import count_multiplications
from trainer.training.learner import Learner
from trainer.training.loop import check_batch_size, check_outlines
from trainer.training.schedules import choose_size
from tumor_ds.sources.own_pictures import find_healthy_label

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
    check_batch_size(config, strategy)
    console.print_json(config.model_dump_json())
    keras.utils.set_random_seed(config.seed)
    labels = tuple(builder.info.features["label"].names)
    with use_dtype_policy(config.precision):
        learner = Learner(config, strategy, len(labels))
    learner.model.summary(
        print_fn=lambda text, line_break=True: console.print(text, markup=False, highlight=False)
    )
    epochs, size = config.optimization.epochs, config.data.batch_size
    sizes = np.array([choose_size(config, epoch) for epoch in range(epochs)])
    additions, has_map = find_additions(builder, config.data), bool(config.model.decoder_channels)
    mix = load_mix(builder, config.data, additions, int(sizes[-1]), has_map)
    check_outlines(config, mix.split)
    weight, healthy = config.optimization.no_tumor_weight, find_healthy_label(builder)
    supervision = supervise(mix.split.records, labels, healthy, weight)
    batches = TrainingBatches(mix.split, supervision, config.augmentation, config.seed, size, mix.draws)
    seconds = _time_steps(learner, batches, strategy)
    steps, area = batches.steps * len(sizes), np.mean((sizes / sizes[-1]) ** 2)
    console.print(
        f"{count_multiplications(learner.model) / 1e6:,.0f} million multiplications an image.\n"
        f"{strategy.num_replicas_in_sync} replicas, {config.precision}, {mix.draws.sum():,.0f} training"
        f" images, {batches.steps:,} steps an epoch of {size} images, {epochs}"
        f" epochs at most: {steps:,} steps.\n{TIMED_STEPS} steps at {sizes[-1]} pixels took"
        f" {seconds * TIMED_STEPS:.1f} s, {size / seconds:.0f} images/s; all epochs would"
        f" take about {_format_minutes(seconds * steps * area)}, smaller pictures counted by their area,"
        " validation and export not counted.",
        highlight=False,
    )


def _time_steps(learner: Learner, batches: TrainingBatches, strategy: tf.distribute.Strategy) -> float:
    """Mean seconds of a step; the first one, which traces, is not counted."""
    dataset = iter(
        strategy.distribute_datasets_from_function(lambda context: batches.start(0, context=context).repeat())
    )
    started = 0.0
    for number in range(TIMED_STEPS + 1):
        float(learner.train_step(next(dataset), 0.0, 0.0).loss)  # waits for the device
        if number == 0:
            started = time.monotonic()
    return (time.monotonic() - started) / TIMED_STEPS


def _format_minutes(seconds: float) -> str:
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{max(1, minutes)} min"
