"""One picture file of a collection, as stored and as grey pixels.

Goes in: a path and a function that reads it. Comes out: uint8 (h, w, 1) at native size, and how the file
stores it. The pixels are those of `serving.preprocess.decode_grey`, which this package does not import; a
test compares the two.
"""

import io
import struct
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from serving.files.errors import UserError

Reader = Callable[[str], bytes]

# The limit of serving.preprocess: what a model is trained on can be sent to it. A slice has a hundredth of
# it.
MAX_PIXELS = 4096 * 4096
# Content decides, not the suffix. Pillow knows many more formats, among them EPS, which it hands to
# Ghostscript.
FORMATS = ("JPEG", "PNG", "BMP", "TIFF", "WEBP")
# 16-bit, 32-bit and float grey, which Pillow's own conversion clips at 255.
_DEEP_MODES = ("I", "I;16", "I;16L", "I;16B", "I;16N", "F")
_WINDOW_PERCENTILES = (0.5, 99.5)
# What Pillow raises for damaged files, besides its own errors.
_DECODE_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    TypeError,
    LookupError,
    ArithmeticError,
    struct.error,
    Image.DecompressionBombError,
)


class DatasetError(UserError):
    """The collection on disk cannot be used as it is; the message names the file and the remedy."""


@dataclass(frozen=True, eq=False)
class Picture:
    """One decoded file.

    Attributes:
        pixels: uint8 (h, w, 1), [0, 255], upright.
        format: as Pillow names it: `JPEG` (or `MPO`, its multi-picture kind), `PNG`, `BMP`, `TIFF`, `WEBP`.
        mode: as stored: `L`, `RGB`, `CMYK`, `I;16`, ...
        bytes: size of the file.
    """

    pixels: np.ndarray
    format: str
    mode: str
    bytes: int


def decode_picture(path: str, read: Reader) -> Picture:
    """Decode one picture of a collection at its native size.

    EXIF orientation is applied, transparency is laid over black, colour becomes luma (ITU-R BT.601); 16-bit,
    32-bit and float grey is windowed between two percentiles. Of several frames the first counts.

    Args:
        path: name in the collection.
        read: gives the bytes of that file.

    Returns:
        Pixels and what the file says of itself.

    Raises:
        DatasetError: the file is empty, damaged, too large, or of another format.
    """
    content = read(path)
    try:
        return _decode(content)
    except _DECODE_ERRORS as error:
        raise DatasetError(f"Cannot decode {path}: {_explain(error)}. Replace the file.") from error


def read_grey(path: str, read: Reader) -> np.ndarray:
    """Pixels of `decode_picture`: uint8 (h, w, 1), [0, 255]."""
    return decode_picture(path, read).pixels


def _decode(content: bytes) -> Picture:
    if not content:
        raise ValueError("it is empty (0 bytes)")
    with warnings.catch_warnings():
        # Pillow warns from 89 million pixels on; the limit here is lower, and an error.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        opened = Image.open(io.BytesIO(content), formats=FORMATS)
    with opened as image:
        if not 0 < image.width * image.height <= MAX_PIXELS:  # from the header, before a pixel is unpacked
            raise ValueError(
                f"it has {image.width} x {image.height} pixels, and at most {MAX_PIXELS:,} are read"
            )
        mode = image.mode
        image.load()
        grey = _to_grey(ImageOps.exif_transpose(image))
        return Picture(grey[..., None], str(image.format), mode, len(content))


def _explain(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "it is no JPEG, PNG, BMP, TIFF or WebP, or its header is damaged"
    if isinstance(error, Image.DecompressionBombError):
        return f"at most {MAX_PIXELS:,} pixels are read ({error})"
    return str(error).rstrip(".") or type(error).__name__


def _to_grey(image: Image.Image) -> np.ndarray:
    """Grey uint8 (h, w) of an upright image."""
    if image.mode in _DEEP_MODES:
        return _window(np.asarray(image).astype(np.float32))
    if image.mode in ("LA", "PA", "RGBA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (0, 0, 0, 255)), image)
    if image.mode != "L":
        image = image.convert("RGB").convert("L")
    return np.asarray(image)


def _window(deep: np.ndarray) -> np.ndarray:
    """Scale float32 (h, w) so that the percentiles become 0 and 255; a flat picture becomes black."""
    finite = np.nan_to_num(deep, nan=0.0, posinf=0.0, neginf=0.0)
    low, high = np.percentile(finite, _WINDOW_PERCENTILES)
    if high <= low:
        return np.zeros(deep.shape, np.uint8)
    return np.clip((finite - low) / (high - low) * 255.0 + 0.5, 0, 255).astype(np.uint8)
