"""Pictures that are no brain MRI slice, drawn by chance and by rule, for the guard to learn what it must refuse.

Goes in: random numbers, and brain slices for the kinds that are made of them. Comes out: uint8 (size, size),
grey, [0, 255]. A guard that has seen some outliers refuses others too, even if they are of other kinds:
outlier exposure, Hendrycks et al. 2019 (arXiv:1812.04606). They are drawn rather than collected, so that no
picture of another licence is needed, and a guard can be measured on real pictures none of which it has seen.

Each kind is a function of random numbers and one brain slice; most leave the slice unused. They imitate what
a picture of the kind looks like at a glance (bright lungs' frame, stacked vertebrae, lines of text), not its
anatomy.
"""

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

SIDE = 192
# Rows before columns.
Pair = tuple[float, float] | np.ndarray
_ROWS, _COLUMNS = np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j].astype(np.float32)


def draw_noise(rng: np.random.Generator, brain: np.ndarray) -> np.ndarray:
    """Noise with a spectrum 1/f^a: white, pink like photographs, or cloudy."""
    return _expose(rng, _cloud(rng, rng.uniform(0, 2.5)))


def draw_dead_leaves(rng: np.random.Generator, brain: np.ndarray) -> np.ndarray:
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
        stretch = rng.uniform(0.4, 1)
        points = [
            (centre[0] + radius * np.cos(turn), centre[1] + radius * stretch * np.sin(turn)) for turn in turns
        ]
        draw.polygon(points, fill=int(rng.integers(256)))
    picture = np.asarray(canvas, np.float32) / 255 + rng.uniform(0, 0.3) * (
        _cloud(rng, rng.uniform(0.5, 2)) - 0.5
    )
    return _frame(rng, _to_uint8(_blur(picture, rng.uniform(0, 2)) * rng.uniform(0.5, 1.2)))


def draw_document(rng: np.random.Generator, brain: np.ndarray) -> np.ndarray:
    """Lines of text on paper or on a screen, with boxes for figures."""
    canvas = Image.new("L", (SIDE, SIDE), 0)
    draw, top, size = ImageDraw.Draw(canvas), rng.uniform(0, 20), int(rng.integers(6, 26))
    font = ImageFont.load_default(size)
    while top < SIDE:
        if rng.uniform() < 0.1:
            draw.rectangle((20, top, rng.uniform(60, 180), top + 30), fill=int(rng.integers(40, 200)))
            top += 36
        words = (
            "".join(rng.choice(list("abcdefghilmnoprstuvwxyzAEMR0123456789.,"), rng.integers(1, 10)))
            for _ in range(30)
        )
        if rng.uniform() < 0.9:
            draw.text((rng.uniform(2, 16), top), " ".join(words)[: int(rng.integers(6, 60))], 255, font=font)
        top += size * rng.uniform(1.1, 1.8)
    ink = np.asarray(canvas.rotate(rng.normal(0, 4), Image.Resampling.BILINEAR), np.float32) / 255
    paper, tone = rng.uniform(0.6, 1) + 0.3 * (_ramp(rng) - 0.5), rng.uniform(0, 0.4)
    picture = _blur(paper * (1 - ink) + tone * ink, rng.uniform(0, 0.8))
    return _frame(rng, _to_uint8(1 - picture if rng.uniform() < 0.3 else picture))


def draw_chart(rng: np.random.Generator, brain: np.ndarray) -> np.ndarray:
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
    return _frame(rng, np.asarray(canvas))


def draw_pattern(rng: np.random.Generator, brain: np.ndarray) -> np.ndarray:
    """Checks, stripes, rings, bricks, cells or grains."""
    angle, pitch = rng.uniform(0, np.pi), rng.uniform(2, 24)
    u, v = _COLUMNS * np.cos(angle) + _ROWS * np.sin(angle), _ROWS * np.cos(angle) - _COLUMNS * np.sin(angle)
    kind = rng.integers(5)
    if kind == 0:
        picture = np.sign(np.sin(pitch * u) * np.sin(pitch * v))
    elif kind == 1:
        picture = np.sin(pitch * 2 * u + rng.uniform(0, 6))
    elif kind == 2:
        picture = np.sin(pitch * 2 * np.hypot(u - rng.uniform(-0.5, 0.5), v))
    elif kind == 3:
        shift = np.floor(v * pitch) % 2 / 2
        picture = np.where(
            (v * pitch % 1 < 0.12) | ((u * pitch / 2 + shift) % 1 < 0.06), -1, 1
        ) + 0.2 * _cloud(rng, 0.5)
    else:
        cells, gaps = _cells(rng, int(rng.integers(10, 900)))
        picture = cells if rng.uniform() < 0.5 else gaps
    return _frame(rng, _expose(rng, picture))


def draw_blank(rng: np.random.Generator, brain: np.ndarray) -> np.ndarray:
    """One grey level, a gradient, a soft spot, or a lit disc: nothing to see."""
    kind = rng.integers(4)
    level, span = rng.uniform(0, 1), rng.uniform(0, 1)
    spot = np.exp(
        -(((_COLUMNS - rng.normal(0, 0.3)) / rng.uniform(0.1, 0.8)) ** 2)
        - ((_ROWS - rng.normal(0, 0.3)) / rng.uniform(0.1, 0.8)) ** 2
    )
    disc = np.hypot(_ROWS, _COLUMNS) < rng.uniform(0.5, 1)
    picture = (
        level,
        level + span * (_ramp(rng) - 0.5),
        span * spot + level * rng.integers(2),
        disc * (level + span * (spot - 0.5)),
    )[kind]
    return _to_uint8(
        np.broadcast_to(picture, (SIDE, SIDE)) + rng.uniform(0, 0.03) * rng.normal(size=(SIDE, SIDE))
    )


def draw_object(rng: np.random.Generator, brain: np.ndarray) -> np.ndarray:
    """A shaded thing or two before a plain, light, dark or cluttered ground: products, faces, silhouettes."""
    ground = (
        rng.uniform(0.8, 1),
        0.0,
        rng.uniform(0, 1) + 0.4 * (_ramp(rng) - 0.5),
        0.8 * _cloud(rng, rng.uniform(1, 2)),
    )[rng.integers(4)]
    picture = np.broadcast_to(ground, (SIDE, SIDE)).astype(np.float32)
    for _ in range(int(rng.integers(1, 4))):
        mask = _ellipse(rng, rng.normal(0, 0.3, 2), rng.uniform(0.15, 0.8, 2), wobble=rng.uniform(0, 0.5))
        shade = (
            rng.uniform(0, 1)
            + rng.uniform(0, 0.8) * (_ramp(rng) - 0.5)
            + rng.uniform(0, 0.3) * (_cloud(rng, 1.5) - 0.5)
        )
        picture = np.where(mask, shade, picture)
        for _ in range(int(rng.integers(0, 6))):
            picture = np.where(
                mask & _ellipse(rng, rng.normal(0, 0.3, 2), rng.uniform(0.03, 0.2, 2)),
                rng.uniform(0, 1),
                picture,
            )
    return _frame(rng, _to_uint8(_blur(picture, rng.uniform(0, 1.5))))


def draw_chest_radiograph(rng: np.random.Generator, brain: np.ndarray) -> np.ndarray:
    """Bright trunk, two dark lungs with ribs, spine and heart between them, markers in a corner."""
    trunk = _ellipse(rng, (0.35, 0), (rng.uniform(1.1, 1.6), rng.uniform(0.75, 1.3)), wobble=0.1, turn=0.05)
    picture = _blur(trunk * rng.uniform(0.55, 0.95), 6)
    apart, height = rng.uniform(0.3, 0.45), rng.uniform(0.45, 0.75)
    lungs = np.zeros((SIDE, SIDE), bool)
    for side in (-1, 1):
        lungs |= _ellipse(
            rng,
            (rng.normal(-0.05, 0.08), side * apart),
            (height, rng.uniform(0.2, 0.34)),
            wobble=0.15,
            turn=0.2,
        )
    picture -= _blur(lungs.astype(np.float32), 4) * rng.uniform(0.25, 0.6)
    bend, pitch = rng.uniform(0.3, 0.9), rng.uniform(14, 24)
    ribs = np.sin(pitch * (_ROWS + bend * (np.abs(_COLUMNS) - 0.4) ** 2)) * (np.abs(_COLUMNS) > 0.12)
    picture += (
        rng.uniform(0.02, 0.1) * ribs * trunk
        + rng.uniform(0.05, 0.3) * np.exp(-((_COLUMNS / 0.08) ** 2)) * trunk
    )
    heart = _ellipse(rng, (0.25, 0.12), (0.3, 0.28), wobble=0.1)
    picture += _blur(heart * rng.uniform(0.1, 0.3), 5) + 0.08 * (_cloud(rng, 1.2) - 0.5) * trunk
    return _frame(rng, _letter(rng, _to_uint8(picture + rng.uniform(-0.1, 0.15))))


def draw_limb_radiograph(rng: np.random.Generator, brain: np.ndarray) -> np.ndarray:
    """Bright bones in grey flesh: a limb, a hand, a joint."""
    angle, count = rng.normal(0, 0.4), int(rng.integers(1, 6))
    picture: np.ndarray = np.zeros((SIDE, SIDE), np.float32)
    for place in (np.arange(count) - (count - 1) / 2) * rng.uniform(0.22, 0.4):
        across = (
            (_COLUMNS - place) * np.cos(angle)
            + _ROWS * np.sin(angle)
            + 0.1 * np.sin(rng.uniform(1, 4) * _ROWS)
        )
        width, gap = rng.uniform(0.05, 0.14), rng.uniform(-0.4, 0.4)
        shaft = (np.abs(across) < width * (1 + 0.5 * (np.abs(_ROWS - gap) < 0.2))) & (
            np.abs(_ROWS - gap) > 0.02
        )
        picture = np.maximum(picture, 0.35 * (np.abs(across) < width * 2.4))
        picture = np.maximum(picture, shaft * (0.55 + 0.4 * (np.abs(across) / width) ** 2))
    picture = _blur(picture, rng.uniform(0.8, 2)) + 0.06 * (_cloud(rng, 1) - 0.5)
    return _frame(rng, _letter(rng, _to_uint8(picture * rng.uniform(0.7, 1.2) + rng.uniform(0, 0.3))))


def draw_spine(rng: np.random.Generator, brain: np.ndarray) -> np.ndarray:
    """Stacked vertebrae with discs, a bright or dark canal beside them, striped muscle: a spine from the side."""
    curve = rng.uniform(-0.3, 0.3) * _ROWS**2 + rng.uniform(-0.3, 0.3) * _ROWS + rng.uniform(-0.4, 0.4)
    across, pitch, width = _COLUMNS - curve, rng.uniform(6, 18), rng.uniform(0.12, 0.3)
    body = (np.abs(across) < width) & (np.sin(pitch * _ROWS + rng.uniform(0, 6)) > rng.uniform(-0.9, -0.3))
    tissue = 0.6 * _cloud(rng, rng.uniform(0.4, 1.5)) + 0.3 * np.sin(
        rng.uniform(4, 20) * (across + rng.uniform(-1, 1) * _ROWS)
    )
    picture = rng.uniform(0.1, 0.5) * tissue + body * rng.uniform(0.2, 0.7)
    canal = np.abs(across - width - 0.12) < rng.uniform(0.04, 0.12)
    picture = np.where(canal, rng.choice([0.05, 0.9]), picture)
    picture = np.where(np.abs(across - width - 0.12) < 0.04, rng.uniform(0.3, 0.6), picture)
    picture = _blur(picture, rng.uniform(0.5, 2)) * (1 - rng.uniform(0, 0.9) * np.abs(_ramp(rng) - 0.5))
    return _frame(rng, _grain(rng, picture))


def draw_trunk(rng: np.random.Generator, brain: np.ndarray) -> np.ndarray:
    """A neck, trunk or limb cut across: a rim of fat, muscles with fat between them, vessels, an airway, a vertebra; mostly symmetric."""
    radii = rng.uniform(0.5, 0.95, 2)
    outline = _ellipse(rng, rng.normal(0, 0.05, 2), radii, wobble=0.12, turn=0.2)
    inner = ndimage.binary_erosion(outline, iterations=int(rng.integers(2, 14)))
    flesh, fat = rng.uniform(0.1, 0.6), rng.uniform(0.3, 1)
    muscles, septa = _cells(rng, int(rng.integers(8, 80)))
    organs = np.where(septa < rng.uniform(0, 2), fat, flesh * (0.6 + 0.8 * muscles))
    for _ in range(int(rng.integers(2, 10))):
        organs = np.where(
            _ellipse(rng, rng.uniform(-0.7, 0.7, 2) * radii, rng.uniform(0.03, 0.2, 2), wobble=0.3),
            rng.uniform(0, 1),
            organs,
        )
    if rng.uniform() < 0.7:
        organs = np.where(_COLUMNS < 0, organs, organs[:, ::-1])
    spine, bone = rng.uniform(-0.3, 0.4), rng.uniform(0.12, 0.3)
    organs = np.where(
        _ellipse(rng, (spine, 0), (bone, bone * rng.uniform(0.8, 1.5)), wobble=0.2),
        rng.uniform(0.1, 0.9),
        organs,
    )
    organs = np.where(
        _ellipse(rng, (spine + bone, 0), rng.uniform(0.06, 0.14, 2)), rng.choice([0.05, 0.9]), organs
    )
    organs = np.where(
        _ellipse(rng, (spine + bone, 0), rng.uniform(0.04, 0.08, 2)), rng.uniform(0.3, 0.8), organs
    )
    organs = np.where(
        _ellipse(rng, (spine - bone - rng.uniform(0.05, 0.3), 0), rng.uniform(0.05, 0.15, 2)),
        rng.uniform(0, 0.2),
        organs,
    )
    picture = np.where(outline, np.where(inner, organs, fat), 0.0)
    texture = rng.uniform(0, 0.4) * (_cloud(rng, rng.uniform(0.5, 1.5)) - 0.5) * outline
    return _frame(rng, _grain(rng, _blur(picture, rng.uniform(0.4, 2)) + texture))


def fill_head(rng: np.random.Generator, brain: np.ndarray) -> np.ndarray:
    """The outline of a head, and inside it no brain: its own tissue in disorder, muscles, or clouds."""
    head = ndimage.binary_fill_holes(_blur(brain, 2) > 0.4 * brain.mean() + 4)
    inside = ndimage.binary_erosion(head, iterations=int(rng.integers(6, 22)))
    kind = rng.integers(3)
    if kind == 0:
        filling = np.roll(
            shuffle_patches(rng, brain[36:156, 36:156].repeat(2, 0).repeat(2, 1)[:SIDE, :SIDE]),
            rng.integers(SIDE),
            0,
        )
    elif kind == 1:
        muscles, septa = _cells(rng, int(rng.integers(15, 90)))
        filling = np.where(
            septa < rng.uniform(0.5, 2), rng.uniform(0, 1), muscles * rng.uniform(0.4, 1)
        ) * np.percentile(brain, 98)
    else:
        filling = _cloud(rng, rng.uniform(0.3, 1.5)) * np.percentile(brain, 98)
    return _to_uint8(_blur(np.where(inside, filling, brain), rng.uniform(0, 1)) / 255)


def draw_ultrasound(rng: np.random.Generator, brain: np.ndarray) -> np.ndarray:
    """A speckled fan or strip on black, with letters and a scale beside it."""
    distance, angle = np.hypot(_ROWS + 1, _COLUMNS), np.abs(np.arctan2(_COLUMNS, _ROWS + 1))
    strip = (np.abs(_COLUMNS) < 0.7) & (np.abs(_ROWS) < 0.7)
    fan = (
        (distance < rng.uniform(1.2, 1.9))
        & (distance > rng.uniform(0, 0.4))
        & (angle < rng.uniform(0.4, 0.9))
        if rng.uniform() < 0.7
        else strip
    )
    speckle = np.abs(_blur(rng.normal(size=(SIDE, SIDE)), rng.uniform(0.5, 1.2))) * rng.uniform(1, 4)
    picture = speckle * _cloud(rng, rng.uniform(1, 2.5)) ** rng.uniform(0.7, 3) * fan
    for _ in range(int(rng.integers(0, 5))):
        picture = np.where(
            _ellipse(rng, rng.normal(0, 0.3, 2), rng.uniform(0.05, 0.35, 2), wobble=0.3),
            0.15 * picture,
            picture,
        )
    return _frame(rng, _letter(rng, _to_uint8(picture * rng.uniform(0.6, 1.5))))


def draw_scope(rng: np.random.Generator, brain: np.ndarray) -> np.ndarray:
    """What an eyepiece shows, in a disc or filling the frame: branching vessels, or cells."""
    picture = rng.uniform(0.3, 0.9) + 0.3 * (_cloud(rng, 2) - 0.5)
    canvas = Image.new("L", (SIDE, SIDE), 0)
    draw = ImageDraw.Draw(canvas)
    if rng.uniform() < 0.5:
        for _ in range(int(rng.integers(6, 30))):
            steps = np.cumsum(rng.normal(0, 0.25, 60)) + rng.uniform(0, 2 * np.pi)
            path = rng.uniform(40, 150, 2) + np.cumsum(3 * np.stack([np.cos(steps), np.sin(steps)], 1), 0)
            draw.line(
                [tuple(point) for point in path],
                fill=int(rng.integers(60, 255)),
                width=int(rng.integers(1, 4)),
            )
    else:
        for x, y in rng.uniform(0, SIDE, (int(rng.integers(30, 400)), 2)):
            radius = rng.uniform(2, 8)
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=int(rng.integers(60, 255)))
    picture = picture - rng.choice([-0.6, 0.6]) * _blur(
        np.asarray(canvas, np.float32) / 255, rng.uniform(0.5, 1.5)
    )
    if rng.uniform() < 0.5:
        picture = picture * (np.hypot(_ROWS, _COLUMNS) < rng.uniform(0.75, 1))
    return _to_uint8(picture)


def shuffle_patches(rng: np.random.Generator, brain: np.ndarray) -> np.ndarray:
    """A brain slice cut into tiles that are put together in another order: its texture without its shape."""
    tiles = int(rng.choice([3, 4, 6, 8]))
    side = SIDE // tiles
    parts = (
        brain[: tiles * side, : tiles * side]
        .reshape(tiles, side, tiles, side)
        .swapaxes(1, 2)
        .reshape(-1, side, side)
    )
    mixed = rng.permutation(parts).reshape(tiles, tiles, side, side).swapaxes(1, 2)
    return mixed.reshape(tiles * side, tiles * side)


def magnify(rng: np.random.Generator, brain: np.ndarray) -> np.ndarray:
    """A quarter of a brain slice's side or less, filling the frame: tissue without a head around it."""
    side = int(rng.integers(SIDE // 8, SIDE // 4))
    top, left = rng.integers(SIDE // 6, SIDE - SIDE // 6 - side, 2)
    return _frame(
        rng,
        np.asarray(
            Image.fromarray(brain[top : top + side, left : left + side]).resize(
                (SIDE, SIDE), Image.Resampling.BICUBIC
            )
        ),
    )


def scramble_phases(rng: np.random.Generator, brain: np.ndarray) -> np.ndarray:
    """The spectrum of a brain slice with other phases: its fineness without any form."""
    picture = np.fft.irfft2(
        np.abs(np.fft.rfft2(brain)) * np.exp(1j * np.angle(np.fft.rfft2(rng.normal(size=brain.shape)))),
        brain.shape,
    )
    return _expose(rng, picture)


def tile_slices(rng: np.random.Generator, brain: np.ndarray) -> np.ndarray:
    """A sheet of small slices: a series, of which no one slice can be scored."""
    count = int(rng.integers(2, 6))
    small = Image.fromarray(brain).resize((SIDE // count,) * 2, Image.Resampling.BICUBIC)
    return np.tile(np.asarray(small), (count, count))


KINDS: dict[str, Callable[[np.random.Generator, np.ndarray], np.ndarray]] = {
    "noise": draw_noise,
    "dead_leaves": draw_dead_leaves,
    "document": draw_document,
    "chart": draw_chart,
    "pattern": draw_pattern,
    "blank": draw_blank,
    "object": draw_object,
    "chest_radiograph": draw_chest_radiograph,
    "limb_radiograph": draw_limb_radiograph,
    "spine": draw_spine,
    "trunk": draw_trunk,
    "filled_head": fill_head,
    "ultrasound": draw_ultrasound,
    "scope": draw_scope,
    "shuffled_patches": shuffle_patches,
    "magnified": magnify,
    "scrambled_phases": scramble_phases,
    "tiled_slices": tile_slices,
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
        pictures.append(
            Image.fromarray(KINDS[kind](rng, source)).resize(brain.shape, Image.Resampling.BICUBIC)
        )
    return np.stack([np.asarray(picture)[..., None] for picture in pictures])


def _cloud(rng: np.random.Generator, exponent: float) -> np.ndarray:
    """Noise with the amplitude spectrum 1/f^exponent, [0, 1]."""
    spectrum = np.fft.rfft2(rng.normal(size=(SIDE, SIDE)))
    frequencies = np.hypot(np.fft.fftfreq(SIDE)[:, None], np.fft.rfftfreq(SIDE)[None])
    return _scale(np.fft.irfft2(spectrum / np.maximum(frequencies, 1 / SIDE) ** exponent, (SIDE, SIDE)))


def _ramp(rng: np.random.Generator) -> np.ndarray:
    """A gradient in any direction, [0, 1]."""
    angle = rng.uniform(0, 2 * np.pi)
    return _scale(_ROWS * np.sin(angle) + _COLUMNS * np.cos(angle))


def _ellipse(
    rng: np.random.Generator, centre: Pair, radii: Pair, wobble: float = 0.0, turn: float = 3.0
) -> np.ndarray:
    """Mask of a turned ellipse (rows before columns, the frame is 2 wide) whose rim goes in and out by `wobble`."""
    angle, rows, columns = rng.uniform(-turn, turn), _ROWS - centre[0], _COLUMNS - centre[1]
    v, u = (
        (rows * np.cos(angle) - columns * np.sin(angle)) / radii[0],
        (rows * np.sin(angle) + columns * np.cos(angle)) / radii[1],
    )
    around = np.arctan2(v, u)
    rim = 1 + wobble * sum(
        rng.normal(0, 0.5) / order * np.sin(order * around + rng.uniform(0, 6)) for order in range(2, 6)
    )
    return np.hypot(u, v) < rim


def _cells(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Voronoi cells: a level for each, [0, 1], and the distance to the next wall, pixels."""
    marks = np.ones((SIDE, SIDE), bool)
    marks[tuple(rng.integers(0, SIDE, (2, count)))] = False
    nearest = ndimage.distance_transform_edt(marks, return_distances=False, return_indices=True)
    levels = rng.uniform(size=(SIDE, SIDE))[nearest[0], nearest[1]]
    walls = (ndimage.maximum_filter(levels, 2) != levels) | (ndimage.minimum_filter(levels, 2) != levels)
    return levels, ndimage.distance_transform_edt(~walls)


def _blur(picture: np.ndarray, sigma: float) -> np.ndarray:
    return ndimage.gaussian_filter(picture.astype(np.float32), sigma)


def _scale(picture: np.ndarray) -> np.ndarray:
    """Stretch to [0, 1]."""
    return (picture - picture.min()) / max(np.ptp(picture), 1e-9)


def _expose(rng: np.random.Generator, picture: np.ndarray) -> np.ndarray:
    """Give a picture of any range a random contrast and level."""
    return _to_uint8((_scale(picture) - 0.5) * rng.uniform(0.2, 1.6) + rng.uniform(0.2, 0.8))


def _grain(rng: np.random.Generator, picture: np.ndarray) -> np.ndarray:
    """Add a scanner's noise and another contrast."""
    noisy = np.maximum(picture + rng.uniform(0, 0.12) * rng.normal(size=picture.shape), 0)
    return _to_uint8(noisy ** rng.uniform(0.6, 1.6) * rng.uniform(0.7, 1.4))


def _letter(rng: np.random.Generator, picture: np.ndarray) -> np.ndarray:
    """Burn a marker into some pictures."""
    canvas = Image.fromarray(picture)
    if rng.uniform() < 0.5:
        where, text = (
            rng.uniform(0, SIDE * 0.85, 2),
            str(rng.choice(["R", "L", "PORTABLE", "ERECT", "AP", "12.4 cm"])),
        )
        ImageDraw.Draw(canvas).text(
            tuple(where), text, 255, font=ImageFont.load_default(int(rng.integers(8, 24)))
        )
    return np.asarray(canvas)


def _frame(rng: np.random.Generator, picture: np.ndarray) -> np.ndarray:
    """Give two pictures of five another shape, with the black bars that preprocessing puts beside it."""
    if rng.uniform() < 0.6:
        return picture
    short = int(SIDE * rng.uniform(0.3, 0.95))
    framed, start = np.zeros_like(picture), (SIDE - short) // 2
    framed[start : start + short] = picture[start : start + short]
    return framed if rng.uniform() < 0.6 else framed.T


def _to_uint8(picture: np.ndarray) -> np.ndarray:
    return (np.clip(picture, 0, 1) * 255 + 0.5).astype(np.uint8)
