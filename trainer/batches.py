"""The batches of training and validation: which images, in which order, varied how, on which replica.

Goes in: a split in memory or in a mapped file. Comes out: `tf.data` of one replica's share of every step: images float32
(n, size, size, 1), [0, 255]; one-hot labels float32 (n, classes); weights float32 (n,).
Order and random numbers are functions of the seed, the epoch, the step and the replica alone, so a run that was killed goes on with the
very batches that it would have seen.
"""

import math
import os
from collections.abc import Callable
from dataclasses import dataclass

import keras_cv
import numpy as np
import tensorflow as tf

from trainer.augmentation import augment_batch, build_augmenter
from trainer.config import AugmentationConfig
from trainer.input_pipeline import Split

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
        int (steps, batch_size), every image at least once; the last step is filled up from the start of the order, so that all
        steps have one shape.
    """
    order = np.random.default_rng((seed, epoch)).permutation(images)
    steps = math.ceil(images / batch_size)
    return np.resize(order, (steps, batch_size))


class TrainingBatches:
    """Training batches of any epoch from any step on; the augmentation is traced once.

    Args:
        split: the training images.
        classes: number of labels.
        config: how they are varied.
        seed: of the run.
        shares: what of each step is made here.
        class_weights: float (classes,), weight of an image by its label.
    """

    def __init__(self, split: Split, classes: int, config: AugmentationConfig, seed: int, shares: Shares, class_weights: np.ndarray) -> None:
        self.split, self.classes, self.seed, self.shares, self.class_weights = split, classes, seed, shares, class_weights
        self.steps = math.ceil(len(split.true) / shares.batch_size)
        self._streams = [self._build_stream(config) for _ in range(STREAMS)]

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
        gather = self._build_gather(plan)
        parts = []
        for number, stream in enumerate(self._streams):
            start = first + (number - first) % STREAMS

            def make(element: tf.Tensor, stream: Callable = stream) -> Batch:
                images, labels, weights = gather(element)
                moment = (epoch << 32) + element // self.shares.count
                images, labels = stream(images, labels, moment, self.shares.first + element % self.shares.count)
                return images, labels, weights

            parts.append(tf.data.Dataset.range(start, last, STREAMS).map(make).prefetch(_PREFETCHED))
        turns = tf.data.Dataset.range(first, last).map(lambda element: element % STREAMS)
        return tf.data.Dataset.choose_from_datasets(parts, turns, stop_on_empty_dataset=False).prefetch(_PREFETCHED)

    def _build_gather(self, plan: np.ndarray) -> Callable[[tf.Tensor], Batch]:
        size, per_replica = self.split.images.shape[1], self.shares.per_replica

        def pick(element: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
            step, replica = divmod(int(element), self.shares.count)
            start = (self.shares.first + replica) * per_replica
            chosen = plan[step, start : start + per_replica]
            true = self.split.true[chosen]
            labels = np.eye(self.classes, dtype=np.float32)[true]
            return self.split.images[chosen].astype(np.float32), labels, self.class_weights[true].astype(np.float32)

        def gather(element: tf.Tensor) -> Batch:
            images, labels, weights = tf.numpy_function(pick, [element], (tf.float32, tf.float32, tf.float32), stateful=False)
            return (
                tf.ensure_shape(images, (per_replica, size, size, 1)),
                tf.ensure_shape(labels, (per_replica, self.classes)),
                tf.ensure_shape(weights, (per_replica,)),
            )

        return gather

    def _build_stream(self, config: AugmentationConfig) -> Callable:
        augmenter = build_augmenter(config, self.seed)

        @tf.function
        def augment(images: tf.Tensor, labels: tf.Tensor, moment: tf.Tensor, replica: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            reseed(augmenter, self.seed, moment, replica)
            return augment_batch(augmenter, images, labels)

        return augment


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
        # KerasCV's name for it in every layer. Draws count up the low word of the counter, so the moment goes into the high one.
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
    size = split.images.shape[1]

    def iterate() -> "tf.data.Iterator":
        for step in range(steps):
            for replica in range(shares.first, shares.first + shares.count):
                start = step * shares.batch_size + replica * shares.per_replica
                rows = np.arange(start, start + shares.per_replica)
                weights = (rows < len(split.true)).astype(np.float32)
                rows = np.minimum(rows, len(split.true) - 1)
                yield split.images[rows].astype(np.float32), np.eye(classes, dtype=np.float32)[split.true[rows]], weights

    shapes = ((shares.per_replica, size, size, 1), (shares.per_replica, classes), (shares.per_replica,))
    signature = tuple(tf.TensorSpec(shape, tf.float32) for shape in shapes)
    return tf.data.Dataset.from_generator(iterate, output_signature=signature).prefetch(_PREFETCHED)


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
        kind: `none`: all 1; `balanced`: n / (classes * count of the label), as scikit-learn defines it, so that the mean is 1.
    """
    if kind == "none":
        return np.ones(classes, np.float32)
    counts = np.bincount(true, minlength=classes)
    return (len(true) / (classes * np.maximum(counts, 1))).astype(np.float32)
