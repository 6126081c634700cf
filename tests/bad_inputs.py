"""Inputs that nobody wishes for: damaged, hostile and merely unusual files, and what must come of each.

Goes in: nothing; every file is made here. Comes out: `Case` objects, a name, a file name, the content, and
the message to expect, or None where the file is readable and must be scored. The command line and the server
are tested with the same list; `bad_volumes` holds DICOM, NIfTI and zips.
"""

import gzip
import io
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image

UNKNOWN, DAMAGED, TOO_MANY_PIXELS, SCORED = "not a picture in a format known", "damaged", "pixels", None


@dataclass(frozen=True)
class Case:
    """One file and what must come of it.

    Attributes:
        name: of the case.
        filename: to save it under; the suffix may lie.
        build: makes the content.
        message: part of the error to expect, a regular expression; None: it is scored (refused by the guard
            included).
    """

    name: str
    filename: str
    build: Callable[[], bytes]
    message: str | None


def encode(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    """Write a picture into memory."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def draw(side: int = 64, mode: str = "L") -> Image.Image:
    """A noisy square."""
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (side, side), np.uint8)).convert(mode)


def chunk(kind: bytes, data: bytes) -> bytes:
    """One chunk of a PNG."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def chunk_bomb(kind: bytes) -> bytes:
    """A chunk of compressed text that unpacks to 50 MB."""
    return chunk(kind, b"a\0\0" + zlib.compress(bytes(50_000_000)))


def png(*chunks: bytes, size: tuple[int, int] = (8, 8), depth: int = 8, colour: int = 0) -> bytes:
    """A PNG of hand-made chunks."""
    header = chunk(b"IHDR", struct.pack(">2I5B", *size, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + chunk(b"IEND", b"")


def pixels(rows: int = 8, row_bytes: int = 8, value: int = 0) -> bytes:
    """The IDAT chunk of a flat picture."""
    return chunk(b"IDAT", zlib.compress((b"\0" + bytes([value]) * row_bytes) * rows))


def deep_colour(side: int) -> bytes:
    """A square of 12 bits in 16, with colour and opacity."""
    row = (np.arange(side, dtype=">u2")[:, None] % 512 * 8 // [1, 2, 3, 1] + [0, 0, 0, 9]).astype(">u2")
    rows = (b"\0" + row.tobytes()) * side
    return png(chunk(b"IDAT", zlib.compress(rows)), size=(side, side), depth=16, colour=6)


def many_directories() -> bytes:
    """A TIFF of 5,000 directories without a size."""
    entry = struct.pack("<H", 1) + struct.pack("<HHII", 254, 4, 1, 1)
    return b"II*\0\x08\0\0\0" + b"".join(entry + struct.pack("<I", 8 + 18 * (n + 1)) for n in range(5000))


def gif_of_many_frames() -> bytes:
    """A GIF of half a million frames."""
    frame = b"," + struct.pack("<4H", 0, 0, 1, 1) + b"\0\x02\x02D\x01\0"
    return b"GIF89a" + struct.pack("<2H", 1, 1) + b"\x80\0\0" + bytes(6) + frame * 500_000 + b";"


def tiff(tags: dict[int, tuple[int, int, int]], rest: bytes = b"", following: int = 0) -> bytes:
    """A little-endian TIFF with one directory of (type, count, value) by tag."""
    entries = b"".join(struct.pack("<HHII", tag, *field) for tag, field in sorted(tags.items()))
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + entries + struct.pack("<I", following) + rest


def tiff_tags(width: int, height: int, **changes: tuple[int, int, int]) -> dict[int, tuple[int, int, int]]:
    """The tags of an uncompressed grey TIFF."""
    tags = {
        256: (4, 1, width),
        257: (4, 1, height),
        258: (3, 1, 8),
        259: (3, 1, 1),
        262: (3, 1, 1),
        273: (4, 1, 8),
        277: (3, 1, 1),
    }
    tags |= {278: (4, 1, height), 279: (4, 1, width * height)}
    return tags | {int(tag[1:]): field for tag, field in changes.items()}


def replace(content: bytes, old: bytes, new: bytes) -> bytes:
    """Replace once, and fail where there is nothing to replace."""
    assert old in content
    return content.replace(old, new, 1)


def jpeg_of_size(width: int, height: int) -> bytes:
    """A small JPEG whose header states another size."""
    content = encode(draw(), "JPEG")
    at = content.index(b"\xff\xc0")
    return content[: at + 5] + struct.pack(">2H", height, width) + content[at + 9 :]


def jpeg_with(marker: int, data: bytes) -> bytes:
    """A JPEG with one more segment at its start."""
    content = encode(draw(), "JPEG")
    return content[:2] + bytes([0xFF, marker]) + struct.pack(">H", len(data) + 2) + data + content[2:]


def progressive_bomb() -> bytes:
    """A progressive JPEG whose last scan is sent again and again: little to send, much to decode."""
    content = encode(Image.new("L", (2048, 2048)), "JPEG", progressive=True)
    last = content.rindex(b"\xff\xda")
    return content[:last] + content[last:-2] * 2000 + content[-2:]


def webp_of_size(width: int, height: int) -> bytes:
    """A small lossless WebP whose header states another size, in 14 bits each after the signature 2f."""
    content = encode(draw(), "WEBP", lossless=True)
    assert content[12:16] == b"VP8L"
    return content[:21] + struct.pack("<I", (width - 1) | (height - 1) << 14) + content[25:]


def several(kind: str) -> bytes:
    """Two pictures in one file."""
    return encode(draw(), kind, save_all=True, append_images=[draw().rotate(90)])


def exif_loop() -> bytes:
    """EXIF whose directory names itself as the next one, and as its own sub-directory."""
    directory = (
        struct.pack("<H", 2)
        + struct.pack("<HHII", 0x0112, 3, 1, 6)
        + struct.pack("<HHII", 0x8769, 4, 1, 8)
        + struct.pack("<I", 8)
    )
    return jpeg_with(0xE1, b"Exif\0\0II*\0\x08\0\0\0" + directory)


def build_foreign() -> list[Case]:
    """What is no picture, or one of a format that is not read."""
    contents = {
        "one byte": (b"\x00", "a.png", UNKNOWN),
        "text": (b"this is no picture", "a.png", UNKNOWN),
        "utf-16 text": ("no picture".encode("utf-16"), "a.jpg", UNKNOWN),
        "json": (b'{"a": [1, 2]}', "a.json", UNKNOWN),
        "random bytes": (np.random.default_rng(1).bytes(5000), "a.png", UNKNOWN),
        "ppm": (encode(draw(), "PPM"), "a.ppm", UNKNOWN),
        "ico": (encode(draw(), "ICO"), "a.ico", "an icon"),
        "gzip of text": (
            gzip.compress(b"text"),
            "a.png",
            "a packed file .*: unpack it",
        ),
        "html": (b"<!DOCTYPE html><script>alert(1)</script>", "a.jpg", "web page"),
        "svg": (
            b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>',
            "a.svg",
            "SVG",
        ),
        "xml entities": (
            b'\n<!DOCTYPE a [<!ENTITY b "bbbb"><!ENTITY c "&b;&b;">]><svg>&c;</svg>',
            "a.svg",
            "XML",
        ),
        "heic": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(200), "a.heic", "HEIC"),
        "avif": (b"\0\0\0\x1cftypavif\0\0\0\0avifmif1miaf" + bytes(200), "a.avif", "AVIF"),
        "mp4": (b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + bytes(200), "a.mp4", "a film"),
        "pdf": (b"%PDF-1.7\n1 0 obj<</OpenAction<</S/JavaScript>>>>endobj", "a.pdf", "a PDF"),
        "eps": (
            b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/etc/passwd) (r) file\n",
            "a.png",
            "PostScript",
        ),
        "psd": (
            b"8BPS\0\x01" + bytes(6) + struct.pack(">HIIHH", 3, 9, 9, 8, 3) + bytes(100),
            "a.psd",
            "Photoshop",
        ),
        "executable": (b"\x7fELF\x02\x01\x01" + bytes(200), "a.png", "a program"),
        "rar": (b"Rar!\x1a\x07\x01\0" + bytes(100), "a.zip", "RAR"),
        "gif animation": (several("GIF"), "a.gif", "is GIF of 2 pictures"),
        "jpeg 2000": (encode(draw(), "JPEG2000"), "a.jp2", "JPEG 2000"),
    }
    return [
        Case(name, filename, lambda content=content: content, message)
        for name, (content, filename, message) in contents.items()
    ]


def build_pngs() -> list[Case]:
    """PNG."""
    whole = encode(draw())
    return [
        Case("empty", "a.png", lambda: b"", "empty"),
        Case("png signature alone", "a.png", lambda: whole[:8], DAMAGED),
        Case("png cut in its header", "a.png", lambda: whole[:20], DAMAGED),
        Case("png cut in its pixels", "a.png", lambda: whole[:2000], DAMAGED),
        Case("png with a wrong check sum", "a.png", lambda: whole[:29] + b"\0\0\0\0" + whole[33:], DAMAGED),
        Case("png with broken pixels", "a.png", lambda: png(chunk(b"IDAT", b"no zlib")), DAMAGED),
        Case("png without pixels", "a.png", png, DAMAGED),
        Case("png of no width", "a.png", lambda: png(pixels(), size=(0, 8)), DAMAGED),
        Case(
            "png of 60,000 x 60,000", "a.png", lambda: png(pixels(), size=(60_000, 60_000)), TOO_MANY_PIXELS
        ),
        Case(
            "png that unpacks to 81 million pixels",
            "a.png",
            lambda: encode(Image.new("1", (9000, 9000))),
            TOO_MANY_PIXELS,
        ),
        Case(
            "png of 1 x 2,000,000", "a.png", lambda: encode(Image.new("L", (1, 2_000_000))), TOO_MANY_PIXELS
        ),
        Case("png text that unpacks to 50 MB", "a.png", lambda: png(chunk_bomb(b"zTXt"), pixels()), DAMAGED),
        Case(
            "png profile that unpacks to 50 MB", "a.png", lambda: png(chunk_bomb(b"iCCP"), pixels()), DAMAGED
        ),
        Case("png profile of garbage", "a.png", lambda: encode(draw(), icc_profile=b"garbage"), SCORED),
        Case("png without its palette", "a.png", lambda: png(pixels(value=3), colour=3), SCORED),
        Case(
            "png with colours beyond its palette",
            "a.png",
            lambda: png(chunk(b"PLTE", b"\1\2\3"), pixels(value=200), colour=3),
            SCORED,
        ),
        Case(
            "png with a broken animation", "a.png", lambda: png(chunk(b"acTL", b"\xff" * 8), pixels()), SCORED
        ),
        Case("png animation", "a.png", lambda: several("PNG"), "2 pictures"),
        Case("png with a page behind it", "a.png", lambda: whole + b"<script>alert(1)</script>", SCORED),
        Case("png named jpg", "a.jpg", lambda: whole, SCORED),
        Case("png of one pixel", "a.png", lambda: encode(Image.new("L", (1, 1))), SCORED),
        Case(
            "png of 16 bits",
            "a.png",
            lambda: encode(Image.fromarray(np.arange(10_000, dtype=np.uint16).reshape(100, 100))),
            SCORED,
        ),
        Case(
            "png of 16 bits, as large as is read",
            "a.png",
            lambda: encode(Image.fromarray(np.zeros((4096, 4096), np.uint16))),
            SCORED,
        ),
        Case(
            "png of four times 16 bits, as large as is read",
            "a.png",
            lambda: deep_colour(4096),
            SCORED,
        ),
        Case(
            "png of 4 bits of colour in 8, as large as is read",
            "a.png",
            lambda: encode(
                Image.fromarray(np.tile(np.arange(16, dtype=np.uint8), (4096, 256))).convert("RGBA")
            ),
            SCORED,
        ),
        Case(
            "png with transparency, as large as is read",
            "a.png",
            lambda: encode(Image.new("RGBA", (4096, 4096))),
            SCORED,
        ),
    ]


def build_jpegs() -> list[Case]:
    """JPEG."""
    whole = encode(draw(), "JPEG")
    return [
        Case("jpeg start alone", "a.jpg", lambda: whole[:2], UNKNOWN),
        Case("jpeg cut in its header", "a.jpg", lambda: whole[:100], DAMAGED),
        Case("jpeg cut in its pixels", "a.jpg", lambda: whole[:700], DAMAGED),
        Case("jpeg of 65,500 x 65,500", "a.jpg", lambda: jpeg_of_size(65_500, 65_500), TOO_MANY_PIXELS),
        Case("jpeg of no height", "a.jpg", lambda: jpeg_of_size(64, 0), DAMAGED),
        Case("jpeg larger than its pixels", "a.jpg", lambda: jpeg_of_size(4000, 4000), SCORED),
        Case(
            "jpeg of 12 bits",
            "a.jpg",
            lambda: replace(whole, b"\xff\xc0\0\x0b\x08", b"\xff\xc0\0\x0b\x0c"),
            DAMAGED,
        ),
        Case("jpeg without tables", "a.jpg", lambda: whole.replace(b"\xff\xc4", b"\xff\xe5"), SCORED),
        Case("jpeg of 2,000 scans", "a.jpg", progressive_bomb, "scans"),
        Case("jpeg, CMYK", "a.jpg", lambda: encode(draw(mode="RGB").convert("CMYK"), "JPEG"), SCORED),
        Case("jpeg, EXIF in a loop", "a.jpg", exif_loop, SCORED),
        Case("jpeg, EXIF of garbage", "a.jpg", lambda: jpeg_with(0xE1, b"Exif\0\0" + b"\xff" * 500), SCORED),
        Case(
            "jpeg, profile of garbage",
            "a.jpg",
            lambda: jpeg_with(0xE2, b"ICC_PROFILE\0\1\1" + b"\xff" * 500),
            SCORED,
        ),
        Case(
            "jpeg, multi-picture header of garbage",
            "a.jpg",
            lambda: jpeg_with(0xE2, b"MPF\0II*\0" + b"\xff" * 99),
            SCORED,
        ),
        Case(
            "jpeg, a page in its comment",
            "a.html",
            lambda: jpeg_with(0xFE, b"<script>alert(1)</script>"),
            SCORED,
        ),
        Case("jpeg with a zip behind it", "a.jpg", lambda: whole + b"PK\x03\x04" + bytes(100), SCORED),
    ]


def build_others() -> list[Case]:
    """TIFF, BMP and WebP."""
    bmp, webp = encode(draw(), "BMP"), encode(draw(), "WEBP")
    nan = np.full((9, 9), np.nan, np.float32)
    tile = {
        "_322": (4, 1, 1 << 20),
        "_323": (4, 1, 1 << 20),
        "_324": (4, 1, 8),
        "_325": (4, 1, 99),
        "_259": (3, 1, 8),
    }
    return [
        Case("tiff header alone", "a.tif", lambda: b"II*\0\x08\0\0\0", DAMAGED),
        Case(
            "tiff that names itself as next",
            "a.tif",
            lambda: tiff(tiff_tags(8, 8), bytes(64), following=8),
            SCORED,
        ),
        Case(
            "tiff of 60,000 x 60,000",
            "a.tif",
            lambda: tiff(tiff_tags(60_000, 60_000), bytes(64)),
            TOO_MANY_PIXELS,
        ),
        Case(
            "tiff whose pixels lie beyond its end",
            "a.tif",
            lambda: tiff(tiff_tags(8, 8, _273=(4, 1, 1 << 30))),
            DAMAGED,
        ),
        Case("tiff cut in its pixels", "a.tif", lambda: encode(draw(), "TIFF")[:3000], DAMAGED),
        Case(
            "tiff of a million strips", "a.tif", lambda: tiff(tiff_tags(8, 8, _273=(4, 1 << 30, 8))), DAMAGED
        ),
        Case("tiff of one giant tile", "a.tif", lambda: tiff(tiff_tags(64, 64, **tile), bytes(99)), DAMAGED),
        Case(
            "tiff of unknown compression",
            "a.tif",
            lambda: tiff(tiff_tags(8, 8, _259=(3, 1, 777)), bytes(64)),
            "packed by method 777, which is not read",
        ),
        Case(
            "tiff, deflated garbage",
            "a.tif",
            lambda: tiff(tiff_tags(8, 8, _259=(3, 1, 8)), b"\x78\x9c" + b"\xff" * 62),
            DAMAGED,
        ),
        Case("tiff of 5,000 smaller copies", "a.tif", many_directories, DAMAGED),
        Case(
            "tiff whose tag lies beyond any end",
            "a.tif",
            lambda: encode(draw(), "TIFF", big_tiff=True)[:8] + b"\xff" * 8 + bytes(99),
            DAMAGED,
        ),
        Case("gif of half a million frames", "a.gif", gif_of_many_frames, "GIF of 2,000 pictures or more"),
        Case("tiff of two pages", "a.tif", lambda: several("TIFF"), "2 pictures"),
        Case(
            "tiff of numbers that are none",
            "a.tif",
            lambda: encode(Image.fromarray(nan), "TIFF"),
            "holds no finite number",
        ),
        Case("bmp header alone", "a.bmp", lambda: bmp[:30], DAMAGED),
        Case("bmp cut in its pixels", "a.bmp", lambda: bmp[:2000], DAMAGED),
        Case(
            "bmp of 60,000 x 60,000",
            "a.bmp",
            lambda: bmp[:18] + struct.pack("<2i", 60_000, 60_000) + bmp[26:],
            TOO_MANY_PIXELS,
        ),
        Case(
            "bmp of negative width",
            "a.bmp",
            lambda: bmp[:18] + struct.pack("<2i", -64, 64) + bmp[26:],
            TOO_MANY_PIXELS,
        ),
        Case("webp cut in half", "a.webp", lambda: webp[: len(webp) // 2], DAMAGED),
        Case("webp of 16,000 x 16,000", "a.webp", lambda: webp_of_size(16_000, 16_000), TOO_MANY_PIXELS),
        Case("webp animation", "a.webp", lambda: several("WEBP"), "2 pictures"),
    ]
