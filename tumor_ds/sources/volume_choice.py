"""Which slices of a volume are kept.

Goes in: a volume, or how much each of its slices shows. Comes out: the numbers of the slices that are kept.

Slices through the middle of the head or brain are kept, at most `MAX_SLICES` a plane, evenly spread. Where
there is a mask, these are slices without tumour, and as many with tumour are kept besides. Slices at the
edge of a tumour, whose mask has only a few pixels, are left out and counted: they are neither.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from serving.files.errors import ImageError
from serving.pictures.nifti import Grid
from serving.pictures.windows import WINDOW_PERCENTILES

# A plane. The package's own selection of the same sources holds 4 to 14 a plane of most volumes.
MAX_SLICES = 12
# A circle 8 pixels across. The smallest tumour of the package's own selection has 52 pixels of 256 x 256.
MIN_TUMOUR_PIXELS = 50
# A slice is through the middle where its head is at least half as large as the largest of the plane. Of
# MNI152 that leaves out the outer 1.7 to 3.8 cm, much as the package's own selection does.
HEAD_SHARE = 0.5
# Of the head, from the top down: what lies lower is jaw and neck. The brain of MNI152 is 14 cm high.
BRAIN_HEIGHT_MM = 130.0
# Where the top is: below it lies this percentage of the head, so that a speck of noise above is none.
TOP_PERCENTILE = 99.5
# Of the way from the darkest to the brightest voxels; what differs less from air is noise.
NOISE_SHARE = 0.1


def choose_slices(head: Sequence[int], tumour: Sequence[int]) -> tuple[list[int], int]:
    """Choose which slices of a plane are kept.

    Args:
        head: pixels of the head, by slice.
        tumour: pixels of the mask, by slice; 0 where there is no mask.

    Returns:
        Numbers of the slices that are kept, rising; and how many were left out because their mask has fewer
        than `MIN_TUMOUR_PIXELS`.

    Example:
        >>> choose_slices([10, 90, 100, 80, 20], [0, 0, 30, 400, 60])
        ([1, 3, 4], 1)
    """
    middle = np.asarray(head) >= max(1, HEAD_SHARE * max(head))
    pixels = np.asarray(tumour)
    shown = pixels >= MIN_TUMOUR_PIXELS
    kept = [*_thin(np.flatnonzero(shown)), *_thin(np.flatnonzero(middle & (pixels == 0)))]
    return sorted(kept), int(np.count_nonzero((pixels > 0) & ~shown))


def _thin(numbers: np.ndarray) -> list[int]:
    """At most `MAX_SLICES` of the numbers, evenly spread from the first to the last."""
    count = min(len(numbers), MAX_SLICES)
    return numbers[np.linspace(0, len(numbers) - 1, count).round().astype(int)].tolist() if count else []


def find_head(scan: Grid) -> Grid:
    """Find the head without jaw and neck, as a mask on the grid of the scan.

    It is what is no air. Air is what lies in the corners: dark as scanned, any value in a skull-stripped
    volume that was normalised.

    Raises:
        ImageError: the volume is of one grey level.
    """
    values = scan.data.astype(np.float32) * np.float32(scan.slope) + np.float32(scan.intercept)
    values = np.nan_to_num(values, copy=False, nan=0.0, posinf=0.0, neginf=0.0)
    dark, bright = np.percentile(values, WINDOW_PERCENTILES)
    if not bright > dark:
        raise ImageError(f"{scan.name} is of one grey level: there is nothing to see in it.")
    air = np.median(values[np.ix_(*[[0, -1]] * 3)])
    head = np.abs(values - air) > NOISE_SHARE * (bright - dark)
    to_head = scan.affine[2].astype(np.float32)
    first, second, third = np.ogrid[tuple(slice(0, side) for side in head.shape)]
    height_mm = first * to_head[0] + second * to_head[1] + third * to_head[2]
    head &= height_mm >= np.percentile(height_mm[head], TOP_PERCENTILE) - BRAIN_HEIGHT_MM
    return replace(scan, data=head.astype(np.uint8), slope=1.0, intercept=0.0)
