"""Groups that hold across datasets: what is one picture, or of one group, in any of several that are mixed.

Goes in: the pictures of all datasets with the groups that each has for itself. Comes out: one group number a
picture. It exists because a picture of one dataset's test split may stand, mirrored, in the training split of
another: who mixes datasets keeps these groups whole.
"""

from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tumor_ds.grouping.duplicates import find_duplicates
from tumor_ds.grouping.similarity import join_groups

if TYPE_CHECKING:
    import tensorflow_datasets as tfds


@dataclass(frozen=True, eq=False)
class GroupedPicture:
    """A picture, and what its dataset says of it.

    Attributes:
        dataset: name of the dataset.
        filename: unique in the dataset.
        group: number that pictures of one group share in that dataset; says nothing in another one.
        image: uint8 (h, w) or (h, w, 1), [0, 255].

    Example:
        >>> GroupedPicture("tumor_ds/figshare", "1.png", 7, np.zeros((4, 4), np.uint8)).group
        7
    """

    dataset: str
    filename: str
    group: int
    image: np.ndarray


def join_groups_across(pictures: Iterable[GroupedPicture]) -> dict[tuple[str, str], int]:
    """Number groups anew, so that they hold across datasets.

    Pictures share a number where one dataset puts them into one group, or where they are copies by
    `find_duplicates`, in one dataset or in two; also by a chain of these.

    Args:
        pictures: of all datasets, in any order; read once. Only a short description of each is kept.

    Returns:
        The number by dataset and file name: 0, 1, ... in order of first appearance.
    """
    keys: list[tuple[str, str]] = []
    groups: list[tuple[str, int]] = []

    def describe() -> Iterator[np.ndarray]:
        for picture in pictures:
            keys.append((picture.dataset, picture.filename))
            groups.append((picture.dataset, picture.group))
            yield picture.image

    copies = find_duplicates(describe()).groups
    return dict(zip(keys, join_keys(groups, copies.tolist()).tolist(), strict=True))


def join_keys(*columns: Sequence[Hashable]) -> np.ndarray:
    """Join rows that share a value in a column, and chains of such rows.

    Args:
        *columns: each with a value a row; None joins nothing.

    Returns:
        int (n,): number of the group of each row, 0, 1, ... in order of first appearance.
    """
    count = len(columns[0])
    edges = []
    for column in columns:
        first: dict[Hashable, int] = {}
        edges += [
            (first.setdefault(value, row), row) for row, value in enumerate(column) if value is not None
        ]
    return join_groups(np.array(edges, np.int64).reshape(-1, 2), count)


def read_grouped(dataset: str, builder: "tfds.core.DatasetBuilder") -> Iterator[GroupedPicture]:
    """Read every picture of a built dataset with its group, split by split.

    Args:
        dataset: the name that it gets in the answer.
        builder: a prepared builder whose records have `image`, `filename` and `group`.
    """
    import tensorflow_datasets as tfds

    wanted = tfds.decode.PartialDecoding(["image", "filename", "group"])
    for split in sorted(builder.info.splits):
        records = builder.as_dataset(split=split, shuffle_files=False, decoders=wanted)
        for record in tfds.as_numpy(records):
            yield GroupedPicture(dataset, record["filename"].decode(), int(record["group"]), record["image"])
