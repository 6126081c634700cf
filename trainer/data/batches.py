"""The batches of training and validation: which images, in which order, varied how, on which replica.

Goes in: a split, which is copied into memory, and what its images teach. Comes out: `tf.data` of one
replica's share of every step: images float32 (n, size, size, 1), [0, 255]; targets float32 (n, classes), 1
for each kind that an image may show; weights float32 (n,), 0 where nothing is known. Order and random
numbers are functions of the seed, the epoch, the step and the replica alone, so a run that was killed goes on
with the very batches that it would have seen. Which replicas are fed here says a
`tf.distribute.InputContext`: every worker, and every host of a TPU, has its own.
"""

import math
import os
from collections.abc import Callable

import keras_cv
import numpy as np
import tensorflow as tf

from trainer.config import AugmentationConfig
from trainer.data.augmentation import augment_batch, build_augmenter
from trainer.data.input_pipeline import Split
from trainer.data.supervision import Supervision

Batch = tuple[tf.Tensor, ...]
# Streams augment in parallel, each in order; how many there are changes no batch.
STREAMS = max(1, min(8, os.cpu_count() or 1))
_PREFETCHED = 2
# One process that feeds one replica.
ALONE = tf.distribute.InputContext()


def find_replicas(context: tf.distribute.InputContext) -> range:
    """Numbers of the replicas that an input pipeline feeds; all pipelines together feed each replica once."""
    count = context.num_replicas_in_sync // context.num_input_pipelines
    return range(context.input_pipeline_id * count, (context.input_pipeline_id + 1) * count)


def plan_epoch(images: int, batch_size: int, seed: int, epoch: int) -> np.ndarray:
    """Order the images of an epoch.

    Args:
        images: number of training images.
        batch_size: images a step.
        seed: of the run.
        epoch: counted from 0.

    Returns:
        int (steps, batch_size), every image at least once; the last step is filled up from the start of
        the order, so that all steps have one shape.
    """
    order = np.random.default_rng((seed, epoch)).permutation(images)
    steps = math.ceil(images / batch_size)
    return np.resize(order, (steps, batch_size))


class TrainingBatches:
    """Training batches of any epoch from any step on; the augmentation is traced once.

    Args:
        split: the training images.
        supervision: what they teach.
        variation: how they are varied.
        seed: of the run.
        batch_size: images a step over all replicas.

    Example:
        >>> supervision = supervise_known(split.records, labels)  # doctest: +SKIP
        >>> batches = TrainingBatches(split, supervision, variation, seed=0, batch_size=32)  # doctest: +SKIP
        >>> images, targets, weights = next(iter(batches.start(epoch=3, step=17)))  # doctest: +SKIP
    """

    def __init__(
        self,
        split: Split,
        supervision: Supervision,
        variation: AugmentationConfig,
        seed: int,
        batch_size: int,
    ) -> None:
        self.split, self.variation, self.seed, self.batch_size = split, variation, seed, batch_size
        self.steps = math.ceil(len(split.true) / batch_size)
        self._gather = _build_gather(split, supervision)
        self._streams = [self._build_stream(variation) for _ in range(STREAMS)]

    def start(
        self, epoch: int, step: int = 0, context: tf.distribute.InputContext = ALONE
    ) -> tf.data.Dataset:
        """Make the batches of an epoch.

        Args:
            epoch: counted from 0.
            step: the first one wanted; those before it cost nothing.
            context: which replicas are fed here.

        Returns:
            For every step one element a replica of this pipeline, in their order.
        """
        replicas, each = find_replicas(context), context.get_per_replica_batch_size(self.batch_size)
        plan = plan_epoch(len(self.split.true), self.batch_size, self.seed, epoch)
        rows = tf.constant(plan.reshape(-1, context.num_replicas_in_sync, each))
        first, last = step * len(replicas), self.steps * len(replicas)
        parts = []
        for number, stream in enumerate(self._streams):
            start = first + (number - first) % STREAMS

            def make(element: tf.Tensor, stream: Callable = stream) -> Batch:
                step, replica = element // len(replicas), replicas.start + element % len(replicas)
                images, targets, weights = self._gather(rows[step, replica])
                return stream(images, (epoch << 32) + step, replica), targets, weights

            parts.append(tf.data.Dataset.range(start, last, STREAMS).map(make).prefetch(_PREFETCHED))
        turns = tf.data.Dataset.range(first, last).map(lambda element: element % STREAMS)
        chosen = tf.data.Dataset.choose_from_datasets(parts, turns, stop_on_empty_dataset=False)
        return chosen.prefetch(_PREFETCHED)

    def _build_stream(self, config: AugmentationConfig) -> Callable:
        augmenter = build_augmenter(config, self.seed)

        @tf.function
        def augment(images: tf.Tensor, moment: tf.Tensor, replica: tf.Tensor) -> tf.Tensor:
            reseed(augmenter, self.seed, moment, replica)
            return augment_batch(augmenter, images)

        return augment


def _build_gather(split: Split, supervision: Supervision) -> Callable[[tf.Tensor], Batch]:
    """Build what picks a batch by rows, int (n,).

    Without Python: a pipeline that calls it deadlocks where its iterator is dropped half-way, as on SIGTERM,
    since who drops it holds the interpreter's lock and waits for the threads that want it.
    """
    with tf.device("CPU"):
        images = tf.constant(split.images)
        targets, weights = tf.constant(supervision.targets), tf.constant(supervision.weights)

    def gather(rows: tf.Tensor) -> Batch:
        return (
            tf.cast(tf.gather(images, rows), tf.float32),
            tf.gather(targets, rows),
            tf.gather(weights, rows),
        )

    return gather


def reseed(augmenter: keras_cv.layers.Augmenter, seed: int, moment: tf.Tensor, replica: tf.Tensor) -> None:
    """Make the next draws of every layer a function of these numbers alone.

    Args:
        augmenter: whose layers draw from their own `tf.random.Generator`.
        seed: of the run.
        moment: int64 (), epoch and step in one number.
        replica: int64 (), number of the replica.
    """
    for number, layer in enumerate(augmenter.layers):
        key = tf.cast(replica, tf.int64) + 4096 * (number + 64 * seed)
        # KerasCV's name for it in every layer. Draws count up the low word of the counter, so the moment goes
        # into the high one.
        layer._random_generator.reset_from_key_counter(key, tf.stack([tf.constant(0, tf.int64), moment]))


def build_validation(
    split: Split, supervision: Supervision, batch_size: int
) -> Callable[[tf.distribute.InputContext], tf.data.Dataset]:
    """Build what makes the batches of a validation; padding has weight 0, so that every image counts once.

    Args:
        split: the images.
        supervision: what is known of them.
        batch_size: images a step over all replicas.

    Returns:
        What `distribute_datasets_from_function` takes: it gives, by the context, for every step one element a
        replica of this pipeline.
    """
    count = len(split.true)
    gather = _build_gather(split, supervision)

    def make_batches(context: tf.distribute.InputContext) -> tf.data.Dataset:
        replicas, each = find_replicas(context), context.get_per_replica_batch_size(batch_size)

        def make(element: tf.Tensor) -> Batch:
            step, replica = element // len(replicas), replicas.start + element % len(replicas)
            rows = step * batch_size + replica * each + tf.range(each, dtype=tf.int64)
            images, targets, weights = gather(tf.minimum(rows, count - 1))
            return images, targets, weights * tf.cast(rows < count, tf.float32)

        elements = math.ceil(count / batch_size) * len(replicas)
        return tf.data.Dataset.range(elements).map(make).prefetch(_PREFETCHED)

    return make_batches


def choose_for_statistics(split: Split, images: int, batch_size: int) -> Split:
    """Choose training images for the statistics of batch norms: as many as wanted, in whole batches.

    Args:
        split: the training images.
        images: how many are wanted.
        batch_size: images a step over all replicas.
    """
    order = np.random.default_rng(0).permutation(len(split.true))
    steps = max(1, min(images, len(order)) // batch_size)
    return split.take(np.resize(order, steps * batch_size))
