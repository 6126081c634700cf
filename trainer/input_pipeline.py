"""From TFDS records to batches: preprocessed once, cached, shuffled, augmented.

Goes in: a dataset built by `tfds build tumor_ds`. Comes out: `tf.data` of images float32 (n, size, size, 1), [0, 255], and
one-hot labels float32 (n, classes); or whole splits as numpy arrays for evaluation.
"""

import functools
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

import tumor_ds  # noqa: F401  registers the builder with TFDS
from serving.preprocess import fit_to_square
from trainer.augmentation import augment_batch, build_augmenter
from trainer.config import Config


class DatasetMissingError(FileNotFoundError):
    """The dataset has not been built yet; the message says how."""


@dataclass(frozen=True)
class Example:
    """One record.

    Attributes:
        image: uint8 (h, w, 1), grey, native size.
        label: index into the builder's label names.
        filename: path in Kaggle's zip.
        group: near-duplicates and neighbouring slices share it.
        has_train_twin: a test image that is a flipped or turned training image.
    """

    image: np.ndarray
    label: int
    filename: str
    group: int
    has_train_twin: bool


@dataclass(frozen=True)
class Split:
    """A whole split in memory, sorted by filename.

    Attributes:
        images: uint8 (n, size, size, 1), [0, 255].
        true: int (n,), indices into the builder's label names.
        groups: int (n,).
        has_train_twin: bool (n,).
        filenames: n paths in Kaggle's zip.
    """

    images: np.ndarray
    true: np.ndarray
    groups: np.ndarray
    has_train_twin: np.ndarray
    filenames: tuple[str, ...]


def load_builder(dataset: str, data_dir: Path | None = None) -> tfds.core.DatasetBuilder:
    """Find a built dataset.

    Args:
        dataset: TFDS name, such as `tumor_ds/official`.
        data_dir: where TFDS keeps datasets; None: its own default.

    Raises:
        DatasetMissingError: it has not been built there, or in a format that tf.data cannot read.
    """
    builder = tfds.builder(dataset, data_dir=data_dir)
    if not builder.is_prepared():
        raise DatasetMissingError(f"{dataset} is not built in {builder.data_dir}. Build it first: {_name_command(builder, data_dir)}")
    if builder.info.file_format != tfds.core.FileFormat.TFRECORD:
        raise DatasetMissingError(
            f"{dataset} in {builder.data_dir} is stored as {builder.info.file_format.value}, which tf.data cannot read. "
            f"Build it as tfrecord in another place: {_name_command(builder, Path('DIR'))}"
        )
    return builder


def iterate_examples(builder: tfds.core.DatasetBuilder, split: str) -> Iterator[Example]:
    """Read every record of a split exactly once, in the order on disk."""
    for record in tfds.as_numpy(builder.as_dataset(split=split, shuffle_files=False)):
        yield Example(
            image=record["image"],
            label=int(record["label"]),
            filename=record["filename"].decode(),
            group=int(record["group"]),
            has_train_twin=bool(record["has_train_twin"]),
        )


def load_split(builder: tfds.core.DatasetBuilder, split: str, size: int) -> Split:
    """Read and preprocess a whole split, every image exactly once, for evaluation.

    Args:
        builder: a prepared builder.
        split: `train`, `validation` or `test`.
        size: side of the model's input, pixels.
    """
    examples = sorted(iterate_examples(builder, split), key=lambda example: example.filename)
    return Split(
        images=np.stack([fit_to_square(example.image[..., 0], size) for example in examples]),
        true=np.array([example.label for example in examples]),
        groups=np.array([example.group for example in examples]),
        has_train_twin=np.array([example.has_train_twin for example in examples]),
        filenames=tuple(example.filename for example in examples),
    )


def build_split(builder: tfds.core.DatasetBuilder, split: str, config: Config, training: bool) -> tf.data.Dataset:
    """Build the batches of one split.

    Args:
        builder: a prepared builder.
        split: `train`, `validation` or `test`.
        config: sizes, augmentation and seed.
        training: shuffle and augment.

    Returns:
        Dataset of (images float32 (n, size, size, 1), [0, 255]; labels float32 (n, classes)). The last batch may be smaller: no
        image is dropped.
    """
    size, classes = config.data.image_size, builder.info.features["label"].num_classes
    read = tfds.ReadConfig(interleave_cycle_length=1)
    dataset = builder.as_dataset(split=split, shuffle_files=False, read_config=read, as_supervised=True)
    dataset = dataset.map(functools.partial(_preprocess, size=size, classes=classes), num_parallel_calls=tf.data.AUTOTUNE).cache()
    if training:
        dataset = dataset.shuffle(builder.info.splits[split].num_examples, seed=config.seed)
    dataset = dataset.batch(config.data.batch_size)
    dataset = dataset.map(lambda images, labels: (tf.cast(images, tf.float32), labels), num_parallel_calls=tf.data.AUTOTUNE)
    if training:
        augmenter = build_augmenter(config.augmentation, config.seed)
        dataset = dataset.map(functools.partial(augment_batch, augmenter), num_parallel_calls=tf.data.AUTOTUNE)
    return dataset.prefetch(tf.data.AUTOTUNE)


def compute_fingerprint(builder: tfds.core.DatasetBuilder) -> str:
    """Hash what a dataset holds, independent of file format and record order.

    Returns:
        sha256 over split, filename, label and pixels of every record, sorted by filename.
    """
    lines = []
    for split in sorted(builder.info.splits):
        for example in iterate_examples(builder, split):
            pixels = hashlib.sha256(repr(example.image.shape).encode() + example.image.tobytes()).hexdigest()
            lines.append(f"{split} {example.filename} {example.label} {pixels}\n")
    return hashlib.sha256("".join(sorted(lines)).encode()).hexdigest()


def _name_command(builder: tfds.core.DatasetBuilder, data_dir: Path | None) -> str:
    """The command that builds a dataset."""
    config, version = builder.builder_config.name, int(builder.version.major)
    words = ["tumor build", config, "--manual-dir DIR" if config == "folder" else "", f"--kaggle-version {version}" if version != 1 else ""]
    return " ".join(word for word in [*words, f"--data-dir {data_dir}" if data_dir else ""] if word)


def _preprocess(image: tf.Tensor, label: tf.Tensor, size: int, classes: int) -> tuple[tf.Tensor, tf.Tensor]:
    fitted = tf.numpy_function(lambda grey: fit_to_square(grey[..., 0], size), [image], tf.uint8, stateful=False)
    return tf.ensure_shape(fitted, (size, size, 1)), tf.one_hot(label, classes)
