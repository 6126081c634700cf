"""The batches of training and validation: which images, in which order, varied how, on which replica.

Goes in: a split, which is copied into memory. Comes out: `tf.data` of one replica's share of every step:
images float32 (n, size, size, 1), [0, 255]; one-hot labels float32 (n, classes); weights float32 (n,). Order
and random numbers are functions of the seed, the epoch, the step and the replica alone, so a run that was
killed goes on with the very batches that it would have seen.
"""

import math
import os
from collections.abc import Callable
from dataclasses import dataclass

import keras_cv
import numpy as np
import tensorflow as tf

from trainer.config import AugmentationConfig
from trainer.data.augmentation import augment_batch, build_augmenter
from trainer.data.input_pipeline import Split

Batch = tuple[tf.Tensor, tf.Tensor, tf.Tensor]
# Streams augment in parallel, each in order; how many there are changes no batch.
STREAMS = max(1, min(8, os.cpu_count() or 1))
_PREFETCHED = 2


@dataclass(frozen=True)
class Shares:
    """How the batches of a step are shared out.

    Attributes:
        batch_size: images a step over all replicas.
        replicas: number of replicas that take part.
        first: the first replica that this process feeds.
        count: the number of replicas that this process feeds.
    """

    batch_size: int
    replicas: int = 1
    first: int = 0
    count: int = 1

    @property
    def per_replica(self) -> int:
        """Images a step on one replica."""
        return self.batch_size // self.replicas


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
        classes: number of labels.
        variation: how they are varied.
        seed: of the run.
        shares: what of each step is made here.
        class_weights: float (classes,), weight of an image by its label.
    """

    def __init__(
        self,
        split: Split,
        classes: int,
        variation: AugmentationConfig,
        seed: int,
        shares: Shares,
        class_weights: np.ndarray,
    ) -> None:
        self.split, self.variation, self.seed, self.shares = split, variation, seed, shares
        self.steps = math.ceil(len(split.true) / shares.batch_size)
        self._gather = _build_gather(split, classes, class_weights)
        self._streams = [self._build_stream(variation) for _ in range(STREAMS)]

    def start(self, epoch: int, step: int = 0) -> tf.data.Dataset:
        """Make the batches of an epoch.

        Args:
            epoch: counted from 0.
            step: the first one wanted; those before it cost nothing.

        Returns:
            For every step one element a replica of this process, in their order.
        """
        plan = plan_epoch(len(self.split.true), self.shares.batch_size, self.seed, epoch)
        first, last = step * self.shares.count, self.steps * self.shares.count
        rows = tf.constant(plan.reshape(-1, self.shares.replicas, self.shares.per_replica))
        parts = []
        for number, stream in enumerate(self._streams):
            start = first + (number - first) % STREAMS

            def make(element: tf.Tensor, stream: Callable = stream) -> Batch:
                step, replica = element // self.shares.count, self.shares.first + element % self.shares.count
                images, labels, weights = self._gather(rows[step, replica])
                images, labels = stream(images, labels, (epoch << 32) + step, replica)
                return images, labels, weights

            parts.append(tf.data.Dataset.range(start, last, STREAMS).map(make).prefetch(_PREFETCHED))
        turns = tf.data.Dataset.range(first, last).map(lambda element: element % STREAMS)
        return tf.data.Dataset.choose_from_datasets(parts, turns, stop_on_empty_dataset=False).prefetch(
            _PREFETCHED
        )

    def _build_stream(self, config: AugmentationConfig) -> Callable:
        augmenter = build_augmenter(config, self.seed)

        @tf.function
        def augment(
            images: tf.Tensor, labels: tf.Tensor, moment: tf.Tensor, replica: tf.Tensor
        ) -> tuple[tf.Tensor, tf.Tensor]:
            reseed(augmenter, self.seed, moment, replica)
            return augment_batch(augmenter, images, labels)

        return augment


def _build_gather(split: Split, classes: int, class_weights: np.ndarray) -> Callable[[tf.Tensor], Batch]:
    """Build what picks a batch by rows, int (n,).

    Without Python: a pipeline that calls it deadlocks where its iterator is dropped half-way, as on SIGTERM,
    since who drops it holds the interpreter's lock and waits for the threads that want it.
    """
    with tf.device("CPU"):
        images, true = tf.constant(split.images), tf.constant(split.true, tf.int64)
        weight_of = tf.constant(class_weights, tf.float32)

    def gather(rows: tf.Tensor) -> Batch:
        chosen = tf.gather(true, rows)
        return (
            tf.cast(tf.gather(images, rows), tf.float32),
            tf.one_hot(chosen, classes),
            tf.gather(weight_of, chosen),
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


def build_validation(split: Split, classes: int, shares: Shares) -> tf.data.Dataset:
    """Make the batches of a validation; padding has weight 0, so that every image counts exactly once.

    Args:
        split: the images.
        classes: number of labels.
        shares: what of each step is made here.

    Returns:
        For every step one element a replica of this process.
    """
    steps = math.ceil(len(split.true) / shares.batch_size)
    gather = _build_gather(split, classes, np.ones(classes))

    def make(element: tf.Tensor) -> Batch:
        step, replica = element // shares.count, shares.first + element % shares.count
        rows = (
            step * shares.batch_size
            + replica * shares.per_replica
            + tf.range(shares.per_replica, dtype=tf.int64)
        )
        images, labels, weights = gather(tf.minimum(rows, len(split.true) - 1))
        return images, labels, weights * tf.cast(rows < len(split.true), tf.float32)

    return tf.data.Dataset.range(steps * shares.count).map(make).prefetch(_PREFETCHED)


def choose_for_statistics(split: Split, images: int, batch_size: int) -> Split:
    """Choose training images for the statistics of batch norms: as many as asked for, or all, in whole batches.

    Args:
        split: the training images.
        images: how many are wanted.
        batch_size: images a step over all replicas.
    """
    order = np.random.default_rng(0).permutation(len(split.true))
    steps = max(1, min(images, len(order)) // batch_size)
    return split.take(np.resize(order, steps * batch_size))


def compute_class_weights(true: np.ndarray, classes: int, kind: str) -> np.ndarray:
    """Weigh images by their label.

    Args:
        true: int (n,), labels of the training images.
        classes: number of labels.
        kind: `none`: all 1; `balanced`: n / (classes * count of the label), as scikit-learn defines it, so
            that the mean is 1.
    """
    if kind == "none":
        return np.ones(classes, np.float32)
    counts = np.bincount(true, minlength=classes)
    return (len(true) / (classes * np.maximum(counts, 1))).astype(np.float32)
