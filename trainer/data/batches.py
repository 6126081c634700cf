"""The batches of training and validation: which images, in which order, varied how, on which replica.

Goes in: a split, which is copied into memory, and what its images teach. Comes out: `tf.data` of one
replica's share of every step: images float32 (n, size, size, 1), [0, 255]; targets float32 (n, classes), 1
for each kind that an image may show; weights float32 (n,), 0 where nothing is known; and where the split has
masks, masks float32 (n, size, size, 1), 1 inside the outline of a tumour, and weights of their own float32
(n,): 1 where an outline is known or known to be empty, else 0. Order and random numbers are functions of the
seed, the epoch, the step and the replica alone, so a run that was killed goes on with the very batches that
it would have seen. Which replicas are fed here says a `tf.distribute.InputContext`: every worker, and every
host of a TPU, has its own.
"""

import math
import os
from collections.abc import Callable

import keras_cv
import numpy as np
import tensorflow as tf

from trainer.config import AugmentationConfig
from trainer.data.augmentation import augment_batch, augment_with_masks, build_augmenter
from trainer.data.input_pipeline import Split
from trainer.data.lesions import LesionBatch, move_lesions
from trainer.data.supervision import Supervision
from tumor_ds.sources.slices import MASK_STATES

Batch = tuple[tf.Tensor, ...]
# Streams augment in parallel, each in order; how many there are changes no batch.
STREAMS = max(1, min(8, os.cpu_count() or 1))
_PREFETCHED = 2
MASK_THRESHOLD = 127  # of masks in [0, 255]
# One process that feeds one replica.
ALONE = tf.distribute.InputContext()


def find_replicas(context: tf.distribute.InputContext) -> range:
    """Numbers of the replicas that an input pipeline feeds; all pipelines together feed each replica once."""
    count = context.num_replicas_in_sync // context.num_input_pipelines
    return range(context.input_pipeline_id * count, (context.input_pipeline_id + 1) * count)


def draw_images(draws: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Draw the images of an epoch, in random order.

    An image that should be drawn 2.3 times is drawn twice, or three times in 3 of 10 epochs; one that should
    be drawn once is drawn once.

    Source: systematic sampling, Madow 1949 (doi:10.1214/aoms/1177729988), in random order.

    Args:
        draws: how often each is drawn on average, float64 (n,); the sum is a whole number.
        generator: of the random numbers.

    Returns:
        int (sum of draws,), rows.
    """
    counts = np.floor(draws + 1e-9).astype(np.int64)
    rest = np.maximum(draws - counts, 0)
    wanted = round(draws.sum()) - counts.sum()
    if wanted:
        order = generator.permutation(len(draws))
        ends = np.cumsum(rest[order])
        places = np.floor(ends * (wanted / ends[-1]) + generator.random())
        places[-1] = wanted
        counts[order] += np.diff(places, prepend=0).astype(np.int64)
    return generator.permutation(np.repeat(np.arange(len(draws)), counts))


def plan_epoch(draws: np.ndarray, batch_size: int, seed: int, epoch: int) -> np.ndarray:
    """Order the images of an epoch.

    Args:
        draws: how often each is drawn on average, float64 (n,).
        batch_size: images a step.
        seed: of the run.
        epoch: counted from 0.

    Returns:
        int (steps, batch_size), every drawn image; the last step is filled up from the start of the
        order, so that all steps have one shape.
    """
    order = draw_images(draws, np.random.default_rng((seed, epoch)))
    steps = math.ceil(len(order) / batch_size)
    return np.resize(order, (steps, batch_size))


class TrainingBatches:
    """Training batches of any epoch from any step on; the augmentation is traced once.

    Args:
        split: the training images.
        supervision: what they teach.
        variation: how they are varied.
        seed: of the run.
        batch_size: images a step over all replicas.
        draws: how often an epoch has each image, on average, float64 (n,), with a whole number as its sum;
            None: each once.

    Example:
        >>> supervision = supervise_known(split.records, labels, "notumor")  # doctest: +SKIP
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
        draws: np.ndarray | None = None,
    ) -> None:
        self.split, self.variation, self.seed, self.batch_size = split, variation, seed, batch_size
        self.draws = np.ones(len(split.records)) if draws is None else draws
        self.steps = math.ceil(round(self.draws.sum()) / batch_size)
        self.supervision = supervision
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
        plan = plan_epoch(self.draws, self.batch_size, self.seed, epoch)
        rows = tf.constant(plan.reshape(-1, context.num_replicas_in_sync, each))
        first, last = step * len(replicas), self.steps * len(replicas)
        parts = []
        for number, stream in enumerate(self._streams):
            start = first + (number - first) % STREAMS

            def make(element: tf.Tensor, stream: Callable = stream) -> Batch:
                step, replica = element // len(replicas), replicas.start + element % len(replicas)
                return stream(self._gather(rows[step, replica]), (epoch << 32) + step, replica)

            parts.append(tf.data.Dataset.range(start, last, STREAMS).map(make).prefetch(_PREFETCHED))
        turns = tf.data.Dataset.range(first, last).map(lambda element: element % STREAMS)
        chosen = tf.data.Dataset.choose_from_datasets(parts, turns, stop_on_empty_dataset=False)
        return chosen.prefetch(_PREFETCHED)

    def _build_stream(self, config: AugmentationConfig) -> Callable:
        augmenter, is_tumor = build_augmenter(config, self.seed), tf.constant(self.supervision.is_tumor)

        @tf.function
        def augment(batch: Batch, moment: tf.Tensor, replica: tf.Tensor) -> Batch:
            reseed(augmenter, self.seed, moment, replica)
            images, targets, weights, *outlines = batch
            if not outlines:
                return augment_batch(augmenter, images), targets, weights
            lesions = LesionBatch(images, targets, weights, *outlines)
            if config.transplants or config.removals:
                numbers = tf.stack([moment, replica + 4096 * self.seed])
                settings = config.transplants, config.removals, config.moved_weight
                lesions = move_lesions(lesions, is_tumor, *settings, numbers)
            images, masks = augment_with_masks(augmenter, lesions.images, lesions.masks)
            return images, lesions.targets, lesions.weights, masks, lesions.mask_weights

        return augment


def _build_gather(split: Split, supervision: Supervision) -> Callable[[tf.Tensor], Batch]:
    """Build what picks a batch by rows, int (n,).

    Without Python: a pipeline that calls it deadlocks where its iterator is dropped half-way, as on SIGTERM,
    since who drops it holds the interpreter's lock and waits for the threads that want it.
    """
    with tf.device("CPU"):
        images = tf.constant(split.images)
        parts = [tf.constant(supervision.targets), tf.constant(supervision.weights)]
        if split.masks is not None:
            # A bit a pixel: as bytes the masks would take as much memory as the images.
            packed = tf.constant(np.packbits(split.masks[..., 0] > MASK_THRESHOLD, axis=-1))
            known = [record.mask_known != MASK_STATES.index("unknown") for record in split.records]
            parts.append(tf.constant(np.array(known, np.float32)))

    def gather(rows: tf.Tensor) -> Batch:
        targets, weights, *mask_weights = (tf.gather(part, rows) for part in parts)
        batch = tf.cast(tf.gather(images, rows), tf.float32), targets, weights
        return (*batch, _unpack_bits(tf.gather(packed, rows)), *mask_weights) if mask_weights else batch

    return gather


def _unpack_bits(packed: tf.Tensor) -> tf.Tensor:
    """Bits of bytes (n, h, w / 8), the highest first, as numpy packs them: float32 (n, h, w, 1), 0 or 1."""
    shifts = tf.constant(np.arange(8)[::-1], tf.uint8)
    bits = tf.bitwise.bitwise_and(tf.bitwise.right_shift(packed[..., tf.newaxis], shifts), np.uint8(1))
    _, height, width = packed.shape
    return tf.cast(tf.reshape(bits, (-1, height, 8 * width, 1)), tf.float32)


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
            images, targets, weights, *outlines = gather(tf.minimum(rows, count - 1))
            counts = tf.cast(rows < count, tf.float32)
            if not outlines:
                return images, targets, weights * counts
            masks, mask_weights = outlines
            return images, targets, weights * counts, masks, mask_weights * counts

        elements = math.ceil(count / batch_size) * len(replicas)
        return tf.data.Dataset.range(elements).map(make).prefetch(_PREFETCHED)

    return make_batches


def choose_for_statistics(split: Split, draws: np.ndarray, images: int, batch_size: int) -> Split:
    """Choose training images for the statistics of batch norms: as many as wanted, in whole batches.

    Args:
        split: the training images.
        draws: how often an epoch has each, on average, float64 (n,).
        images: how many are wanted.
        batch_size: images a step over all replicas.
    """
    order = draw_images(draws, np.random.default_rng(0))
    steps = max(1, min(images, len(order)) // batch_size)
    return split.take(np.resize(order, steps * batch_size))
