"""Which pictures are one picture, mirrored, turned, resized or compressed again, and the groups they form.

Goes in: grey pictures of any size, one at a time. Comes out: pixel-identical pictures, near twins with the
flip or turn that joins them, and groups. Two pictures are near twins when their 32x32 block means correlate
by at least `MIN_CORRELATION` under one of the eight flips and turns of the square. Groups also join pictures
that are alike after histogram equalisation.

Nothing is compared with everything. In the cosine basis a mirror only changes signs and a transposition swaps
the two frequencies, so the magnitudes, sorted within each swapped pair, are the same for all eight. None of
these steps moves two pictures further apart than they were, so twins lie within a known radius of each other
in those magnitudes, and in any projection of them: a k-d tree finds every candidate, and only candidates are
compared in full. Time and memory grow with the number of pictures and of candidate pairs.
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image
from scipy.fft import dctn
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

SIDE = 32
# On the Kaggle collection every mirrored copy reaches .9995, and the most similar pair of a test and a
# training picture that are not the same picture stays below .990. JPEG quality 30, a detour over 96 pixels
# and a fifth more brightness stay above it.
MIN_CORRELATION = 0.99
# Of equalised pictures. The most similar ones of two patients in different published folds reach .982; copies
# of one picture with another contrast, or sharpened, lie above .985.
MIN_EQUALISED_CORRELATION = 0.985
# So many twins of each picture are listed at least; a cluster of n copies has n^2 pairs.
MAX_TWINS = 64
# Below this many grey levels of spread between blocks a picture is blank: correlation would compare noise.
MIN_SPREAD = 1.0
# As in groups.csv; the array operation turns the first picture of a pair into the second.
TRANSFORMS = (
    "none",
    "turned 90",
    "turned 180",
    "turned 270",
    "left-right",
    "up-down",
    "transposed",
    "anti-transposed",
)
INVERSE = np.array([0, 3, 2, 1, 4, 5, 6, 7])  # of `TRANSFORMS`: quarter turns go the other way round
_KEY_FREQUENCIES = 12
# Fewer axes search faster but bring more candidates; measured best from 7,000 to 100,000 pictures.
_SEARCH_AXES = 20
_CHUNK = 4096
_BLOCK = 512
_MAX_PAIRS = 20_000_000


@dataclass(frozen=True)
class Pairs:
    """Near twins.

    Attributes:
        first: int (m,), index of a picture.
        second: int (m,), index of its twin, above `first`.
        transform: int (m,), into `TRANSFORMS`: what turns the first into the second.
        correlation: float (m,), of 32x32 block means under that transform.

    Example:
        >>> ramp = np.arange(64, dtype=np.uint8).reshape(8, 8)
        >>> pairs = find_pairs(np.stack([describe(ramp), describe(ramp.T)]))
        >>> TRANSFORMS[pairs.transform[0]]
        'transposed'
    """

    first: np.ndarray
    second: np.ndarray
    transform: np.ndarray
    correlation: np.ndarray


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
        transform: int (n,), into `TRANSFORMS`: what turns the twin into the picture; -1 where there is none.

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


def describe(picture: np.ndarray) -> np.ndarray:
    """Describe a picture by its low frequencies.

    Args:
        picture: uint8 (h, w) or (h, w, 1), [0, 255].

    Returns:
        float32 (32, 32): cosine transform (DCT-II, orthonormal) of the 32x32 block means, centred and scaled
        to length 1, so the dot product of two is their correlation. All zero for a blank picture.
    """
    grey = Image.fromarray(picture.reshape(picture.shape[:2])).convert("F")
    means = np.asarray(grey.resize((SIDE, SIDE), Image.Resampling.BOX))
    blocks = means - means.mean()
    if blocks.std() < MIN_SPREAD:
        return np.zeros((SIDE, SIDE), np.float32)
    return dctn(blocks / np.linalg.norm(blocks), norm="ortho").astype(np.float32)


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


def find_pairs(spectra: np.ndarray, min_correlation: float = MIN_CORRELATION) -> Pairs:
    """Find pairs of similar pictures among descriptions.

    Args:
        spectra: float32 (n, 32, 32) from `describe`.
        min_correlation: pairs that reach it are found.

    Returns:
        Sorted pairs: all that reach it, but for pictures with more than `MAX_TWINS` such partners, of which
        at least so many are there; the pairs always connect every two pictures that a chain of similar ones
        connects.
    """
    usable = np.flatnonzero(spectra.any(axis=(1, 2)))
    known, labels, merged = np.zeros(len(spectra), np.int64), np.arange(len(spectra)), 0
    found: list[Pairs] = []
    # The distance of two vectors of length 1 whose dot product is the correlation.
    radius = np.sqrt(2 - 2 * min_correlation)
    for candidates in _find_candidates(_invariant_keys(spectra[usable]), radius):
        first, second = usable[candidates].T
        crowded = np.minimum(known[first], known[second]) >= MAX_TWINS
        if crowded.any():  # of a dense cluster only what joins two groups is still wanted
            new = _join(found[merged:])
            edges = np.stack([labels[new.first], labels[new.second]], axis=1)
            labels, merged = join_groups(edges, len(labels))[labels], len(found)
            crowded &= labels[first] == labels[second]
            first, second = first[~crowded], second[~crowded]
        found.append(_compare(spectra, first, second, min_correlation))
        np.add.at(known, np.concatenate([found[-1].first, found[-1].second]), 1)
    return _join(found)


def join_groups(edges: np.ndarray, count: int) -> np.ndarray:
    """Number the connected components of a graph by first appearance.

    Args:
        edges: int (m, 2), pairs of indices below `count`.
        count: number of nodes n.

    Returns:
        int (n,): 0 for the component of node 0, and so on.
    """
    graph = coo_array((np.ones(len(edges), bool), (edges[:, 0], edges[:, 1])), shape=(count, count))
    labels = connected_components(graph, directed=False)[1]
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse]


def _digest(picture: np.ndarray) -> bytes:
    content = repr(picture.shape[:2]).encode() + np.ascontiguousarray(picture).tobytes()
    return hashlib.blake2b(content, digest_size=16).digest()


def _invariant_keys(spectra: np.ndarray) -> np.ndarray:
    """Magnitudes below `_KEY_FREQUENCIES`, sorted in each pair of swapped frequencies: float32 (n, 77)."""
    u, v = np.array(
        [(u, v) for u in range(_KEY_FREQUENCIES) for v in range(u + 1) if 0 < u + v < _KEY_FREQUENCIES]
    ).T
    there, swapped = np.abs(spectra[:, u, v]), np.abs(spectra[:, v, u])
    off_diagonal = u != v
    return np.concatenate([np.maximum(there, swapped), np.minimum(there, swapped)[:, off_diagonal]], axis=1)


def _find_candidates(keys: np.ndarray, radius: float) -> Iterator[np.ndarray]:
    """Find all pairs within a radius, some at a time: int (m, 2), the first below the second."""
    if len(keys) < 2:
        return
    centred = keys - keys.mean(axis=0)
    axes = np.linalg.eigh(centred.T @ centred)[1][:, ::-1]  # principal axes, the widest first
    projected = centred @ axes[:, :_SEARCH_AXES]
    radius += 1e-5  # rounding must not lose a pair
    for pairs in _list_near(projected, radius):
        for start in range(0, len(pairs), _CHUNK):
            part = pairs[start : start + _CHUNK]
            difference = keys[part[:, 0]] - keys[part[:, 1]]
            inside = np.einsum("ij,ij->i", difference, difference) <= radius**2
            if inside.any():
                yield part[inside]


def _list_near(points: np.ndarray, radius: float) -> Iterator[np.ndarray]:
    """Give all pairs within a radius: at once where, by a sample, they fit into memory, else in blocks."""
    tree = cKDTree(points, leafsize=32)
    sample = points[:: max(1, len(points) // _BLOCK)]
    if tree.query_ball_point(sample, radius, return_length=True).mean() * len(points) / 2 <= _MAX_PAIRS:
        yield tree.query_pairs(radius, output_type="ndarray")
        return
    for start in range(0, len(points), _BLOCK):
        block = cKDTree(points[start : start + _BLOCK], leafsize=32)
        near = block.sparse_distance_matrix(tree, radius, output_type="ndarray")
        pairs = np.stack([near["i"] + start, near["j"]], axis=1)
        yield pairs[pairs[:, 0] < pairs[:, 1]]


def _compare(spectra: np.ndarray, first: np.ndarray, second: np.ndarray, min_correlation: float) -> Pairs:
    correlation = _correlate(spectra[first], spectra[second])
    best = correlation.argmax(axis=1)
    value = correlation[np.arange(len(best)), best]
    near = value >= min_correlation
    return Pairs(first[near], second[near], best[near], value[near])


def _correlate(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Correlation of pairs under the eight flips and turns, as `TRANSFORMS`, from spectra: float32 (m, 8).

    Mirroring left and right negates the odd horizontal frequencies, up and down the odd vertical ones;
    transposing swaps the two. So four sums by parity of the products, plain and transposed, give all eight.
    """
    odd = np.arange(SIDE) % 2
    parity = np.zeros((SIDE * SIDE, 4), np.float32)
    parity[np.arange(SIDE * SIDE), (2 * odd[:, None] + odd).ravel()] = 1
    count = len(first)
    plain = (first * second).reshape(count, SIDE * SIDE) @ parity
    transposed = (first.transpose(0, 2, 1) * second).reshape(count, SIDE * SIDE) @ parity
    # Signs of (even, even), (even, odd), (odd, even), (odd, odd) vertical and horizontal frequencies.
    none, left_right, up_down, both = np.array(
        [(1, 1, 1, 1), (1, -1, 1, -1), (1, 1, -1, -1), (1, -1, -1, 1)], np.float32
    )
    turns = [plain @ none, transposed @ up_down, plain @ both, transposed @ left_right]
    mirrors = [plain @ left_right, plain @ up_down, transposed @ none, transposed @ both]
    return np.stack(turns + mirrors, axis=1)


def _join(parts: list[Pairs]) -> Pairs:
    if not parts:
        empty = np.zeros(0, np.int64)
        return Pairs(empty, empty, empty, np.zeros(0, np.float32))
    first, second, transform, correlation = (
        np.concatenate([getattr(part, name) for part in parts])
        for name in ("first", "second", "transform", "correlation")
    )
    order = np.lexsort((second, first))
    return Pairs(first[order], second[order], transform[order], correlation[order])
