import numpy as np

from serving.model.explain import OVERLAY_SIDE, compute_heatmap, overlay_heatmap


def cams_with_peak(row: int, column: int) -> np.ndarray:
    cams = np.full((6, 6, 4), -1.0, np.float32)
    cams[row, column, 2] = 5.0
    return cams


def test_heatmap_peaks_where_the_evidence_lies():
    heatmap = compute_heatmap(cams_with_peak(1, 4), 2)
    assert heatmap.shape == (6, 6)
    assert np.unravel_index(heatmap.argmax(), heatmap.shape) == (1, 4)
    assert (heatmap.min(), heatmap.max()) == (0, 1)


def test_the_place_with_the_most_evidence_is_the_only_peak():
    """Strong neighbours once made a plateau of ones around it, whose first corner was taken for the peak."""
    cams = np.full((5, 5, 4), 0.1, np.float32)
    cams[1:4, 1:4, 0] = 9.5
    cams[3, 2, 0] = 10
    heatmap = compute_heatmap(cams, 0)
    assert np.argwhere(heatmap == heatmap.max()).tolist() == [[3, 2]]
    np.testing.assert_allclose(heatmap[1:3, 1:4], 0.95)


def test_evidence_against_a_label_is_no_evidence():
    assert (compute_heatmap(cams_with_peak(1, 4), 0) == 0).all()


def test_overlay_leaves_the_slice_alone_where_there_is_no_evidence():
    grey = np.full((50, 50), 120, np.uint8)
    np.testing.assert_array_equal(
        overlay_heatmap(grey, np.zeros((192, 192), np.float32)), np.full((OVERLAY_SIDE, OVERLAY_SIDE, 3), 120)
    )


def test_overlay_of_a_stretched_slice_is_stretched():
    overlay = overlay_heatmap(np.full((50, 100), 200, np.uint8), np.zeros((100, 100), np.float32), "stretch")
    assert (overlay == 200).all()


def test_overlay_of_a_wide_slice_is_aligned_with_the_padded_square():
    grey = np.full((50, 100), 200, np.uint8)
    heatmap = np.zeros((100, 100), np.float32)
    heatmap[40:60, 40:60] = 1.0
    overlay = overlay_heatmap(grey, heatmap)
    centre, quarter = OVERLAY_SIDE // 2, OVERLAY_SIDE // 8
    assert overlay[centre, centre, 0] > overlay[centre, centre, 2]
    assert (overlay[quarter, centre] == 0).all()
    assert (overlay[centre, quarter] == 200).all()


def test_overlay_shows_the_places_as_blocks():
    heatmap = np.zeros((4, 4), np.float32)
    heatmap[1, 2] = 1.0
    overlay = overlay_heatmap(np.full((90, 90), 100, np.uint8), heatmap)
    block, side = (overlay != 100).any(axis=-1), OVERLAY_SIDE // 4
    expected = np.zeros_like(block)
    expected[side : 2 * side, 2 * side : 3 * side] = True
    np.testing.assert_array_equal(block, expected)
    assert len(np.unique(overlay[block], axis=0)) == 1
