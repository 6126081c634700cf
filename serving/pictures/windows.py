"""Windows: from values of any depth to 8 bits.

Goes in: values (h, w) of a 16-bit or float picture, or of a slice of DICOM or NIfTI. Comes out: uint8 (h, w).

Some files fill what lies around the picture with a value that no tissue has, such as -2000 or NaN. Such
padding is left out of the window and shown black.
"""

import numpy as np

# Scanners leave a few hot pixels; where no window is stated, half a percent at either end is ignored.
WINDOW_PERCENTILES = (0.5, 99.5)
# Of 256: a picture that uses fewer is too dark or too coarse to be looked at.
FEW_LEVELS = 64
# Padding that no header declares has one value, the lowest or the highest, with nothing near it. It lies at
# the edge of the picture, and a picture is left without it.
_LEAST_AT_EDGE, _LEAST_LEFT = 0.1, 0.1
# The gap between that value and the next, as a share of what the other values span. A negative value alone
# among magnitudes is no signal. A head without its skull lies far above the 0 around it, but not so far.
_GAP_BELOW_ZERO, _GAP_BELOW, _GAP_ABOVE = 0.05, 2.0, 0.5


def apply_percentile_window(values: np.ndarray, padding: np.ndarray | None = None) -> np.ndarray:
    """Window a picture that states no window: from one of its `WINDOW_PERCENTILES` to the other.

    Padding counts as the darkest value beside it, as the background of a picture does: so a slice has the
    same window with and without padding.

    Args:
        values: float32 (h, w).
        padding: bool (h, w), which is shown black; None: `find_padding` says where it is.

    Returns:
        uint8 (h, w), [0, 255].
    """
    padding = find_padding(values) if padding is None else padding
    low, high = find_percentile_window(values, padding)
    grey = apply_window(values, low, high)
    grey[padding] = 0
    return grey


def find_percentile_window(values: np.ndarray, padding: np.ndarray) -> tuple[float, float]:
    """Lowest and highest value that are shown; the arguments are those of `apply_percentile_window`."""
    if padding.all():
        return 0.0, 0.0
    if padding.any():
        values = np.where(padding, values[~padding].min(), values)
    low, high = np.percentile(values.ravel(), WINDOW_PERCENTILES)
    return float(low), float(high)


def find_padding(values: np.ndarray, declared: np.ndarray | None = None) -> np.ndarray:
    """Find the pixels that show nothing.

    Args:
        values: float32 (h, w).
        declared: bool (h, w), what the header says is padding; None: it says nothing.

    Returns:
        bool (h, w): declared ones, those that are no finite numbers, and those of a lone extreme value at the
        edge of the picture.
    """
    padding = ~np.isfinite(values)
    if declared is not None:
        padding |= declared
    for is_lowest in (True, False):
        extreme = _find_lone_extreme(values, padding, is_lowest)
        if extreme is not None:
            padding |= values == extreme
    return padding


def _find_lone_extreme(values: np.ndarray, padding: np.ndarray, is_lowest: bool) -> float | None:
    """The lowest or highest value, where it is padding that no header declares."""
    kept = values[~padding] if padding.any() else values.ravel()
    if not kept.size:
        return None
    extreme = kept.min() if is_lowest else kept.max()
    edge = np.concatenate([values[0], values[-1], values[:, 0], values[:, -1]])
    if np.mean(edge == extreme) < _LEAST_AT_EDGE:
        return None
    rest = kept[kept != extreme]
    if rest.size < _LEAST_LEFT * values.size:
        return None
    nearest = float(rest.min() if is_lowest else rest.max())
    farthest = np.percentile(rest, WINDOW_PERCENTILES[is_lowest], overwrite_input=True)
    gap, span = abs(nearest - float(extreme)), abs(float(farthest) - nearest)
    least = _GAP_ABOVE
    if is_lowest:
        least = _GAP_BELOW_ZERO if extreme < 0 <= nearest else _GAP_BELOW
    return float(extreme) if gap > least * span > 0 else None


def leaves_few_levels(grey: np.ndarray, values: np.ndarray, padding: np.ndarray) -> bool:
    """Tell whether a stated window hides what there is: it was meant for other values.

    Args:
        grey: uint8 (h, w), what the window makes of the values.
        values: float32 (h, w).
        padding: bool (h, w), as `find_padding` gives it.

    Returns:
        True where fewer than `FEW_LEVELS` lie between the `WINDOW_PERCENTILES` of the result, or fewer are
        used while the percentile window would use twice as many; False where all values are the same.
    """
    kept = values[~padding]
    if not kept.size or kept.min() == kept.max():
        return False
    counts = np.bincount(grey.ravel(), minlength=256)
    shares = 100 * np.cumsum(counts) / grey.size
    low, high = np.searchsorted(shares, WINDOW_PERCENTILES)
    if high - low < FEW_LEVELS:
        return True
    used = np.count_nonzero(counts)
    return bool(used < FEW_LEVELS and 2 * used <= len(np.unique(apply_percentile_window(values, padding))))


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
