"""One picture file of a collection: what `serving` decodes of it, and what is refused by name."""

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFile

from serving import preprocess
from serving.pictures import image_files
from tests.picture_kinds import AS_DEEP, AS_GREY, Instance, build_instances
from tumor_ds.collection.archive import Collection
from tumor_ds.collection.errors import DatasetError, PictureError

NAME = "Training/glioma/a.jpg"
RNG = np.random.default_rng(0)
NOISE = RNG.integers(0, 256, (24, 20, 4), dtype=np.uint8)
SIXTEEN_BIT = RNG.integers(900, 60_000, (24, 20)).astype(np.uint16)


def encode(image: Image.Image, picture_format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, picture_format, **options)
    return buffer.getvalue()


def noise(mode: str) -> Image.Image:
    if mode == "CMYK":
        return Image.fromarray(NOISE, "CMYK")
    return Image.fromarray(NOISE, "RGBA").convert(mode)


def turned() -> dict[str, Any]:
    exif = Image.Exif()
    exif[0x0112] = 6  # EXIF orientation: to be turned by a quarter
    return {"exif": exif}


def two_frames(picture_format: str) -> bytes:
    first, second = Image.new("L", (20, 24), 10), Image.new("L", (20, 24), 200)
    return encode(first, picture_format, save_all=True, append_images=[second])


# By (format, stored mode): every kind of file that is read.
FILES: dict[str, tuple[str, str, Callable[[], bytes]]] = {
    "grey JPEG": ("JPEG", "L", lambda: encode(noise("L"), "JPEG")),
    "colour JPEG": ("JPEG", "RGB", lambda: encode(noise("RGB"), "JPEG")),
    "CMYK JPEG": ("JPEG", "CMYK", lambda: encode(noise("CMYK"), "JPEG")),
    "turned JPEG": ("JPEG", "L", lambda: encode(noise("L"), "JPEG", **turned())),
    "grey PNG": ("PNG", "L", lambda: encode(noise("L"), "PNG")),
    "black and white PNG": ("PNG", "1", lambda: encode(noise("1"), "PNG")),
    "palette PNG": ("PNG", "P", lambda: encode(noise("P"), "PNG")),
    "grey PNG with alpha": ("PNG", "LA", lambda: encode(noise("LA"), "PNG")),
    "16-bit PNG": ("PNG", "I;16", lambda: encode(Image.fromarray(SIXTEEN_BIT), "PNG")),
    "16-bit TIFF": ("TIFF", "I;16", lambda: encode(Image.fromarray(SIXTEEN_BIT), "TIFF")),
    "LZW TIFF": ("TIFF", "RGB", lambda: encode(noise("RGB"), "TIFF", compression="tiff_lzw")),
    "BMP": ("BMP", "RGB", lambda: encode(noise("RGB"), "BMP")),
    "palette BMP": ("BMP", "P", lambda: encode(noise("P"), "BMP")),
    "WebP": ("WEBP", "RGB", lambda: encode(noise("RGB"), "WEBP")),
}


def hold(content: bytes) -> Collection:
    """A collection of one file."""
    return Collection((NAME,), lambda _: content)


def refuse(content: bytes) -> str:
    """The message, which names the file and the remedy."""
    with pytest.raises(PictureError) as caught:
        hold(content).decode(NAME)
    message = str(caught.value)
    assert message == f"Cannot decode {NAME}: {caught.value.reason}. Replace the file."
    assert caught.value.reason
    assert "upload" not in message
    assert " at 0x" not in message
    return message


def build_header(width: int, height: int) -> bytes:
    """A PNG of that size (1 bit a pixel) that unpacks to nothing: only its header is true."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        checksum = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


# What it decodes


@pytest.mark.parametrize("kind", FILES)
def test_the_content_decides_not_the_name(kind: str):
    picture_format, mode, build = FILES[kind]
    content = build()
    picture = hold(content).decode(NAME)  # a .jpg by name
    assert (picture.facts.format, picture.facts.mode) == (picture_format, mode)
    assert picture.facts.bytes == len(content)
    pixels = hold(content).read_grey(NAME)
    assert pixels.dtype == np.uint8
    assert pixels.shape == ((20, 24, 1) if kind == "turned JPEG" else (24, 20, 1))
    np.testing.assert_array_equal(pixels[..., 0], preprocess.decode_grey(content))


@pytest.mark.parametrize(
    "one",
    [
        one
        for one in build_instances()
        if one.right in (AS_DEEP, AS_GREY) and one.filename.endswith(("png", "tif"))
    ],
    ids=lambda one: f"{one.kind}: {one.name}",
)
def test_depth_polarity_and_padding_are_those_of_the_app(one: Instance, tmp_path: Path):
    (tmp_path / one.filename).write_bytes(one.build())
    expected = preprocess.decode(tmp_path / one.filename)
    picture = hold(one.build()).decode(NAME)
    np.testing.assert_array_equal(picture.grey, expected.grey)
    assert picture.grey.max() > 200


# What it refuses


@pytest.mark.parametrize("picture_format", ["TIFF", "WEBP", "PNG"])
def test_several_pictures_are_refused_with_their_count(picture_format: str):
    assert "it holds 2 pictures, expected one" in refuse(two_frames(picture_format))


@pytest.mark.parametrize(
    "kind", ["grey JPEG", "colour JPEG", "grey PNG", "16-bit TIFF", "LZW TIFF", "BMP", "WebP"]
)
@pytest.mark.parametrize("share_kept", [0.02, 0.4, 0.8])
def test_a_truncated_file_is_refused(kind: str, share_kept: float):
    content = FILES[kind][2]()
    refuse(content[: int(share_kept * len(content))])


def test_an_empty_file_is_refused():
    assert "it is empty (0 bytes)" in refuse(b"")


@pytest.mark.parametrize("content", [b"\0", b"no picture at all"])
def test_what_is_no_picture_is_refused(content: bytes):
    assert "it is not a picture" in refuse(content)


@pytest.mark.parametrize(
    "content",
    [
        bytes(128) + b"DICM" + bytes(99),
        b"\x5c\x01\0\0" + bytes(340) + b"n+1\0" + bytes(99),
        b"PK\x03\x04" + bytes(99),
        b"\x1f\x8b" + bytes(99),
    ],
    ids=["DICOM", "NIfTI", "zip", "gzip"],
)
def test_a_volume_under_the_name_of_a_picture_is_refused_unread(
    content: bytes, monkeypatch: pytest.MonkeyPatch
):
    """`serving` would open it, and a DICOM file of one slice would become a picture of the dataset."""
    monkeypatch.setattr("tumor_ds.collection.archive.decode", lambda _: pytest.fail("decoded"))
    assert "it is DICOM, NIfTI or a zip by its content" in refuse(content)


@pytest.mark.parametrize("picture_format", ["GIF", "PPM", "ICO", "JPEG2000", "TGA"])
def test_other_formats_are_refused(picture_format: str):
    assert "is not" in refuse(encode(noise("RGB"), picture_format))


def test_a_damaged_checksum_is_refused():
    content = bytearray(FILES["grey PNG"][2]())
    content[len(content) // 2] ^= 0xFF
    assert "damaged" in refuse(bytes(content))


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("side", [6_325, 9_000, 10_000, 20_000, 60_000])
def test_a_bomb_is_refused_by_its_header(side: int, monkeypatch: pytest.MonkeyPatch):
    """Below Pillow's limit, between its warning and its error, and above: nothing is unpacked."""
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: pytest.fail("decoded"))
    assert f"{image_files.MAX_PIXELS:,}" in refuse(build_header(side, side))


def test_a_long_thin_picture_is_refused():
    assert f"{image_files.MAX_SIDE:,} a side" in refuse(build_header(image_files.MAX_SIDE + 1, 1))


def test_the_readers_own_refusal_is_passed_on():
    def read(path: str) -> bytes:
        raise DatasetError(f"{path} is gone")

    with pytest.raises(DatasetError, match=r"^Training/glioma/a\.jpg is gone$"):
        Collection((NAME,), read).read_grey(NAME)
