"""From a picture file to the array that the model sees: the one implementation for training and for serving.

Goes in: a path, the bytes of a picture file, a PIL image or an array. Comes out: uint8 (size, size, 1), grey, [0, 255].
It exists once because a model that is trained on one resize and served on another is quietly wrong (training-serving skew).

Two steps, each usable alone:
    1. `decode` turns whatever was stored into a `Picture`: uint8 (h, w) at native size, and how much of it had a colour; `decode_grey`
       gives the pixels alone.
    2. `fit_to_square` pads with black to a square, or stretches, and resizes with antialiasing.
"""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageChops, ImageOps, UnidentifiedImageError

MAX_BYTES = 20 * 1024 * 1024
MAX_PIXELS = 40_000_000
FITS = ("pad", "stretch")
# Scanners leave a few hot pixels; the window of 16-bit and float data ignores half a percent at either end.
WINDOW_PERCENTILES = (0.5, 99.5)
_DEEP_MODES = ("I", "I;16", "I;16L", "I;16B", "I;16N", "F")

# What the error messages promise. Pillow knows many more, among them EPS, which it hands to Ghostscript.
_FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP")

# Brightest minus darkest channel from which a pixel counts as coloured; JPEG gives grey pixels a few levels of it.
COLOUR_LEVELS = 24


@dataclass(frozen=True)
class Picture:
    """A decoded picture, which the model may see in one size and a person in another.

    Attributes:
        grey: uint8 (h, w), [0, 255], native size.
        coloured: share of the pixels that had a colour before they became grey, [0, 1].
    """

    grey: np.ndarray
    coloured: float = 0.0


ImageSource = str | Path | bytes | Image.Image | np.ndarray | Picture


class ImageError(ValueError):
    """A picture that cannot be read; the message is fit for the person who sent it and names no server path."""


def preprocess(source: ImageSource, size: int, fit: str = "pad") -> np.ndarray:
    """Decode a picture and bring it to the model's input size.

    Args:
        source: path, file content, PIL image, array (h, w), (h, w, 1), (h, w, 3) or (h, w, 4), or what `decode` gave.
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
    """Decode a picture to 8-bit grey at its native size, and note how much colour it had.

    EXIF orientation is applied, transparency is laid over black, colour becomes luma (ITU-R BT.601),
    and 16-bit, 32-bit and float data are windowed between two percentiles.

    Args:
        source: as for `preprocess`; a `Picture` comes back as it is.

    Raises:
        ImageError: as for `preprocess`.
    """
    if isinstance(source, Picture):
        return source
    image, name = _open(source)
    if image.width * image.height > MAX_PIXELS:
        raise ImageError(
            f"{name} has {image.width} x {image.height} pixels; at most {MAX_PIXELS:,} are accepted. Send one slice, downscaled if need be."
        )
    try:
        image.load()
        return _to_picture(ImageOps.exif_transpose(image))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ImageError(f"{name} is damaged or cut short ({image.format or image.mode}). Export it again as PNG or JPEG.") from error


def fit_to_square(grey: np.ndarray, size: int, fit: str = "pad") -> np.ndarray:
    """Make a square and resize it with antialiasing (bicubic).

    Args:
        grey: uint8 (h, w), [0, 255].
        size: side of the result, in pixels.
        fit: `pad`: black is put around the shorter sides, so proportions stay; `stretch`: they do not.

    Returns:
        uint8 (size, size, 1), [0, 255].
    """
    height, width = grey.shape
    if fit == "pad":
        side = max(height, width)
        square = np.zeros((side, side), np.uint8)
        top, left = (side - height) // 2, (side - width) // 2
        square[top : top + height, left : left + width] = grey
        grey = square
    if grey.shape != (size, size):
        grey = np.asarray(Image.fromarray(grey).resize((size, size), Image.Resampling.BICUBIC))
    return grey[..., None]


def _open(source: str | Path | bytes | Image.Image | np.ndarray) -> tuple[Image.Image, str]:
    if isinstance(source, Image.Image):
        return source, "The image"
    if isinstance(source, np.ndarray):
        return _from_array(source), "The array"
    name = "The upload" if isinstance(source, bytes) else Path(source).name
    content = source if isinstance(source, bytes) else _read(Path(source))
    if not content:
        raise ImageError(f"{name} is empty (0 bytes). Send a PNG or JPEG of one slice.")
    if len(content) > MAX_BYTES:
        raise ImageError(f"{name} has {len(content):,} bytes; at most {MAX_BYTES:,} are accepted. Send one slice as PNG or JPEG.")
    try:
        return Image.open(io.BytesIO(content), formats=_FORMATS), name
    except UnidentifiedImageError as error:
        raise ImageError(f"{name} is not a picture in a format known here. Send PNG, JPEG, BMP, TIFF or WebP.") from error
    except Image.DecompressionBombError as error:
        raise ImageError(f"{name} unpacks to more pixels than the {MAX_PIXELS:,} accepted. Send one slice, downscaled if need be.") from error
    except (OSError, SyntaxError, ValueError) as error:
        raise ImageError(f"{name} is damaged. Export it again as PNG or JPEG.") from error


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ImageError(f"{path.name} cannot be read: {error.strerror}. Check the path and its permissions.") from error


def _from_array(array: np.ndarray) -> Image.Image:
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    grey, colour = array.ndim == 2, array.ndim == 3 and array.shape[2] in (3, 4) and array.dtype == np.uint8
    if not (grey or colour) or array.size == 0 or array.dtype.kind not in "uifb":
        raise ImageError(f"Expected an array (h, w) of numbers, or uint8 (h, w, 3) or (h, w, 4); got {array.dtype} {array.shape}.")
    if array.dtype == np.uint8:
        return Image.fromarray(array)
    return Image.fromarray(array.astype(np.float32))


def _to_picture(image: Image.Image) -> Picture:
    if image.mode in _DEEP_MODES:
        return Picture(_window(np.asarray(image).astype(np.float32)))
    if image.mode in ("LA", "PA", "RGBA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (0, 0, 0, 255)), image)
    if image.mode == "L":
        return Picture(np.asarray(image))
    image = image.convert("RGB")
    return Picture(np.asarray(image.convert("L")), _measure_colour(image))


def _measure_colour(image: Image.Image) -> float:
    """Share of the pixels of an RGB picture whose channels differ by `COLOUR_LEVELS` or more."""
    red, green, blue = image.split()
    brightest, darkest = ImageChops.lighter(ImageChops.lighter(red, green), blue), ImageChops.darker(ImageChops.darker(red, green), blue)
    counts = ImageChops.subtract(brightest, darkest).histogram()
    return sum(counts[COLOUR_LEVELS:]) / sum(counts)


def _window(deep: np.ndarray) -> np.ndarray:
    """Scale float32 (h, w) so that the window's percentiles become 0 and 255; a flat picture becomes black."""
    finite = np.nan_to_num(deep, nan=0.0, posinf=0.0, neginf=0.0)
    low, high = np.percentile(finite, WINDOW_PERCENTILES)
    if high <= low:
        return np.zeros(deep.shape, np.uint8)
    return np.clip((finite - low) / (high - low) * 255.0 + 0.5, 0, 255).astype(np.uint8)
