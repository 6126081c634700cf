"""One DICOM frame: from stored values to an oriented grey slice.

Goes in: a parsed data set and the values of one frame. Comes out: uint8 (h, w), as a viewer shows it.

A slice gets the window that its header asks for (VOI LUT, or centre and width: what a viewer shows and an
export keeps), else the percentiles that a 16-bit picture gets, slice by slice: the training pictures were
exported one by one, and so a slice gets the same answer alone, within its series and as a picture.
"""

from typing import TYPE_CHECKING

import numpy as np

from serving.pictures.anatomy import orient_slice, square_pixels
from serving.pictures.dicom_parser import find_value, import_pydicom
from serving.pictures.image_files import decode_image
from serving.pictures.windows import apply_percentile_window, apply_voi_window, apply_window

if TYPE_CHECKING:
    from pydicom import Dataset


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
    if dataset.PhotometricInterpretation == "PALETTE COLOR":
        pixels = import_pydicom().pixels.apply_color_lut(pixels, dataset)
    if pixels.ndim == 3:
        grey = decode_image((pixels >> 8 * (pixels.dtype.itemsize - 1)).astype(np.uint8)).grey
    else:
        grey = _window_slice(dataset, number, pixels)
        if dataset.PhotometricInterpretation == "MONOCHROME1":
            grey = 255 - grey
    spacing = find_value(dataset, number, "PixelMeasuresSequence", "PixelSpacing")
    if spacing is not None and len(spacing) == 2:
        grey = square_pixels(grey, float(spacing[0]), float(spacing[1]))
    if plane is not None:
        axes = find_value(dataset, number, "PlaneOrientationSequence", "ImageOrientationPatient")
        grey = orient_slice(grey, np.array(axes[:3], float), np.array(axes[3:], float), plane)
    return np.ascontiguousarray(grey)


def _window_slice(dataset: "Dataset", number: int, pixels: np.ndarray) -> np.ndarray:
    """Rescale to the scanner's units and window as the header asks, else by percentiles."""
    slope = find_value(dataset, number, "PixelValueTransformationSequence", "RescaleSlope")
    intercept = find_value(dataset, number, "PixelValueTransformationSequence", "RescaleIntercept")
    values = pixels.astype(np.float32) * float(1 if slope is None else slope) + float(intercept or 0)
    if dataset.get("VOILUTSequence"):
        bits = int(dataset.VOILUTSequence[0].LUTDescriptor[2])
        shown = import_pydicom().pixels.apply_voi(values.astype(np.int64), dataset)
        return apply_window(shown, 0.0, 2.0**bits - 1)
    keywords = ("WindowCenter", "WindowWidth", "VOILUTFunction")
    centre, width, function = (find_value(dataset, number, "FrameVOILUTSequence", one) for one in keywords)
    if centre is not None and width is not None:
        first = float(np.ravel(centre)[0]), float(np.ravel(width)[0])
        windowed = apply_voi_window(values, *first, str(function or "LINEAR"))
        # A window that shows nothing of what there is was meant for other units.
        if windowed.min() < windowed.max() or values.min() == values.max():
            return windowed
    return apply_percentile_window(values)
