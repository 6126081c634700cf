"""Copies between collections and between sources, and copies inside a source that two patients share.

Goes in: `Duplicates` of all pictures at once, and of each picture its collection, source and patient. Comes
out: counts by ordered pair, the pairs themselves, and for each source the groups of alike pictures that hold
several patients.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np

from tumor_ds.audit.groups import take_in_turn
from tumor_ds.audit.inputs import PictureFacts
from tumor_ds.audit.twins import TwinCount
from tumor_ds.grouping.duplicates import Duplicates, Twins, match_twins
from tumor_ds.grouping.similarity import TRANSFORMS

MAX_EXAMPLES = 6


@dataclass(frozen=True)
class CopyPair:
    """A picture and its copy, as (source, file name); `transform` turns the copy into the picture.

    Example:
        >>> CopyPair(("figshare", "1.png"), ("kaggle", "a.jpg"), "left-right", 0.9998).copy[0]
        'kaggle'
    """

    picture: tuple[str, str]
    copy: tuple[str, str]
    transform: str
    correlation: float


@dataclass(frozen=True)
class Copies:
    """Pictures of `of` that have a copy in `among`; both are names of collections, or of sources.

    Example:
        >>> Copies("figshare", "kaggle", TwinCount(8, 2, 3, {"none": 2, "left-right": 1}), ()).count.near
        3
    """

    of: str
    among: str
    count: TwinCount
    pairs: tuple[CopyPair, ...]


@dataclass(frozen=True)
class Crossing:
    """Groups of alike pictures, in one source, that hold more than one patient.

    Attributes:
        source: name of the source.
        groups: number of these groups.
        pictures: number of pictures in them.
        patients: number of patients in them.
        near: pictures of the source with a near twin of another patient; the others are alike but for
            contrast, or by a chain.
        listed: the file names of each group by patient.

    Example:
        >>> Crossing("nins", 1, 2, 2, 2, ({"p1": ("a.png",), "p2": ("b.png",)},)).patients
        2
    """

    source: str
    groups: int
    pictures: int
    patients: int
    near: int
    listed: tuple[dict[str, tuple[str, ...]], ...]


def count_between(
    duplicates: Duplicates, facts: Sequence[PictureFacts], names: Sequence[str], with_pairs: bool
) -> tuple[Copies, ...]:
    """Count copies for each ordered pair of names, those without any among them.

    Args:
        duplicates: of the n pictures.
        facts: of the n pictures.
        names: of the n pictures, the collection or the source of each.
        with_pairs: list the pairs, too.
    """
    here = np.array(names)
    touching = _find_touching(duplicates, names)
    result = []
    for of, among in permutations(dict.fromkeys(names), 2):
        total = int((here == of).sum())
        if (of, among) not in touching:
            result.append(Copies(of, among, TwinCount(total, 0, 0, {}), ()))
            continue
        twins = match_twins(duplicates, here == of, here == among)
        near = twins.partner >= 0
        identical = near & (duplicates.identical[twins.partner] == duplicates.identical)
        turns = np.bincount(twins.transform[near], minlength=len(TRANSFORMS)).tolist()
        by_name = {name: number for name, number in zip(TRANSFORMS, turns, strict=True) if number}
        count = TwinCount(total, int(identical.sum()), int(near.sum()), by_name)
        result.append(Copies(of, among, count, _list_pairs(duplicates, facts, twins) if with_pairs else ()))
    return tuple(result)


def pick_examples(copies: Sequence[Copies]) -> tuple[CopyPair, ...]:
    """Pick pairs to show: of each two collections, and each flip or turn, one in turn."""
    kinds: dict[tuple[bool, str, str, str], list[CopyPair]] = defaultdict(list)
    for one in copies:
        if one.of < one.among:
            for pair in one.pairs:
                kinds[pair.transform == "none", pair.transform, one.of, one.among].append(pair)
    # Mirrored and turned ones first, which show more; spread, since neighbours are slices of one patient.
    spread = (kinds[kind][:: 1 + len(kinds[kind]) // MAX_EXAMPLES] for kind in sorted(kinds))
    return tuple(take_in_turn(spread, MAX_EXAMPLES))


def find_crossings(duplicates: Duplicates, facts: Sequence[PictureFacts]) -> tuple[Crossing, ...]:
    """Find, in each source, alike pictures of several patients; where patients are unknown, none."""
    members: dict[tuple[str, int], dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for row, (one, group) in enumerate(zip(facts, duplicates.groups.tolist(), strict=True)):
        if one.patient is not None:
            members[one.source, group][one.patient].append(row)
    near = _find_near_across_patients(duplicates, facts)
    mixed: dict[str, list[dict[str, list[int]]]] = defaultdict(list)
    for (source, _), by_patient in members.items():
        if len(by_patient) > 1:
            mixed[source].append(by_patient)
    return tuple(
        Crossing(
            source=source,
            groups=len(groups),
            pictures=sum(len(rows) for by_patient in groups for rows in by_patient.values()),
            patients=len({patient for by_patient in groups for patient in by_patient}),
            near=sum(facts[row].source == source for row in near),
            listed=tuple(
                {patient: tuple(facts[row].filename for row in rows) for patient, rows in by_patient.items()}
                for by_patient in groups
            ),
        )
        for source, groups in sorted(mixed.items())
    )


def pick_crossing_examples(crossings: Sequence[Crossing]) -> tuple[tuple[tuple[str, str], ...], ...]:
    """Pick two pictures of two patients, as (source, file name), of each source in turn."""
    by_source = []
    for crossing in crossings:
        firsts = [[names[0] for names in group.values()][:2] for group in crossing.listed]
        by_source.append([tuple((crossing.source, name) for name in pair) for pair in firsts])
    return tuple(take_in_turn(by_source, MAX_EXAMPLES))


def _find_touching(duplicates: Duplicates, names: Sequence[str]) -> set[tuple[str, str]]:
    """Ordered pairs of names that share a copy; to match twins for every pair of names would take long."""
    holders = _collect_holders(duplicates, names)
    touching = {pair for held in holders.values() for pair in permutations(held, 2)}
    sides = zip(duplicates.pairs.first.tolist(), duplicates.pairs.second.tolist(), strict=True)
    for first, second in sides:
        touching.update((left, right) for left in holders[first] for right in holders[second])
        touching.update((right, left) for left in holders[first] for right in holders[second])
    return touching


def _find_near_across_patients(duplicates: Duplicates, facts: Sequence[PictureFacts]) -> set[int]:
    """Pictures with a near twin of the same source and of another patient."""
    rows: dict[int, list[int]] = defaultdict(list)
    for row, first in enumerate(duplicates.identical.tolist()):
        rows[first].append(row)
    sides = list(zip(duplicates.pairs.first.tolist(), duplicates.pairs.second.tolist(), strict=True))
    found = set()
    for first, second in [*sides, *((first, first) for first, held in rows.items() if len(held) > 1)]:
        for left in rows[first]:
            for right in rows[second]:
                here, there = facts[left], facts[right]
                known = here.patient is not None and there.patient is not None
                if known and here.source == there.source and here.patient != there.patient:
                    found |= {left, right}
    return found


def _collect_holders(duplicates: Duplicates, names: Sequence[str]) -> dict[int, set[str]]:
    """The names that have a picture, by the first picture with its pixels."""
    holders: dict[int, set[str]] = defaultdict(set)
    for name, first in zip(names, duplicates.identical.tolist(), strict=True):
        holders[first].add(name)
    return holders


def _list_pairs(duplicates: Duplicates, facts: Sequence[PictureFacts], twins: Twins) -> tuple[CopyPair, ...]:
    pairs = duplicates.pairs
    sides = zip(pairs.first.tolist(), pairs.second.tolist(), strict=True)
    known = dict(zip(sides, pairs.correlation.tolist(), strict=True))
    listed = []
    for row in np.flatnonzero(twins.partner >= 0).tolist():
        twin = int(twins.partner[row])
        low, high = sorted(duplicates.identical[[row, twin]].tolist())
        correlation = 1.0 if low == high else round(known[low, high], 4)
        here, there = ((facts[index].source, facts[index].filename) for index in (row, twin))
        listed.append(CopyPair(here, there, TRANSFORMS[twins.transform[row]], correlation))
    return tuple(listed)
