import numpy as np

from serving.model.explain import OVERLAY_SIDE, compute_heatmap, overlay_heatmap


def cams_with_peak(row: int, column: int) -> np.ndarray:
    cams = np.full((6, 6, 4), -1.0, np.float32)
    cams[row, column, 2] = 5.0
    return cams


def test_heatmap_peaks_where_the_evidence_lies():
    heatmap = compute_heatmap(cams_with_peak(1, 4), 2, 60)
    row, column = np.unravel_index(heatmap.argmax(), heatmap.shape)
    assert heatmap.shape == (60, 60)
    assert 10 <= row < 20
    assert 40 <= column < 50
    assert heatmap.min() >= 0
    assert 0.9 <= heatmap.max() <= 1


def test_evidence_against_a_label_is_no_evidence():
    assert (compute_heatmap(cams_with_peak(1, 4), 0, 60) == 0).all()


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
