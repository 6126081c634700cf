import re

import numpy as np
import pytest

from serving.app.frames import draw_path

BOX = np.array([[0, 0], [40, 0], [40, 20], [0, 20]], np.float32)


@pytest.mark.parametrize(
    ("shape", "fit", "corners"),
    [
        ((80, 80), "pad", [(0, 0), (50, 25)]),
        ((40, 80), "pad", [(0, 25), (50, 50)]),
        ((80, 40), "pad", [(25, 0), (75, 25)]),
        ((40, 80), "stretch", [(0, 0), (50, 50)]),
    ],
)
def test_path_lies_where_the_square_shows_the_picture(shape, fit, corners):
    points = np.array(re.findall(r"([\d.]+),([\d.]+)", draw_path([BOX], shape, fit)), float)
    np.testing.assert_allclose([points.min(axis=0), points.max(axis=0)], corners)


def test_each_outline_is_closed():
    assert re.fullmatch(r"M[\d., ]+Z M[\d., ]+Z", draw_path([BOX, BOX + 1], (80, 80), "pad"))
    assert draw_path([], (80, 80), "pad") == ""
