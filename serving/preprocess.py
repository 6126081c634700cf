"""From a picture file to the array that the model sees: the one implementation for training and for serving.

Goes in: a path or the bytes of a file (a picture, or DICOM or NIfTI of one slice), a PIL image or an array.
Comes out: uint8 (size, size, 1), grey, [0, 255]. It exists once because a model that is trained on one resize
and served on another is quietly wrong (training-serving skew).

Two steps, each usable alone:
    1. `decode` turns whatever was stored into a `Picture`: uint8 (h, w) at native size, how much of it had a
       colour, and what the file was; `decode_grey` gives the pixels alone.
    2. `fit_to_square` pads with black to a square, or stretches, and resizes with antialiasing.
"""

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageChops, ImageOps, UnidentifiedImageError

from serving.files.errors import ImageError

MAX_BYTES = 20 * 1024 * 1024
# Pictures of more are neither slices nor photographs of them; decoded, one of this size takes up to 64 MB in
# each of several copies.
MAX_PIXELS = 4096 * 4096
# Padded to a square, a long and thin picture would grow without bound.
MAX_SIDE = 8192
# A progressive JPEG has some ten; each is a pass over all pixels, whatever little it holds.
_MAX_SCANS = 100
_SCAN = b"\xff\xda"
FITS = ("pad", "stretch")
# Scanners leave a few hot pixels; the window of 16-bit and float data ignores half a percent at either end.
WINDOW_PERCENTILES = (0.5, 99.5)
_DEEP_MODES = ("I", "I;16", "I;16L", "I;16B", "I;16N", "F")

# What the error messages promise. Pillow knows many more, among them EPS, which it hands to Ghostscript.
_FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP")
_SIGNATURES = (b"\x89PNG", b"\xff\xd8\xff", b"II*\0", b"MM\0*", b"BM", b"RIFF")
# What people send in their stead; of HEIC, AVIF and films the first four bytes are a length.
_NOT_READ = (
    (b"GIF8", "GIF"),
    (b"%PDF", "a PDF"),
    (b"%!PS", "PostScript"),
    (b"<", "SVG, XML or a web page"),
    (b"8BPS", "a Photoshop file"),
    (b"\0\0\0\x0cjP", "JPEG 2000"),
    (b"ftypheic", "HEIC"),
    (b"ftypavif", "AVIF"),
    (b"ftypmp42", "a film"),
    (b"\x7fELF", "a program"),
    (b"Rar!", "a RAR archive"),
)

# Brightest minus darkest channel from which a pixel counts as coloured; JPEG gives grey pixels a few levels
# of it.
COLOUR_LEVELS = 24


@dataclass(frozen=True)
class FileFacts:
    """What a picture was before it was decoded, for the person who sent it.

    Attributes:
        format: as Pillow names it, such as PNG; empty where there was no file; DICOM or NIfTI.
        mode: of the pixels as stored, as Pillow names it, such as RGB or I;16; empty for DICOM and NIfTI.
        size: width and height as stored, pixels.
        bytes: of the file; None where there was none.
        steps: what made the grey picture of the stored pixels, in order, each a sentence; empty where they
            were 8-bit grey already.
        details: harmless technical facts by name, of DICOM and NIfTI; see `serving.pictures.volumes.Volume`.
    """

    format: str
    mode: str
    size: tuple[int, int]
    bytes: int | None
    steps: tuple[str, ...]
    details: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Picture:
    """A decoded picture, which the model may see in one size and a person in another.

    Attributes:
        grey: uint8 (h, w), [0, 255], native size.
        coloured: share of the pixels that had a colour before they became grey, [0, 1].
        facts: of the file; None where the picture did not come from `decode`.
    """

    grey: np.ndarray
    coloured: float = 0.0
    facts: FileFacts | None = None


ImageSource = str | Path | bytes | Image.Image | np.ndarray | Picture


def preprocess(source: ImageSource, size: int, fit: str = "pad") -> np.ndarray:
    """Decode a picture and bring it to the model's input size.

    Args:
        source: path or content of a picture file, or of a DICOM or NIfTI file of one slice; PIL image; array
            (h, w), (h, w, 1), (h, w, 3) or (h, w, 4); or what `decode` gave.
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
    """Decode a picture to 8-bit grey at its native size, and note how much colour it had and what was done to it.

    EXIF orientation is applied, transparency is laid over black, colour becomes luma (ITU-R BT.601),
    and 16-bit, 32-bit and float data are windowed between two percentiles.

    Args:
        source: as for `preprocess`; a `Picture` comes back as it is.

    Raises:
        ImageError: as for `preprocess`.
    """
    if isinstance(source, Picture):
        return source
    if isinstance(source, str | Path | bytes) and _holds_volume(source):
        from serving.pictures.volumes import decode_single

        return decode_single(source)
    image, name, size = _open(source)
    if not 0 < image.width * image.height <= MAX_PIXELS or max(image.size) > MAX_SIDE:
        raise ImageError(
            f"{name} has {image.width} x {image.height} pixels; at most {MAX_PIXELS:,}, and {MAX_SIDE:,} a"
            " side, are accepted. Send one slice, downscaled if need be."
        )
    try:
        image.load()
        stored, is_turned = (image.mode, image.size), image.getexif().get(ExifTags.Base.Orientation, 1) != 1
        ImageOps.exif_transpose(image, in_place=True)
        grey, coloured, steps = _to_grey(image)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ImageError(
            f"{name} is damaged or cut short ({image.format or image.mode}). Export it again as PNG or JPEG."
        ) from error
    turned = ["Turned as its EXIF header says."] if is_turned else []
    return Picture(grey, coloured, FileFacts(image.format or "", *stored, size, (*turned, *steps)))


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


def find_window(values: np.ndarray) -> tuple[float, float]:
    """The window of a picture that states none: its `WINDOW_PERCENTILES`, where values that are not finite count as 0.

    Args:
        values: float32 (h, w).
    """
    finite = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
    low, high = np.percentile(finite.ravel(), WINDOW_PERCENTILES, overwrite_input=True)
    return float(low), float(high)


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


def _open(source: str | Path | bytes | Image.Image | np.ndarray) -> tuple[Image.Image, str, int | None]:
    """The picture, not yet decoded; its name for messages; the size of its file in bytes, if there is one."""
    if isinstance(source, Image.Image):
        return source, "The image", None
    if isinstance(source, np.ndarray):
        return _from_array(source), "The array", None
    name = "The upload" if isinstance(source, bytes) else Path(source).name
    content = source if isinstance(source, bytes) else _read(Path(source), MAX_BYTES + 1)
    if not content:
        raise ImageError(f"{name} is empty (0 bytes). Send a PNG or JPEG of one slice.")
    if len(content) > MAX_BYTES:
        raise ImageError(
            f"{name} has {len(content):,} bytes; at most {MAX_BYTES:,} are accepted. Send one slice as PNG or"
            " JPEG."
        )
    if content.startswith(b"\xff\xd8") and content.count(_SCAN) > _MAX_SCANS:
        raise ImageError(
            f"{name} is a JPEG of {content.count(_SCAN):,} scans; at most {_MAX_SCANS} are accepted. Export"
            " it again as PNG or JPEG."
        )
    try:
        return Image.open(io.BytesIO(content), formats=_FORMATS), name, len(content)
    except UnidentifiedImageError as error:
        if content.startswith(_SIGNATURES):
            raise ImageError(f"{name} is damaged. Export it again as PNG or JPEG.") from error
        known = next(
            (
                kind
                for signature, kind in _NOT_READ
                if content[:16].lstrip().startswith(signature) or content[4:12] == signature
            ),
            None,
        )
        what = f"is {known}, which is not read" if known else "is not a picture in a format known here"
        raise ImageError(f"{name} {what}. Send PNG, JPEG, BMP, TIFF, WebP, DICOM or NIfTI.") from error
    except Image.DecompressionBombError as error:
        raise ImageError(
            f"{name} unpacks to more pixels than the {MAX_PIXELS:,} accepted. Send one slice, downscaled if"
            " need be."
        ) from error
    except (OSError, SyntaxError, ValueError) as error:
        raise ImageError(f"{name} is damaged. Export it again as PNG or JPEG.") from error


def _holds_volume(source: str | Path | bytes) -> bool:
    """Tell DICOM, NIfTI and zip, which `serving.pictures.volumes` reads, from pictures."""
    # Imported here, since it imports this module.
    from serving.files.entries import HEAD_BYTES
    from serving.pictures.volumes import is_volume

    return is_volume(source[:HEAD_BYTES] if isinstance(source, bytes) else _read(Path(source), HEAD_BYTES))


def _read(path: Path, limit: int) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(limit)
    except OSError as error:
        raise ImageError(
            f"{path.name} cannot be read: {error.strerror}. Check the path and its permissions."
        ) from error


def _from_array(array: np.ndarray) -> Image.Image:
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    grey, colour = array.ndim == 2, array.ndim == 3 and array.shape[2] in (3, 4) and array.dtype == np.uint8
    if not (grey or colour) or array.size == 0 or array.dtype.kind not in "uifb":
        raise ImageError(
            f"Expected an array (h, w) of numbers, or uint8 (h, w, 3) or (h, w, 4); got {array.dtype}"
            f" {array.shape}."
        )
    if array.dtype == np.uint8:
        return Image.fromarray(array)
    return Image.fromarray(array.astype(np.float32))


def _to_grey(image: Image.Image) -> tuple[np.ndarray, float, list[str]]:
    """Grey pixels, the share that had a colour, and what was done to them."""
    if image.mode in _DEEP_MODES:
        deep, (low, high) = np.asarray(image).astype(np.float32), WINDOW_PERCENTILES
        return (
            apply_window(deep, *find_window(deep)),
            0.0,
            [f"Windowed to 8 bits between the {low} and {high} percentiles."],
        )
    steps = []
    if image.mode in ("LA", "PA", "RGBA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (0, 0, 0, 255)), image)
        steps.append("Transparency laid over black.")
    if image.mode == "L":
        return np.asarray(image), 0.0, steps
    image = image.convert("RGB")
    return (
        np.asarray(image.convert("L")),
        _measure_colour(image),
        [*steps, "Colour turned to grey (ITU-R BT.601)."],
    )


def _measure_colour(image: Image.Image) -> float:
    """Share of the pixels of an RGB picture whose channels differ by `COLOUR_LEVELS` or more."""
    red, green, blue = image.split()
    brightest, darkest = (
        ImageChops.lighter(ImageChops.lighter(red, green), blue),
        ImageChops.darker(ImageChops.darker(red, green), blue),
    )
    counts = ImageChops.subtract(brightest, darkest).histogram()
    return sum(counts[COLOUR_LEVELS:]) / sum(counts)
