"""One slice in files of any layout, also in those that Pillow and pydicom do not write.

Goes in: nothing, or pixels. Comes out: the content of a file.
"""

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRBigEndian

from serving.preprocess import decode_grey
from tests.bad_inputs import chunk, encode, png
from tests.bad_volumes import make_dicom, make_nifti, save_dicom

# A glioma, uint8 (h, w), and in the 12 bits of a scanner, uint16.
GREY = decode_grey(Path(__file__).parents[1] / "serving/app/examples/glioma.png")
DEEP = GREY.astype(np.uint16) * 16
# A part around the head, which shows nothing: the two columns at either side, and the corners.
OUTSIDE = np.zeros(GREY.shape, bool)
OUTSIDE[:, :9] = OUTSIDE[:, -9:] = True


def deep_png(pixels: np.ndarray) -> bytes:
    """A 16-bit PNG of (h, w, channels), which Pillow cannot write."""
    colour = {1: 0, 2: 4, 3: 2, 4: 6}[pixels.shape[2]]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    return png(chunk(b"IDAT", zlib.compress(rows)), size=pixels.shape[1::-1], depth=16, colour=colour)


def write_tiff(pixels: np.ndarray, order: str = "<", **changes: int | tuple[int, ...]) -> bytes:
    """A TIFF of any number type; changes are tags, such as `_262=0`."""
    height, width, channels = (*pixels.shape, 1)[:3]
    kind = {"u": 1, "i": 2, "f": 3}[pixels.dtype.kind]
    tags = {256: width, 257: height, 258: (pixels.dtype.itemsize * 8,) * channels, 259: 1}
    tags |= {262: 1 if channels < 3 else 2, 273: 0, 277: channels, 278: height, 339: (kind,) * channels}
    tags |= {int(tag[1:]): value for tag, value in changes.items()}
    data = pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()
    if tags[259] == 8:
        data = zlib.compress(data)
    tags[279] = len(data)
    entries, rest, start = b"", b"", 8 + 2 + 12 * len(tags) + 4
    for tag, value in sorted(tags.items()):
        values = value if isinstance(value, tuple) else (value,)
        is_long = tag in (273, 279)
        packed = struct.pack(f"{order}{len(values)}{'I' if is_long else 'H'}", *values)
        if tag == 273:
            packed = b"DATA"
        if len(packed) > 4:
            place = struct.pack(f"{order}I", start + len(rest))
            rest += packed
        else:
            place = packed.ljust(4, b"\0")
        entries += struct.pack(f"{order}HHI", tag, 4 if is_long else 3, len(values)) + place
    entries = entries.replace(b"DATA", struct.pack(f"{order}I", start + len(rest)))
    mark = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", 8)
    return mark + struct.pack(f"{order}H", len(tags)) + entries + bytes(4) + rest + data


def draw_colours() -> np.ndarray:
    """The slice in the colours of a heat map, uint8 (h, w, 3)."""
    share = GREY[..., None] / 255.0
    return np.uint8(255 * np.clip(1.5 - np.abs(4 * share - np.array([3.0, 2.0, 1.0])), 0, 1))


def make_table(values: np.ndarray, first: int = 0, bits: int = 16, words: bool = True) -> Dataset:
    """An item of a table sequence; `words`: entries lie in words of 16 bits, else in bytes."""
    item = Dataset()
    item.add_new("LUTDescriptor", "SS" if first < 0 else "US", [len(values) % 65536, first, bits])
    content = values.astype("<u2" if words else "u1").tobytes()
    item.add_new("LUTData", "OW", content + b"\0" * (len(content) % 2))
    return item


def dicom(pixels: np.ndarray = DEEP, **fields: object) -> Callable[[], bytes]:
    """The slice as DICOM."""
    return lambda: save_dicom(make_dicom(pixels, **fields))


def colour_dicom(pixels: np.ndarray) -> bytes:
    return save_dicom(
        make_dicom(pixels, SamplesPerPixel=3, PhotometricInterpretation="RGB", PlanarConfiguration=0)
    )


def palette_dicom() -> bytes:
    """Grey numbers that a table of the file makes colours of."""
    dataset = make_dicom(GREY, PhotometricInterpretation="PALETTE COLOR")
    levels = np.arange(256) / 255
    for name, centre in (("Red", 3), ("Green", 2), ("Blue", 1)):
        shades = np.uint16(65535 * np.clip(1.5 - np.abs(4 * levels - centre), 0, 1))
        setattr(dataset, f"{name}PaletteColorLookupTableDescriptor", [256, 0, 16])
        setattr(dataset, f"{name}PaletteColorLookupTableData", shades.tobytes())
    return save_dicom(dataset)


def colour_nifti(names: str) -> bytes:
    """Voxels with channels."""
    colours = draw_colours().transpose(1, 0, 2)[:, :, None]
    voxels = np.zeros(colours.shape[:3], [(name, "u1") for name in names])
    for index, name in enumerate(names[:3]):
        voxels[name] = colours[..., index]
    return make_nifti(voxels)


def nifti(values: np.ndarray, **fields: float) -> bytes:
    """One axial slice, shown as it is given."""
    image = nibabel.Nifti1Image(values.T[:, :, None], np.diag([-1.0, -1.0, 1.0, 1.0]))
    content = bytearray(image.to_bytes())
    for at, value in ((112, fields.get("slope")), (116, fields.get("intercept"))):
        if value is not None:
            content[at : at + 4] = struct.pack("<f", value)
    return bytes(content)


def bare_dicom(syntax: str, with_meta: bool, fields: dict[str, object]) -> bytes:
    """DICOM without its first 132 bytes, with or without the group that says how it is written."""
    dataset = make_dicom(DEEP, syntax, **fields)
    if syntax == ExplicitVRBigEndian:
        dataset.PixelData = DEEP.astype(">u2").tobytes()
        dataset["PixelData"].VR = "OW"
    whole = save_dicom(dataset)
    if with_meta:
        return whole[132:]
    return whole[whole.index(b"\0\x08\0\x16" if syntax == ExplicitVRBigEndian else b"\x08\0\x16\0") :]


def ftyp(major: bytes, *compatible: bytes) -> bytes:
    """The first box of a file of HEIC, AVIF or film."""
    brands = b"".join(compatible)
    return struct.pack(">I", 16 + len(brands)) + b"ftyp" + major + bytes(4) + brands + bytes(300)


def padded(value: float, dtype: str = "i2") -> np.ndarray:
    """The slice with padding around it."""
    return np.where(OUTSIDE, value, DEEP).astype(dtype)


def frames(count: int) -> list[Image.Image]:
    return [Image.fromarray(np.roll(GREY, number, axis=0)) for number in range(count)]


def several(kind: str, count: int, **options: object) -> bytes:
    first, *others = frames(count)
    return encode(first, kind, save_all=True, append_images=others, **options)


def imagej_stack() -> bytes:
    """Thirty slices in one page, as ImageJ keeps large stacks."""
    page = Image.fromarray(GREY)
    return encode(page, "TIFF", tiffinfo={270: "ImageJ=1.53t\nimages=30\nslices=30\nloop=false\n"})
