"""Which pictures are one picture, mirrored, turned, resized or compressed again, and the groups they form.

Goes in: grey pictures of any size, one at a time. Comes out: pixel-identical pictures, near twins with the
flip or turn that joins them, and groups. Two pictures are near twins when their 32x32 block means correlate
by at least `MIN_CORRELATION` under one of the eight flips and turns of the square. Groups also join pictures
that are alike after histogram equalisation.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from tumor_ds.grouping.similarity import MIN_CORRELATION, SIDE, Pairs, describe, find_pairs, join_groups

# Of equalised pictures. The most similar ones of two patients in different published folds reach .982; copies
# of one picture with another contrast, or sharpened, lie above .985.
MIN_EQUALISED_CORRELATION = 0.985
INVERSE = np.array([0, 3, 2, 1, 4, 5, 6, 7])  # of `TRANSFORMS`: quarter turns go the other way round


@dataclass(frozen=True)
class Duplicates:
    """What is the same among n pictures.

    Attributes:
        identical: int (n,), index of the first picture with the same pixels; its own where there is none
            before it.
        pairs: near twins among pictures that stand for their pixels (`identical[i] == i`).
        groups: int (n,), 0, 1, ... in order of first appearance: pictures joined by pixels, by near twins, or
            by being the same but for contrast; also by a chain of these.

    Example:
        >>> ramp, blank = np.arange(64, dtype=np.uint8).reshape(8, 8), np.zeros((8, 8), np.uint8)
        >>> find_duplicates([ramp, blank, ramp[::-1]]).groups
        array([0, 1, 0])
    """

    identical: np.ndarray
    pairs: Pairs
    groups: np.ndarray


@dataclass(frozen=True)
class Twins:
    """For each of n pictures its twin in a set.

    Attributes:
        partner: int (n,), index of the twin, -1 where there is none.
        transform: int (n,), into `similarity.TRANSFORMS`: what turns the twin into the picture; -1 where
            there is none.

    Example:
        >>> ramp = np.arange(64, dtype=np.uint8).reshape(8, 8)
        >>> match_twins(find_duplicates([ramp, ramp]), np.ones(2, bool), np.ones(2, bool)).partner
        array([1, 0])
    """

    partner: np.ndarray
    transform: np.ndarray


def find_duplicates(pictures: Iterable[np.ndarray]) -> Duplicates:
    """Find copies in one pass over the pictures; the order of the pictures does not change which are found.

    Args:
        pictures: uint8 (h, w) or (h, w, 1), [0, 255], any sizes. Read once; only a 32x32 description of each
            is kept.

    Returns:
        Indices count the pictures in the order given.
    """
    seen: dict[bytes, int] = {}
    identical: list[int] = []
    # They grow in place, where joining a list of arrays would hold everything twice.
    spectra, equalised = bytearray(), bytearray()
    for index, picture in enumerate(pictures):
        first = seen.setdefault(_digest(picture), index)
        identical.append(first)
        if first == index:
            spectra += describe(picture).tobytes()
            equalised += describe(equalise(picture)).tobytes()
    same = np.array(identical, dtype=np.int64)
    kept = np.flatnonzero(same == np.arange(len(same)))
    twins, contrasts = (
        find_pairs(np.frombuffer(buffer, np.float32).reshape(-1, SIDE, SIDE), minimum)
        for buffer, minimum in ((spectra, MIN_CORRELATION), (equalised, MIN_EQUALISED_CORRELATION))
    )
    edges = [np.stack([kept[pairs.first], kept[pairs.second]], axis=1) for pairs in (twins, contrasts)]
    groups = join_groups(np.concatenate([*edges, np.stack([same, np.arange(len(same))], axis=1)]), len(same))
    pairs = replace(twins, first=kept[twins.first], second=kept[twins.second])
    return Duplicates(same, pairs, groups)


def match_twins(duplicates: Duplicates, of: np.ndarray, among: np.ndarray) -> Twins:
    """Find for each picture of one set the most similar other picture of a set, which may be the same one.

    Args:
        duplicates: from `find_duplicates` of n pictures.
        of: bool (n,), the pictures asked about.
        among: bool (n,), the pictures to look in.

    Returns:
        For each of the n pictures; -1 where it is not asked about or has no twin there. Pixel-identical
        goes before near, and the lower index wins a tie.
    """
    count, identical, pairs = len(of), duplicates.identical, duplicates.pairs
    # By pixels: the first and the last picture in `among` that has them.
    first, last = np.full(count, -1), np.full(count, -1)
    members = np.flatnonzero(among)
    first[identical[members[::-1]]] = members[::-1]
    last[identical[members]] = members
    here, there = np.concatenate([pairs.first, pairs.second]), np.concatenate([pairs.second, pairs.first])
    turns = np.concatenate([INVERSE[pairs.transform], pairs.transform])
    usable = first[there] >= 0
    order = np.lexsort((-first[there], np.tile(pairs.correlation, 2), usable))
    order = order[np.count_nonzero(~usable) :]
    near, turn = np.full(count, -1), np.full(count, -1)
    # Of several values for one index the last, most similar one stays.
    near[here[order]], turn[here[order]] = first[there[order]], turns[order]
    itself = np.arange(count)
    same = np.where(first[identical] == itself, last[identical], first[identical])
    has_same = (same >= 0) & (same != itself)
    partner = np.where(has_same, same, near[identical])
    transform = np.where(has_same, 0, turn[identical])
    return Twins(np.where(of, partner, -1), np.where(of, transform, -1))


def equalise(picture: np.ndarray) -> np.ndarray:
    """Spread the grey values evenly: a picture and a copy with another contrast become alike.

    Args:
        picture: uint8 (h, w) or (h, w, 1), [0, 255].

    Returns:
        The same shape and type; each value becomes its share of pixels that are not brighter, times 255.
        Blank stays blank.
    """
    counts = np.bincount(picture.ravel(), minlength=256)
    if np.count_nonzero(counts) < 2:
        return picture
    return (255 * counts.cumsum() / picture.size).astype(np.uint8)[picture]


def _digest(picture: np.ndarray) -> bytes:
    content = repr(picture.shape[:2]).encode() + np.ascontiguousarray(picture).tobytes()
    return hashlib.blake2b(content, digest_size=16).digest()
