"""From the map of the square to the picture's frame: padding and stretching are undone exactly."""

import tracemalloc

import numpy as np
import pytest

from serving.model.outline import (
    compute_area,
    compute_tumor_shares,
    find_heads,
    resize_map,
    trace_outlines,
)
from serving.preprocess import fit_to_square

SIDE = 40
SHAPES = [(300, 300), (301, 200), (200, 333), (97, 512), (40, 31)]


def make_map(grey: np.ndarray, fit: str) -> np.ndarray:
    """What a perfect decoder would say of a mask: the share of each place that it covers."""
    square = fit_to_square(grey, 4 * SIDE, fit)[..., 0] / np.float32(255)
    return square.reshape(SIDE, 4, SIDE, 4).mean(axis=(1, 3))


def draw_disc(height: int, width: int, share: float = 0.25) -> np.ndarray:
    """A disc off the middle, uint8 (h, w)."""
    rows, columns = np.mgrid[:height, :width] + 0.5
    radius = share * min(height, width)
    return np.where(np.hypot(rows - 0.6 * height, columns - 0.4 * width) < radius, 255, 0).astype(np.uint8)


def rasterise(outlines, height: int, width: int) -> np.ndarray:
    """Pixels whose centre lies inside, by the even-odd rule: bool (h, w)."""
    rows, columns = np.mgrid[:height, :width] + 0.5
    inside = np.zeros((height, width), bool)
    for outline in outlines:
        for (x1, y1), (x2, y2) in zip(outline, np.roll(outline, -1, axis=0), strict=True):
            crosses = (y1 > rows) != (y2 > rows)
            with np.errstate(divide="ignore", invalid="ignore"):
                inside ^= crosses & (columns < x1 + (rows - y1) * (x2 - x1) / (y2 - y1))
    return inside


def compute_overlap(one: np.ndarray, other: np.ndarray) -> float:
    return (one & other).sum() / (one | other).sum()


@pytest.mark.parametrize("fit", ["pad", "stretch"])
@pytest.mark.parametrize(("height", "width"), SHAPES)
def test_a_map_comes_back_to_where_it_was_in_the_picture(height, width, fit):
    grey = draw_disc(height, width)
    found = resize_map(make_map(grey, fit), height, width, fit)
    assert found.shape == (height, width)
    assert found.dtype == np.float32
    assert 0 <= found.min() <= found.max() <= 1
    places = [np.array(np.nonzero(mask)).mean(axis=1) for mask in (grey > 0, found >= 0.5)]
    np.testing.assert_allclose(*places, atol=0.01 * max(height, width))
    assert compute_overlap(grey > 0, found >= 0.5) > 0.75


def test_between_the_centres_of_its_places_the_map_is_linear():
    """A ramp stays the same ramp, also where the padding is an odd number of pixels."""
    centres = (np.arange(SIDE) + 0.5) / SIDE
    ramp = np.tile(centres, (SIDE, 1)).astype(np.float32)
    height, width = 100, 61
    columns = (19 + np.arange(width) + 0.5) / height
    expected = np.tile(columns, (height, 1))
    np.testing.assert_allclose(resize_map(ramp, height, width, "pad"), expected, atol=1e-6)
    np.testing.assert_allclose(resize_map(ramp.T, width, height, "pad"), expected.T, atol=1e-6)


@pytest.mark.parametrize("fit", ["pad", "stretch"])
@pytest.mark.parametrize(("height", "width"), SHAPES)
def test_outlines_and_pixels_show_the_same_region(height, width, fit):
    tumor_map = make_map(draw_disc(height, width), fit)
    outlines = trace_outlines(tumor_map, 0.5, height, width, fit)
    pixels = resize_map(tumor_map, height, width, fit) >= 0.5
    assert outlines[0].dtype == np.float32
    assert compute_overlap(rasterise(outlines, height, width), pixels) > 0.97
    assert sum(map(compute_area, outlines)) == pytest.approx(pixels.sum(), rel=0.03)


def test_a_hole_is_a_polygon_of_its_own_and_the_largest_comes_first():
    rows, columns = np.mgrid[:SIDE, :SIDE]
    ring = np.clip(1 - np.abs(np.hypot(rows - 25, columns - 25) - 8) / 6, 0, 1).astype(np.float32)
    ring[3:5, 3:5] = 1
    outlines = trace_outlines(ring, 0.5, 200, 200, "pad")
    areas = [compute_area(outline) for outline in outlines]
    assert [area > 0 for area in areas] == [True, False, True]
    assert abs(areas[0]) > abs(areas[1]) > abs(areas[2])
    pixels = resize_map(ring, 200, 200, "pad") >= 0.5
    assert compute_overlap(rasterise(outlines, 200, 200), pixels) > 0.97


def test_the_last_point_is_not_the_first_one_again():
    [outline] = trace_outlines(make_map(draw_disc(200, 200), "pad"), 0.5, 200, 200, "pad")
    assert len(np.unique(outline, axis=0)) == len(outline)


def test_an_outline_ends_at_the_edge_of_the_picture():
    """The map says tumour everywhere, also where the picture was padded."""
    [outline] = trace_outlines(np.ones((SIDE, SIDE), np.float32), 0.5, 300, 200, "pad")
    assert (outline.min(axis=0).tolist(), outline.max(axis=0).tolist()) == ([0, 0], [200, 300])
    assert compute_area(outline) == pytest.approx(60_000)


def test_padding_is_never_outlined():
    tumor_map = np.zeros((SIDE, SIDE), np.float32)
    tumor_map[:, :5] = tumor_map[:, -5:] = 1
    assert trace_outlines(tumor_map, 0.5, 300, 200, "pad") == ()


def test_what_equals_the_threshold_is_inside_and_nothing_below_is():
    tumor_map = np.zeros((SIDE, SIDE), np.float32)
    tumor_map[10:14, 20:24] = 0.5
    assert len(trace_outlines(tumor_map, 0.5, 80, 80, "pad")) == 1
    assert trace_outlines(tumor_map, 0.50001, 80, 80, "pad") == ()


def test_outlines_of_a_large_picture_take_no_large_array():
    tumor_map = make_map(draw_disc(400, 400), "pad")
    tracemalloc.start()
    [outline] = trace_outlines(tumor_map, 0.5, 4000, 4000, "pad")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_000_000
    assert compute_area(outline) == pytest.approx(np.pi * 1000**2, rel=0.03)


def test_area_by_hand():
    square = np.float32([[1, 1], [3, 1], [3, 4], [1, 4]])
    assert (compute_area(square), compute_area(square[::-1])) == (6, -6)


def draw_head(size: int = 160) -> np.ndarray:
    """A bright rim around a darker inside with a black hole, a letter in a corner: uint8 (1, s, s, 1)."""
    rows, columns = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    radius = np.hypot(rows / 0.9, columns / 0.7)
    head = np.where(radius < 1, 90, 2)
    head[(radius < 1) & (radius > 0.9)] = 220
    head[radius < 0.2] = 0
    head[4:12, 4:10] = 255
    return head.astype(np.uint8)[None, ..., None]


def test_the_head_is_found_with_what_is_dark_in_it():
    [head] = find_heads(draw_head(), 4)
    rows, columns = np.mgrid[-1:1:160j, -1:1:160j]
    assert compute_overlap(head, np.hypot(rows / 0.9, columns / 0.7) < 1) > 0.93


def test_noise_around_a_small_head_is_not_the_head():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 24, (1, 160, 160, 1), np.uint8)
    rows, columns = np.mgrid[:160, :160]
    inside = np.hypot(rows - 80, columns - 70) < 28
    image[0, inside] = 90
    [head] = find_heads(image, 4)
    assert compute_overlap(head, inside) > 0.8


def test_share_is_of_the_head():
    images, maps = draw_head().repeat(3, axis=0), np.zeros((3, SIDE, SIDE), np.float32)
    [head] = find_heads(images[:1], 4)
    maps[1, 18:22, 18:22] = 1
    maps[2] = 1  # also around the head
    nothing, some, everything = compute_tumor_shares(maps, images, 0.5)
    assert (nothing, everything) == (0, 1)
    assert some == pytest.approx(16**2 / head.sum(), rel=0.1)


def test_without_a_head_there_is_no_share():
    [share] = compute_tumor_shares(
        np.ones((1, 40, 40), np.float32), np.zeros((1, 160, 160, 1), np.uint8), 0.5
    )
    assert share == 0
