import numpy as np
import pytest

from trainer.fitting.outliers import KINDS, draw_outliers


@pytest.fixture(scope="module")
def brains() -> np.ndarray:
    """Three discs with a brighter rim, uint8 (3, 64, 64, 1)."""
    rows, columns = np.mgrid[-1:1:64j, -1:1:64j]
    radius = np.hypot(rows, columns)
    head = np.where(radius < 0.6, 90 + 60 * np.cos(9 * rows), np.where(radius < 0.75, 220, 0)).astype(
        np.uint8
    )
    return np.stack([head, head[::-1], head.T])[..., None]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_draws_pictures_that_differ_and_come_again(kind, brains):
    drawn = draw_outliers(kind, brains, 0)
    assert drawn.shape == brains.shape
    assert drawn.dtype == np.uint8
    np.testing.assert_array_equal(drawn, draw_outliers(kind, brains, 0))
    assert not np.array_equal(drawn, draw_outliers(kind, brains, 1))
    for picture, brain in zip(drawn, brains, strict=True):
        assert not np.array_equal(picture, brain)


def test_kinds_made_of_slices_follow_the_slice(brains):
    for kind in ("shuffled_patches", "magnified", "tiled_slices", "filled_head"):
        assert not np.array_equal(draw_outliers(kind, brains, 0), draw_outliers(kind, brains // 2, 0))
