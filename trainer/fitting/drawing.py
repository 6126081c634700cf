"""Parts of drawn pictures: clouds, ellipses, cells, and what a scanner or an export does to a picture.

Goes in: random numbers, and grey pictures of `SIDE` x `SIDE` pixels. Comes out: such pictures and masks.
"""

import numpy as np
from numpy.random import Generator
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

SIDE = 192
# Rows before columns.
Pair = tuple[float, float] | np.ndarray
# Places in a frame that is 2 high and 2 wide.
ROWS, COLUMNS = np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j].astype(np.float32)


def cloud(rng: Generator, exponent: float) -> np.ndarray:
    """Noise with the amplitude spectrum 1/f^exponent, [0, 1]."""
    spectrum = np.fft.rfft2(rng.normal(size=(SIDE, SIDE)))
    frequencies = np.hypot(np.fft.fftfreq(SIDE)[:, None], np.fft.rfftfreq(SIDE)[None])
    return stretch(np.fft.irfft2(spectrum / np.maximum(frequencies, 1 / SIDE) ** exponent, (SIDE, SIDE)))


def ramp(rng: Generator) -> np.ndarray:
    """A gradient in any direction, [0, 1]."""
    angle = rng.uniform(0, 2 * np.pi)
    return stretch(ROWS * np.sin(angle) + COLUMNS * np.cos(angle))


def ellipse(rng: Generator, centre: Pair, radii: Pair, wobble: float = 0.0, turn: float = 3.0) -> np.ndarray:
    """Mask of an ellipse, turned by up to `turn`, whose rim goes in and out by `wobble`."""
    angle, rows, columns = rng.uniform(-turn, turn), ROWS - centre[0], COLUMNS - centre[1]
    v = (rows * np.cos(angle) - columns * np.sin(angle)) / radii[0]
    u = (rows * np.sin(angle) + columns * np.cos(angle)) / radii[1]
    around, rim = np.arctan2(v, u), 1
    for order in range(2, 6):
        rim = rim + wobble * (rng.normal(0, 0.5) / order * np.sin(order * around + rng.uniform(0, 6)))
    return np.hypot(u, v) < rim


def cells(rng: Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Voronoi cells: a level for each, [0, 1], and the distance to the next wall, pixels."""
    marks = np.ones((SIDE, SIDE), bool)
    marks[tuple(rng.integers(0, SIDE, (2, count)))] = False
    nearest = ndimage.distance_transform_edt(marks, return_distances=False, return_indices=True)
    levels = rng.uniform(size=(SIDE, SIDE))[nearest[0], nearest[1]]
    walls = (ndimage.maximum_filter(levels, 2) != levels) | (ndimage.minimum_filter(levels, 2) != levels)
    return levels, ndimage.distance_transform_edt(~walls)


def blur(picture: np.ndarray, sigma: float) -> np.ndarray:
    """Blur by a Gaussian, its deviation in pixels."""
    return ndimage.gaussian_filter(picture.astype(np.float32), sigma)


def stretch(picture: np.ndarray) -> np.ndarray:
    """Stretch to [0, 1]."""
    return (picture - picture.min()) / max(np.ptp(picture), 1e-9)


def expose(rng: Generator, picture: np.ndarray) -> np.ndarray:
    """Give a picture of any range a random contrast and level."""
    return to_uint8((stretch(picture) - 0.5) * rng.uniform(0.2, 1.6) + rng.uniform(0.2, 0.8))


def add_grain(rng: Generator, picture: np.ndarray) -> np.ndarray:
    """Add a scanner's noise and another contrast."""
    noisy = np.maximum(picture + rng.uniform(0, 0.12) * rng.normal(size=picture.shape), 0)
    return to_uint8(noisy ** rng.uniform(0.6, 1.6) * rng.uniform(0.7, 1.4))


def add_letter(rng: Generator, picture: np.ndarray) -> np.ndarray:
    """Burn a marker into some pictures."""
    canvas = Image.fromarray(picture)
    if rng.uniform() < 0.5:
        place = tuple(rng.uniform(0, SIDE * 0.85, 2))
        text = str(rng.choice(["R", "L", "PORTABLE", "ERECT", "AP", "12.4 cm"]))
        font = ImageFont.load_default(int(rng.integers(8, 24)))
        ImageDraw.Draw(canvas).text(place, text, 255, font=font)
    return np.asarray(canvas)


def add_bars(rng: Generator, picture: np.ndarray) -> np.ndarray:
    """Give two pictures of five another shape, with the black bars that preprocessing puts beside it."""
    if rng.uniform() < 0.6:
        return picture
    short = int(SIDE * rng.uniform(0.3, 0.95))
    framed, start = np.zeros_like(picture), (SIDE - short) // 2
    framed[start : start + short] = picture[start : start + short]
    return framed if rng.uniform() < 0.6 else framed.T


def to_uint8(picture: np.ndarray) -> np.ndarray:
    """Grey levels [0, 1], cut off there, as uint8 [0, 255]."""
    return (np.clip(picture, 0, 1) * 255 + 0.5).astype(np.uint8)
