"""Outliers that look medical: radiographs, a spine, a trunk, ultrasound, slices taken apart.

Each is a function of random numbers and one brain slice, as in `trainer.fitting.outliers`.
"""

import numpy as np
from numpy.random import Generator
from PIL import Image, ImageDraw
from scipy import ndimage

from trainer.fitting.drawing import (
    COLUMNS,
    ROWS,
    SIDE,
    add_bars,
    add_grain,
    add_letter,
    blur,
    cells,
    cloud,
    ellipse,
    expose,
    ramp,
    to_uint8,
)


def draw_chest_radiograph(rng: Generator, brain: np.ndarray) -> np.ndarray:
    """Bright trunk, two dark lungs with ribs, spine and heart between them, markers in a corner."""
    trunk = ellipse(rng, (0.35, 0), (rng.uniform(1.1, 1.6), rng.uniform(0.75, 1.3)), wobble=0.1, turn=0.05)
    picture = blur(trunk * rng.uniform(0.55, 0.95), 6)
    apart, height = rng.uniform(0.3, 0.45), rng.uniform(0.45, 0.75)
    lungs = np.zeros((SIDE, SIDE), bool)
    for side in (-1, 1):
        centre, radii = (rng.normal(-0.05, 0.08), side * apart), (height, rng.uniform(0.2, 0.34))
        lungs |= ellipse(rng, centre, radii, wobble=0.15, turn=0.2)
    picture -= blur(lungs.astype(np.float32), 4) * rng.uniform(0.25, 0.6)
    bend, pitch = rng.uniform(0.3, 0.9), rng.uniform(14, 24)
    ribs = np.sin(pitch * (ROWS + bend * (np.abs(COLUMNS) - 0.4) ** 2)) * (np.abs(COLUMNS) > 0.12)
    spine = np.exp(-((COLUMNS / 0.08) ** 2))
    picture += rng.uniform(0.02, 0.1) * ribs * trunk + rng.uniform(0.05, 0.3) * spine * trunk
    heart = ellipse(rng, (0.25, 0.12), (0.3, 0.28), wobble=0.1)
    picture += blur(heart * rng.uniform(0.1, 0.3), 5) + 0.08 * (cloud(rng, 1.2) - 0.5) * trunk
    return add_bars(rng, add_letter(rng, to_uint8(picture + rng.uniform(-0.1, 0.15))))


def draw_limb_radiograph(rng: Generator, brain: np.ndarray) -> np.ndarray:
    """Bright bones in grey flesh: a limb, a hand, a joint."""
    angle, count = rng.normal(0, 0.4), int(rng.integers(1, 6))
    picture: np.ndarray = np.zeros((SIDE, SIDE), np.float32)
    for place in (np.arange(count) - (count - 1) / 2) * rng.uniform(0.22, 0.4):
        across = (COLUMNS - place) * np.cos(angle) + ROWS * np.sin(angle)
        across = np.abs(across + 0.1 * np.sin(rng.uniform(1, 4) * ROWS))
        width, gap = rng.uniform(0.05, 0.14), np.abs(ROWS - rng.uniform(-0.4, 0.4))
        shaft = (across < width * (1 + 0.5 * (gap < 0.2))) & (gap > 0.02)
        picture = np.maximum(picture, 0.35 * (across < width * 2.4))
        picture = np.maximum(picture, shaft * (0.55 + 0.4 * (across / width) ** 2))
    picture = blur(picture, rng.uniform(0.8, 2)) + 0.06 * (cloud(rng, 1) - 0.5)
    return add_bars(rng, add_letter(rng, to_uint8(picture * rng.uniform(0.7, 1.2) + rng.uniform(0, 0.3))))


def draw_spine(rng: Generator, brain: np.ndarray) -> np.ndarray:
    """A spine from the side: stacked vertebrae, a bright or dark canal beside them, striped muscle."""
    curve = rng.uniform(-0.3, 0.3) * ROWS**2 + rng.uniform(-0.3, 0.3) * ROWS + rng.uniform(-0.4, 0.4)
    across, pitch, width = COLUMNS - curve, rng.uniform(6, 18), rng.uniform(0.12, 0.3)
    body = (np.abs(across) < width) & (np.sin(pitch * ROWS + rng.uniform(0, 6)) > rng.uniform(-0.9, -0.3))
    tissue = 0.6 * cloud(rng, rng.uniform(0.4, 1.5))
    tissue = tissue + 0.3 * np.sin(rng.uniform(4, 20) * (across + rng.uniform(-1, 1) * ROWS))
    picture = rng.uniform(0.1, 0.5) * tissue + body * rng.uniform(0.2, 0.7)
    canal = np.abs(across - width - 0.12)
    picture = np.where(canal < rng.uniform(0.04, 0.12), rng.choice([0.05, 0.9]), picture)
    picture = np.where(canal < 0.04, rng.uniform(0.3, 0.6), picture)
    picture = blur(picture, rng.uniform(0.5, 2)) * (1 - rng.uniform(0, 0.9) * np.abs(ramp(rng) - 0.5))
    return add_bars(rng, add_grain(rng, picture))


def draw_trunk(rng: Generator, brain: np.ndarray) -> np.ndarray:
    """A neck, trunk or limb cut across: fat around muscles, vessels, an airway, a vertebra."""
    radii = rng.uniform(0.5, 0.95, 2)
    outline = ellipse(rng, rng.normal(0, 0.05, 2), radii, wobble=0.12, turn=0.2)
    inner = ndimage.binary_erosion(outline, iterations=int(rng.integers(2, 14)))
    flesh, fat = rng.uniform(0.1, 0.6), rng.uniform(0.3, 1)
    muscles, septa = cells(rng, int(rng.integers(8, 80)))
    organs = np.where(septa < rng.uniform(0, 2), fat, flesh * (0.6 + 0.8 * muscles))
    for _ in range(int(rng.integers(2, 10))):
        organ = ellipse(rng, rng.uniform(-0.7, 0.7, 2) * radii, rng.uniform(0.03, 0.2, 2), wobble=0.3)
        organs = np.where(organ, rng.uniform(0, 1), organs)
    if rng.uniform() < 0.7:
        organs = np.where(COLUMNS < 0, organs, organs[:, ::-1])
    spine, bone = rng.uniform(-0.3, 0.4), rng.uniform(0.12, 0.3)
    vertebra = ellipse(rng, (spine, 0), (bone, bone * rng.uniform(0.8, 1.5)), wobble=0.2)
    organs = np.where(vertebra, rng.uniform(0.1, 0.9), organs)
    canal = ellipse(rng, (spine + bone, 0), rng.uniform(0.06, 0.14, 2))
    organs = np.where(canal, rng.choice([0.05, 0.9]), organs)
    cord = ellipse(rng, (spine + bone, 0), rng.uniform(0.04, 0.08, 2))
    organs = np.where(cord, rng.uniform(0.3, 0.8), organs)
    airway = ellipse(rng, (spine - bone - rng.uniform(0.05, 0.3), 0), rng.uniform(0.05, 0.15, 2))
    organs = np.where(airway, rng.uniform(0, 0.2), organs)
    picture = np.where(outline, np.where(inner, organs, fat), 0.0)
    texture = rng.uniform(0, 0.4) * (cloud(rng, rng.uniform(0.5, 1.5)) - 0.5) * outline
    return add_bars(rng, add_grain(rng, blur(picture, rng.uniform(0.4, 2)) + texture))


def fill_head(rng: Generator, brain: np.ndarray) -> np.ndarray:
    """The outline of a head, and inside it no brain: its own tissue in disorder, muscles, or clouds."""
    head = ndimage.binary_fill_holes(blur(brain, 2) > 0.4 * brain.mean() + 4)
    inside = ndimage.binary_erosion(head, iterations=int(rng.integers(6, 22)))
    kind, bright = rng.integers(3), np.percentile(brain, 98)
    if kind == 0:
        large = brain[36:156, 36:156].repeat(2, 0).repeat(2, 1)[:SIDE, :SIDE]
        filling = np.roll(shuffle_patches(rng, large), rng.integers(SIDE), 0)
    elif kind == 1:
        muscles, septa = cells(rng, int(rng.integers(15, 90)))
        fat = septa < rng.uniform(0.5, 2)
        filling = np.where(fat, rng.uniform(0, 1), muscles * rng.uniform(0.4, 1)) * bright
    else:
        filling = cloud(rng, rng.uniform(0.3, 1.5)) * bright
    return to_uint8(blur(np.where(inside, filling, brain), rng.uniform(0, 1)) / 255)


def draw_ultrasound(rng: Generator, brain: np.ndarray) -> np.ndarray:
    """A speckled fan or strip on black, with letters and a scale beside it."""
    distance, angle = np.hypot(ROWS + 1, COLUMNS), np.abs(np.arctan2(COLUMNS, ROWS + 1))
    fan = (np.abs(COLUMNS) < 0.7) & (np.abs(ROWS) < 0.7)
    if rng.uniform() < 0.7:
        fan = (distance < rng.uniform(1.2, 1.9)) & (distance > rng.uniform(0, 0.4))
        fan &= angle < rng.uniform(0.4, 0.9)
    speckle = np.abs(blur(rng.normal(size=(SIDE, SIDE)), rng.uniform(0.5, 1.2))) * rng.uniform(1, 4)
    picture = speckle * cloud(rng, rng.uniform(1, 2.5)) ** rng.uniform(0.7, 3) * fan
    for _ in range(int(rng.integers(0, 5))):
        shadow = ellipse(rng, rng.normal(0, 0.3, 2), rng.uniform(0.05, 0.35, 2), wobble=0.3)
        picture = np.where(shadow, 0.15 * picture, picture)
    return add_bars(rng, add_letter(rng, to_uint8(picture * rng.uniform(0.6, 1.5))))


def draw_scope(rng: Generator, brain: np.ndarray) -> np.ndarray:
    """What an eyepiece shows, in a disc or filling the frame: branching vessels, or cells."""
    picture = rng.uniform(0.3, 0.9) + 0.3 * (cloud(rng, 2) - 0.5)
    canvas = Image.new("L", (SIDE, SIDE), 0)
    draw = ImageDraw.Draw(canvas)
    if rng.uniform() < 0.5:
        for _ in range(int(rng.integers(6, 30))):
            steps = np.cumsum(rng.normal(0, 0.25, 60)) + rng.uniform(0, 2 * np.pi)
            path = rng.uniform(40, 150, 2) + np.cumsum(3 * np.stack([np.cos(steps), np.sin(steps)], 1), 0)
            tone, width = int(rng.integers(60, 255)), int(rng.integers(1, 4))
            draw.line([tuple(point) for point in path], fill=tone, width=width)
    else:
        for x, y in rng.uniform(0, SIDE, (int(rng.integers(30, 400)), 2)):
            radius = rng.uniform(2, 8)
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=int(rng.integers(60, 255)))
    drawn = np.asarray(canvas, np.float32) / 255
    picture = picture - rng.choice([-0.6, 0.6]) * blur(drawn, rng.uniform(0.5, 1.5))
    if rng.uniform() < 0.5:
        picture = picture * (np.hypot(ROWS, COLUMNS) < rng.uniform(0.75, 1))
    return to_uint8(picture)


def shuffle_patches(rng: Generator, brain: np.ndarray) -> np.ndarray:
    """A brain slice cut into tiles that are put together in another order: its texture without its shape."""
    tiles = int(rng.choice([3, 4, 6, 8]))
    side = SIDE // tiles
    whole = brain[: tiles * side, : tiles * side].reshape(tiles, side, tiles, side)
    parts = whole.swapaxes(1, 2).reshape(-1, side, side)
    mixed = rng.permutation(parts).reshape(tiles, tiles, side, side).swapaxes(1, 2)
    return mixed.reshape(tiles * side, tiles * side)


def magnify(rng: Generator, brain: np.ndarray) -> np.ndarray:
    """A quarter of a brain slice's side or less, filling the frame: tissue without a head around it."""
    side = int(rng.integers(SIDE // 8, SIDE // 4))
    top, left = rng.integers(SIDE // 6, SIDE - SIDE // 6 - side, 2)
    part = Image.fromarray(brain[top : top + side, left : left + side])
    return add_bars(rng, np.asarray(part.resize((SIDE, SIDE), Image.Resampling.BICUBIC)))


def scramble_phases(rng: Generator, brain: np.ndarray) -> np.ndarray:
    """The spectrum of a brain slice with other phases: its fineness without any form."""
    phases = np.exp(1j * np.angle(np.fft.rfft2(rng.normal(size=brain.shape))))
    return expose(rng, np.fft.irfft2(np.abs(np.fft.rfft2(brain)) * phases, brain.shape))


def tile_slices(rng: Generator, brain: np.ndarray) -> np.ndarray:
    """A sheet of small slices: a series, of which no one slice can be scored."""
    count = int(rng.integers(2, 6))
    small = Image.fromarray(brain).resize((SIDE // count,) * 2, Image.Resampling.BICUBIC)
    return np.tile(np.asarray(small), (count, count))
