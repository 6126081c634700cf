"""Good files, small, that `fuzz_pictures` changes: by format, one of every way that the format keeps pixels.

Goes in: the name of a format. Comes out: contents, and what puts a changed one into the form in which its
changes are read at all: check sums that fit, gzip around it, a zip.
"""

import gzip
import random
import struct
import zlib
from functools import cache

import numpy as np
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.uid import ImplicitVRLittleEndian, JPEG2000Lossless, JPEGBaseline8Bit, RLELossless

from tests.bad_inputs import encode
from tests.bad_volumes import make_dicom, make_nifti, pack, packed, save_dicom
from tests.slice_files import deep_png, make_table, write_tiff

_RNG = np.random.default_rng(0)
_GREY = (_RNG.integers(0, 60, (40, 48)) + np.arange(48) * 4).astype(np.uint8)
_DEEP = _GREY.astype(np.uint16) * 16
_IMAGE = Image.fromarray(_GREY)
_COLOUR = Image.fromarray(np.stack([_GREY, _GREY[::-1], _GREY // 2], axis=-1))


def _several(kind: str, image: Image.Image = _IMAGE) -> bytes:
    return encode(image, kind, save_all=True, append_images=[image.rotate(180)])


def _build_pngs() -> list[bytes]:
    opaque = np.stack([_DEEP] * 4, axis=-1)
    return [
        *(encode(_IMAGE), encode(_COLOUR), encode(_IMAGE.convert("LA")), encode(_COLOUR.convert("RGBA"))),
        *(encode(_COLOUR.convert("P")), encode(_IMAGE.convert("1")), encode(Image.fromarray(_DEEP))),
        *(deep_png(opaque[..., :2]), deep_png(opaque[..., :3]), deep_png(opaque), _several("PNG")),
    ]


def _build_jpegs() -> list[bytes]:
    exif = Image.Exif()
    exif[274] = 6
    return [
        *(encode(_IMAGE, "JPEG"), encode(_COLOUR, "JPEG"), encode(_COLOUR, "JPEG", progressive=True)),
        *(encode(_COLOUR.convert("CMYK"), "JPEG"), encode(_IMAGE, "JPEG", exif=exif)),
        *(encode(_IMAGE, "JPEG", restart_marker_rows=1), _several("MPO", _COLOUR)),
    ]


def _build_tiffs() -> list[bytes]:
    three = np.stack([_DEEP] * 3, axis=-1)
    return [
        *(encode(_IMAGE, "TIFF"), encode(_COLOUR, "TIFF"), encode(_IMAGE.convert("1"), "TIFF")),
        *(encode(_IMAGE, "TIFF", compression="tiff_lzw"), encode(_COLOUR, "TIFF", compression="jpeg")),
        *(encode(_IMAGE, "TIFF", compression="packbits"), encode(_COLOUR.convert("P"), "TIFF")),
        *(encode(_IMAGE.convert("1"), "TIFF", compression="group4"), encode(_IMAGE, "TIFF", big_tiff=True)),
        *(write_tiff(_DEEP), write_tiff(_DEEP, ">"), write_tiff(_DEEP, _262=0), write_tiff(three)),
        *(write_tiff(three, _259=8), write_tiff(_DEEP.astype(np.float32)), _several("TIFF")),
        write_tiff(_DEEP / 9.0),
    ]


def _build_webps() -> list[bytes]:
    return [
        *(encode(_COLOUR, "WEBP"), encode(_COLOUR, "WEBP", lossless=True), encode(_IMAGE, "WEBP")),
        *(encode(_COLOUR.convert("RGBA"), "WEBP"), _several("WEBP")),
    ]


def _build_dicoms() -> list[bytes]:
    plain, axes = make_dicom(_DEEP), {"ImageOrientationPatient": [1, 0, 0, 0, 1, 0]}
    squeezed = [make_dicom(_DEEP), make_dicom(_DEEP)]
    for dataset, syntax in zip(squeezed, (RLELossless, JPEG2000Lossless), strict=True):
        dataset.compress(syntax)
    frames = np.stack([_DEEP] * 3)
    several = make_dicom(frames, NumberOfFrames=3, Rows=40, Columns=48)
    several.PerFrameFunctionalGroupsSequence = []
    for place in range(3):
        frame, position = Dataset(), Dataset()
        position.ImagePositionPatient = [0, 0, place]
        frame.PlanePositionSequence = [position]
        several.PerFrameFunctionalGroupsSequence.append(frame)
    colour = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0}
    small = {"Rows": 40, "Columns": 48, "BitsAllocated": 8, "BitsStored": 8, "HighBit": 7}
    jpeg = packed(encode(_IMAGE, "JPEG"), JPEGBaseline8Bit, **small)
    table = make_table(np.arange(4095, -1, -1))
    scaled = {"RescaleSlope": 2, "RescaleIntercept": -9, "WindowCenter": 900, "WindowWidth": 2000}
    return [
        *(save_dicom(plain), save_dicom(plain)[132:], save_dicom(several), jpeg()),
        *(save_dicom(dataset) for dataset in squeezed),
        save_dicom(make_dicom(_DEEP, ImplicitVRLittleEndian, ImagePositionPatient=[0, 0, 5], **axes)),
        save_dicom(make_dicom(np.asarray(_COLOUR), **colour)),
        save_dicom(make_dicom(_DEEP, ModalityLUTSequence=[table], VOILUTSequence=[table])),
        save_dicom(make_dicom(_DEEP, PixelPaddingValue=0, PixelSpacing=[1, 2], **scaled, **axes)),
    ]


def _build_niftis() -> list[bytes]:
    values = np.stack([_DEEP.astype(np.int16)] * 4, axis=-1)
    colour = np.zeros((9, 8, 3), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    return [
        *(make_nifti(values), make_nifti(values.astype(np.float32)), make_nifti(colour)),
        *(make_nifti(values[..., None].repeat(2, axis=-1)), make_nifti(values.astype(np.complex64))),
    ]


def _build_zips() -> list[bytes]:
    series = {f"{n}": save_dicom(make_dicom(_DEEP, ImagePositionPatient=[0, 0, n])) for n in range(3)}
    return [
        pack(series),
        pack(series, 0),
        pack({"a.nii": _build_niftis()[0]}),
        pack({"a.png": encode(_IMAGE)}),
    ]


_BUILDERS = {
    **{"PNG": _build_pngs, "JPEG": _build_jpegs, "TIFF": _build_tiffs, "WebP": _build_webps},
    **{"DICOM": _build_dicoms, "NIfTI": _build_niftis, "zip": _build_zips},
}


@cache
def build_seeds(kind: str) -> list[bytes]:
    """Good files of a format."""
    return _BUILDERS[kind]()


def finish(kind: str, content: bytes, rng: random.Random) -> bytes:
    """Put a changed file into a form that is not refused for its check sums alone; half stay as they are."""
    if rng.random() < 0.5:
        return content
    if kind == "PNG":
        return _mend_check_sums(content)
    if kind == "NIfTI":
        return gzip.compress(content, 1)
    if kind == "zip":
        inner = bytearray(rng.choice(_build_dicoms()))
        for _ in range(4):
            inner[rng.randrange(len(inner))] = rng.randrange(256)
        return pack({"a": bytes(inner), "b": content})
    return content


def _mend_check_sums(content: bytes) -> bytes:
    """A PNG with the check sum of every chunk that is still in its place."""
    mended, at = bytearray(content), 8
    while at + 12 <= len(mended):
        (size,) = struct.unpack_from(">I", mended, at)
        end = at + 8 + size
        if end + 4 > len(mended):
            break
        mended[end : end + 4] = struct.pack(">I", zlib.crc32(mended[at + 4 : end]))
        at = end + 4
    return bytes(mended)
