"""Windows: from values of any depth to 8 bits.

Goes in: values (h, w) of a 16-bit or float picture, or of a slice of DICOM or NIfTI. Comes out: uint8 (h, w).
"""

import numpy as np

# Scanners leave a few hot pixels; where no window is stated, half a percent at either end is ignored.
WINDOW_PERCENTILES = (0.5, 99.5)


def apply_percentile_window(values: np.ndarray) -> np.ndarray:
    """Window a picture that states no window: from one of its `WINDOW_PERCENTILES` to the other.

    Args:
        values: float32 (h, w); values that are not finite count as 0.

    Returns:
        uint8 (h, w), [0, 255].
    """
    finite = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
    low, high = np.percentile(finite.ravel(), WINDOW_PERCENTILES, overwrite_input=True)
    return apply_window(values, float(low), float(high))


def apply_voi_window(values: np.ndarray, centre: float, width: float, function: str) -> np.ndarray:
    """Apply the window of a DICOM header to rescaled values, float32 (h, w).

    `function` is the VOI LUT Function; any but SIGMOID and LINEAR_EXACT is taken for LINEAR.

    Source: DICOM PS3.3 C.11.2.1.2 (LINEAR) and C.11.2.1.3 (SIGMOID, LINEAR_EXACT).

    Returns:
        uint8 (h, w), [0, 255]; black where the width is too small to mean anything.
    """
    if function == "SIGMOID":
        exponent = np.clip(-4 * (values - centre) / max(width, 1e-6), -50, 50)
        return apply_window(1 / (1 + np.exp(exponent)), 0.0, 1.0)
    if function == "LINEAR_EXACT":
        return apply_window(values, centre - width / 2, centre + width / 2)
    if width == 1:  # the formula's bounds meet: a threshold
        return np.where(values > centre - 0.5, 255, 0).astype(np.uint8)
    return apply_window(values, centre - 0.5 - (width - 1) / 2, centre - 0.5 + (width - 1) / 2)


def apply_window(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Scale so that `low` becomes 0 and `high` 255, and clip.

    Args:
        values: (h, w); values that are not finite count as 0.
        low: start of the window.
        high: end of the window; where it is not above `low` the result is black.

    Returns:
        uint8 (h, w), [0, 255].
    """
    if not high > low:
        return np.zeros(values.shape, np.uint8)
    # In place: the largest picture accepted takes 64 MB as float32, and each step would take as much again.
    scaled = np.nan_to_num(values.astype(np.float32), copy=False, nan=0.0, posinf=0.0, neginf=0.0)
    scaled -= low
    scaled /= high - low
    scaled *= 255.0
    scaled += 0.5
    return np.clip(scaled, 0, 255, out=scaled).astype(np.uint8)
