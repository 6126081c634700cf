"""Samples of more than 8 bits with several channels a pixel: to luma, and to how far each pixel is from grey.

Goes in: the bytes of a PNG or TIFF, or an array. Comes out: float32 (h, w). Pillow keeps only the upper byte
of such samples, which is nothing but black where a scanner's 12 bits lie in the lower part of 16.
"""

import io
import sys
from typing import Any

import numpy as np
from PIL import ExifTags, Image, ImageFile

# ITU-R BT.601, as for 8 bits.
_LUMA = (0.299, 0.587, 0.114)
_ROWS = 64


def find_deep_rawmode(image: Image.Image) -> tuple[str, str] | None:
    """Find out how a picture holds 16-bit samples with several channels.

    Args:
        image: as Pillow opened it, not yet loaded.

    Returns:
        The bands as they lie in the file, as Pillow names them, and their byte order, B or L; None where the
        picture has no such samples.
    """
    if not isinstance(image, ImageFile.ImageFile) or image.format not in ("PNG", "TIFF") or not image.tile:
        return None
    args: Any = image.tile[0].args
    bands, _, order = (args if isinstance(args, str) else args[0]).partition(";16")
    if not order or bands not in ("LA", "RGB", "RGBA", "RGBX", "RGBa"):
        return None
    return bands, order.replace("N", sys.byteorder[0].upper())


def read_deep_samples(content: bytes, image: Image.Image, rawmode: tuple[str, str]) -> tuple[np.ndarray, int]:
    """Read 16-bit samples in full: the file is decoded once for the upper and once for the lower bytes.

    Args:
        content: of the file.
        image: of the same file, as Pillow opened it; it is not loaded.
        rawmode: of `find_deep_rawmode`.

    Returns:
        Samples as `weigh_channels` takes them, 16-bit, and how they are to be turned, as EXIF counts it.

    Raises:
        OSError: the file is damaged, as of Pillow; also SyntaxError and ValueError.
    """
    bands, order = rawmode
    if bands == "LA":  # its four bytes a pixel, taken for the four bands of RGBA
        loaded = _load_as(content, image, "RGBA")
        return np.asarray(loaded).view(">u2"), _find_orientation(loaded)
    # "RGBa" has its colours multiplied by the opacity already, so they lie over black.
    shape = image.height, image.width, 3 if bands in ("RGBX", "RGBa") else len(bands)
    samples = np.empty(shape, ">u2")
    parts = samples.view(np.uint8).reshape(*shape, 2)
    for part, half in enumerate((order, "LB"[order == "L"])):
        loaded = _load_as(content, image, f"{bands.replace('a', 'A')};16{half}")
        for band in range(shape[2]):  # one by one: all of the largest picture take 64 MB as they are
            parts[..., band, part] = np.asarray(loaded.getchannel(band))
    return samples, _find_orientation(loaded)


def _find_orientation(image: Image.Image) -> int:
    return image.getexif().get(ExifTags.Base.Orientation, 1)


def _load_as(content: bytes, image: Image.Image, rawmode: str) -> Image.Image:
    """Decode a file anew, with its samples taken for others."""
    again: Any = Image.open(io.BytesIO(content), formats=(str(image.format),))
    again.tile = [
        tile._replace(args=rawmode if isinstance(tile.args, str) else (rawmode, *tile.args[1:]))
        for tile in again.tile
    ]
    again.load()
    return again


def weigh_channels(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Luma, and the difference of the brightest and the darkest channel; transparency is laid over black.

    Args:
        samples: (h, w, 2), (h, w, 3) or (h, w, 4) of any number type; the last of two or four channels is
            opacity, whose greatest value counts as opaque.

    Returns:
        Two float32 (h, w), in the unit of the samples.
    """
    luma = np.empty(samples.shape[:2], np.float32)
    # Integers of 16 bits stay in 16 bits, since the largest picture takes 64 MB as float32.
    spread = np.empty(samples.shape[:2], samples.dtype if samples.dtype.itemsize <= 2 else np.float32)
    has_opacity = samples.shape[2] in (2, 4)
    opaque = samples[..., -1].max() if has_opacity else 1
    bands = (0, 0, 0) if samples.shape[2] == 2 else (0, 1, 2)
    for start in range(0, len(samples), _ROWS):
        rows = slice(start, start + _ROWS)
        # Channel by channel: NumPy is slow along an axis of three.
        channels = [samples[rows, :, band].astype(np.float32) for band in bands]
        if has_opacity:
            opacity = samples[rows, :, -1].astype(np.float32) / np.float32(opaque) if opaque > 0 else 0.0
            channels = [channel * opacity for channel in channels]
        brightest, darkest = np.maximum.reduce(channels), np.minimum.reduce(channels)
        spread[rows] = brightest - darkest
        # Above the darkest channel, so that grey of any depth stays exactly what it is.
        parts = [
            (channel - darkest) * np.float32(weight) for channel, weight in zip(channels, _LUMA, strict=True)
        ]
        luma[rows] = darkest + sum(parts)
    return luma, spread
