import numpy as np

from serving.model.geojson import encode_outlines


def draw_box(left: float, right: float, is_hole: bool = False) -> np.ndarray:
    """A square from (left, left) to (right, right), float32 (4, 2)."""
    corners = np.array([[left, left], [right, left], [right, right], [left, right]], np.float32)
    return corners[::-1] if is_hole else corners


def test_a_hole_belongs_to_the_smallest_polygon_around_it():
    """An island with a hole of its own lies in the hole of a larger polygon, beside a third one."""
    boxes = [(0, 100, False), (10, 90, True), (20, 80, False), (30, 40, True), (120, 130, False)]
    outlines = sorted((draw_box(*box) for box in boxes), key=lambda outline: -np.ptp(outline))
    encoded = encode_outlines(outlines)
    assert encoded["type"] == "MultiPolygon"
    corners = [[ring[0][0] for ring in map(sorted, polygon)] for polygon in encoded["coordinates"]]
    assert corners == [[0, 10], [20, 30], [120]]
    assert all(ring[0] == ring[-1] for polygon in encoded["coordinates"] for ring in polygon)


def test_nothing_is_no_polygon():
    assert encode_outlines(()) == {"type": "MultiPolygon", "coordinates": []}
