"""Which split of a collection already shows the pictures of another, and twins that carry two labels.

Goes in: `Duplicates`, and the path of each picture. Comes out: counts by pair of splits, class and transform;
pairs in different class folders; some pairs to look at.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, islice, product
from typing import NamedTuple

import numpy as np

from tumor_ds.audit.baselines import find_own_split
from tumor_ds.audit.groups import take_in_turn
from tumor_ds.collection.layout import split_and_label
from tumor_ds.grouping.duplicates import Duplicates, Twins, match_twins
from tumor_ds.grouping.similarity import TRANSFORMS

# Above it the pairs of splits are too many to read, and each split is compared with all others together.
MAX_SPLITS = 8
ALL_OTHERS = "all others"
MAX_CONFLICTS = 500
MAX_EXAMPLES = 12


@dataclass(frozen=True)
class TwinCount:
    """How many of some pictures have a twin.

    Attributes:
        pictures: all of them.
        identical: with a twin of the same pixels.
        near: with a near twin; includes the identical ones.
        transforms: of the near ones, by what turns the twin into the picture (`similarity.TRANSFORMS`).

    Example:
        >>> TwinCount(pictures=8, identical=2, near=3, transforms={"none": 2, "left-right": 1}).near
        3
    """

    pictures: int
    identical: int
    near: int
    transforms: dict[str, int]


@dataclass(frozen=True)
class SplitTwins:
    """Pictures of the split `of` that have a twin, another picture, in the split `among`; all, and by class.

    Example:
        >>> count = TwinCount(8, 2, 3, {"none": 2, "left-right": 1})
        >>> SplitTwins("Testing", "Training", count, {"glioma": count}).total.near
        3
    """

    of: str
    among: str
    total: TwinCount
    classes: dict[str, TwinCount]


@dataclass(frozen=True)
class TwinPair:
    """A picture and its twin, by path; `transform` turns the twin into the picture.

    Example:
        >>> TwinPair("Testing/glioma/b.jpg", "Training/glioma/a.jpg", "left-right", 0.9998).transform
        'left-right'
    """

    picture: str
    twin: str
    transform: str
    correlation: float


@dataclass(frozen=True)
class Conflicts:
    """Twins in different class folders: number of pairs and of their pictures, and some of the pairs.

    Example:
        >>> Conflicts(1, 2, (TwinPair("dog/b.png", "cat/a.png", "none", 1.0),)).listed[0].twin
        'cat/a.png'
    """

    pairs: int
    pictures: int
    listed: tuple[TwinPair, ...]


class _Block(NamedTuple):
    """Equal pictures of one class, and their equal twins of another: as pairs they would be very many."""

    pictures: list[int]
    twins: list[int]
    transform: int
    correlation: float


def count_twins(duplicates: Duplicates, paths: Sequence[str]) -> tuple[SplitTwins, ...]:
    """Count the twins inside each split and across each ordered pair of splits.

    Args:
        duplicates: of the n pictures.
        paths: of the n pictures; split and class are the folders.

    Returns:
        Sorted by the split asked about, its own twins first. With more than `MAX_SPLITS` splits one
        entry `ALL_OTHERS` stands for all other splits.
    """
    splits, labels = _split_and_label(paths)
    names = np.unique(splits).tolist()
    result = []
    for of in names:
        others = [name for name in names if name != of] if len(names) <= MAX_SPLITS else [ALL_OTHERS]
        result += [_count(duplicates, splits, labels, of, among) for among in (of, *others)]
    return tuple(result)


def find_conflicts(duplicates: Duplicates, paths: Sequence[str]) -> Conflicts:
    """Find identical and near twins that lie in different class folders.

    Args:
        duplicates: of the n pictures.
        paths: of the n pictures; the class is the folder.
    """
    members: dict[int, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for index, first in enumerate(duplicates.identical.tolist()):
        members[first][split_and_label(paths[index])[1]].append(index)
    blocks = [
        _Block(here, there, 0, 1.0)
        for by_label in members.values()
        for here, there in combinations(by_label.values(), 2)
    ]
    pairs = duplicates.pairs
    columns = (values.tolist() for values in (pairs.first, pairs.second, pairs.transform, pairs.correlation))
    for first, second, transform, correlation in zip(*columns, strict=True):
        sides = product(members[second].items(), members[first].items())
        differing = ((here, there) for (label, here), (other, there) in sides if label != other)
        blocks += [_Block(*pair, transform, correlation) for pair in differing]
    unfolded = (
        TwinPair(paths[picture], paths[twin], TRANSFORMS[block.transform], round(block.correlation, 4))
        for block in blocks
        for picture, twin in product(block.pictures, block.twins)
    )
    listed = islice(unfolded, MAX_CONFLICTS)
    return Conflicts(
        pairs=sum(len(block.pictures) * len(block.twins) for block in blocks),
        pictures=len({index for block in blocks for index in (*block.pictures, *block.twins)}),
        listed=tuple(sorted(listed, key=lambda pair: (pair.picture, pair.twin))),
    )


def pick_lead(twins: Sequence[SplitTwins]) -> SplitTwins:
    """Pick the pair of splits that matters most.

    Args:
        twins: from `count_twins`.

    Returns:
        The collection's own test split against its training split; else the two splits with the largest
        share of near twins; else, where there is one split, that one.
    """
    own = find_own_split(pair.of for pair in twins)
    across = [pair for pair in twins if pair.of != pair.among]
    named = [pair for pair in across if own is not None and (pair.among, pair.of) == own]
    return max(named or across or twins, key=lambda pair: pair.total.near / pair.total.pictures)


def pick_examples(duplicates: Duplicates, paths: Sequence[str], of: str, among: str) -> tuple[TwinPair, ...]:
    """Pick pairs to show, one of each class and transform in turn.

    Args:
        duplicates: of the n pictures.
        paths: of the n pictures.
        of: split of the pictures.
        among: split of their twins, as in `SplitTwins`.
    """
    splits, labels = _split_and_label(paths)
    twins = _match(duplicates, splits, of, among)
    kinds: dict[tuple[int, str], list[int]] = defaultdict(list)
    seen: set[frozenset[int]] = set()  # inside a split two pictures can be each other's twin
    for index in np.flatnonzero(twins.partner >= 0).tolist():
        pair = frozenset((index, int(twins.partner[index])))
        if pair not in seen:
            kinds[int(twins.transform[index]), str(labels[index])].append(index)
        seen.add(pair)
    # Mirrored and turned ones first: an identical pair shows nothing that its two names do not.
    ordered = (kinds[kind] for kind in sorted(kinds, key=lambda kind: (kind[0] == 0, kind)))
    examples, pairs = [], duplicates.pairs
    for index in take_in_turn(ordered, MAX_EXAMPLES):
        twin, transform = paths[twins.partner[index]], TRANSFORMS[twins.transform[index]]
        low, high = sorted(duplicates.identical[[index, twins.partner[index]]].tolist())
        known = pairs.correlation[(pairs.first == low) & (pairs.second == high)]
        correlation = 1.0 if low == high else round(float(known[0]), 4)
        examples.append(TwinPair(paths[index], twin, transform, correlation))
    return tuple(examples)


def _count(duplicates: Duplicates, splits: np.ndarray, labels: np.ndarray, of: str, among: str) -> SplitTwins:
    twins, members = _match(duplicates, splits, of, among), splits == of
    near = twins.partner >= 0
    identical = near & (duplicates.identical[twins.partner] == duplicates.identical)

    def count(rows: np.ndarray) -> TwinCount:
        turns = np.bincount(twins.transform[rows & near], minlength=len(TRANSFORMS)).tolist()
        by_name = {name: number for name, number in zip(TRANSFORMS, turns, strict=True) if number}
        return TwinCount(int(rows.sum()), int((rows & identical).sum()), int((rows & near).sum()), by_name)

    classes = {label: count(members & (labels == label)) for label in np.unique(labels[members]).tolist()}
    return SplitTwins(of, among, count(members), classes)


def _match(duplicates: Duplicates, splits: np.ndarray, of: str, among: str) -> Twins:
    return match_twins(duplicates, splits == of, splits != of if among == ALL_OTHERS else splits == among)


def _split_and_label(paths: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    splits, labels = zip(*map(split_and_label, paths), strict=True)
    return np.array(splits), np.array(labels)
