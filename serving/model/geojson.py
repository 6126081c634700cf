"""Outlines as GeoJSON, which other programs read.

Goes in: the outlines of a `Prediction`. Comes out: a geometry, ready for JSON.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from serving.model.outline import compute_area


def encode_outlines(outlines: Sequence[np.ndarray]) -> dict[str, Any]:
    """Write outlines as a MultiPolygon; x to the right and y down, in pixels of the picture.

    A polygon is a list of rings, the first around it and the others around its holes; each ring ends with its
    first point.

    Source: RFC 7946, sections 3.1.6 and 3.1.7; only the coordinates are not those of the earth.

    Args:
        outlines: float32 (k, 2) each, the largest first, as `Prediction.outlines`.

    Example:
        >>> encode_outlines([np.array([[0, 0], [4, 0], [4, 2]])])["coordinates"]
        [[[[0.0, 0.0], [4.0, 0.0], [4.0, 2.0], [0.0, 0.0]]]]
    """
    outer = [outline for outline in outlines if compute_area(outline) > 0]
    polygons = [[_close(outline)] for outline in outer]
    for hole in outlines:
        if compute_area(hole) < 0:
            # The smallest polygon around a hole is the one that it belongs to.
            around = [number for number, outline in enumerate(outer) if _is_inside(hole[0], outline)]
            if around:
                polygons[around[-1]].append(_close(hole))
    return {"type": "MultiPolygon", "coordinates": polygons}


def _close(outline: np.ndarray) -> list[list[float]]:
    """A ring with its first point again at its end, to a hundredth of a pixel."""
    return np.round(np.vstack([outline, outline[:1]]).astype(np.float64), 2).tolist()


def _is_inside(point: np.ndarray, outline: np.ndarray) -> bool:
    """Whether a point (x, y) lies inside a polygon (k, 2).

    Source: the crossing-number test, Shimrat 1962 (doi:10.1145/368637.368653).
    """
    start, end = outline, np.roll(outline, -1, axis=0)
    crosses = (start[:, 1] > point[1]) != (end[:, 1] > point[1])
    edges, ends = start[crosses], end[crosses]
    places = edges[:, 0] + (point[1] - edges[:, 1]) / (ends[:, 1] - edges[:, 1]) * (ends[:, 0] - edges[:, 0])
    return bool(np.count_nonzero(places > point[0]) % 2)
