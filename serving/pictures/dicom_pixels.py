"""One DICOM frame: from stored values to an oriented grey slice.

Goes in: a parsed data set and the values of one frame. Comes out: uint8 (h, w), as a viewer shows it.

A slice gets the window that its header asks for (VOI LUT, or centre and width: what a viewer shows and an
export keeps), else the
percentiles that a 16-bit picture gets, slice by slice: the training pictures were exported one by one, and so
a slice gets the same answer alone, within its series and as a picture.
"""

import logging
import warnings
from functools import cache
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from serving.files.errors import ImageError
from serving.pictures.anatomy import orient_slice, square_pixels
from serving.preprocess import apply_window, decode_grey, find_window

if TYPE_CHECKING:
    from pydicom import Dataset


@cache
def import_pydicom() -> ModuleType:
    """Import the parser on first use, and keep it from quoting headers in warnings and logs."""
    try:
        import pydicom
        import pydicom.encaps
        import pydicom.pixels
    except ImportError as error:
        raise ImageError("Reading DICOM needs the extra `medical`: pip install '.[medical]'") from error
    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", module=r"pydicom")
    return pydicom


def find_value(header: "Dataset", number: int, sequence: str, keyword: str) -> Any:
    """A value that stands in the header itself or, in a multi-frame file, with one frame or with all."""
    if keyword in header:
        return header.get(keyword)
    for groups, index in (
        ("PerFrameFunctionalGroupsSequence", number),
        ("SharedFunctionalGroupsSequence", 0),
    ):
        items = header.get(groups)
        if items and index < len(items) and items[index].get(sequence):
            return items[index].get(sequence)[0].get(keyword)
    return None


def make_slice(dataset: "Dataset", number: int, plane: str | None, pixels: np.ndarray) -> np.ndarray:
    """Window, invert, make pixels square, and turn into the radiological view.

    Args:
        dataset: the file's.
        number: of the frame.
        plane: it lies in; None: not known, and it is not turned.
        pixels: stored values (h, w) of any number type, or (h, w, 3) of any unsigned one.

    Returns:
        uint8 (h, w), [0, 255].
    """
    processing = import_pydicom().pixels
    if dataset.PhotometricInterpretation == "PALETTE COLOR":
        pixels = processing.apply_color_lut(pixels, dataset)
    if pixels.ndim == 3:
        grey = decode_grey((pixels >> 8 * (pixels.dtype.itemsize - 1)).astype(np.uint8))
    else:
        grey = _window_slice(dataset, number, pixels)
        if dataset.PhotometricInterpretation == "MONOCHROME1":
            grey = 255 - grey
    spacing = find_value(dataset, number, "PixelMeasuresSequence", "PixelSpacing")
    if spacing is not None and len(spacing) == 2:
        grey = square_pixels(grey, float(spacing[0]), float(spacing[1]))
    if plane is not None:
        axes = np.array(
            find_value(dataset, number, "PlaneOrientationSequence", "ImageOrientationPatient"), float
        )
        grey = orient_slice(grey, axes[:3], axes[3:], plane)
    return np.ascontiguousarray(grey)


def _window_slice(dataset: "Dataset", number: int, pixels: np.ndarray) -> np.ndarray:
    """Rescale to the scanner's units and window as the header asks, else by percentiles."""
    slope = find_value(dataset, number, "PixelValueTransformationSequence", "RescaleSlope")
    intercept = find_value(dataset, number, "PixelValueTransformationSequence", "RescaleIntercept")
    values = pixels.astype(np.float32) * float(1 if slope is None else slope) + float(intercept or 0)
    if dataset.get("VOILUTSequence"):
        table = dataset.VOILUTSequence[0]
        return apply_window(
            import_pydicom().pixels.apply_voi(values.astype(np.int64), dataset),
            0.0,
            2.0 ** int(table.LUTDescriptor[2]) - 1,
        )
    centre = find_value(dataset, number, "FrameVOILUTSequence", "WindowCenter")
    width = find_value(dataset, number, "FrameVOILUTSequence", "WindowWidth")
    if centre is not None and width is not None:
        shape = str(find_value(dataset, number, "FrameVOILUTSequence", "VOILUTFunction") or "LINEAR")
        windowed = _apply_voi_window(values, float(np.ravel(centre)[0]), float(np.ravel(width)[0]), shape)
        # A window that shows nothing of what there is was meant for other units.
        if windowed.min() < windowed.max() or values.min() == values.max():
            return windowed
    return apply_window(values, *find_window(values))


def _apply_voi_window(values: np.ndarray, centre: float, width: float, shape: str) -> np.ndarray:
    """Source: DICOM PS3.3 C.11.2.1.2 and C.11.2.1.3, equations for the functions LINEAR, LINEAR_EXACT and SIGMOID."""
    if shape == "SIGMOID":
        exponent = np.clip(-4 * (values - centre) / max(width, 1e-6), -50, 50)
        return apply_window(1 / (1 + np.exp(exponent)), 0.0, 1.0)
    if shape == "LINEAR_EXACT":
        return apply_window(values, centre - width / 2, centre + width / 2)
    return apply_window(values, centre - 0.5 - (width - 1) / 2, centre - 0.5 + (width - 1) / 2)
