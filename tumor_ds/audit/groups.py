"""The groups that copies form: how many there are, the largest, and whether `groups.csv` has the same.

Goes in: `Duplicates`, and the path of each picture. Comes out: counts, the largest groups with some of their
pictures, and for Kaggle's version 1 how the computed groups agree with the shipped ones.
"""

import csv
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice, zip_longest
from typing import Any, TypeVar

import numpy as np

from tumor_ds.collection.layout import split_and_label
from tumor_ds.grouping.duplicates import Duplicates
from tumor_ds.grouping.facts import GROUPS_CSV, load_facts
from tumor_ds.grouping.similarity import TRANSFORMS

MAX_GROUPS, MAX_GROUP_PICTURES = 12, 16

Item = TypeVar("Item")


@dataclass(frozen=True)
class GroupCounts:
    """Groups of pictures joined by pixels or by a chain of near twins.

    Attributes:
        distinct: number of pictures that differ in a pixel.
        groups: all groups, those of one picture among them.
        repeated: groups of more than one picture.
        pictures_in_repeated: number of pictures in those.
        across_splits: groups with pictures in more than one split.
        across_classes: groups with pictures in more than one class.

    Example:
        >>> from tumor_ds.grouping.duplicates import find_duplicates
        >>> ramp = np.arange(64, dtype=np.uint8).reshape(8, 8)
        >>> paths = ["Testing/cat/a.png", "Training/cat/b.png"]
        >>> count_groups(find_duplicates([ramp, ramp[::-1]]), paths).across_splits
        1
    """

    distinct: int
    groups: int
    repeated: int
    pictures_in_repeated: int
    across_splits: int
    across_classes: int


@dataclass(frozen=True)
class LargeGroup:
    """One of the largest groups: number of pictures, by split, by class, and the paths of some.

    Example:
        >>> LargeGroup(3, {"Testing": 1, "Training": 2}, {"glioma": 3}, ("Testing/glioma/a.jpg",)).pictures
        3
    """

    pictures: int
    splits: dict[str, int]
    classes: dict[str, int]
    shown: tuple[str, ...]


@dataclass(frozen=True)
class Agreement:
    """How the computed groups agree with `groups.csv`, for Kaggle's version 1.

    Attributes:
        train_twins: pairs of a test picture and its `train_twin` in the file.
        found: those that are computed near twins.
        spanning_groups: computed groups with pictures of two groups of the file; none is expected.
        mixing_folds: computed groups with pictures of two published patient folds; none is expected.
        transforms: of the pairs found, the flip or turn between the two.

    Example:
        >>> Agreement(train_twins=2, found=2, spanning_groups=0, mixing_folds=0, transforms={"none": 2}).found
        2
    """

    train_twins: int
    found: int
    spanning_groups: int
    mixing_folds: int
    transforms: dict[str, int]


def count_groups(duplicates: Duplicates, paths: Sequence[str]) -> GroupCounts:
    """Count groups, and those that reach across splits or classes."""
    sizes, groups = np.bincount(duplicates.groups), duplicates.groups.tolist()
    splits, classes = zip(*map(split_and_label, paths), strict=True)
    return GroupCounts(
        distinct=len(np.unique(duplicates.identical)),
        groups=len(sizes),
        repeated=int((sizes > 1).sum()),
        pictures_in_repeated=int(sizes[sizes > 1].sum()),
        across_splits=_count_mixed(zip(groups, splits, strict=True)),
        across_classes=_count_mixed(zip(groups, classes, strict=True)),
    )


def find_largest_groups(duplicates: Duplicates, paths: Sequence[str]) -> tuple[LargeGroup, ...]:
    """Describe the largest groups of more than one picture, with some pictures of every split."""
    sizes = np.bincount(duplicates.groups)
    result = []
    largest = sorted(np.flatnonzero(sizes > 1).tolist(), key=lambda group: (-sizes[group], group))
    for group in largest[:MAX_GROUPS]:
        members = [paths[index] for index in np.flatnonzero(duplicates.groups == group).tolist()]
        by_split: dict[str, list[str]] = defaultdict(list)
        for path in members:
            by_split[split_and_label(path)[0]].append(path)
        splits = {name: len(rows) for name, rows in by_split.items()}
        classes = dict(sorted(Counter(split_and_label(path)[1] for path in members).items()))
        shown = tuple(sorted(take_in_turn(by_split.values(), MAX_GROUP_PICTURES)))
        result.append(LargeGroup(len(members), splits, classes, shown))
    return tuple(result)


def compare_groups(duplicates: Duplicates, paths: Sequence[str]) -> Agreement:
    """Compare computed groups with `groups.csv`.

    Args:
        duplicates: of the n pictures.
        paths: of the n pictures; every one is in that file.
    """
    facts = load_facts()
    index = {path: number for number, path in enumerate(paths)}
    with GROUPS_CSV.open(newline="", encoding="utf-8") as file:
        twins = [
            (row["path"], row["train_twin"])
            for row in csv.DictReader(file)
            if row["path"] in index and row["train_twin"] in index
        ]
    pairs = duplicates.pairs
    sides = zip(pairs.first.tolist(), pairs.second.tolist(), strict=True)
    near = dict(zip(sides, pairs.transform.tolist(), strict=True))
    found: Counter[int] = Counter()
    for path, twin in twins:
        low, high = sorted(duplicates.identical[[index[path], index[twin]]].tolist())
        if low == high or (low, high) in near:
            found[0 if low == high else near[low, high]] += 1
    known = [(group, facts[path]) for group, path in zip(duplicates.groups.tolist(), paths, strict=True)]
    return Agreement(
        train_twins=len(twins),
        found=found.total(),
        spanning_groups=_count_mixed((group, row.group) for group, row in known),
        mixing_folds=_count_mixed((group, row.patient_fold) for group, row in known if row.patient_fold),
        transforms={name: found[number] for number, name in enumerate(TRANSFORMS) if found[number]},
    )


def take_in_turn(lists: Iterable[Sequence[Item]], limit: int) -> list[Item]:
    """Take the first of every list, then the second of every list, up to a limit."""
    items = (item for turn in zip_longest(*lists) for item in turn if item is not None)
    return list(islice(items, limit))


def _count_mixed(pairs: Iterable[tuple[int, Any]]) -> int:
    """Count the groups with more than one value, from pairs of group and value."""
    values = Counter(group for group, _ in set(pairs))
    return sum(count > 1 for count in values.values())
