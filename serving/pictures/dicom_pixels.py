"""One DICOM frame: from stored values to an oriented grey slice.

Goes in: a parsed data set and the values of one frame. Comes out: a `Picture`, as a viewer shows it.

A slice gets the window that its header asks for (VOI LUT, or centre and width: what a viewer shows and an
export keeps), else the percentiles that a 16-bit picture gets, slice by slice: the training pictures were
exported one by one, and so a slice gets the same answer alone, within its series and as a picture. A window
that leaves few grey levels was meant for other values and is not used.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from serving.pictures.anatomy import orient_slice, square_pixels
from serving.pictures.dicom_parser import find_value, import_pydicom
from serving.pictures.dicom_tables import apply_table, find_white
from serving.pictures.image_files import FileFacts, Picture, decode_image
from serving.pictures.windows import (
    apply_percentile_window,
    apply_voi_window,
    apply_window,
    find_padding,
    leaves_few_levels,
)

if TYPE_CHECKING:
    from pydicom import Dataset

_PERCENTILES = "from the 0.5 to the 99.5 percentile"
_NOT_USED = "since that of the header leaves few grey levels"


def make_slice(dataset: "Dataset", number: int, plane: str | None, pixels: np.ndarray) -> Picture:
    """Window, invert, make pixels square, and turn into the radiological view.

    Args:
        dataset: the file's.
        number: of the frame.
        plane: it lies in; None: not known, and it is not turned.
        pixels: stored values (h, w) of any number type, or (h, w, 3) of any unsigned one.

    Returns:
        The slice; `facts.details` say how it came to 8 bits.
    """
    if dataset.PhotometricInterpretation == "PALETTE COLOR":
        pixels = import_pydicom().pixels.apply_color_lut(pixels, dataset)
    if pixels.ndim == 3:
        picture = decode_image(pixels)
        grey, coloured, details = picture.grey, picture.coloured, {"colour": "turned to grey"}
    else:
        (grey, details), coloured = _show_grey(dataset, number, pixels), 0.0
    spacing = find_value(dataset, number, "PixelMeasuresSequence", "PixelSpacing")
    if spacing is not None and len(spacing) == 2:
        grey = square_pixels(grey, float(spacing[0]), float(spacing[1]))
    if plane is not None:
        axes = find_value(dataset, number, "PlaneOrientationSequence", "ImageOrientationPatient")
        grey = orient_slice(grey, np.array(axes[:3], float), np.array(axes[3:], float), plane)
    facts = FileFacts("DICOM", "", pixels.shape[1::-1], None, (), details)
    return Picture(np.ascontiguousarray(grey), coloured, facts)


def _show_grey(dataset: "Dataset", number: int, pixels: np.ndarray) -> tuple[np.ndarray, dict[str, str]]:
    """Grey values to 8 bits, and how."""
    values = _rescale(dataset, number, pixels)
    padding = find_padding(values, _find_declared_padding(dataset, pixels))
    # Either says so, and both together say it once (PS3.3 C.11.6.1.2: INVERSE goes with MONOCHROME1).
    is_inverse = dataset.PhotometricInterpretation == "MONOCHROME1"
    is_inverse |= str(dataset.get("PresentationLUTShape", "")) == "INVERSE"
    grey = _apply_stated_window(dataset, number, values)
    details = {"window": "of the header"}
    if grey is None or leaves_few_levels(grey, values, padding):
        details["window"] = _PERCENTILES if grey is None else f"{_PERCENTILES}, {_NOT_USED}"
        grey = apply_percentile_window(-values if is_inverse else values, padding)
    elif is_inverse:
        grey = 255 - grey
    if padding.any():
        grey[padding] = 0
        details["padding"] = "left out of the window and shown black"
    if is_inverse:
        details["polarity"] = "inverted, as the header says"
    return grey, details


def _rescale(dataset: "Dataset", number: int, pixels: np.ndarray) -> np.ndarray:
    """Stored values to the scanner's units, float32 (h, w): by table, or by slope and intercept."""
    if dataset.get("ModalityLUTSequence"):
        return apply_table(pixels, dataset.ModalityLUTSequence[0], _is_little_endian(dataset))
    slope, intercept = (
        find_value(dataset, number, "PixelValueTransformationSequence", keyword)
        for keyword in ("RescaleSlope", "RescaleIntercept")
    )
    factor, shift = float(1 if slope is None else slope), float(intercept or 0)
    values = pixels.astype(np.float32)
    if factor == 0 or not np.isfinite([factor, shift]).all():  # would leave nothing: a default, not a scale
        return values
    return values * np.float32(factor) + np.float32(shift)


def _find_declared_padding(dataset: "Dataset", pixels: np.ndarray) -> np.ndarray | None:
    """Where stored values are the header's padding value, or between it and its limit (PS3.3 C.7.5.1.1.2)."""
    kind = "Pixel" if pixels.dtype.kind in "iu" else "FloatPixel"
    if pixels.dtype == np.float64:
        kind = "DoubleFloatPixel"
    first = dataset.get(f"{kind}PaddingValue")
    if first is None:
        return None
    last = dataset.get(f"{kind}PaddingRangeLimit", first)
    # Writers mix up signed and unsigned; the bits are what counts.
    ends = [
        np.asarray(one, np.int64 if kind == "Pixel" else float).astype(pixels.dtype) for one in (first, last)
    ]
    return (pixels >= min(ends)) & (pixels <= max(ends))


def _apply_stated_window(dataset: "Dataset", number: int, values: np.ndarray) -> np.ndarray | None:
    """Apply the table or the window of the header, the table first; None where there is neither."""
    if dataset.get("VOILUTSequence"):
        item, is_little_endian = dataset.VOILUTSequence[0], _is_little_endian(dataset)
        return apply_window(
            apply_table(values, item, is_little_endian), 0.0, find_white(item, is_little_endian)
        )
    keywords = ("WindowCenter", "WindowWidth", "VOILUTFunction")
    centre, width, function = (find_value(dataset, number, "FrameVOILUTSequence", one) for one in keywords)
    if not _is_given(centre) or not _is_given(width):
        return None
    first = float(np.ravel(centre)[0]), float(np.ravel(width)[0])
    return apply_voi_window(values, *first, str(function or "LINEAR"))


def _is_given(value: Any) -> bool:
    return value is not None and np.size(value) > 0


def _is_little_endian(dataset: "Dataset") -> bool:
    return bool(dataset.file_meta.TransferSyntaxUID.is_little_endian)
