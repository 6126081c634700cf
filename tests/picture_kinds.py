"""The same slice in many files: by kind of fault, files that were once read wrongly, each with what is right.

Goes in: nothing; every file is drawn here from a bundled example. Comes out: `Instance` objects.
"""

import gzip
import io
import struct
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian

from tests.bad_inputs import encode
from tests.bad_volumes import make_dicom, pack, save_dicom
from tests.slice_files import (
    DEEP,
    GREY,
    OUTSIDE,
    bare_dicom,
    colour_dicom,
    colour_nifti,
    deep_png,
    dicom,
    draw_colours,
    ftyp,
    imagej_stack,
    make_table,
    nifti,
    padded,
    palette_dicom,
    several,
    write_tiff,
)

# What is right: the pixels of GREY as a scanner's 12 bits are windowed, the pixels of GREY themselves, a
# colour that the guard refuses, or a part of the error, a regular expression.
AS_DEEP, AS_GREY, COLOURED = "as deep", "as grey", "coloured"


@dataclass(frozen=True)
class Instance:
    """One file.

    Attributes:
        kind: of fault.
        name: of the instance.
        filename: to save it under.
        build: makes the content, or an array.
        right: `AS_DEEP`, `AS_GREY`, `COLOURED` or a part of the error.
    """

    kind: str
    name: str
    filename: str
    build: Callable[[], bytes | np.ndarray]
    right: str


def build_several() -> list[Instance]:
    return [
        Instance("several pictures", name, filename, build, right)
        for name, filename, build, right in (
            ("TIFF", "a.tif", lambda: several("TIFF", 4), "holds 4 pictures"),
            ("packed TIFF", "a.tif", lambda: several("TIFF", 3, compression="tiff_lzw"), "holds 3 pictures"),
            ("BigTIFF", "a.tif", lambda: several("TIFF", 2, big_tiff=True), "holds 2 pictures"),
            ("stack of ImageJ", "a.tif", imagej_stack, "holds 30 pictures"),
            ("APNG", "a.png", lambda: several("PNG", 3), "holds 3 pictures"),
            ("WebP", "a.webp", lambda: several("WEBP", 5), "holds 5 pictures"),
            ("shots in one JPEG", "a.jpg", lambda: several("MPO", 3), "holds 3 pictures"),
            ("GIF", "a.gif", lambda: several("GIF", 6), "GIF of 6 pictures, which is not read"),
        )
    ]


def build_colours() -> list[Instance]:
    colours = draw_colours()
    return [
        Instance("colour", name, filename, build, right)
        for name, filename, build, right in (
            ("PNG", "a.png", lambda: encode(Image.fromarray(colours)), COLOURED),
            ("PNG of 16 bits", "a.png", lambda: deep_png(colours.astype(np.uint16) * 16), COLOURED),
            ("TIFF of 16 bits", "a.tif", lambda: write_tiff(colours.astype(np.uint16) * 16), COLOURED),
            ("array of 16 bits", "", lambda: colours.astype(np.uint16) * 16, COLOURED),
            ("DICOM", "a.dcm", lambda: colour_dicom(colours), COLOURED),
            ("DICOM of 16 bits", "a.dcm", lambda: colour_dicom(colours.astype(np.uint16) * 16), COLOURED),
            ("DICOM palette", "a.dcm", palette_dicom, COLOURED),
            ("NIfTI", "a.nii", lambda: colour_nifti("RGB"), COLOURED),
            ("NIfTI with opacity", "a.nii", lambda: colour_nifti("RGBA"), COLOURED),
            ("NIfTI.gz", "a.nii.gz", lambda: gzip.compress(colour_nifti("RGB")), COLOURED),
        )
    ]


def build_depths() -> list[Instance]:
    def repeat(times: int, *more: np.ndarray, pixels: np.ndarray = DEEP) -> np.ndarray:
        return np.stack([pixels] * times + list(more), axis=-1)

    opaque, four_bits = np.full_like(DEEP, 65535), GREY // 16
    overlay = np.where(OUTSIDE, 1 << 15, 0).astype(np.uint16)
    return [
        Instance("depth", name, filename, build, AS_DEEP)
        for name, filename, build in (
            ("12 bits of grey in 16, PNG", "a.png", lambda: deep_png(DEEP[..., None])),
            ("12 bits of RGB in 16, PNG", "a.png", lambda: deep_png(repeat(3))),
            ("12 bits of RGB with opacity in 16, PNG", "a.png", lambda: deep_png(repeat(3, opaque))),
            ("12 bits of grey with opacity in 16, PNG", "a.png", lambda: deep_png(repeat(1, opaque))),
            ("10 bits of RGB in 16, PNG", "a.png", lambda: deep_png(repeat(3) // 4)),
            ("12 bits of RGB in 16, TIFF", "a.tif", lambda: write_tiff(repeat(3))),
            ("12 bits of RGB in 16, Motorola TIFF", "a.tif", lambda: write_tiff(repeat(3), ">")),
            ("12 bits of RGB in 16, packed TIFF", "a.tif", lambda: write_tiff(repeat(3), _259=8)),
            ("12 bits of RGB in 16, array", "", lambda: repeat(3)),
            ("RGB in [0, 1], array", "", lambda: repeat(3) / np.float32(65535)),
            ("12 bits of RGB in 16, DICOM", "a.dcm", lambda: colour_dicom(repeat(3))),
            ("12 upper bits of 16, DICOM", "a.dcm", dicom(DEEP << 4, BitsStored=12, HighBit=15)),
            ("12 bits below an overlay, DICOM", "a.dcm", dicom(DEEP | overlay, BitsStored=12, HighBit=11)),
            ("4 bits of grey in 8, PNG", "a.png", lambda: encode(Image.fromarray(four_bits))),
            (
                "4 bits of RGB in 8, PNG",
                "a.png",
                lambda: encode(Image.fromarray(repeat(3, pixels=four_bits))),
            ),
            ("4 bits of grey in 8, TIFF", "a.tif", lambda: encode(Image.fromarray(four_bits), "TIFF")),
            ("4 bits of grey in 8, array", "", lambda: four_bits),
            ("4 bits of grey in 8, DICOM", "a.dcm", dicom(four_bits)),
        )
    ]


def build_polarities() -> list[Instance]:
    negative, negative_8, window = 4095 - DEEP, 255 - GREY, {"WindowCenter": 2055, "WindowWidth": 4080}
    inverse, as_grey = {"PresentationLUTShape": "INVERSE"}, ("TIFF of 8 bits", "DICOM window")
    return [
        Instance("polarity", name, filename, build, AS_GREY if name in as_grey else AS_DEEP)
        for name, filename, build in (
            ("TIFF of 8 bits", "a.tif", lambda: write_tiff(negative_8, _262=0)),
            ("TIFF of 4 bits in 8", "a.tif", lambda: write_tiff(15 - GREY // 16, _262=0)),
            ("TIFF of 16 bits", "a.tif", lambda: write_tiff(negative, _262=0)),
            ("packed TIFF of 16 bits", "a.tif", lambda: write_tiff(negative, _262=0, _259=8)),
            ("Motorola TIFF of 16 bits", "a.tif", lambda: write_tiff(negative, ">", _262=0)),
            ("signed TIFF of 16 bits", "a.tif", lambda: write_tiff(negative.astype(np.int16), _262=0)),
            ("TIFF of floats", "a.tif", lambda: write_tiff(negative.astype(np.float32), _262=0)),
            ("DICOM of 8 bits", "a.dcm", dicom(negative_8, PhotometricInterpretation="MONOCHROME1")),
            ("DICOM of 16 bits", "a.dcm", dicom(negative, PhotometricInterpretation="MONOCHROME1")),
            ("DICOM window", "a.dcm", dicom(negative, PhotometricInterpretation="MONOCHROME1", **window)),
            ("DICOM inverse presentation", "a.dcm", dicom(negative, **inverse)),
            (
                "DICOM that says it twice",
                "a.dcm",
                dicom(negative, PhotometricInterpretation="MONOCHROME1", **inverse),
            ),
        )
    ]


def build_paddings() -> list[Instance]:
    signed = {"PixelRepresentation": 1}
    ranged = np.where(OUTSIDE, -2000 + np.arange(GREY.shape[1]) % 9, DEEP).astype(np.int16)
    negative = np.where(OUTSIDE, 9000, 4095 - DEEP).astype(np.int16)
    return [
        Instance("padding", name, filename, build, AS_GREY if "window" in name else AS_DEEP)
        for name, filename, build in (
            ("declared", "a.dcm", dicom(padded(-2000), PixelPaddingValue=-2000, **signed)),
            (
                "declared from to",
                "a.dcm",
                dicom(ranged, PixelPaddingValue=-2000, PixelPaddingRangeLimit=-1990, **signed),
            ),
            ("declared, high", "a.dcm", dicom(padded(60000, "u2"), PixelPaddingValue=60000)),
            (
                "declared, white is zero",
                "a.dcm",
                dicom(negative, PixelPaddingValue=9000, PhotometricInterpretation="MONOCHROME1", **signed),
            ),
            (
                "declared, high, with a window",
                "a.dcm",
                dicom(padded(60000, "u2"), PixelPaddingValue=60000, WindowCenter=2055, WindowWidth=4080),
            ),
            ("undeclared", "a.dcm", dicom(padded(-2000), **signed)),
            ("undeclared, -1", "a.dcm", dicom(padded(-300), **signed)),
            ("undeclared, high", "a.dcm", dicom(padded(65535, "u2"))),
            (
                "undeclared, with slope",
                "a.dcm",
                dicom(padded(-1024), RescaleSlope=2, RescaleIntercept=0, **signed),
            ),
            ("PNG, high", "a.png", lambda: encode(Image.fromarray(padded(65535, "u2")))),
            ("TIFF, -9999", "a.tif", lambda: encode(Image.fromarray(padded(-9999, "f4")), "TIFF")),
            ("NIfTI, no number", "a.nii", lambda: nifti(padded(np.nan, "f4"))),
            ("NIfTI, -1024", "a.nii", lambda: nifti(padded(-1024))),
            ("array, infinite", "", lambda: padded(np.inf, "f4")),
        )
    ]


def build_windows() -> list[Instance]:
    wide, coarse = make_table(np.arange(4096) // 256, bits=16), DEEP // 256 * 256
    return [
        Instance("window", name, "a.dcm", build, AS_DEEP)
        for name, build in (
            ("of all 16 bits", dicom(WindowCenter=32768, WindowWidth=65535)),
            ("of all 16 bits over 4 bits", dicom(coarse, WindowCenter=32768, WindowWidth=65535)),
            ("of 12 bits over 8", dicom(GREY.astype(np.uint16), WindowCenter=2048, WindowWidth=4096)),
            (
                "exact, of all 16 bits",
                dicom(WindowCenter=32768, WindowWidth=65535, VOILUTFunction="LINEAR_EXACT"),
            ),
            ("sigmoid, of all 16 bits", dicom(WindowCenter=0, WindowWidth=65535, VOILUTFunction="SIGMOID")),
            ("of one value", dicom(WindowCenter=1000, WindowWidth=1)),
            ("of ten values", dicom(WindowCenter=1000, WindowWidth=10)),
            ("above all values", dicom(WindowCenter=20000, WindowWidth=400)),
            ("below all values", dicom(WindowCenter=-900, WindowWidth=400)),
            ("of no width", dicom(WindowCenter=1000, WindowWidth=0)),
            ("a table of sixteen shades", dicom(VOILUTSequence=[wide])),
        )
    ]


def build_tables() -> list[Instance]:
    falling, rising = np.arange(4095, -1, -1), np.arange(4096) * 16
    signed = {"PixelRepresentation": 1}
    as_list = Dataset()
    as_list.add_new("LUTDescriptor", "US", [4096, 0, 16])
    as_list.add_new("LUTData", "US", falling.tolist())
    negative = 4095 - DEEP
    return [
        Instance("table", name, "a.dcm", build, AS_GREY if "VOI" in name or "window" in name else AS_DEEP)
        for name, build in (
            ("modality, falling", dicom(negative, ModalityLUTSequence=[make_table(falling)])),
            ("modality, a list of numbers", dicom(negative, ModalityLUTSequence=[as_list])),
            (
                "modality, 8 bits",
                dicom(negative, ModalityLUTSequence=[make_table(falling // 16, 0, 8, False)]),
            ),
            (
                "modality, 8 bits in words",
                dicom(negative, ModalityLUTSequence=[make_table(falling // 16, 0, 8)]),
            ),
            (
                "modality, from a negative value",
                dicom(
                    negative.astype(np.int16) - 2048,
                    ModalityLUTSequence=[make_table(falling, -2048)],
                    **signed,
                ),
            ),
            (
                "modality, then a window",
                dicom(
                    negative,
                    ModalityLUTSequence=[make_table(falling)],
                    WindowCenter=2055,
                    WindowWidth=4080,
                ),
            ),
            ("VOI", dicom(VOILUTSequence=[make_table(rising)])),
            ("VOI, 8 bits", dicom(VOILUTSequence=[make_table(rising // 256, 0, 8, False)])),
            ("VOI, 8 bits in words", dicom(VOILUTSequence=[make_table(rising // 256, 0, 8)])),
            ("VOI, 12 bits called 16", dicom(VOILUTSequence=[make_table(rising // 16)])),
        )
    ]


def enhanced_without_slope() -> bytes:
    item, frame = Dataset(), Dataset()
    item.RescaleSlope, item.RescaleIntercept = 0, 0
    frame.PixelValueTransformationSequence = [item]
    return save_dicom(make_dicom(DEEP, NumberOfFrames=1, PerFrameFunctionalGroupsSequence=[frame]))


def build_slopes() -> list[Instance]:
    return [
        Instance("slope of 0", name, filename, build, AS_DEEP)
        for name, filename, build in (
            ("DICOM", "a.dcm", dicom(RescaleSlope=0, RescaleIntercept=0)),
            ("DICOM with intercept", "a.dcm", dicom(RescaleSlope=0, RescaleIntercept=-1024)),
            ("DICOM, a frame's own", "a.dcm", enhanced_without_slope),
            ("NIfTI", "a.nii", lambda: nifti(DEEP, slope=0, intercept=7)),
        )
    ]


def build_bare() -> list[Instance]:
    return [
        Instance("DICOM without preamble", name, "a", build, AS_DEEP)
        for name, build in (
            ("with the group of the file", lambda: save_dicom(make_dicom(DEEP))[132:]),
            ("explicit", lambda: bare_dicom("1.2.840.10008.1.2.1", False, {})),
            ("implicit", lambda: bare_dicom(ImplicitVRLittleEndian, False, {})),
            ("implicit with the group", lambda: bare_dicom(ImplicitVRLittleEndian, True, {})),
            ("Motorola", lambda: bare_dicom(ExplicitVRBigEndian, False, {})),
            ("with the prefix", lambda: save_dicom(make_dicom(DEEP))[128:]),
            ("with 128 bytes and no prefix", lambda: bytes(128) + save_dicom(make_dicom(DEEP))[132:]),
        )
    ]


def build_pairs() -> list[Instance]:
    whole = bytearray(nifti(DEEP)[:348])
    whole[344:348] = b"ni1\0"
    analyze = bytes(whole[:344]) + bytes(4)
    return [
        Instance("half of a pair", name, filename, build, r"one half of a pair of files, \.hdr and \.img")
        for name, filename, build in (
            ("NIfTI header", "a.hdr", lambda: bytes(whole)),
            ("packed NIfTI header", "a.hdr.gz", lambda: gzip.compress(bytes(whole))),
            ("Analyze header", "a.hdr", lambda: analyze),
            ("pixels", "a.img", lambda: DEEP.tobytes()),
            ("packed pixels", "a.img.gz", lambda: gzip.compress(DEEP.tobytes())),
        )
    ]


def build_layouts() -> list[Instance]:
    both = np.stack([DEEP, DEEP], axis=-1)
    return [
        Instance("TIFF layout", name, "a.tif", build, right)
        for name, build, right in (
            (
                "float64",
                lambda: write_tiff(DEEP / 4095.0),
                r"1 x 64 bits \(floating point\), which is not read",
            ),
            (
                "float16",
                lambda: write_tiff(DEEP.astype(np.float16)),
                r"1 x 16 bits \(floating point\), which",
            ),
            ("64 bits", lambda: write_tiff(DEEP.astype(np.uint64)), r"1 x 64 bits \(whole numbers\), which"),
            ("opacity of 16 bits", lambda: write_tiff(both, _338=2), r"2 x 16 bits \(whole numbers\), which"),
            (
                "16 bits channel after channel",
                lambda: write_tiff(np.stack([DEEP] * 3, axis=-1), _284=2),
                "channel after channel, which is not read",
            ),
            ("CIE Lab", lambda: encode(Image.new("LAB", (9, 9)), "TIFF"), "CIE Lab, .*which is not read"),
            ("LERC", lambda: write_tiff(DEEP, _259=34887), "packed by LERC, which is not read"),
            ("JPEG 2000", lambda: write_tiff(GREY, _259=34712), "packed by JPEG 2000, which is not read"),
        )
    ]


def build_foreign() -> list[Instance]:
    array, archive = io.BytesIO(), io.BytesIO()
    np.save(array, GREY)
    np.savez(archive, GREY)
    mgh = struct.pack(">7i", 1, 9, 9, 9, 1, 4, 0) + bytes(300)
    picture, volume, saved = (
        "export it as PNG or JPEG",
        r"convert it to NIfTI",
        "save the slice as 16-bit PNG",
    )
    shot = "export one slice of it as PNG"
    packed_dicom, packed_heic = gzip.compress(save_dicom(make_dicom())), pack({"b": ftyp(b"heic")})
    return [
        Instance("foreign format", name, filename, lambda content=content: content, f"{right}: {remedy}")
        for name, filename, content, right, remedy in (
            ("HEIC", "a.heic", ftyp(b"heic", b"mif1", b"heic"), "is HEIC, which is not read", picture),
            ("HEIC, mif1 first", "a.heic", ftyp(b"mif1", b"heic"), "is HEIC, which is not read", picture),
            ("HEIC, heix", "a.jpg", ftyp(b"heix", b"mif1"), "is HEIC, which is not read", picture),
            ("HEIC, hevc", "a.heics", ftyp(b"hevc", b"msf1"), "is HEIC, which is not read", picture),
            ("HEIC, msf1", "a.heic", ftyp(b"msf1", b"hevc"), "is HEIC, which is not read", picture),
            ("AVIF", "a.avif", ftyp(b"avif", b"mif1", b"miaf"), "is AVIF, which is not read", picture),
            ("AVIF, avis", "a.avif", ftyp(b"avis", b"msf1"), "is AVIF, which is not read", picture),
            (
                "AVIF, mif1 first",
                "a.png",
                ftyp(b"mif1", b"miaf", b"avif"),
                "is AVIF, which is not read",
                picture,
            ),
            ("film, isom", "a.mp4", ftyp(b"isom", b"iso2", b"mp41"), "is a film, which is not read", shot),
            ("film, qt", "a.mov", ftyp(b"qt  "), "is a film, which is not read", shot),
            ("film, QuickTime of old", "a.mov", b"\0\0\x10\0moov" + bytes(300), "QuickTime.*not read", shot),
            ("film, AVI", "a.avi", b"RIFF\xff\0\0\0AVI LIST" + bytes(99), "AVI.*not read", shot),
            ("film, Matroska", "a.mkv", b"\x1aE\xdf\xa3" + bytes(99), "Matroska.*not read", shot),
            ("film, MPEG", "a.mpg", b"\0\0\x01\xba" + bytes(99), "MPEG.*not read", shot),
            (".mha", "a.mha", b"ObjectType = Image\nNDims = 3\n" + bytes(99), r"\.mha.*not read", volume),
            (".mhd", "a.mhd", b"NDims = 3\nDimSize = 9 9 9\n", r"\.mhd.*not read", volume),
            (".nrrd", "a.nrrd", b"NRRD0004\ntype: short\n" + bytes(99), r"\.nrrd.*not read", volume),
            (".mgh", "a.mgh", mgh, r"FreeSurfer.*not read", volume),
            (".mgz", "a.mgz", gzip.compress(mgh), r"FreeSurfer.*not read", volume),
            (".npy", "a.npy", array.getvalue(), r"\.npy.*not read", saved),
            (".npz", "a.npz", archive.getvalue(), r"\.npy.*not read", saved),
            (
                ".mat",
                "a.mat",
                b"MATLAB 5.0 MAT-file, Platform: GLNXA64" + bytes(99),
                r"\.mat.*not read",
                saved,
            ),
            (".mat 7.3", "a.mat", b"MATLAB 7.3 MAT-file" + bytes(999), r"\.mat.*not read", saved),
            (".mat of old", "a.mat", bytes(20) + b"volume\0" + bytes(99), r"\.mat.*not read", saved),
            ("HDF5", "a.h5", b"\x89HDF\r\n\x1a\n" + bytes(99), r"HDF5.*not read", saved),
            ("MINC", "a.mnc", b"CDF\x01" + bytes(99), r"\.mnc.*not read", volume),
            (
                "packed DICOM",
                "a.dcm.gz",
                packed_dicom,
                "packed file.*not read",
                "unpack",
            ),
            (
                "HEIC in a zip",
                "a.zip",
                packed_heic,
                "is HEIC, which is not read",
                picture,
            ),
            ("PDF", "a.pdf", b"%PDF-1.7\n", "is a PDF, which is not read", picture),
            ("PDF behind other lines", "a.pdf", b"\r\n  \n%PDF-1.4", "is a PDF, which is not read", picture),
        )
    ]


def build_instances() -> list[Instance]:
    """All of them."""
    return [
        *(*build_several(), *build_colours(), *build_depths(), *build_polarities(), *build_paddings()),
        *(*build_windows(), *build_tables(), *build_slopes(), *build_bare(), *build_pairs()),
        *(*build_layouts(), *build_foreign()),
    ]
