"""From a picture file to the array that the model sees: the one implementation for training and for serving.

Goes in: a path or the bytes of a file (a picture, or DICOM or NIfTI of one slice), a PIL image or an array.
Comes out: uint8 (size, size, 1), grey, [0, 255]. It exists once because a model that is trained on one resize
and served on another is quietly wrong (training-serving skew).

Two steps, each usable alone:
    1. `decode` turns whatever was stored into a `Picture`: uint8 (h, w) at native size, how much of it had a
       colour, and what the file was; `decode_grey` gives the pixels alone.
    2. `fit_to_square` pads with black to a square, or stretches, and resizes with antialiasing.
"""

from pathlib import Path
from typing import IO, Any, Literal, get_args

import numpy as np
from PIL import Image

from serving.files.entries import HEAD_BYTES, MAX_VOLUME_BYTES, read_start
from serving.files.errors import ImageError
from serving.pictures.image_files import Picture, decode_image
from serving.pictures.volumes import decode_single, is_volume

Fit = Literal["pad", "stretch"]
FITS: tuple[str, ...] = get_args(Fit)
# Of `fit_to_square`; goes up with every change of its pixels, so that kept pictures are made anew.
PREPROCESSING_VERSION = 1

ImageSource = str | Path | bytes | IO[bytes] | Image.Image | np.ndarray | Picture


def preprocess(source: ImageSource, size: int, fit: str = "pad") -> np.ndarray:
    """Decode a picture and bring it to the model's input size.

    Args:
        source: path or content of a picture file, or of a DICOM or NIfTI file of one slice, or such a file
            opened with mode "rb"; PIL image; array (h, w), (h, w, 1), (h, w, 3) or (h, w, 4); or what
            `decode` gave.
        size: side of the square that the model takes, in pixels.
        fit: one of `FITS`, as the artefact says.

    Returns:
        uint8 (size, size, 1), grey, [0, 255].

    Raises:
        ImageError: the picture is empty, damaged, too large, or of no known format.
    """
    return fit_to_square(decode_grey(source), size, fit)


def decode_grey(source: ImageSource) -> np.ndarray:
    """Decode a picture to uint8 (h, w) at its native size; see `decode`."""
    return decode(source).grey


def decode(source: ImageSource) -> Picture:
    """Decode a picture to 8-bit grey at its native size, and note its colour and what was done to it.

    EXIF orientation is applied, transparency is laid over black, colour becomes luma (ITU-R BT.601),
    and 16-bit, 32-bit and float data are windowed between two percentiles.

    Args:
        source: as for `preprocess`, and never changed, but an open file is read from where it stands to its
            end, and stays open; a `Picture` comes back as it is.

    Raises:
        ImageError: as for `preprocess`, or it is nothing of the above.
    """
    if isinstance(source, Picture):
        return source
    if hasattr(source, "read"):
        source = _read_open(source)
    if isinstance(source, str | Path | bytes):
        head = source[:HEAD_BYTES] if isinstance(source, bytes) else read_start(Path(source), HEAD_BYTES)
        if is_volume(head):
            return decode_single(source)
    elif not isinstance(source, Image.Image | np.ndarray):
        expected = "a path, the content of a file, an open file, a PIL image or an array"
        raise ImageError(f"Expected {expected}; got {type(source).__name__}.")
    return decode_image(source)


def _read_open(file: Any) -> bytes:
    """The content of an open file, no more of it than is accepted and one byte."""
    try:
        content = file.read(MAX_VOLUME_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: it is closed, or text in another encoding
        raise ImageError(f"The open file cannot be read: {error}. Open it with mode 'rb'.") from error
    if not isinstance(content, bytes):
        raise ImageError(f"Expected a file opened with mode 'rb'; it gives {type(content).__name__}.")
    return content


def fit_to_square(grey: np.ndarray, size: int, fit: str = "pad") -> np.ndarray:
    """Make a square and resize it with antialiasing (bicubic).

    Args:
        grey: uint8 (h, w), [0, 255].
        size: side of the result, in pixels.
        fit: `pad`: black is put around the shorter sides, so proportions stay; `stretch`: they do not.

    Returns:
        uint8 (size, size, 1), [0, 255].
    """
    if fit == "pad":
        height, width = grey.shape
        side, top, left = _place_in_square(height, width)
        square = np.zeros((side, side), np.uint8)
        square[top : top + height, left : left + width] = grey
        grey = square
    return np.array(Image.fromarray(grey).resize((size, size), Image.Resampling.BICUBIC))[..., None]


def find_box(height: int, width: int, fit: str) -> tuple[float, float, float, float]:
    """Where `fit_to_square` puts a picture, so that places in the square can be found in the picture.

    Args:
        height: of the picture, pixels.
        width: of the picture, pixels.
        fit: one of `FITS`.

    Returns:
        Left, top, right and bottom edge, as shares of the square's side.
    """
    if fit != "pad":
        return 0.0, 0.0, 1.0, 1.0
    side, top, left = _place_in_square(height, width)
    return left / side, top / side, (left + width) / side, (top + height) / side


def _place_in_square(height: int, width: int) -> tuple[int, int, int]:
    """Side of the padded square, and the row and the column where the picture begins in it."""
    side = max(height, width)
    return side, (side - height) // 2, (side - width) // 2
