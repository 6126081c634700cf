"""From TFDS records to whole splits, preprocessed once and kept as uint8, in memory or in a file.

Goes in: a dataset that `tumor build` has made. Comes out: splits as numpy arrays, for `trainer.data.batches`
and for evaluation.
"""

import functools
import hashlib
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from etils import epath

import tumor_ds  # noqa: F401  registers the builder with TFDS
from serving.files.errors import UserError
from serving.preprocess import PREPROCESSING_VERSION, fit_to_square
from trainer.config import FOLDS, DataConfig
from trainer.data.cache import map_images
from tumor_ds.grouping.splits import deal_groups
from tumor_ds.sources.own_pictures import PROTOCOLS
from tumor_ds.sources.records import UNKNOWN
from tumor_ds.sources.slices import MASK_STATES, SEQUENCES, SKULLS

# Of the published CNN: 856 of the 5,712 training images. Which ones cannot be told from its description.
BY_IMAGE_SHARE, BY_IMAGE_SEED = 0.15, 42
# Of the four folds that are not the test split, whole groups of every class.
FOLD_SHARES = {"validation": 0.10, "train": 0.90}


class DatasetMissingError(UserError):
    """The dataset has not been built yet; the message says how.

    Example:
        >>> load_builder("tumor_ds/official", data_dir="empty")
        Traceback (most recent call last):
        trainer.data.input_pipeline.DatasetMissingError: tumor_ds/official is not built in ...
    """


@dataclass(frozen=True)
class RecordFacts:
    """What is known of an image of the dataset, without its pixels.

    Attributes:
        filename: path in the collection.
        label: index into the builder's label names; -1 where it is unknown.
        group: near-duplicates, neighbouring slices and slices of one patient share it.
        has_train_twin: a test image that is a flipped or turned training image.
        tumor: 1: a tumour of any kind, 0: none, -1: unknown.
        source: name of the source.
        sequence: index into `SEQUENCES` of `tumor_ds.sources.slices`.
        skull: index into its `SKULLS`.
        patient: patient, or what comes closest.
        mask_known: index into its `MASK_STATES`.

    Example:
        >>> RecordFacts("Training/glioma/Tr-gl_0010.jpg", label=0, group=17, has_train_twin=False).group
        17
    """

    filename: str
    label: int
    group: int
    has_train_twin: bool
    tumor: int = UNKNOWN
    source: str = ""
    sequence: int = SEQUENCES.index("unknown")
    skull: int = SKULLS.index("unknown")
    patient: str = ""
    mask_known: int = MASK_STATES.index("unknown")


@dataclass(frozen=True)
class Example:
    """One record: what is known of an image, and its pixels.

    Attributes:
        facts: all but the pixels.
        image: uint8 (h, w, 1), grey, native size.
        mask: uint8 (h, w, 1), 0 or 255; no information where `facts.mask_known` says so.

    Example:
        >>> next(iterate_examples(load_builder("tumor_ds/official"), "train")).image.dtype  # doctest: +SKIP
        dtype('uint8')
    """

    facts: RecordFacts
    image: np.ndarray
    mask: np.ndarray


@dataclass(frozen=True)
class Split:
    """A whole split, sorted by filename.

    Attributes:
        images: in memory or in a mapped file, uint8 (n, size, size, 1), [0, 255].
        records: what is known of each image, n of them.
        masks: like `images`, 0 or 255; None where nobody asked for them.

    Example:
        >>> load_split(load_builder("tumor_ds/official"), "validation", 192).images.shape  # doctest: +SKIP
        (571, 192, 192, 1)
    """

    images: np.ndarray
    records: tuple[RecordFacts, ...]
    masks: np.ndarray | None = None

    @functools.cached_property
    def true(self) -> np.ndarray:
        """Labels: int (n,)."""
        return self._gather("label", np.int64)

    @functools.cached_property
    def groups(self) -> np.ndarray:
        """Groups: int (n,)."""
        return self._gather("group", np.int64)

    @functools.cached_property
    def has_train_twin(self) -> np.ndarray:
        """Test images that are a flipped or turned training image: bool (n,)."""
        return self._gather("has_train_twin", bool)

    @functools.cached_property
    def filenames(self) -> tuple[str, ...]:
        """Paths of the images, n of them."""
        return tuple(record.filename for record in self.records)

    def take(self, rows: np.ndarray) -> "Split":
        """Some of the images, int (m,), in the order given."""
        masks = None if self.masks is None else self.masks[rows]
        return Split(self.images[rows], tuple(self.records[row] for row in rows), masks)

    def _gather(self, name: str, dtype: Any) -> np.ndarray:
        return np.array([getattr(record, name) for record in self.records], dtype)


def load_builder(dataset: str, data_dir: str | Path | None = None) -> tfds.core.DatasetBuilder:
    """Find a built dataset.

    Args:
        dataset: TFDS name, such as `tumor_ds/official` or `tumor_ds/official:1.1.0`.
        data_dir: where TFDS keeps datasets, also `gs://`; None: its own default.

    Raises:
        DatasetMissingError: it has not been built there, or in a format that tf.data cannot read; or it has
            no such version.
    """
    try:
        builder = tfds.builder(dataset, data_dir=data_dir)
    except AssertionError as error:
        # TFDS knows no such version; its message ends with those that it knows.
        known = str(error).rpartition(": ")[2].rstrip(".")
        raise DatasetMissingError(
            f"{dataset} is no version that this package builds: expected one of {known}. Name one of them, or"
            " install the release of the package that built it."
        ) from error
    except ValueError as error:  # no config of this package, and nothing on disk under that name
        raise DatasetMissingError(_explain_unknown(dataset, data_dir)) from error
    if not builder.is_prepared():
        command = _name_command(builder, data_dir)
        raise DatasetMissingError(f"{dataset} is not built in {builder.data_dir}. Build it first: {command}")
    if builder.info.file_format != tfds.core.FileFormat.TFRECORD:
        raise DatasetMissingError(
            f"{dataset} in {builder.data_dir} is stored as {builder.info.file_format.value}, which tf.data"
            f" cannot read. Build it as tfrecord in another place: {_name_command(builder, 'DIR')}"
        )
    return builder


def iterate_examples(builder: tfds.core.DatasetBuilder, split: str) -> Iterator[Example]:
    """Read every record of a split exactly once, in the order on disk."""
    for record in tfds.as_numpy(builder.as_dataset(split=split, shuffle_files=False)):
        yield Example(_read_facts(record), record["image"], record["mask"])


def load_split(
    builder: tfds.core.DatasetBuilder, split: str, size: int, fit: str = "pad", fold: int = 0
) -> Split:
    """Read and preprocess a whole split into memory, every image exactly once.

    Args as for `load_learning_split`; `fit` and `fold` as in `DataConfig`.
    """
    return load_learning_split(builder, split, DataConfig().replace(fit=fit, fold=fold), size)


def load_learning_split(
    builder: tfds.core.DatasetBuilder, split: str, data: DataConfig, size: int, with_masks: bool = False
) -> Split:
    """Read and preprocess what a run learns from, is validated on, or is tested on.

    Args:
        builder: a prepared builder.
        split: `train`, `validation` or `test`.
        data: which fold is the test split, how a picture is made square, how validation is drawn, where
            images are kept.
        size: side of the images, pixels.
        with_masks: whether the outlines of the tumours are read, too.
    """
    source, records = _choose_records(builder, split, data)
    return _load_records(builder, source, records, data, size, with_masks)


def load_whole(
    builder: tfds.core.DatasetBuilder,
    data: DataConfig,
    size: int,
    with_masks: bool = False,
    left_out: Set[str] = frozenset(),
) -> Split:
    """Read and preprocess all splits of a dataset, but for the filenames that are left out."""
    source = "+".join(builder.info.splits)
    records = [record for record in _list_records(builder, source) if record.filename not in left_out]
    return _load_records(builder, source, records, data, size, with_masks)


def number_labels(split: Split, builder: tfds.core.DatasetBuilder, labels: Sequence[str]) -> Split:
    """Number labels as a model does, which may know more of them than a dataset has.

    Args:
        split: of the dataset.
        builder: of the dataset.
        labels: of the model.
    """
    names = builder.info.features["label"].names
    if list(names) == list(labels):
        return split
    numbers = {place: labels.index(name) for place, name in enumerate(names)}
    records = [replace(one, label=numbers.get(one.label, UNKNOWN)) for one in split.records]
    return Split(split.images, tuple(records), split.masks)


def _load_records(
    builder: tfds.core.DatasetBuilder,
    source: str,
    records: list[RecordFacts],
    data: DataConfig,
    size: int,
    with_masks: bool,
) -> Split:
    images, *masks = (
        _load_pixels(builder, source, records, data, size, name)
        for name in ("image", "mask")[: 1 + with_masks]
    )
    return Split(images, tuple(records), *masks)


def list_filenames(builder: tfds.core.DatasetBuilder, split: str, data: DataConfig) -> tuple[str, ...]:
    """Paths of a split's images, sorted; arguments as for `load_learning_split`. No picture is decoded."""
    return tuple(record.filename for record in _choose_records(builder, split, data)[1])


def count_images(builder: tfds.core.DatasetBuilder, fold: int) -> dict[str, int]:
    """Number of images in each split that the dataset has, or that a fold makes."""
    if not fold:
        return {name: split.num_examples for name, split in builder.info.splits.items()}
    data = DataConfig(fold=fold)
    return {name: len(list_filenames(builder, name, data)) for name in ("train", "validation", "test")}


def name_test_split(fold: int) -> str:
    """TFDS name of the test split."""
    return f"fold{fold}" if fold else "test"


# Every picture is decoded, 9 CPU seconds for this collection; an export asks twice of the same builder.
@functools.lru_cache(maxsize=1)
def compute_fingerprint(builder: tfds.core.DatasetBuilder) -> str:
    """Hash what a dataset holds, independent of file format and record order.

    Returns:
        sha256 over split, filename, label and pixels of every record, sorted by filename.
    """
    lines = []
    for split in sorted(builder.info.splits):
        for example in iterate_examples(builder, split):
            pixels = hashlib.sha256(repr(example.image.shape).encode() + example.image.tobytes()).hexdigest()
            lines.append(f"{split} {example.facts.filename} {example.facts.label} {pixels}\n")
    return hashlib.sha256("".join(sorted(lines)).encode()).hexdigest()


def _read_facts(record: Mapping[str, Any]) -> RecordFacts:
    values = {name: record[name] for name in RecordFacts.__dataclass_fields__}
    texts = ("filename", "source", "patient")
    return RecordFacts(
        **{name: value.decode() if name in texts else value.item() for name, value in values.items()}
    )


def _list_records(builder: tfds.core.DatasetBuilder, split: str) -> list[RecordFacts]:
    """What is known of the images of a split, sorted by filename; no picture is decoded."""
    skip = dict.fromkeys(("image", "mask"), tfds.decode.SkipDecoding())
    records = tfds.as_numpy(builder.as_dataset(split=split, shuffle_files=False, decoders=skip))
    return sorted(map(_read_facts, records), key=lambda facts: facts.filename)


def _choose_records(
    builder: tfds.core.DatasetBuilder, split: str, data: DataConfig
) -> tuple[str, list[RecordFacts]]:
    """The TFDS splits in which the images of a split lie, and which of theirs they are."""
    if split == "test":
        return name_test_split(data.fold), _list_records(builder, name_test_split(data.fold))
    if data.fold:
        others = (name_test_split(number) for number in range(1, FOLDS + 1) if number != data.fold)
        source = "+".join(others)
        records = _list_records(builder, source)
        dealt = deal_groups(records, FOLD_SHARES)
        return source, [record for record in records if dealt[record.group] == split]
    if data.validation == "by_group":
        return split, _list_records(builder, split)
    records = _list_records(builder, "train+validation")
    order = np.random.default_rng(BY_IMAGE_SEED).permutation(len(records))
    held_out = int(BY_IMAGE_SHARE * len(order))
    chosen = np.sort(order[:held_out] if split == "validation" else order[held_out:])
    return "train+validation", [records[row] for row in chosen]


def _load_pixels(
    builder: tfds.core.DatasetBuilder,
    source: str,
    records: list[RecordFacts],
    data: DataConfig,
    size: int,
    name: str,
) -> np.ndarray:
    """The feature `image` or `mask` of all records: uint8 (n, size, size, 1)."""
    rank = {record.filename: number for number, record in enumerate(records)}

    def preprocess_all() -> Iterator[tuple[int, np.ndarray]]:
        wanted = tfds.decode.PartialDecoding(["filename", name])
        stored = builder.as_dataset(split=source, shuffle_files=False, decoders=wanted)
        for record in tfds.as_numpy(stored):
            place = rank.get(record["filename"].decode())
            if place is not None:
                pixels = fit_to_square(record[name][..., 0], size, data.fit)
                # A mask stays a mask: the resize blurs its edge.
                yield place, np.where(pixels > 127, 255, 0).astype(np.uint8) if name == "mask" else pixels

    shape = (len(records), size, size, 1)
    if data.cache == "file":
        return map_images(_name_content(builder, records, data, size, name), shape, preprocess_all())
    result = np.empty(shape, np.uint8)
    for number, pixels in preprocess_all():
        result[number] = pixels
    return result


def _name_content(
    builder: tfds.core.DatasetBuilder, records: list[RecordFacts], data: DataConfig, size: int, name: str
) -> str:
    """Everything that preprocessed images depend on; a dataset that is built anew has another time."""
    names = "\n".join(record.filename for record in records)
    return f"{PREPROCESSING_VERSION} {name} {name_built(builder)} {size} {data.fit}\n{names}"


def name_built(builder: tfds.core.DatasetBuilder) -> str:
    """Where a dataset lies, and when it was built."""
    built = (epath.Path(builder.data_dir) / "dataset_info.json").stat().mtime
    return f"{builder.data_dir} {built}"


def list_all_filenames(builder: tfds.core.DatasetBuilder) -> list[str]:
    """Paths of all images of a dataset, sorted; no picture is decoded."""
    return [record.filename for record in _list_records(builder, "+".join(builder.info.splits))]


def _explain_unknown(dataset: str, data_dir: str | Path | None) -> str:
    """Say what is there in place of a dataset that nobody built under its name."""
    root = epath.Path(data_dir or tfds.core.constants.DATA_DIR) / "tumor_ds"
    built = sorted(path.name for path in root.glob("[a-z]*") if path.is_dir()) if root.is_dir() else []
    name = dataset.rpartition("/")[2].partition(":")[0]
    return (
        f"{dataset} is no public dataset of this package, and not built in {root}, which has"
        f" {', '.join(built) or 'none'}. Own pictures: tumor build folder --name {name} --manual-dir DIR"
    )


def _name_command(builder: tfds.core.DatasetBuilder, data_dir: str | Path | None) -> str:
    """The command that builds a dataset."""
    config, version = builder.builder_config.name, int(builder.version.major)
    manual = "" if config in PROTOCOLS else " --manual-dir DIR"
    kaggle = f" --kaggle-version {version}" if version != 1 else ""
    return f"tumor build {config}{manual}{kaggle}" + (f" --data-dir {data_dir}" if data_dir else "")
