"""One picture file: what is decoded, that serving sees the same, and what is refused by name."""

import io
import struct
import warnings
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFile

from serving import preprocess
from serving.pictures.image_files import MAX_PIXELS
from tumor_ds.collection import pictures

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
    return encode(
        Image.new("L", (20, 24), 10),
        picture_format,
        save_all=True,
        append_images=[Image.new("L", (20, 24), 200)],
    )


# By (format, stored mode): every kind of file that is read.
FILES: dict[str, tuple[str, str, Callable[[], bytes]]] = {
    "grey JPEG": ("JPEG", "L", lambda: encode(noise("L"), "JPEG")),
    "colour JPEG": ("JPEG", "RGB", lambda: encode(noise("RGB"), "JPEG")),
    "CMYK JPEG": ("JPEG", "CMYK", lambda: encode(noise("CMYK"), "JPEG")),
    "turned JPEG": ("JPEG", "L", lambda: encode(noise("L"), "JPEG", **turned())),
    "grey PNG": ("PNG", "L", lambda: encode(noise("L"), "PNG")),
    "black and white PNG": ("PNG", "1", lambda: encode(noise("1"), "PNG")),
    "palette PNG": ("PNG", "P", lambda: encode(noise("P"), "PNG")),
    "palette PNG with a transparent entry": ("PNG", "P", lambda: encode(noise("P"), "PNG", transparency=3)),
    "palette PNG with translucent entries": (
        "PNG",
        "P",
        lambda: encode(noise("P"), "PNG", transparency=bytes(range(256))),
    ),
    "PNG with a transparent grey": ("PNG", "L", lambda: encode(noise("L"), "PNG", transparency=7)),
    "grey PNG with alpha": ("PNG", "LA", lambda: encode(noise("LA"), "PNG")),
    "colour PNG with alpha": ("PNG", "RGBA", lambda: encode(noise("RGBA"), "PNG")),
    "16-bit PNG": ("PNG", "I;16", lambda: encode(Image.fromarray(SIXTEEN_BIT), "PNG")),
    "16-bit TIFF": ("TIFF", "I;16", lambda: encode(Image.fromarray(SIXTEEN_BIT), "TIFF")),
    "32-bit TIFF": (
        "TIFF",
        "I",
        lambda: encode(Image.fromarray(SIXTEEN_BIT.astype(np.int32) * 1000), "TIFF"),
    ),
    "float TIFF": (
        "TIFF",
        "F",
        lambda: encode(
            Image.fromarray(np.where(NOISE[..., 0] > 9, NOISE[..., 1], np.nan).astype(np.float32)), "TIFF"
        ),
    ),
    "LZW TIFF": ("TIFF", "RGB", lambda: encode(noise("RGB"), "TIFF", compression="tiff_lzw")),
    "TIFF of two frames": ("TIFF", "L", lambda: two_frames("TIFF")),
    "animated PNG": ("PNG", "L", lambda: two_frames("PNG")),
    "animated WebP": ("WEBP", "RGB", lambda: two_frames("WEBP")),
    "BMP": ("BMP", "RGB", lambda: encode(noise("RGB"), "BMP")),
    "palette BMP": ("BMP", "P", lambda: encode(noise("P"), "BMP")),
    "WebP": ("WEBP", "RGB", lambda: encode(noise("RGB"), "WEBP")),
    "WebP with alpha": ("WEBP", "RGBA", lambda: encode(noise("RGBA"), "WEBP", lossless=True)),
}


def refuse(content: bytes) -> str:
    """The message, which names the file and the remedy."""
    with pytest.raises(pictures.DatasetError) as caught:
        pictures.decode_picture(NAME, lambda _: content)
    message = str(caught.value)
    assert message.startswith(f"Cannot decode {NAME}: ")
    assert message.endswith(". Replace the file.")
    assert " at 0x" not in message
    return message


def build_header(width: int, height: int) -> bytes:
    """A PNG of that size (1 bit a pixel) that unpacks to nothing: only its header is true."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b""))
        + chunk(b"IEND", b"")
    )


# What it decodes


@pytest.mark.parametrize("kind", FILES)
def test_pixels_are_those_that_serving_sees(kind: str):
    picture_format, mode, build = FILES[kind]
    content = build()
    picture = pictures.decode_picture(NAME, lambda _: content)  # a .jpg by name: the content decides
    assert (picture.format, picture.mode, picture.bytes) == (picture_format, mode, len(content))
    assert picture.pixels.dtype == np.uint8
    assert picture.pixels.shape == ((20, 24, 1) if kind == "turned JPEG" else (24, 20, 1))
    np.testing.assert_array_equal(picture.pixels[..., 0], preprocess.decode_grey(content))
    np.testing.assert_array_equal(picture.pixels, pictures.read_grey(NAME, lambda _: content))


def test_limits_are_those_of_serving():
    assert pictures.MAX_PIXELS == MAX_PIXELS


def test_luma_of_pure_colours():
    """ITU-R BT.601: 0.299 R + 0.587 G + 0.114 B."""
    colours = Image.fromarray(np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]]], np.uint8))
    assert pictures.read_grey(NAME, lambda _: encode(colours, "PNG"))[0, :, 0].tolist() == [76, 150, 29, 255]


def test_16_bit_is_scaled_not_clipped():
    ramp = np.linspace(1000, 5000, 1001).astype(np.uint16)[None]
    grey = pictures.read_grey(NAME, lambda _: encode(Image.fromarray(ramp), "PNG"))[0, :, 0]
    assert grey[0] == 0
    assert grey[-1] == 255
    assert grey[500] in (127, 128)
    assert np.all(np.diff(grey.astype(int)) >= 0)


def test_flat_16_bit_is_black(recwarn: pytest.WarningsRecorder):
    flat = Image.fromarray(np.full((4, 6), 1000, np.uint16))
    assert pictures.read_grey(NAME, lambda _: encode(flat, "PNG")).max() == 0
    assert not recwarn.list  # no division by zero


def test_transparency_is_black():
    clear_white = Image.new("RGBA", (2, 2), (255, 255, 255, 0))
    assert pictures.read_grey(NAME, lambda _: encode(clear_white, "PNG")).max() == 0


def test_first_frame_counts():
    assert np.unique(pictures.read_grey(NAME, lambda _: two_frames("TIFF"))).tolist() == [10]


# What it refuses


@pytest.mark.parametrize(
    "kind", ["grey JPEG", "colour JPEG", "grey PNG", "16-bit TIFF", "LZW TIFF", "BMP", "WebP"]
)
@pytest.mark.parametrize("share_kept", [0.02, 0.4, 0.8])
def test_a_truncated_file_is_refused(kind: str, share_kept: float):
    content = FILES[kind][2]()
    refuse(content[: int(share_kept * len(content))])


def test_an_empty_file_is_refused():
    assert "empty (0 bytes)" in refuse(b"")


@pytest.mark.parametrize(
    "content",
    [
        b"\0",
        b"no picture at all",
        b"<html>404</html>",
        bytes(128) + b"DICM" + bytes(99),
        b"%!PS-Adobe-3.0 EPSF-3.0\n",
    ],
)
def test_what_is_no_picture_is_refused(content: bytes):
    assert "no JPEG, PNG, BMP, TIFF or WebP" in refuse(content)


@pytest.mark.parametrize("picture_format", ["GIF", "PPM", "ICO", "JPEG2000", "TGA"])
def test_other_formats_are_refused(picture_format: str):
    assert "no JPEG, PNG, BMP, TIFF or WebP" in refuse(encode(noise("RGB"), picture_format))


def test_a_damaged_checksum_is_refused():
    content = bytearray(FILES["grey PNG"][2]())
    content[len(content) // 2] ^= 0xFF
    refuse(bytes(content))


@pytest.mark.parametrize("side", [6_325, 9_000, 10_000, 20_000, 60_000])
def test_a_bomb_is_refused_by_its_header(
    side: int, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
):
    """Below Pillow's limit, between its warning and its error, and above: nothing is unpacked, no warning leaks."""
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: pytest.fail("decoded"))
    assert f"at most {pictures.MAX_PIXELS:,}" in refuse(build_header(side, side))
    assert not recwarn.list


def test_a_real_bomb_is_refused():
    """100 megapixels in 12 kB."""
    content = encode(Image.new("1", (10_000, 10_000)), "PNG", optimize=True)
    assert len(content) < 20_000
    assert "10000 x 10000 pixels" in refuse(content)


def test_the_limit_itself_is_accepted(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pictures, "MAX_PIXELS", 24 * 20)
    pictures.read_grey(NAME, lambda _: FILES["grey PNG"][2]())
    monkeypatch.setattr(pictures, "MAX_PIXELS", 24 * 20 - 1)
    assert "20 x 24 pixels" in refuse(FILES["grey PNG"][2]())


def test_the_readers_own_refusal_is_passed_on():
    def read(path: str) -> bytes:
        raise pictures.DatasetError(f"{path} is gone")

    with pytest.raises(pictures.DatasetError, match=r"^Training/glioma/a\.jpg is gone$"):
        pictures.read_grey(NAME, read)


def test_pillows_own_limits_and_warnings_stay():
    before = (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, list(warnings.filters))
    pictures.read_grey(NAME, lambda _: FILES["grey JPEG"][2]())
    refuse(build_header(10_000, 10_000))
    assert (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, list(warnings.filters)) == before
