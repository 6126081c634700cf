"""Which descriptions of pictures are alike, under any flip or turn of the square.

Goes in: cosine spectra of 32x32 block means (`describe`). Comes out: `Pairs` that correlate by at least a
given minimum under one of the eight flips and turns.

Nothing is compared with everything. In the cosine basis a mirror only changes signs and a transposition swaps
the two frequencies, so the magnitudes, sorted within each swapped pair, are the same for all eight. None of
these steps moves two pictures further apart than they were, so twins lie within a known radius of each other
in those magnitudes, and in any projection of them: a k-d tree finds every candidate, and only candidates are
compared in full. Time and memory grow with the number of pictures and of candidate pairs.
"""

from collections.abc import Iterator
from dataclasses import dataclass

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
# So many twins of each picture are listed at least; a cluster of n copies has n^2 pairs.
MAX_TWINS = 64
# Below this many grey levels of spread between blocks a picture is blank: correlation would compare noise.
MIN_SPREAD = 1.0
# As in groups.csv; the array operation turns the first picture of a pair into the second.
TRANSFORMS = (
    *("none", "turned 90", "turned 180", "turned 270"),
    *("left-right", "up-down", "transposed", "anti-transposed"),
)
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
