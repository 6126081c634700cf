"""The outlines of figshare's 3,064 tumours, and the mask that one of them draws.

Goes in: `figshare_outlines.csv`, one row a slice: the corners of the tumour's outline as `x,y`, in shares of
the width and the height of the slice, from its upper left corner. Comes out: the corners as arrays, and masks
of any size. It exists because shares fit a picture at every size, Kaggle's as well as a resized copy. Of the
collection 4,750 files show such a slice; `groups.csv` says which one, and whether the file is mirrored.

The outlines are part of Jun Cheng's brain tumor dataset, figshare 1512427, under CC BY 4.0. Here they were
changed from pixels to shares. The divisor is the side of the slice: 256 for slices 955 to 957, 1070 to 1076
and 1203 to 1207, and 512 for all others.

Source: https://doi.org/10.6084/m9.figshare.1512427.v5
"""

import csv
import functools
import math
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

OUTLINES_CSV = Path(__file__).with_name("figshare_outlines.csv")
# A mask is drawn at least this large and then reduced: Pillow fills every pixel that the outline touches,
# which at 224 x 224 makes the median tumour 5 % too large.
DRAWN_SIDE = 1024
HALF = 128


@functools.cache
def load_outlines() -> dict[int, np.ndarray]:
    """Read the outlines as shipped with the package.

    Returns:
        By the number of the slice in figshare 1512427, 1..3064: float64 (n, 2), the corners in order, x and y
        in shares of the width and the height, [0, 1]. The last corner is joined to the first.

    Example:
        >>> load_outlines()[1][0].tolist()
        [0.5227, 0.452]
    """
    with OUTLINES_CSV.open(newline="", encoding="utf-8") as file:
        return {int(row["figshare_slice"]): _parse(row["outline"]) for row in csv.DictReader(file)}


def _parse(text: str) -> np.ndarray:
    return np.array([corner.split(",") for corner in text.split()], float)


def draw_mask(outline: np.ndarray, height: int, width: int, mirrored: bool = False) -> np.ndarray:
    """Fill an outline.

    A pixel belongs to the tumour if at least half of it lies inside. Where no pixel does, in a very small
    picture, those with the largest share do, so that the tumour does not vanish.

    Args:
        outline: float (n, 2), as from `load_outlines`.
        height: of the picture, in pixels. A picture that is not square is taken for a stretched slice.
        width: of the picture, in pixels.
        mirrored: the picture is the slice mirrored left to right, and so is its mask.

    Returns:
        uint8 (height, width), 255 inside and 0 outside.

    Example:
        >>> left_half = np.array([[0, 0], [0.499, 0], [0.499, 1], [0, 1]])
        >>> draw_mask(left_half, 2, 4).tolist()
        [[255, 255, 0, 0], [255, 255, 0, 0]]
        >>> draw_mask(left_half, 2, 4, mirrored=True).tolist()
        [[0, 0, 255, 255], [0, 0, 255, 255]]
    """
    scale = math.ceil(DRAWN_SIDE / max(height, width))
    drawn = Image.new("L", (width * scale, height * scale))
    corners = outline * (drawn.width, drawn.height)
    ImageDraw.Draw(drawn).polygon([(x, y) for x, y in corners.tolist()], fill=255)
    share_inside = np.asarray(drawn.reduce(scale))
    mask = np.where(share_inside >= min(HALF, max(share_inside.max(), 1)), 255, 0).astype(np.uint8)
    return mask[:, ::-1].copy() if mirrored else mask
