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

from serving.files.entries import DAMAGE, read_start
from serving.files.errors import ImageError
from serving.pictures.containers import (
    MAX_COUNTED,
    count_frames,
    count_pictures,
    describe_tiff,
    turn_black_is_zero,
)
from serving.pictures.foreign import describe_foreign
from serving.pictures.samples import find_deep_rawmode, read_deep_samples, weigh_channels
from serving.pictures.windows import (
    FEW_LEVELS,
    WINDOW_PERCENTILES,
    apply_percentile_window,
    apply_window,
    find_padding,
    find_percentile_window,
)

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
_TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_SIGNATURES = (b"\x89PNG", b"\xff\xd8\xff", b"BM", b"RIFF", *_TIFF_STARTS)
_AGAIN = "Export it again as PNG or JPEG."
_SMALLER = "Send one slice as PNG or JPEG, downscaled if need be."
_PLAIN_TIFF = "Export it with 8 or 16 bits, uncompressed or LZW, or as PNG."
_LUMA = "Colour turned to grey (ITU-R BT.601)."
_WINDOWED = "Windowed to 8 bits between the {} and {} percentiles.".format(*WINDOW_PERCENTILES)
_STRETCHED = (
    f"Stretched between the same percentiles as deeper pictures: it used fewer than {FEW_LEVELS} levels."
)
_INVERTED = "Inverted, since its header says that white is zero."
# What Pillow raises of damaged files.
_DAMAGE = (*DAMAGE, SyntaxError, Image.DecompressionBombError)
# Below that there is nothing to see; `serving.model.guard` calls such a picture empty.
_LEAST_LEVELS = 4
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
        ImageError: the picture is empty, damaged, too large, one of several, or of no known format.
    """
    if isinstance(source, np.ndarray):
        return _decode_array(source)
    if isinstance(source, Image.Image):
        name, image, size, count = "The image", source, None, count_frames(source)
        content = _read_again(image) if find_deep_rawmode(image) else b""
        is_inverse = image.mode in _DEEP_MODES and getattr(image, "tag_v2", {}).get(262) == 0
    else:
        name = "The upload" if isinstance(source, bytes) else Path(source).name
        content = source if isinstance(source, bytes) else read_start(Path(source), MAX_BYTES + 1)
        size = len(content)
        turned = turn_black_is_zero(content) if content.startswith(_TIFF_STARTS) else None
        is_inverse, content = turned is not None, turned or content
        image = _open(content, name)
        count = count_pictures(content, image)
    _check_size(name, image.width, image.height)
    if count > 1:
        more = " or more" if count >= MAX_COUNTED else ""
        text = f"{name} holds {count:,}{more} pictures, expected one: all but the first would go unseen."
        raise ImageError(f"{text} Send each as a file of its own, or all as one NIfTI file.")
    try:
        grey, coloured, steps = _load(image, content, is_inverse)
    except ImageError:
        raise
    except _DAMAGE as error:
        kind = image.format or image.mode
        raise ImageError(f"{name} is damaged or cut short ({kind}). {_AGAIN}") from error
    facts = FileFacts(image.format or "", image.mode, image.size, size, tuple(steps))
    return Picture(grey, coloured, facts)


def _read_again(image: Image.Image) -> bytes:
    """The file of an image that was opened and not loaded yet; empty where it cannot be had any more."""
    file = getattr(image, "fp", None)
    if file is None or file.closed:
        return b""
    at = file.tell()
    file.seek(0)
    content = file.read(MAX_BYTES)
    file.seek(at)
    return content


def _load(image: Image.Image, content: bytes, is_inverse: bool) -> tuple[np.ndarray, float, list[str]]:
    """Decode what was opened: grey pixels, the share that had a colour, and what was done to them.

    `content` is asked for 16-bit samples with several channels only; `is_inverse`: white is zero.
    """
    rawmode = find_deep_rawmode(image)
    if rawmode is not None and content:
        samples, orientation = read_deep_samples(content, image, rawmode)
        luma, spread = weigh_channels(samples)
        del samples  # 128 MB of the largest picture
        grey, coloured, steps = _reduce_deep(luma, spread)
        grey = _turn(grey, orientation)
    else:
        image.load()
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
        # Not in place: the image may be the caller's.
        upright = ImageOps.exif_transpose(image) if orientation != 1 else image
        grey, coloured, steps = _to_grey(upright, is_inverse)
    return grey, coloured, ["Turned as its EXIF header says.", *steps] if orientation != 1 else steps


def _open(content: bytes, name: str) -> Image.Image:
    """The picture that a file holds, not yet decoded."""
    if not content:
        raise ImageError(f"{name} is empty (0 bytes). Send a PNG or JPEG of one slice.")
    if len(content) > MAX_BYTES:
        raise ImageError(f"{name} has {len(content):,} bytes; at most {MAX_BYTES:,} are accepted. {_SMALLER}")
    if content.startswith(b"\xff\xd8") and (scans := content.count(b"\xff\xda")) > _MAX_SCANS:
        raise ImageError(f"{name} is a JPEG of {scans:,} scans; at most {_MAX_SCANS} are accepted. {_AGAIN}")
    foreign = describe_foreign(content, name)
    try:
        image = Image.open(io.BytesIO(content), formats=_FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        what = f"{name} unpacks to more than the {MAX_PIXELS:,} pixels accepted"
        raise ImageError(f"{what}. {_SMALLER}") from error
    except _DAMAGE as error:
        if isinstance(error, UnidentifiedImageError):
            layout = describe_tiff(content, is_open=False) if content.startswith(_TIFF_STARTS) else None
            if layout is not None:
                raise ImageError(f"{name} is {layout}, which is not read. {_PLAIN_TIFF}") from error
            if foreign is not None:
                raise ImageError(f"{name} is {foreign}.") from error
            if not content.startswith(_SIGNATURES):
                what = f"{name} is not a picture in a format known here"
                raise ImageError(f"{what}. Send PNG, JPEG, BMP, TIFF, WebP, DICOM or NIfTI.") from error
        raise ImageError(f"{name} is damaged. {_AGAIN}") from error
    if image.format == "TIFF" and (layout := describe_tiff(content, is_open=True)):
        raise ImageError(f"{name} is {layout}, which is not read. {_PLAIN_TIFF}")
    return image


def _check_size(name: str, width: int, height: int) -> None:
    if not 0 < width * height <= MAX_PIXELS or max(width, height) > MAX_SIDE:
        limits = f"at most {MAX_PIXELS:,}, and {MAX_SIDE:,} a side, are accepted"
        raise ImageError(f"{name} has {width} x {height} pixels; {limits}. {_SMALLER}")


def _check_numbers(name: str, values: np.ndarray) -> None:
    """Refuse what shows nothing: some pixels without a value are padding, all of them are a mistake."""
    if values.dtype.kind == "f" and not np.isfinite(values).any():
        raise ImageError(f"{name} holds no finite number: all of it is NaN or infinite. Send the pixels.")


def _decode_array(array: np.ndarray) -> Picture:
    shape, is_colour = array.shape, array.ndim == 3 and array.shape[2] in (3, 4)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    if not (array.ndim == 2 or is_colour) or array.size == 0 or array.dtype.kind not in "uifb":
        raise ImageError(
            f"Expected an array (h, w), (h, w, 3) or (h, w, 4) of numbers; got {array.dtype} {shape}."
        )
    _check_size("The array", array.shape[1], array.shape[0])
    _check_numbers("The array", array)
    if array.dtype == np.uint8:
        image = Image.fromarray(array)
        mode, (grey, coloured, steps) = image.mode, _to_grey(image)
    elif is_colour:
        mode, (grey, coloured, steps) = str(array.dtype), _reduce_deep(*weigh_channels(array))
    else:
        values = array.astype(np.float32)
        mode, grey, coloured, steps = "F", apply_percentile_window(values), 0.0, [_WINDOWED]
    return Picture(grey, coloured, FileFacts("", mode, (shape[1], shape[0]), None, tuple(steps)))


def _turn(grey: np.ndarray, orientation: int) -> np.ndarray:
    """Turn pixels as an EXIF orientation says."""
    upright = Image.fromarray(grey)
    upright.getexif()[ExifTags.Base.Orientation] = orientation
    return np.asarray(ImageOps.exif_transpose(upright))


def _to_grey(image: Image.Image, is_inverse: bool = False) -> tuple[np.ndarray, float, list[str]]:
    """Grey pixels, the share that had a colour, and what was done to them."""
    if image.mode in _DEEP_MODES:
        values = np.asarray(image).astype(np.float32)
        _check_numbers("The picture", values)
        if is_inverse:
            return apply_percentile_window(np.negative(values, out=values)), 0.0, [_INVERTED, _WINDOWED]
        return apply_percentile_window(values), 0.0, [_WINDOWED]
    steps = []
    if image.mode in ("LA", "PA", "RGBA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (0, 0, 0, 255)), image)
        steps.append("Transparency laid over black.")
    if image.mode != "L":
        image = image.convert("RGB")
        steps.append(_LUMA)
    grey = np.asarray(image.convert("L"))
    extremes = np.ravel(image.getextrema())
    # Of a TIFF whose white is zero Pillow has inverted 8 bits already: few bits lie at the bright end.
    is_inverted = image.format == "TIFF" and getattr(image, "tag_v2", {}).get(262) == 0
    if _is_shallow(255 - extremes[0] if is_inverted else extremes.max(), grey):
        low, high = np.percentile(grey, WINDOW_PERCENTILES)
        table = apply_window(np.arange(256, dtype=np.float32), float(low), float(high)).tolist()
        image = image.point(table * len(image.getbands()))
        grey = np.asarray(image.convert("L"))
        steps.append(_STRETCHED)
    return grey, 0.0 if image.mode == "L" else _measure_colour(image), steps


def _is_shallow(brightest: int, grey: np.ndarray) -> bool:
    """Tell whether 8 bits hold fewer: 4 bits in 8 are nearly black, and an empty picture stays what it is."""
    return brightest < FEW_LEVELS and int(grey.max()) - int(grey.min()) >= _LEAST_LEVELS


def _reduce_deep(luma: np.ndarray, spread: np.ndarray) -> tuple[np.ndarray, float, list[str]]:
    """Window what `weigh_channels` gives; colour is measured in the same window."""
    padding = find_padding(luma)
    low, high = find_percentile_window(luma, padding)
    grey = apply_window(luma, low, high)
    grey[padding] = 0
    coloured = np.mean(spread >= COLOUR_LEVELS / 255 * (high - low)) if high > low else 0.0
    return grey, float(coloured), [_LUMA, _WINDOWED]


def _measure_colour(image: Image.Image) -> float:
    """Share of the pixels of an RGB picture whose channels differ by `COLOUR_LEVELS` or more."""
    red, green, blue = image.split()
    brightest = ImageChops.lighter(ImageChops.lighter(red, green), blue)
    darkest = ImageChops.darker(ImageChops.darker(red, green), blue)
    counts = ImageChops.subtract(brightest, darkest).histogram()
    return sum(counts[COLOUR_LEVELS:]) / sum(counts)
