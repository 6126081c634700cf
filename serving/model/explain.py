"""Heat maps from class activation maps, and their overlay on the slice.

Goes in: the exported graph's class activation maps. Comes out: maps in [0, 1] and RGB pictures.
"""

import numpy as np
from PIL import Image

from serving.preprocess import fit_to_square

OVERLAY_SIDE = 448
OVERLAY_OPACITY = 0.55
# Anchors of matplotlib's "inferno" (CC0), perceptually uniform and safe for colour-blind readers.
INFERNO = np.array([[0, 0, 4], [87, 16, 110], [188, 55, 84], [249, 142, 9], [252, 255, 164]], np.float32)


def compute_heatmap(cams: np.ndarray, label_index: int) -> np.ndarray:
    """Show where the evidence for one label lies, at the resolution of the class activation map.

    Nothing is made up between its places: 5 x 5 of them for a picture of 160 pixels. The highest value is at
    the place with the most evidence, and nowhere else.

    Source: Zhou et al. 2016, "Learning Deep Features for Discriminative Localization" (arXiv:1512.04150),
    equation 2; for a dense head `serving.model.keras_runtime` splits the logit by position. Evidence against
    the label (negative values) counts as none.

    Args:
        cams: float32 (h, w, classes).
        label_index: which label.

    Returns:
        float32 (h, w), [0, 1], its maximum 1 unless there is no evidence at all.
    """
    evidence = np.maximum(cams[..., label_index], 0.0)
    peak = evidence.max()
    return evidence / peak if peak > 0 else evidence


def overlay_heatmap(grey: np.ndarray, heatmap: np.ndarray, fit: str = "pad") -> np.ndarray:
    """Lay a heat map over a slice, in blocks as large as its places; without evidence the slice is unchanged.

    Args:
        grey: uint8 (h, w), [0, 255], the slice at native size.
        heatmap: float32 (m, m), [0, 1], over the slice made square.
        fit: how the model's input is made square, one of `serving.preprocess.FITS`.

    Returns:
        uint8 (OVERLAY_SIDE, OVERLAY_SIDE, 3), [0, 255].
    """
    base = fit_to_square(grey, OVERLAY_SIDE, fit).astype(np.float32)
    resized = Image.fromarray(heatmap).resize((OVERLAY_SIDE, OVERLAY_SIDE), Image.Resampling.NEAREST)
    heat = np.asarray(resized)
    stops = np.linspace(0.0, 1.0, len(INFERNO))
    colour = np.stack([np.interp(heat, stops, INFERNO[:, channel]) for channel in range(3)], axis=-1)
    opacity = OVERLAY_OPACITY * heat[..., None]
    return np.round(base * (1 - opacity) + colour * opacity).astype(np.uint8)
