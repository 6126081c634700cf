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
# MNI152 that leaves out the outer 1.5 cm, and of a whole head the neck.
HEAD_SHARE = 0.5
# Of the way from the darkest to the brightest voxels; what differs less from air is noise.
NOISE_SHARE = 0.1


def choose_slices(head: Sequence[int], tumour: Sequence[int]) -> tuple[list[int], int]:
    """Choose which slices of a plane are kept.

    Args:
        head: pixels that are no air, by slice.
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
    """Find the voxels that are no air, as a mask on the grid of the scan.

    Air is what lies in the corners: dark as scanned, any value in a skull-stripped volume that was
    normalised.

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
    return replace(scan, data=head.astype(np.uint8), slope=1.0, intercept=0.0)
