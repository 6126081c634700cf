"""From the tumour map to the picture's own frame: the map in its size, outlines, and the share of the head.

Goes in: the map of the square that the model saw, and the size of the picture. Comes out: the map at the
picture's size, polygons in its pixels, and how much of the head lies inside them. Padding and stretching are
undone here exactly: between the centres of its places the map is linear (bilinear), for the polygons as for
the pixels, so that both show the same region.
"""

from typing import Any

import numpy as np
from contourpy import FillType, contour_generator

from serving.preprocess import find_box

# A place belongs to the head if it is brighter than this share of the picture's mean, as in
# `trainer.data.stripping_layer`, and than this share of the mean of all places above that mean: around a
# small head the noise of the background is as bright as half of the picture's mean.
DARKEST, DARKEST_OF_BRIGHT = 0.5, 0.25


def resize_map(tumor_map: np.ndarray, height: int, width: int, fit: str) -> np.ndarray:
    """Bring the map of a square to the frame and the size of the picture in it.

    Args:
        tumor_map: float32 (m, m), [0, 1], over the square that `serving.preprocess.fit_to_square` made.
        height: of the picture, pixels.
        width: of the picture, pixels.
        fit: how it was made square, one of `serving.preprocess.FITS`.

    Returns:
        float32 (height, width), [0, 1].
    """
    left, top, right, bottom = np.array(find_box(height, width, fit)) * len(tumor_map)
    rows = np.linspace(top, bottom, height, endpoint=False) + (bottom - top) / (2 * height)
    columns = np.linspace(left, right, width, endpoint=False) + (right - left) / (2 * width)
    return _interpolate(tumor_map, rows, columns)


def trace_outlines(
    tumor_map: np.ndarray, threshold: float, height: int, width: int, fit: str
) -> tuple[np.ndarray, ...]:
    """Outline where the map reaches a threshold, in pixels of the picture.

    Args:
        tumor_map: as for `resize_map`.
        threshold: least value inside, above 0.
        height: of the picture, pixels.
        width: of the picture, pixels.
        fit: how it was made square, one of `serving.preprocess.FITS`.

    Returns:
        Polygons float32 (k, 2), x and y, the largest first; the last point is joined to the first. The centre
        of the first pixel is at (.5, .5). A hole is a polygon of its own that runs the other way round:
        draw them together by the even-odd rule, and add up `compute_area`.
    """
    left, top, right, bottom = np.array(find_box(height, width, fit)) * len(tumor_map)
    x, y = _place_lines(left, right), _place_lines(top, bottom)
    generator = contour_generator(x, y, _interpolate(tumor_map, y, x), fill_type=FillType.OuterOffset)
    # contourpy takes what lies above its lower level; what equals the threshold belongs to the region, too.
    regions: Any = generator.filled(np.nextafter(threshold, 0), 2.0)
    scales = np.array([width / (right - left), height / (bottom - top)])
    polygons = [
        # The last point is the first one again.
        ((polygon[:-1] - (left, top)) * scales).astype(np.float32)
        for points, offsets in zip(*regions, strict=True)
        for polygon in np.split(points, offsets[1:-1])
    ]
    return tuple(sorted(polygons, key=lambda polygon: -abs(compute_area(polygon))))


def compute_area(outline: np.ndarray) -> float:
    """Area inside a polygon (k, 2), in square pixels; below 0 where it is a hole in another one.

    Source: the shoelace formula (Meister 1769).
    """
    x, y = np.asarray(outline, np.float64).T
    return float(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2


def compute_tumor_shares(tumor_maps: np.ndarray, images: np.ndarray, threshold: float) -> np.ndarray:
    """Share of the head's area where the map reaches the threshold.

    Args:
        tumor_maps: float32 (n, m, m), [0, 1].
        images: uint8 (n, size, size, 1), [0, 255], the preprocessed pictures; size is a multiple of m.
        threshold: least value inside an outline.

    Returns:
        float64 (n,), [0, 1]; 0 where no head is found.
    """
    size, side = images.shape[1], tumor_maps.shape[1]
    places = (np.arange(size) + 0.5) * side / size
    inside = _interpolate(tumor_maps, places, places) >= threshold
    heads = find_heads(images, size // side)
    return (inside & heads).sum(axis=(1, 2)) / np.maximum(heads.sum(axis=(1, 2)), 1)


def find_heads(images: np.ndarray, square: int) -> np.ndarray:
    """Find roughly where the head is.

    A square belongs to it that is brighter than half of the picture's mean and a quarter of its bright part,
    and so does what lies between such squares both in its row and in its column: dark ventricles and bone are
    filled, letters in a corner add little. The mean over squares does away with noise. Looked at on two
    pictures of each of twenty sources: the outline follows the head in all of them.

    Args:
        images: uint8 (n, size, size, 1), [0, 255].
        square: side of a square, pixels; size is a multiple of it.

    Returns:
        bool (n, size, size).
    """
    count, size = images.shape[:2]
    side = size // square
    means = images.reshape(count, side, square, side, square).mean(axis=(2, 4))
    mean = means.mean(axis=(1, 2), keepdims=True)
    bright = means.mean(axis=(1, 2), keepdims=True, where=means >= mean)
    found = means > np.maximum(DARKEST * mean, DARKEST_OF_BRIGHT * bright)
    sides = [np.logical_or.accumulate(found, axis=axis) for axis in (1, 2)]
    sides += [np.flip(np.logical_or.accumulate(np.flip(found, axis), axis=axis), axis) for axis in (1, 2)]
    return np.logical_and.reduce(sides).repeat(square, axis=1).repeat(square, axis=2)


def _place_lines(low: float, high: float) -> np.ndarray:
    """Both edges and the centres of the map's places between them, where its linear pieces meet."""
    centres = np.arange(np.floor(low), np.ceil(high)) + 0.5
    return np.concatenate([[low], centres[(centres > low) & (centres < high)], [high]])


def _interpolate(maps: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Values of maps (..., m, m) at rows (h,) by columns (w,), linear between the centres of their places.

    Beyond the outermost centres the values stay as they are there.
    """
    for axis, places in ((-2, rows), (-1, columns)):
        last = maps.shape[axis] - 1
        inside = np.clip(places - 0.5, 0, last).astype(np.float32)
        lower = np.minimum(np.floor(inside), last - 1)
        share = np.expand_dims(inside - lower, -1) if axis == -2 else inside - lower
        low, high = (np.take(maps, lower.astype(int) + step, axis) for step in (0, 1))
        # In place: at the size of a large picture each array takes as much memory as four copies of it. No
        # product of matrices, whose threads wait for each other.
        high -= low
        high *= share
        high += low
        maps = high
    return maps
