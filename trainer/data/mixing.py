"""Several datasets in one epoch: which pictures of each, and how often each is drawn.

Goes in: the dataset of a run, and those that its config mixes in. Comes out: all pictures that training may
draw, with how often it draws each. An epoch has every training picture of the main dataset once, and as many
of the others as make their shares; so it is as long as the main dataset's, divided by the share that is left
to it. Validation and test stay those of the main dataset.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds

from serving.files.errors import UserError
from trainer.config import DataConfig
from trainer.data.cache import map_images
from trainer.data.input_pipeline import (
    RecordFacts,
    Split,
    list_all_filenames,
    list_filenames,
    load_builder,
    load_learning_split,
    load_whole,
    name_built,
    name_test_split,
    number_labels,
)
from tumor_ds.grouping.mixing import join_groups_across, read_grouped

# A cell of n pictures is drawn in proportion to n to this power. Source: square root sampling, Mahajan et al.
# 2018 (arXiv:1805.00932), section 2.2. Equal cells (0) would show a dozen pictures hundreds of times, and
# learn them by heart.
CELL_POWER = 0.5
# No picture is drawn more often than this many times as often as without balance, for the same reason.
MOST_OFTEN = 4.0


class MixError(UserError):
    """Datasets that cannot be mixed; the message says which, what was expected and what came."""


@dataclass(frozen=True)
class Addition:
    """A dataset that is mixed in.

    Attributes:
        name: TFDS name.
        share: of the pictures of an epoch, (0, 1).
        builder: prepared.
        left_out: filenames of pictures of it that may not be learnt from.

    Example:
        >>> Addition("tumor_ds/lgg_tcga", 0.2, builder, frozenset()).share  # doctest: +SKIP
        0.2
    """

    name: str
    share: float
    builder: tfds.core.DatasetBuilder
    left_out: frozenset[str]


@dataclass(frozen=True)
class Mix:
    """What is learnt from.

    Attributes:
        split: all pictures that training may draw.
        draws: float64 (n,), how often an epoch has each, on average; they sum up to a whole number, the
            pictures of an epoch.

    Example:
        >>> load_mix(builder, config.data, (), 192).draws.sum()  # doctest: +SKIP
        5141.0
    """

    split: Split
    draws: np.ndarray


def find_additions(builder: tfds.core.DatasetBuilder, data: DataConfig) -> tuple[Addition, ...]:
    """Find the datasets of `data.mix`, which lie beside the main one, and what of them must stay out.

    All splits of an addition are learnt from, but for the fold of its own that is the main dataset's test
    split, and for pictures whose group, over all datasets, has a picture of the main dataset's test or
    validation: copies and slices of the same patient. Every picture is read once for that.

    Raises:
        DatasetMissingError: one is not built.
        MixError: it has a class that the main one lacks.
    """
    mix = data.learnt_mix
    if not mix:
        return ()
    builders = load_beside(builder, mix)
    labels = builder.info.features["label"].names
    for name, other in builders.items():
        strange = [label for label in other.info.features["label"].names if label not in labels]
        if strange:
            raise MixError(
                f"data.mix: expected datasets with classes of {data.dataset}, {', '.join(labels)}; {name}"
                f" also has {', '.join(strange)}. Leave it out, or build it without that class."
            )
    held_out = {name for split in ("test", "validation") for name in list_filenames(builder, split, data)}
    shared = _find_shared(data, builder, held_out, builders)
    return tuple(
        Addition(name, mix[name], other, shared[name] | list_own_fold(other, data.fold))
        for name, other in builders.items()
    )


def load_beside(
    builder: tfds.core.DatasetBuilder, names: Iterable[str]
) -> dict[str, tfds.core.DatasetBuilder]:
    """Find datasets, by TFDS name, that lie beside another one."""
    root = Path(builder.data_dir).parents[2]  # ROOT/NAME/CONFIG/VERSION
    return {name: load_builder(name, root) for name in sorted(names)}


def list_own_fold(builder: tfds.core.DatasetBuilder, fold: int) -> frozenset[str]:
    """Filenames of the fold of a dataset that is mixed in; none where it has no such fold."""
    if not fold or name_test_split(fold) not in builder.info.splits:
        return frozenset()
    return frozenset(list_filenames(builder, "test", DataConfig(fold=fold)))


def _find_shared(
    data: DataConfig,
    builder: tfds.core.DatasetBuilder,
    held_out: set[str],
    others: dict[str, tfds.core.DatasetBuilder],
) -> dict[str, frozenset[str]]:
    """Filenames of each other dataset whose group has a picture that the main one holds out."""
    groups = _join_groups({data.dataset: builder} | others, data.cache)
    closed = {
        group for (name, filename), group in groups.items() if name == data.dataset and filename in held_out
    }
    return {
        other: frozenset(
            filename for (name, filename), group in groups.items() if name == other and group in closed
        )
        for other in others
    }


def _join_groups(builders: dict[str, tfds.core.DatasetBuilder], cache: str) -> dict[tuple[str, str], int]:
    """Groups that hold across datasets, by dataset and filename; kept where images are kept, too."""

    def join() -> dict[tuple[str, str], int]:
        return join_groups_across(chain.from_iterable(read_grouped(*item) for item in builders.items()))

    if cache == "memory":
        return join()
    keys = [
        (name, filename) for name, builder in builders.items() for filename in list_all_filenames(builder)
    ]

    def write_groups() -> Iterator[tuple[int, np.ndarray]]:
        groups = join()
        for place, key in enumerate(keys):
            yield place, np.array([groups[key]], "<i8").view(np.uint8)

    content = "\n".join(["groups", *(f"{name} {name_built(builder)}" for name, builder in builders.items())])
    kept = map_images(content, (len(keys), 8), write_groups())
    return dict(zip(keys, np.array(kept).view("<i8")[:, 0].tolist(), strict=True))


def load_mix(
    builder: tfds.core.DatasetBuilder,
    data: DataConfig,
    additions: Sequence[Addition],
    size: int,
    with_masks: bool = False,
) -> Mix:
    """Read and preprocess all that training may draw.

    Args:
        builder: of the main dataset.
        data: its fold, its fit, its cache, and whether cells are balanced.
        additions: of `find_additions`.
        size: side of the images, pixels.
        with_masks: whether the outlines of the tumours are read, too.
    """
    parts = [load_learning_split(builder, "train", data, size, with_masks)]
    names = builder.info.features["label"].names
    for other in additions:
        whole = load_whole(other.builder, data, size, with_masks, other.left_out)
        parts.append(number_labels(whole, other.builder, names))
    counts = [len(part.records) for part in parts]
    draws = np.concatenate(compute_draws(counts, [other.share for other in additions]))
    records = tuple(chain.from_iterable(part.records for part in parts))
    if data.balance == "cells":
        draws = balance_cells(draws, records)
    return Mix(_join(parts, records), draws)


def compute_draws(counts: Sequence[int], shares: Sequence[float]) -> list[np.ndarray]:
    """Compute how often an epoch has each picture of each dataset.

    Args:
        counts: pictures of the main dataset and of each addition.
        shares: of the additions.

    Returns:
        For each dataset float64 (count,), all alike: 1 for the main one; the sum is a whole number.
    """
    total = counts[0] / (1 - sum(shares))
    wanted = [counts[0], *(round(share * total) for share in shares)]
    return [np.full(count, number / max(count, 1)) for count, number in zip(counts, wanted, strict=True)]


def balance_cells(draws: np.ndarray, records: Sequence[RecordFacts]) -> np.ndarray:
    """Draw pictures of rare cells more often; the pictures of an epoch stay as many.

    A cell is what a class, a sequence and a state of the skull have in common; where the class is unknown,
    whether there is a tumour stands for it. Without, a network learns what is frequent: FLAIR is glioma, and
    without a skull there is no tumour.

    Args:
        draws: how often each picture is drawn without balance, float64 (n,).
        records: what is known of them.

    Returns:
        float64 (n,).
    """
    keys = [(record.label, record.tumor, record.sequence, record.skull) for record in records]
    _, cells = np.unique(np.array(keys), axis=0, return_inverse=True)
    sizes = np.bincount(cells.ravel(), weights=draws)
    factors = sizes[cells.ravel()] ** (CELL_POWER - 1)
    factors /= np.average(factors, weights=draws)
    balanced = draws * np.minimum(factors, MOST_OFTEN)
    return balanced * (draws.sum() / balanced.sum())


def describe_additions(additions: Sequence[Addition]) -> Iterator[str]:
    """Say in a line each what is mixed in, and how much of it must stay out."""
    for other in additions:
        total = sum(split.num_examples for split in other.builder.info.splits.values())
        yield (
            f"{other.name}: {other.share:.0%} of an epoch, from {total - len(other.left_out):,} of {total:,}"
            f" pictures; {len(other.left_out):,} are held out, or of groups of validation or test."
        )


def _join(parts: Sequence[Split], records: tuple[RecordFacts, ...]) -> Split:
    if len(parts) == 1:
        return parts[0]
    masks = [part.masks for part in parts if part.masks is not None]
    images = np.concatenate([part.images for part in parts])
    return Split(images, records, np.concatenate(masks) if masks else None)
