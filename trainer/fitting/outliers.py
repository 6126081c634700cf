"""Pictures that are no brain MRI slice, drawn by chance and by rule, for the guard to learn to refuse.

Goes in: random numbers, and brain slices for the kinds that are made of them. Comes out: uint8 (size, size),
grey, [0, 255]. A guard that has seen some outliers refuses others too, even if they are of other kinds:
outlier exposure, Hendrycks et al. 2019 (arXiv:1812.04606). They are drawn rather than collected, so that no
picture of another licence is needed, and a guard can be measured on real pictures none of which it has seen.

Each kind is a function of random numbers and one brain slice; most leave the slice unused. They imitate what
a picture of the kind looks like at a glance (bright lungs' frame, stacked vertebrae, lines of text), not its
anatomy. What looks medical is drawn by `trainer.fitting.medical_outliers`.
"""

from collections.abc import Callable

import numpy as np
from numpy.random import Generator
from PIL import Image, ImageDraw, ImageFont

from trainer.fitting import medical_outliers as medical
from trainer.fitting.drawing import (
    COLUMNS,
    ROWS,
    SIDE,
    add_bars,
    blur,
    cells,
    cloud,
    ellipse,
    expose,
    ramp,
    to_uint8,
)


def draw_noise(rng: Generator, brain: np.ndarray) -> np.ndarray:
    """Noise with a spectrum 1/f^a: white, pink like photographs, or cloudy."""
    return expose(rng, cloud(rng, rng.uniform(0, 2.5)))


def draw_dead_leaves(rng: Generator, brain: np.ndarray) -> np.ndarray:
    """Shapes of all sizes that hide each other, which have the statistics of photographs.

    Source: Lee, Mumford and Huang 2001 (doi:10.1023/A:1011109015675); as training pictures, Baradad et al.
    2021 (arXiv:2106.05963).
    """
    canvas = Image.new("L", (SIDE, SIDE), int(rng.integers(256)))
    draw = ImageDraw.Draw(canvas)
    for radius in np.sort(4 * (1 - rng.uniform(0, 0.998, int(rng.integers(60, 400)))) ** -0.5)[::-1]:
        centre, angle = rng.uniform(0, SIDE, 2), rng.uniform(0, 2 * np.pi)
        corners = int(rng.choice([3, 4, 4, 5, 24]))
        turns = angle + 2 * np.pi * np.arange(corners) / corners
        stretched = radius * rng.uniform(0.4, 1)
        xs, ys = centre[0] + radius * np.cos(turns), centre[1] + stretched * np.sin(turns)
        draw.polygon(list(zip(xs, ys, strict=True)), fill=int(rng.integers(256)))
    picture = np.asarray(canvas, np.float32) / 255
    picture = picture + rng.uniform(0, 0.3) * (cloud(rng, rng.uniform(0.5, 2)) - 0.5)
    return add_bars(rng, to_uint8(blur(picture, rng.uniform(0, 2)) * rng.uniform(0.5, 1.2)))


def draw_document(rng: Generator, brain: np.ndarray) -> np.ndarray:
    """Lines of text on paper or on a screen, with boxes for figures."""
    canvas = Image.new("L", (SIDE, SIDE), 0)
    draw, top, size = ImageDraw.Draw(canvas), rng.uniform(0, 20), int(rng.integers(6, 26))
    font, letters = ImageFont.load_default(size), list("abcdefghilmnoprstuvwxyzAEMR0123456789.,")
    while top < SIDE:
        if rng.uniform() < 0.1:
            draw.rectangle((20, top, rng.uniform(60, 180), top + 30), fill=int(rng.integers(40, 200)))
            top += 36
        words = ("".join(rng.choice(letters, rng.integers(1, 10))) for _ in range(30))
        if rng.uniform() < 0.9:
            draw.text((rng.uniform(2, 16), top), " ".join(words)[: int(rng.integers(6, 60))], 255, font=font)
        top += size * rng.uniform(1.1, 1.8)
    ink = np.asarray(canvas.rotate(rng.normal(0, 4), Image.Resampling.BILINEAR), np.float32) / 255
    paper, tone = rng.uniform(0.6, 1) + 0.3 * (ramp(rng) - 0.5), rng.uniform(0, 0.4)
    picture = blur(paper * (1 - ink) + tone * ink, rng.uniform(0, 0.8))
    return add_bars(rng, to_uint8(1 - picture if rng.uniform() < 0.3 else picture))


def draw_chart(rng: Generator, brain: np.ndarray) -> np.ndarray:
    """Axes with bars, curves, dots or boxes with arrows between them."""
    dark = rng.uniform() < 0.3
    canvas = Image.new("L", (SIDE, SIDE), 20 if dark else 250)
    draw, ink, font = ImageDraw.Draw(canvas), 230 if dark else 10, ImageFont.load_default(9)
    kind, count = rng.integers(4), int(rng.integers(4, 14))
    xs = np.linspace(28, 180, count)
    for level in np.linspace(20, 160, int(rng.integers(2, 8))):
        draw.line((24, level, 184, level), fill=128)
        draw.text((2, level - 5), f"{rng.uniform(0, 99):.0f}", ink, font=font)
    for _ in range(int(rng.integers(1, 5))):
        ys, tone = rng.uniform(20, 160, count), int(rng.integers(20, 230))
        if kind == 0:
            draw.line(list(zip(xs, ys, strict=True)), fill=tone, width=int(rng.integers(1, 4)))
        for x, y in zip(xs, ys, strict=True):
            if kind == 1:
                draw.rectangle((x - 4, y, x + 4, 164), fill=tone)
            elif kind == 2:
                draw.ellipse((x - 3, y - 3, x + 3, y + 3), fill=tone)
            elif kind == 3:
                draw.rectangle((x - 14, y - 8, x + 14, y + 8), outline=ink, fill=tone)
                draw.line((x, y, *rng.uniform(20, 170, 2)), fill=ink)
    draw.line((24, 14, 24, 164, 186, 164), fill=ink, width=2)
    return add_bars(rng, np.asarray(canvas))


def draw_pattern(rng: Generator, brain: np.ndarray) -> np.ndarray:
    """Checks, stripes, rings, bricks, cells or grains."""
    angle, pitch = rng.uniform(0, np.pi), rng.uniform(2, 24)
    u, v = COLUMNS * np.cos(angle) + ROWS * np.sin(angle), ROWS * np.cos(angle) - COLUMNS * np.sin(angle)
    kind = rng.integers(5)
    if kind == 0:
        picture = np.sign(np.sin(pitch * u) * np.sin(pitch * v))
    elif kind == 1:
        picture = np.sin(pitch * 2 * u + rng.uniform(0, 6))
    elif kind == 2:
        picture = np.sin(pitch * 2 * np.hypot(u - rng.uniform(-0.5, 0.5), v))
    elif kind == 3:
        shift = np.floor(v * pitch) % 2 / 2
        joints = (v * pitch % 1 < 0.12) | ((u * pitch / 2 + shift) % 1 < 0.06)
        picture = np.where(joints, -1, 1) + 0.2 * cloud(rng, 0.5)
    else:
        picture, gaps = cells(rng, int(rng.integers(10, 900)))
        picture = picture if rng.uniform() < 0.5 else gaps
    return add_bars(rng, expose(rng, picture))


def draw_blank(rng: Generator, brain: np.ndarray) -> np.ndarray:
    """One grey level, a gradient, a soft spot, or a lit disc: nothing to see."""
    kind = rng.integers(4)
    level, span = rng.uniform(0, 1), rng.uniform(0, 1)
    spot = np.exp(
        -(((COLUMNS - rng.normal(0, 0.3)) / rng.uniform(0.1, 0.8)) ** 2)
        - ((ROWS - rng.normal(0, 0.3)) / rng.uniform(0.1, 0.8)) ** 2
    )
    disc = np.hypot(ROWS, COLUMNS) < rng.uniform(0.5, 1)
    picture = (
        level,
        level + span * (ramp(rng) - 0.5),
        span * spot + level * rng.integers(2),
        disc * (level + span * (spot - 0.5)),
    )[kind]
    return to_uint8(picture + rng.uniform(0, 0.03) * rng.normal(size=(SIDE, SIDE)))


def draw_object(rng: Generator, brain: np.ndarray) -> np.ndarray:
    """A shaded thing or two before a plain, light, dark or cluttered ground: products, faces, silhouettes."""
    ground = (
        rng.uniform(0.8, 1),
        0.0,
        rng.uniform(0, 1) + 0.4 * (ramp(rng) - 0.5),
        0.8 * cloud(rng, rng.uniform(1, 2)),
    )[rng.integers(4)]
    picture = np.broadcast_to(ground, (SIDE, SIDE)).astype(np.float32)
    for _ in range(int(rng.integers(1, 4))):
        mask = ellipse(rng, rng.normal(0, 0.3, 2), rng.uniform(0.15, 0.8, 2), wobble=rng.uniform(0, 0.5))
        shade = rng.uniform(0, 1) + rng.uniform(0, 0.8) * (ramp(rng) - 0.5)
        picture = np.where(mask, shade + rng.uniform(0, 0.3) * (cloud(rng, 1.5) - 0.5), picture)
        for _ in range(int(rng.integers(0, 6))):
            part = mask & ellipse(rng, rng.normal(0, 0.3, 2), rng.uniform(0.03, 0.2, 2))
            picture = np.where(part, rng.uniform(0, 1), picture)
    return add_bars(rng, to_uint8(blur(picture, rng.uniform(0, 1.5))))


KINDS: dict[str, Callable[[Generator, np.ndarray], np.ndarray]] = {
    "noise": draw_noise,
    "dead_leaves": draw_dead_leaves,
    "document": draw_document,
    "chart": draw_chart,
    "pattern": draw_pattern,
    "blank": draw_blank,
    "object": draw_object,
    "chest_radiograph": medical.draw_chest_radiograph,
    "limb_radiograph": medical.draw_limb_radiograph,
    "spine": medical.draw_spine,
    "trunk": medical.draw_trunk,
    "filled_head": medical.fill_head,
    "ultrasound": medical.draw_ultrasound,
    "scope": medical.draw_scope,
    "shuffled_patches": medical.shuffle_patches,
    "magnified": medical.magnify,
    "scrambled_phases": medical.scramble_phases,
    "tiled_slices": medical.tile_slices,
}


def draw_outliers(kind: str, brains: np.ndarray, seed: int) -> np.ndarray:
    """Draw one outlier for each brain slice, the same ones for the same seed.

    Args:
        kind: one of `KINDS`.
        brains: uint8 (n, size, size, 1), [0, 255], slices for the kinds that are made of them.
        seed: of the random numbers.

    Returns:
        uint8 (n, size, size, 1), [0, 255].
    """
    rng, pictures = np.random.default_rng([seed, *kind.encode()]), []
    for brain in brains[..., 0]:
        source = np.asarray(Image.fromarray(brain).resize((SIDE, SIDE), Image.Resampling.BICUBIC))
        drawn = Image.fromarray(KINDS[kind](rng, source))
        pictures.append(drawn.resize(brain.shape, Image.Resampling.BICUBIC))
    return np.stack([np.asarray(picture)[..., None] for picture in pictures])
