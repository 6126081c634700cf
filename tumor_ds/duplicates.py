"""Which pictures are the same picture, mirrored, turned, resized or compressed again, and the groups they form.

Goes in: grey pictures of any size, one at a time. Comes out: pixel-identical pictures, near twins with the flip or turn that
joins them, and groups. Two pictures are near twins when their 32x32 block means correlate by at least `MIN_CORRELATION` under
one of the eight flips and turns of the square.

Nothing is compared with everything. In the cosine basis a mirror only changes signs and a transposition swaps the two
frequencies, so the magnitudes, sorted within each swapped pair, are the same for all eight. None of
these steps moves two pictures further apart than they were, so twins lie within a known radius of each other in those magnitudes,
and in any projection of them: a k-d tree finds every candidate, and only candidates are compared in full. Time and memory grow
with the number of pictures and of candidate pairs.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy.fft import dctn
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

SIDE = 32
# On the Kaggle collection every mirrored copy reaches .9995, and the most similar pair of a test and a training picture that
# are not the same picture stays below .990. JPEG quality 30, a detour over 96 pixels and a fifth more brightness stay above it.
MIN_CORRELATION = 0.99
# Below this many grey levels of spread between blocks a picture is blank: correlation would compare noise.
MIN_SPREAD = 1.0
# As in groups.csv; the array operation turns the first picture of a pair into the second.
TRANSFORMS = ("none", "turned 90", "turned 180", "turned 270", "left-right", "up-down", "transposed", "anti-transposed")
_INVERSE = np.array([0, 3, 2, 1, 4, 5, 6, 7])  # of the transforms
_KEY_FREQUENCIES = 12
# Fewer axes search faster but bring more candidates; measured best from 7,000 to 100,000 pictures.
_SEARCH_AXES = 20
_CHUNK = 4096


@dataclass(frozen=True)
class Pairs:
    """Near twins.

    Attributes:
        first: int (m,), index of a picture.
        second: int (m,), index of its twin, above `first`.
        transform: int (m,), into `TRANSFORMS`: what turns the first into the second.
        correlation: float (m,), of 32x32 block means under that transform.
    """

    first: np.ndarray
    second: np.ndarray
    transform: np.ndarray
    correlation: np.ndarray


@dataclass(frozen=True)
class Duplicates:
    """What is the same among n pictures.

    Attributes:
        identical: int (n,), index of the first picture with the same pixels; its own where there is none before it.
        pairs: near twins among pictures that stand for their pixels (`identical[i] == i`).
        groups: int (n,), 0, 1, ... in order of first appearance: pictures joined by pixels or by a chain of near twins.
    """

    identical: np.ndarray
    pairs: Pairs
    groups: np.ndarray


@dataclass(frozen=True)
class Twins:
    """For each of n pictures its twin in another set.

    Attributes:
        partner: int (n,), index of the twin, -1 where there is none.
        transform: int (n,), into `TRANSFORMS`: what turns the twin into the picture; -1 where there is none.
    """

    partner: np.ndarray
    transform: np.ndarray


def find_duplicates(pictures: Iterable[np.ndarray]) -> Duplicates:
    """Find copies in one pass over the pictures; the order of the pictures does not change which are found.

    Args:
        pictures: uint8 (h, w) or (h, w, 1), [0, 255], any sizes. Read once; only a 32x32 description of each is kept.

    Returns:
        Indices count the pictures in the order given.
    """
    seen: dict[bytes, int] = {}
    identical: list[int] = []
    spectra = bytearray()  # grows in place, where joining a list of arrays would hold everything twice
    for index, picture in enumerate(pictures):
        first = seen.setdefault(_digest(picture), index)
        identical.append(first)
        if first == index:
            spectra += describe(picture).tobytes()
    same = np.array(identical, dtype=np.int64)
    kept = np.flatnonzero(same == np.arange(len(same)))
    pairs = find_pairs(np.frombuffer(spectra, np.float32).reshape(-1, SIDE, SIDE))
    pairs = Pairs(kept[pairs.first], kept[pairs.second], pairs.transform, pairs.correlation)
    edges = np.concatenate([np.stack([pairs.first, pairs.second], axis=1), np.stack([same, np.arange(len(same))], axis=1)])
    return Duplicates(same, pairs, join_groups(edges, len(same)))


def match_twins(duplicates: Duplicates, of: np.ndarray, among: np.ndarray) -> Twins:
    """Find for each picture of one set the most similar picture of another.

    Args:
        duplicates: from `find_duplicates` of n pictures.
        of: bool (n,), the pictures asked about.
        among: bool (n,), the pictures to look in; shares none with `of`.

    Returns:
        For each of the n pictures; -1 where it is not asked about or has no twin there. Pixel-identical goes before near, and
        the lower index wins a tie.
    """
    count = len(of)
    partner, transform = np.full(count, -1), np.full(count, -1)
    first_there = np.full(count, -1)  # of the pictures with the same pixels, the first one in `among`
    members = np.flatnonzero(among)[::-1]
    first_there[duplicates.identical[members]] = members
    pairs = duplicates.pairs
    here, there = np.concatenate([pairs.first, pairs.second]), np.concatenate([pairs.second, pairs.first])
    turns = np.concatenate([_INVERSE[pairs.transform], pairs.transform])
    usable = first_there[there] >= 0
    order = np.lexsort((-first_there[there], np.tile(pairs.correlation, 2), usable))[np.count_nonzero(~usable) :]
    partner[here[order]], transform[here[order]] = first_there[there[order]], turns[order]  # the last, most similar one stays
    same = np.flatnonzero(first_there >= 0)
    partner[same], transform[same] = first_there[same], 0
    asked = np.where(of, duplicates.identical, 0)
    return Twins(np.where(of, partner[asked], -1), np.where(of, transform[asked], -1))


def describe(picture: np.ndarray) -> np.ndarray:
    """Describe a picture by its low frequencies.

    Args:
        picture: uint8 (h, w) or (h, w, 1), [0, 255].

    Returns:
        float32 (32, 32): cosine transform (DCT-II, orthonormal) of the 32x32 block means, centred and scaled to length 1, so the
        dot product of two is their correlation. All zero for a blank picture.
    """
    grey = Image.fromarray(picture.reshape(picture.shape[:2])).convert("F").resize((SIDE, SIDE), Image.Resampling.BOX)
    means = np.asarray(grey)
    blocks = means - means.mean()
    if blocks.std() < MIN_SPREAD:
        return np.zeros((SIDE, SIDE), np.float32)
    return dctn(blocks / np.linalg.norm(blocks), norm="ortho").astype(np.float32)


def find_pairs(spectra: np.ndarray) -> Pairs:
    """Find near twins among descriptions.

    Args:
        spectra: float32 (n, 32, 32) from `describe`.

    Returns:
        Every pair that reaches `MIN_CORRELATION`, sorted.
    """
    usable = np.flatnonzero(np.abs(spectra).max(axis=(1, 2), initial=0) > 0)
    candidates = usable[_find_candidates(_invariant_keys(spectra[usable]))]
    return _join([_compare(spectra, candidates[start : start + _CHUNK]) for start in range(0, len(candidates), _CHUNK)])


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
    return hashlib.blake2b(repr(picture.shape[:2]).encode() + np.ascontiguousarray(picture).tobytes(), digest_size=16).digest()


def _invariant_keys(spectra: np.ndarray) -> np.ndarray:
    """Magnitudes below `_KEY_FREQUENCIES`, sorted within each pair of swapped frequencies: float32 (n, 77)."""
    u, v = np.array([(u, v) for u in range(_KEY_FREQUENCIES) for v in range(u + 1) if 0 < u + v < _KEY_FREQUENCIES]).T
    there, swapped = np.abs(spectra[:, u, v]), np.abs(spectra[:, v, u])
    off_diagonal = u != v
    return np.concatenate([np.maximum(there, swapped), np.minimum(there, swapped)[:, off_diagonal]], axis=1)


def _find_candidates(keys: np.ndarray) -> np.ndarray:
    """Find all pairs within the radius that `MIN_CORRELATION` allows: int (m, 2), the first below the second.

    For vectors of length 1, |a - b|^2 = 2 - 2ab.
    """
    if len(keys) < 2:
        return np.zeros((0, 2), np.int64)
    radius = np.sqrt(2 - 2 * MIN_CORRELATION) + 1e-5  # rounding must not lose a pair
    centred = keys - keys.mean(axis=0)
    axes = np.linalg.eigh(centred.T @ centred)[1][:, ::-1]  # principal axes, the widest first
    projected = centred @ axes[:, :_SEARCH_AXES]
    pairs = cKDTree(projected, leafsize=32).query_pairs(radius, output_type="ndarray")
    near = []
    for start in range(0, len(pairs), _CHUNK):
        difference = keys[pairs[start : start + _CHUNK, 0]] - keys[pairs[start : start + _CHUNK, 1]]
        near.append(np.einsum("ij,ij->i", difference, difference) <= radius**2)
    return pairs[np.concatenate(near)] if near else pairs


def _compare(spectra: np.ndarray, candidates: np.ndarray) -> Pairs:
    first, second = candidates.T
    correlation = _correlate(spectra[first], spectra[second])
    best = correlation.argmax(axis=1)
    value = correlation[np.arange(len(best)), best]
    near = value >= MIN_CORRELATION
    return Pairs(first[near], second[near], best[near], value[near])


def _correlate(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Correlation of pairs under the eight flips and turns, from their spectra: float32 (m, 8) in the order of `TRANSFORMS`.

    Mirroring left and right negates the odd horizontal frequencies, up and down the odd vertical ones; transposing swaps the two.
    So four sums by parity of the products, plain and transposed, give all eight.
    """
    odd = np.arange(SIDE) % 2
    parity = np.zeros((SIDE * SIDE, 4), np.float32)
    parity[np.arange(SIDE * SIDE), (2 * odd[:, None] + odd).ravel()] = 1
    count = len(first)
    plain = (first * second).reshape(count, -1) @ parity
    transposed = (first.transpose(0, 2, 1) * second).reshape(count, -1) @ parity
    # Signs of (even, even), (even, odd), (odd, even), (odd, odd) vertical and horizontal frequencies.
    signs = {"none": (1, 1, 1, 1), "left-right": (1, -1, 1, -1), "up-down": (1, 1, -1, -1), "both": (1, -1, -1, 1)}
    matrix = {name: np.array(values, np.float32) for name, values in signs.items()}
    return np.stack(
        [
            plain @ matrix["none"],
            transposed @ matrix["up-down"],
            plain @ matrix["both"],
            transposed @ matrix["left-right"],
            plain @ matrix["left-right"],
            plain @ matrix["up-down"],
            transposed @ matrix["none"],
            transposed @ matrix["both"],
        ],
        axis=1,
    )


def _join(parts: list[Pairs]) -> Pairs:
    if not parts:
        empty = np.zeros(0, np.int64)
        return Pairs(empty, empty, empty, np.zeros(0, np.float32))
    first, second, transform, correlation = (
        np.concatenate([getattr(part, name) for part in parts]) for name in ("first", "second", "transform", "correlation")
    )
    order = np.lexsort((second, first))
    return Pairs(first[order], second[order], transform[order], correlation[order])
