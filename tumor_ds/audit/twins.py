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
from tumor_ds.collection.archive import split_and_label
from tumor_ds.grouping.duplicates import INVERSE, TRANSFORMS, Duplicates, Twins, match_twins

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
        transforms: of the near ones, by what turns the twin into the picture (`duplicates.TRANSFORMS`).
    """

    pictures: int
    identical: int
    near: int
    transforms: dict[str, int]


@dataclass(frozen=True)
class SplitTwins:
    """Pictures of the split `of` with a twin in the split `among`; other pictures of the same split where the two are one."""

    of: str
    among: str
    total: TwinCount
    classes: dict[str, TwinCount]


@dataclass(frozen=True)
class TwinPair:
    """A picture and its twin, by path; `transform` turns the twin into the picture."""

    picture: str
    twin: str
    transform: str
    correlation: float


@dataclass(frozen=True)
class Conflicts:
    """Twins in different class folders: number of pairs, number of pictures in them, and the first `MAX_CONFLICTS` pairs."""

    pairs: int
    pictures: int
    listed: tuple[TwinPair, ...]


class _Block(NamedTuple):
    """All pictures of one class and one content, and their twins of another class; many equal pictures make very many pairs."""

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
        for among in (of, *others):
            result.append(
                _count(of, among, _match(duplicates, splits, of, among), duplicates, splits == of, labels)
            )
    return tuple(result)


def match_inside(duplicates: Duplicates, members: np.ndarray) -> Twins:
    """Find for each picture of a set the most similar other one of the same set; `match_twins` does so for two sets.

    Args:
        duplicates: of n pictures.
        members: bool (n,), the set.

    Returns:
        For each of the n pictures; -1 where it is no member or has no twin there.
    """
    indices = np.flatnonzero(members)
    lowest, highest = np.full(len(members), -1), np.full(len(members), -1)  # members with the same pixels
    lowest[duplicates.identical[indices[::-1]]] = indices[::-1]
    highest[duplicates.identical[indices]] = indices
    pairs = duplicates.pairs
    held = (lowest[pairs.first] >= 0) & (lowest[pairs.second] >= 0)
    first, second, transform = pairs.first[held], pairs.second[held], pairs.transform[held]
    here, there = np.concatenate([first, second]), np.concatenate([second, first])
    turns = np.concatenate([INVERSE[transform], transform])
    order = np.lexsort((-lowest[there], np.tile(pairs.correlation[held], 2)))
    best, best_turn = np.full(len(members), -1), np.full(len(members), -1)
    best[here[order]], best_turn[here[order]] = (
        lowest[there[order]],
        turns[order],
    )  # the last, most similar one stays
    partner, turn = (np.where(members, values[duplicates.identical], -1) for values in (best, best_turn))
    low, high = lowest[duplicates.identical], highest[duplicates.identical]
    repeated = members & (low != high)
    partner[repeated] = np.where(low == np.arange(len(members)), high, low)[repeated]
    turn[repeated] = 0
    return Twins(partner, turn)


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
        blocks += [
            _Block(here, there, transform, correlation)
            for (label, here), (other, there) in sides
            if label != other
        ]
    unfolded = (
        (picture, twin, block) for block in blocks for picture, twin in product(block.pictures, block.twins)
    )
    listed = [
        TwinPair(paths[picture], paths[twin], TRANSFORMS[block.transform], round(block.correlation, 4))
        for picture, twin, block in islice(unfolded, MAX_CONFLICTS)
    ]
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
    seen: set[tuple[int, int]] = set()  # inside a split two pictures can be each other's twin
    for index in np.flatnonzero(twins.partner >= 0).tolist():
        pair = (min(index, int(twins.partner[index])), max(index, int(twins.partner[index])))
        if pair not in seen:
            kinds[int(twins.transform[index]), str(labels[index])].append(index)
        seen.add(pair)
    # Mirrored and turned ones first: an identical pair shows nothing that its two names do not.
    ordered = (kinds[kind] for kind in sorted(kinds, key=lambda kind: (kind[0] == 0, kind)))
    chosen = take_in_turn(ordered, MAX_EXAMPLES)
    return tuple(
        _describe_pair(duplicates, paths, index, int(twins.partner[index]), int(twins.transform[index]))
        for index in chosen
    )


def _count(
    of: str, among: str, twins: Twins, duplicates: Duplicates, members: np.ndarray, labels: np.ndarray
) -> SplitTwins:
    near = twins.partner >= 0
    identical = near & (duplicates.identical[twins.partner] == duplicates.identical)

    def count(rows: np.ndarray) -> TwinCount:
        turns = np.bincount(twins.transform[rows & near], minlength=len(TRANSFORMS)).tolist()
        by_name = {name: number for name, number in zip(TRANSFORMS, turns, strict=True) if number}
        return TwinCount(int(rows.sum()), int((rows & identical).sum()), int((rows & near).sum()), by_name)

    return SplitTwins(
        of,
        among,
        count(members),
        {label: count(members & (labels == label)) for label in np.unique(labels[members]).tolist()},
    )


def _describe_pair(
    duplicates: Duplicates, paths: Sequence[str], picture: int, twin: int, transform: int
) -> TwinPair:
    low, high = sorted(duplicates.identical[[picture, twin]].tolist())
    known = duplicates.pairs.correlation[(duplicates.pairs.first == low) & (duplicates.pairs.second == high)]
    return TwinPair(
        paths[picture], paths[twin], TRANSFORMS[transform], 1.0 if low == high else round(float(known[0]), 4)
    )


def _match(duplicates: Duplicates, splits: np.ndarray, of: str, among: str) -> Twins:
    members = splits == of
    if of == among:
        return match_inside(duplicates, members)
    return match_twins(duplicates, members, ~members if among == ALL_OTHERS else splits == among)


def _split_and_label(paths: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    splits, labels = zip(*(split_and_label(path) for path in paths), strict=True)
    return np.array(splits), np.array(labels)
