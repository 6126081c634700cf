"""Picture files, PIL images and arrays: the decoder of pixels.

Goes in: the path or the bytes of a picture file, a PIL image or an array; it stays as it is. Comes out: a
`Picture`, 8-bit grey at native size.
"""

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageChops, ImageOps, UnidentifiedImageError

from serving.files.entries import read_start
from serving.files.errors import ImageError
from serving.pictures.windows import WINDOW_PERCENTILES, apply_percentile_window

MAX_BYTES = 20 * 1024 * 1024
# A larger picture is neither a slice nor a photograph of one; decoded, each of several copies takes 64 MB.
MAX_PIXELS = 4096 * 4096
# Padded to a square, a long and thin picture would grow without bound.
MAX_SIDE = 8192
# Markers ff da; a progressive JPEG has some ten, each a pass over all pixels, whatever little it holds.
_MAX_SCANS = 100
_DEEP_MODES = ("I", "I;16", "I;16L", "I;16B", "I;16N", "F")

# What the error messages promise. Pillow knows many more, among them EPS, which it hands to Ghostscript.
_FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP")
_SIGNATURES = (b"\x89PNG", b"\xff\xd8\xff", b"II*\0", b"MM\0*", b"BM", b"RIFF")
# What people send in their stead; of HEIC, AVIF and films the first four bytes are a length.
_NOT_READ = {
    b"GIF8": "GIF",
    b"%PDF": "a PDF",
    b"%!PS": "PostScript",
    b"<": "SVG, XML or a web page",
    b"8BPS": "a Photoshop file",
    b"\0\0\0\x0cjP": "JPEG 2000",
    b"ftypheic": "HEIC",
    b"ftypavif": "AVIF",
    b"ftypmp42": "a film",
    b"\x7fELF": "a program",
    b"Rar!": "a RAR archive",
}
_AGAIN = "Export it again as PNG or JPEG."
_SMALLER = "Send one slice as PNG or JPEG, downscaled if need be."
# Brightest minus darkest channel from which a pixel counts as coloured; JPEG gives grey pixels a few levels.
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
        details: harmless technical facts by name, of DICOM and NIfTI; see `serving.pictures.anatomy.Volume`.

    Example:
        >>> facts = decode_image(Image.new("RGB", (6, 4))).facts
        >>> facts.mode, facts.size, facts.steps
        ('RGB', (6, 4), ('Colour turned to grey (ITU-R BT.601).',))
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
        facts: of the file; None where the picture did not come from a decoder.
        pixel_mm2: area of one pixel, mm²; only DICOM and NIfTI say it.

    Example:
        >>> picture = decode_image(Image.new("RGB", (6, 4), "red"))
        >>> picture.grey.shape, picture.coloured
        ((4, 6), 1.0)
    """

    grey: np.ndarray
    coloured: float = 0.0
    facts: FileFacts | None = None
    pixel_mm2: float | None = None


def decode_image(source: str | Path | bytes | Image.Image | np.ndarray) -> Picture:
    """Decode a picture, neither DICOM nor NIfTI, to 8-bit grey at its native size; see `serving.preprocess`.

    Raises:
        ImageError: the picture is empty, damaged, too large, or of no known format.
    """
    size = None
    if isinstance(source, Image.Image):
        name, image = "The image", source
    elif isinstance(source, np.ndarray):
        name, image = "The array", _from_array(source)
    else:
        name = "The upload" if isinstance(source, bytes) else Path(source).name
        content = source if isinstance(source, bytes) else read_start(Path(source), MAX_BYTES + 1)
        size, image = len(content), _open(content, name)
    if not 0 < image.width * image.height <= MAX_PIXELS or max(image.size) > MAX_SIDE:
        limits = f"at most {MAX_PIXELS:,}, and {MAX_SIDE:,} a side, are accepted"
        raise ImageError(f"{name} has {image.width} x {image.height} pixels; {limits}. {_SMALLER}")
    try:
        image.load()
        is_turned = image.getexif().get(ExifTags.Base.Orientation, 1) != 1
        # Not in place: the image may be the caller's.
        grey, coloured, steps = _to_grey(ImageOps.exif_transpose(image) if is_turned else image)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        kind = image.format or image.mode
        raise ImageError(f"{name} is damaged or cut short ({kind}). {_AGAIN}") from error
    turned = ["Turned as its EXIF header says."] if is_turned else []
    facts = FileFacts(image.format or "", image.mode, image.size, size, (*turned, *steps))
    return Picture(grey, coloured, facts)


def _open(content: bytes, name: str) -> Image.Image:
    """The picture that a file holds, not yet decoded."""
    if not content:
        raise ImageError(f"{name} is empty (0 bytes). Send a PNG or JPEG of one slice.")
    if len(content) > MAX_BYTES:
        raise ImageError(f"{name} has {len(content):,} bytes; at most {MAX_BYTES:,} are accepted. {_SMALLER}")
    if content.startswith(b"\xff\xd8") and (scans := content.count(b"\xff\xda")) > _MAX_SCANS:
        raise ImageError(f"{name} is a JPEG of {scans:,} scans; at most {_MAX_SCANS} are accepted. {_AGAIN}")
    try:
        return Image.open(io.BytesIO(content), formats=_FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        what = f"{name} unpacks to more than the {MAX_PIXELS:,} pixels accepted"
        raise ImageError(f"{what}. {_SMALLER}") from error
    except (OSError, SyntaxError, ValueError) as error:
        if isinstance(error, UnidentifiedImageError) and not content.startswith(_SIGNATURES):
            what = f"{name} is {_name_format(content)}. Send PNG, JPEG, BMP, TIFF, WebP, DICOM or NIfTI."
            raise ImageError(what) from error
        raise ImageError(f"{name} is damaged. {_AGAIN}") from error


def _name_format(content: bytes) -> str:
    start = content[:16].lstrip()
    for signature, kind in _NOT_READ.items():
        if start.startswith(signature) or content[4:12] == signature:
            return f"{kind}, which is not read"
    return "not a picture in a format known here"


def _from_array(array: np.ndarray) -> Image.Image:
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    grey, colour = array.ndim == 2, array.ndim == 3 and array.shape[2] in (3, 4) and array.dtype == np.uint8
    if not (grey or colour) or array.size == 0 or array.dtype.kind not in "uifb":
        expected = "an array (h, w) of numbers, or uint8 (h, w, 3) or (h, w, 4)"
        raise ImageError(f"Expected {expected}; got {array.dtype} {array.shape}.")
    return Image.fromarray(array if array.dtype == np.uint8 else array.astype(np.float32))


def _to_grey(image: Image.Image) -> tuple[np.ndarray, float, list[str]]:
    """Grey pixels, the share that had a colour, and what was done to them."""
    if image.mode in _DEEP_MODES:
        low, high = WINDOW_PERCENTILES
        grey = apply_percentile_window(np.asarray(image).astype(np.float32))
        return grey, 0.0, [f"Windowed to 8 bits between the {low} and {high} percentiles."]
    steps = []
    if image.mode in ("LA", "PA", "RGBA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (0, 0, 0, 255)), image)
        steps.append("Transparency laid over black.")
    if image.mode == "L":
        return np.asarray(image), 0.0, steps
    image = image.convert("RGB")
    steps.append("Colour turned to grey (ITU-R BT.601).")
    return np.asarray(image.convert("L")), _measure_colour(image), steps


def _measure_colour(image: Image.Image) -> float:
    """Share of the pixels of an RGB picture whose channels differ by `COLOUR_LEVELS` or more."""
    red, green, blue = image.split()
    brightest = ImageChops.lighter(ImageChops.lighter(red, green), blue)
    darkest = ImageChops.darker(ImageChops.darker(red, green), blue)
    counts = ImageChops.subtract(brightest, darkest).histogram()
    return sum(counts[COLOUR_LEVELS:]) / sum(counts)
