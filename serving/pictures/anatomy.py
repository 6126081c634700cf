"""How a slice lies in the body, and how it is shown as radiologists show it.

Goes in: pixels with the directions of their rows and columns, in the patient coordinates of DICOM (LPS,
millimetres: x to the patient's left, y to the back, z to the head). Comes out: the plane, and pixels turned
so that an axial or coronal slice has the patient's right on the left of the picture with front or head up,
and a sagittal one the face on the left. The training pictures are shown so.
"""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from serving.files.errors import ImageError
from serving.pictures.image_files import MAX_PIXELS, MAX_SIDE, Picture

# By patient axis (x, y, z) that a slice is cut across.
PLANES = ("sagittal", "coronal", "axial")
# By plane: patient axis and sign of what points right in the picture, and of what points down.
_SHOWN = {"axial": ((0, 1), (1, 1)), "coronal": ((0, 1), (2, -1)), "sagittal": ((1, 1), (2, -1))}
# Up to here pixels stay as they are, as in an export to PNG, so that a slice and its export get the same
# answer. A tenth is within what heads differ by.
_SQUARE_TOLERANCE = 0.1
# Slices 10 mm apart with pixels of 0.3 mm have 33; beyond, the header is wrong.
_MAX_STRETCH = 40.0


@dataclass(frozen=True)
class Volume:
    """A row of slices that are ready to be scored.

    Attributes:
        slices: uint8 (h, w), [0, 255], each; native size in the plane but for pixels that were not square;
            axial ones from feet to head, coronal ones from front to back, sagittal ones from right to left.
        format: "DICOM" or "NIfTI".
        plane: one of `PLANES`; None where the file does not say.
        positions: of each slice along the normal of the plane, mm, rising; None where the file does not say.
        facts: harmless technical facts, by name; never an identifier or a text that a person typed.
        skipped: what was left out, and why.
        coloured: share of each slice's pixels that had a colour, [0, 1]; empty where none had.
        pixel_mm2: area of one pixel of `slices`, mm²; None where the file does not say, or slices differ.
        thickness_mm: of a slice as stated; None where the file does not say. Slices may lie farther apart.

    Example:
        >>> volume = read_volume("series.zip")  # doctest: +SKIP
        >>> volume.plane, len(volume.slices), volume.facts["pixel spacing"]  # doctest: +SKIP
    """

    slices: tuple[np.ndarray, ...]
    format: str
    plane: str | None
    positions: tuple[float, ...] | None
    facts: dict[str, str]
    skipped: tuple[str, ...] = ()
    coloured: tuple[float, ...] = ()
    pixel_mm2: float | None = None
    thickness_mm: float | None = None

    @property
    def pictures(self) -> tuple[Picture, ...]:
        """The slices with their colour, for `serving.classifier.Classifier.predict_batch`."""
        coloured = self.coloured or (0.0,) * len(self.slices)
        answered = zip(self.slices, coloured, strict=True)
        return tuple(Picture(grey, share, pixel_mm2=self.pixel_mm2) for grey, share in answered)


def find_plane(normal: np.ndarray) -> str:
    """Name the plane whose normal is closest to float (3,), in patient coordinates."""
    return PLANES[int(np.argmax(np.abs(normal)))]


def orient_slice(pixels: np.ndarray, right: np.ndarray, down: np.ndarray, plane: str) -> np.ndarray:
    """Flip and transpose a slice into the radiological view; oblique slices go by the closest axes.

    Args:
        pixels: (h, w).
        right: float (3,), patient direction in which the column number grows.
        down: float (3,), patient direction in which the row number grows.
        plane: one of `PLANES`, see `find_plane`.

    Returns:
        View of `pixels`, (h, w) or (w, h).
    """
    is_transposed, is_mirrored, is_upside_down = _find_turns(right, down, plane)
    pixels = pixels.T if is_transposed else pixels
    pixels = pixels[:, ::-1] if is_mirrored else pixels
    return pixels[::-1] if is_upside_down else pixels


def restore_slice(pixels: np.ndarray, right: np.ndarray, down: np.ndarray, plane: str) -> np.ndarray:
    """Turn a slice from the radiological view back: the inverse of `orient_slice`, with its arguments."""
    is_transposed, is_mirrored, is_upside_down = _find_turns(right, down, plane)
    pixels = pixels[::-1] if is_upside_down else pixels
    pixels = pixels[:, ::-1] if is_mirrored else pixels
    return pixels.T if is_transposed else pixels


def _find_turns(right: np.ndarray, down: np.ndarray, plane: str) -> tuple[bool, bool, bool]:
    """Whether a slice is transposed for the radiological view, then mirrored, then turned upside down."""
    (right_axis, right_sign), (down_axis, down_sign) = _SHOWN[plane]
    is_transposed = bool(abs(right[right_axis]) < abs(down[right_axis]))
    if is_transposed:
        right, down = down, right
    return is_transposed, bool(right[right_axis] * right_sign < 0), bool(down[down_axis] * down_sign < 0)


def measure_pixel(stored_mm2: float, stored: tuple[int, int], shown: tuple[int, int]) -> float:
    """Area of one pixel of a slice that was brought to another size, mm².

    Args:
        stored_mm2: area of one pixel as stored, mm².
        stored: height and width as stored, pixels.
        shown: height and width as shown, pixels; either may come first.
    """
    return stored_mm2 * (stored[0] * stored[1]) / (shown[0] * shown[1])


def compute_square_shape(
    shape: tuple[int, int], row_spacing: float, column_spacing: float
) -> tuple[int, int]:
    """Height and width of a slice once its pixels are square: the coarser side grows to the finer spacing.

    Args:
        shape: height and width, pixels.
        row_spacing: from one row to the next, in any unit.
        column_spacing: from one column to the next, in the same unit.

    Returns:
        The same shape where the spacings agree to a tenth or are not known (not positive).

    Raises:
        ImageError: the spacings differ more than any scanner's do, or the slice would be too large.
    """
    if not (0 < row_spacing < np.inf and 0 < column_spacing < np.inf):
        return shape
    finest = min(row_spacing, column_spacing)
    stretch = max(row_spacing, column_spacing) / finest
    if stretch < 1 + _SQUARE_TOLERANCE:
        return shape
    height, width = round(shape[0] * row_spacing / finest), round(shape[1] * column_spacing / finest)
    if stretch > _MAX_STRETCH or max(height, width) > MAX_SIDE or height * width > MAX_PIXELS:
        found = f"Slices of {shape[1]} x {shape[0]} pixels, {column_spacing:g} x {row_spacing:g} mm each,"
        advice = "Choose another plane, or export again where the header is wrong."
        raise ImageError(f"{found} are too long and thin to be shown. {advice}")
    return height, width


def square_pixels(
    pixels: np.ndarray,
    row_spacing: float,
    column_spacing: float,
    resample: Image.Resampling = Image.Resampling.BICUBIC,
) -> np.ndarray:
    """Resize uint8 (h, w) to `compute_square_shape` of it; masks are resized by the nearest pixel."""
    height, width = compute_square_shape(pixels.shape, row_spacing, column_spacing)
    if (height, width) == pixels.shape:
        return pixels
    return np.asarray(Image.fromarray(pixels).resize((width, height), resample))
