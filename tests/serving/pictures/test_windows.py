import numpy as np
import pytest

from serving.pictures.windows import apply_voi_window, apply_window


def show_linear(value: float, centre: float, width: float) -> int:
    """DICOM PS3.3 C.11.2.1.2.1, as it is written there, for grey levels from 0 to 255."""
    if value <= centre - 0.5 - (width - 1) / 2:
        return 0
    if value > centre - 0.5 + (width - 1) / 2:
        return 255
    return int(((value - (centre - 0.5)) / (width - 1) + 0.5) * 255 + 0.5)


@pytest.mark.parametrize(
    ("centre", "width"), [(2048, 4096), (100, 50), (40.5, 12), (0, 100), (7, 2), (10, 1)]
)
def test_linear_window_is_that_of_the_standard(centre, width):
    values = np.arange(centre // 1 - width, centre // 1 + width + 1, dtype=np.float32)[None]
    expected = [[show_linear(value, centre, width) for value in values[0].tolist()]]
    np.testing.assert_array_equal(apply_voi_window(values, centre, width, "LINEAR"), expected)


def test_linear_window_by_hand():
    # Centre 100 and width 5: 97.5 is black, 101.5 is white, and a level is 63.75 grey levels.
    values = np.array([[97, 98, 99, 100, 101, 102]], np.float32)
    assert apply_voi_window(values, 100, 5, "LINEAR").tolist() == [[0, 32, 96, 159, 223, 255]]
    # Exact: 97.5 is black, 102.5 is white.
    assert apply_voi_window(values, 100, 5, "LINEAR_EXACT").tolist() == [[0, 26, 77, 128, 179, 230]]


def test_linear_window_of_width_1_is_a_threshold():
    values = np.array([[9, 9.4, 9.5, 9.6, 10]], np.float32)
    assert apply_voi_window(values, 10, 1, "LINEAR").tolist() == [[0, 0, 0, 255, 255]]


def test_sigmoid_window_by_hand():
    values = np.array([[75, 100, 125]], np.float32)
    expected = [[round(255 / (1 + np.exp(-4 * (value - 100) / 50))) for value in (75, 100, 125)]]
    assert apply_voi_window(values, 100, 50, "SIGMOID").tolist() == expected


def test_window_of_no_width_is_black():
    assert apply_window(np.ones((2, 2)), 5, 5).tolist() == [[0, 0], [0, 0]]


def test_windows_leave_the_values_as_they_are():
    values = np.linspace(-5, 5, 12, dtype=np.float32).reshape(3, 4)
    before = values.copy()
    for function in ("LINEAR", "LINEAR_EXACT", "SIGMOID"):
        apply_voi_window(values, 0, 5, function)
    np.testing.assert_array_equal(values, before)
