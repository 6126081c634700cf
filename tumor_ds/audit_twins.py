"""What the duplicates of a collection mean for its splits and classes.

Goes in: `Duplicates`, and the split and class folder of each picture. Comes out: how many pictures of one split another one already
shows, twins in different class folders, the largest groups, and pairs worth showing.
"""

import csv
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations, islice, product
from typing import TypeVar

import numpy as np

from tumor_ds.archive import split_and_label
from tumor_ds.baselines import find_own_split
from tumor_ds.duplicates import TRANSFORMS, Duplicates, Twins, match_twins
from tumor_ds.facts import GROUPS_CSV, load_facts

# Above it the pairs of splits are too many to read, and each split is compared with all others together.
MAX_SPLITS = 8
ALL_OTHERS = "all others"
MAX_CONFLICTS = 500
MAX_GROUPS, MAX_GROUP_PICTURES, MAX_EXAMPLES = 12, 16, 12

Item = TypeVar("Item")


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
    """

    distinct: int
    groups: int
    repeated: int
    pictures_in_repeated: int
    across_splits: int
    across_classes: int


@dataclass(frozen=True)
class LargeGroup:
    """One of the largest groups: number of pictures, by split, by class, and the paths of some."""

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
    """

    train_twins: int
    found: int
    spanning_groups: int
    mixing_folds: int


def count_twins(duplicates: Duplicates, paths: Sequence[str]) -> tuple[SplitTwins, ...]:
    """Count the twins inside each split and across each ordered pair of splits.

    Args:
        duplicates: of the n pictures.
        paths: of the n pictures; split and class are the folders.

    Returns:
        Sorted by the split asked about, its own twins first. With more than `MAX_SPLITS` splits one entry `ALL_OTHERS` stands for
        all other splits.
    """
    splits, labels = _split_and_label(paths)
    names = np.unique(splits).tolist()
    result = []
    for of in names:
        others = [name for name in names if name != of] if len(names) <= MAX_SPLITS else [ALL_OTHERS]
        for among in (of, *others):
            result.append(_count(of, among, _match(duplicates, splits, of, among), duplicates, splits == of, labels))
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
    back = np.where((transform == 1) | (transform == 3), 4 - transform, transform)  # quarter turns the other way round
    here, there, turns = np.concatenate([first, second]), np.concatenate([second, first]), np.concatenate([back, transform])
    order = np.lexsort((-lowest[there], np.tile(pairs.correlation[held], 2)))
    best, best_turn = np.full(len(members), -1), np.full(len(members), -1)
    best[here[order]], best_turn[here[order]] = lowest[there[order]], turns[order]  # the last, most similar one stays
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
    # Many equal pictures make very many pairs, so pairs are counted as products and unfolded only to be listed.
    members: dict[int, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for index, first in enumerate(duplicates.identical.tolist()):
        members[first][split_and_label(paths[index])[1]].append(index)
    blocks: list[tuple[list[int], list[int], int, float]] = []
    for by_label in members.values():
        blocks += [(here, there, 0, 1.0) for here, there in combinations(by_label.values(), 2)]
    pairs = duplicates.pairs
    for twin, picture, transform, correlation in zip(
        *(values.tolist() for values in (pairs.first, pairs.second, pairs.transform, pairs.correlation)), strict=True
    ):
        both = product(members[picture].items(), members[twin].items())
        blocks += [(here, there, transform, correlation) for (label, here), (other, there) in both if label != other]
    unfolded = ((picture, twin, how) for here, there, *how in blocks for picture, twin in product(here, there))
    listed = [
        TwinPair(paths[picture], paths[twin], TRANSFORMS[transform], round(correlation, 4))
        for picture, twin, (transform, correlation) in islice(unfolded, MAX_CONFLICTS)
    ]
    return Conflicts(
        pairs=sum(len(here) * len(there) for here, there, *_ in blocks),
        pictures=len(set().union(*(side for block in blocks for side in block[:2]))),
        listed=tuple(sorted(listed, key=lambda pair: (pair.picture, pair.twin))),
    )


def pick_lead(twins: Sequence[SplitTwins]) -> SplitTwins:
    """Pick the pair of splits that matters most.

    Args:
        twins: from `count_twins`.

    Returns:
        The collection's own test split against its training split; else the two splits with the largest share of near twins; else,
        where there is one split, that one.
    """
    own = find_own_split([pair.of for pair in twins])
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
    for index in np.flatnonzero(twins.partner >= 0).tolist():
        if of != among or index < twins.partner[index]:
            kinds[int(twins.transform[index]), str(labels[index])].append(index)
    # Mirrored and turned ones first: an identical pair shows nothing that its two names do not.
    ordered = (kinds[kind] for kind in sorted(kinds, key=lambda kind: (kind[0] == 0, kind)))
    chosen = _take_in_turn(ordered, MAX_EXAMPLES)
    return tuple(_describe_pair(duplicates, paths, index, int(twins.partner[index]), int(twins.transform[index])) for index in chosen)


def count_groups(duplicates: Duplicates, paths: Sequence[str]) -> GroupCounts:
    """Count groups, and those that reach across splits or classes."""
    sizes = np.bincount(duplicates.groups)
    folders = [split_and_label(path) for path in paths]
    across = [Counter(group for group, _ in set(zip(duplicates.groups.tolist(), (names[part] for names in folders), strict=True))) for part in (0, 1)]
    return GroupCounts(
        distinct=len(np.unique(duplicates.identical)),
        groups=len(sizes),
        repeated=int((sizes > 1).sum()),
        pictures_in_repeated=int(sizes[sizes > 1].sum()),
        across_splits=sum(number > 1 for number in across[0].values()),
        across_classes=sum(number > 1 for number in across[1].values()),
    )


def find_largest_groups(duplicates: Duplicates, paths: Sequence[str]) -> tuple[LargeGroup, ...]:
    """Describe the largest groups of more than one picture, with some pictures of every split."""
    sizes = np.bincount(duplicates.groups)
    result = []
    for group in sorted(np.flatnonzero(sizes > 1).tolist(), key=lambda group: (-sizes[group], group))[:MAX_GROUPS]:
        members = [paths[index] for index in np.flatnonzero(duplicates.groups == group)]
        by_split: dict[str, list[str]] = defaultdict(list)
        for path in members:
            by_split[split_and_label(path)[0]].append(path)
        classes = Counter(split_and_label(path)[1] for path in members)
        shown = sorted(_take_in_turn(by_split.values(), MAX_GROUP_PICTURES))
        result.append(LargeGroup(len(members), {name: len(rows) for name, rows in by_split.items()}, dict(sorted(classes.items())), tuple(shown)))
    return tuple(result)


def compare_groups(duplicates: Duplicates, paths: Sequence[str]) -> Agreement:
    """Compare computed groups with `groups.csv`; every path must be in that file."""
    facts = load_facts()
    index = {path: number for number, path in enumerate(paths)}
    same = duplicates.identical.tolist()
    near = set(zip(duplicates.pairs.first.tolist(), duplicates.pairs.second.tolist(), strict=True))
    with GROUPS_CSV.open(newline="", encoding="utf-8") as file:
        twins = [(row["path"], row["train_twin"]) for row in csv.DictReader(file) if row["path"] in index and row["train_twin"] in index]
    stands_for = [(same[index[path]], same[index[twin]]) for path, twin in twins]
    groups, folds = defaultdict(set), defaultdict(set)
    for path, group in zip(paths, duplicates.groups.tolist(), strict=True):
        groups[group].add(facts[path].group)
        folds[group].update({facts[path].patient_fold} - {0})
    return Agreement(
        train_twins=len(twins),
        found=sum(here == there or (min(here, there), max(here, there)) in near for here, there in stands_for),
        spanning_groups=sum(len(known) > 1 for known in groups.values()),
        mixing_folds=sum(len(known) > 1 for known in folds.values()),
    )


def _count(of: str, among: str, twins: Twins, duplicates: Duplicates, members: np.ndarray, labels: np.ndarray) -> SplitTwins:
    near = twins.partner >= 0
    identical = near & (duplicates.identical[twins.partner] == duplicates.identical)

    def count(rows: np.ndarray) -> TwinCount:
        turns = np.bincount(twins.transform[rows & near], minlength=len(TRANSFORMS)).tolist()
        by_name = {name: number for name, number in zip(TRANSFORMS, turns, strict=True) if number}
        return TwinCount(int(rows.sum()), int((rows & identical).sum()), int((rows & near).sum()), by_name)

    return SplitTwins(of, among, count(members), {label: count(members & (labels == label)) for label in np.unique(labels[members]).tolist()})


def _describe_pair(duplicates: Duplicates, paths: Sequence[str], picture: int, twin: int, transform: int) -> TwinPair:
    low, high = sorted((duplicates.identical[picture], duplicates.identical[twin]))
    known = duplicates.pairs.correlation[(duplicates.pairs.first == low) & (duplicates.pairs.second == high)]
    return TwinPair(paths[picture], paths[twin], TRANSFORMS[transform], 1.0 if low == high else round(float(known[0]), 4))


def _take_in_turn(lists: Iterable[Sequence[Item]], limit: int) -> list[Item]:
    """Take the first of every list, then the second of every list, up to a limit."""
    places = sorted(((turn, row, item) for row, items in enumerate(lists) for turn, item in enumerate(items)), key=lambda place: place[:2])
    return [item for _, _, item in places[:limit]]


def _match(duplicates: Duplicates, splits: np.ndarray, of: str, among: str) -> Twins:
    members = splits == of
    if of == among:
        return match_inside(duplicates, members)
    return match_twins(duplicates, members, ~members if among == ALL_OTHERS else splits == among)


def _split_and_label(paths: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    splits, labels = zip(*(split_and_label(path) for path in paths), strict=True)
    return np.array(splits), np.array(labels)
