"""Files that hold several pictures, and TIFF whose layout is not read.

Goes in: the bytes of a file. Comes out: how many pictures there are, or what the layout is. A file is scored
as one picture, so one that holds several is never answered from its first alone.
"""

import re
import struct
from collections.abc import Iterator
from contextlib import suppress

from PIL import Image, MpoImagePlugin, TiffImagePlugin

from serving.files.entries import DAMAGE

# Counting stops here: a file of some megabytes can state a million pictures.
MAX_COUNTED = 2000
# Of all directories together; one has some twenty. Reading a tag takes a microsecond.
_MAX_TAGS = 100_000
_MAX_SHOTS = 32
_WIDTHS = {1: "B", 3: "H", 4: "I", 16: "Q"}
_COMPRESSIONS = {
    **{6: "JPEG of the old kind", 7: "JPEG", 33003: "JPEG 2000", 33005: "JPEG 2000", 34712: "JPEG 2000"},
    **{34887: "LERC", 34925: "LZMA", 50000: "Zstandard", 50001: "WebP", 50002: "JPEG XL", 52546: "JPEG XL"},
}
_READ = {1, 2, 3, 4, 5, 7, 8, 32773, 32946}
_FORMATS = {1: "whole numbers", 2: "signed whole numbers", 3: "floating point", 5: "complex numbers"}
_SPACES = {0: "grey", 1: "grey", 2: "RGB", 3: "palette", 5: "CMYK", 6: "YCbCr", 8: "CIE Lab", 32803: "raw"}

# By tag its first numbers, and by the negative tag where in the file they lie.
Tags = dict[int, tuple[int, ...]]


def count_pictures(content: bytes, image: Image.Image) -> int:
    """Count the pictures in a file, at most `MAX_COUNTED`; smaller copies and masks of one are not counted.

    Args:
        content: of the file.
        image: of the same file, as Pillow opened it.
    """
    if image.format == "TIFF":
        return max(1, count_tiff(content))
    return count_frames(image)


def count_frames(image: Image.Image) -> int:
    """Count the frames of an image that was opened: APNG, WebP, and several shots in one JPEG."""
    if isinstance(image, MpoImagePlugin.MpoImageFile):
        return _count_shots(image)
    stated = _count_in_description(str(getattr(image, "tag_v2", {}).get(270, "")).encode())
    try:
        return max(stated, int(getattr(image, "n_frames", 1)))
    except (OSError, SyntaxError, ValueError):  # the caller has closed its file
        return stated


def _count_shots(image: MpoImagePlugin.MpoImageFile) -> int:
    """Count the shots of a camera in one JPEG; thumbnails, depths and aids of displays are none."""
    kinds = [str(one["Attribute"]["MPType"]) for one in (image.mpinfo or {}).get(0xB002, ())]
    count, size = 1, image.size
    for number, kind in enumerate(kinds[1:_MAX_SHOTS], 1):
        if "Multi-Frame" in kind:
            count += 1
        elif kind == "Undefined":  # another shot, or a smaller aid of the first
            with suppress(*DAMAGE, SyntaxError):
                image.seek(number)
                count += image.size == size
    image.seek(0)
    return count


def count_tiff(content: bytes) -> int:
    """Count the pages of a TIFF, and the slices that ImageJ and others keep in one page."""
    count = 0
    for tags in _list_directories(content):
        kind = tags.get(254, (0,))[0]
        if not kind & 0b101 and tags.get(255, (1,))[0] != 2:  # a smaller copy, a mask
            count += max(1, *tags.get(32997, (1,)))
        if count == 1:
            count = _count_in_description(_describe(content, tags))
        if count >= MAX_COUNTED:
            return MAX_COUNTED
    return count


def _count_in_description(description: bytes) -> int:
    """What ImageJ says of a stack that it keeps in one page."""
    stated = re.match(rb"ImageJ=[^\0]{,500}?\nimages=(\d{1,6})\n", description)
    return int(stated[1]) if stated else 1


def describe_tiff(content: bytes, is_open: bool) -> str | None:
    """Say how a TIFF keeps its pixels where that is not read.

    Args:
        content: of the file.
        is_open: whether Pillow has opened it; some layouts it opens, and mixes their pixels up.

    Returns:
        None where the layout is read; so the file is damaged, if Pillow did not open it.
    """
    tags = next(_list_directories(content), None)
    if tags is None or not tags.get(256) or not tags.get(257):
        return None
    packing, space = tags.get(259, (1,))[0], tags.get(262, (0,))[0]
    bits, kinds, extra = tags.get(258, (1,)), tags.get(339, (1,)), tags.get(338, ())
    samples = tags.get(277, (len(bits),))[0]
    if packing not in _READ and not is_open:
        return f"a TIFF packed by {_COMPRESSIONS.get(packing, f'method {packing}')}"
    is_split = tags.get(284, (1,))[0] == 2 and samples > 1
    is_signed = space < 2 and kinds[0] == 2 and max(bits) <= 8
    is_mixed_up = space == 8 or is_signed or (is_split and max(bits) > 8)
    full = bits * samples if len(bits) == 1 and samples < 9 else bits
    key = content[:2], space, kinds[:1], tags.get(266, (1,))[0], full, extra
    if not is_mixed_up and (is_open or key in TiffImagePlugin.OPEN_INFO):
        return None
    size = "/".join(map(str, sorted(set(bits))))
    layout = f"{samples} x {size} bits ({_FORMATS.get(kinds[0], 'of an unknown kind')})"
    split = ", channel after channel" if is_split else ""
    return f"a TIFF of {_SPACES.get(space, f'colour space {space}')}, {layout}{split}"


def turn_black_is_zero(content: bytes) -> bytes | None:
    """Let a TIFF of more than 8 bits whose white is zero say the opposite, which Pillow reads at more depths.

    Returns:
        The changed file, whose pixels are to be inverted; None where white is not zero, and for 8 bits, which
        Pillow inverts itself.
    """
    tags = next(_list_directories(content), {})
    bits = tags.get(258, (1,))
    if tags.get(262) != (0,) or len(bits) != 1 or bits[0] <= 8 or tags.get(277, (1,)) != (1,):
        return None
    (place,), changed = tags[-262], bytearray(content)
    changed[place + (content[:2] == b"MM")] = 1  # of a number of 16 bits
    return bytes(changed)


def count_gif(content: bytes) -> int:
    """Count the frames of a GIF by its blocks, without decoding one."""
    flags = content[10] if len(content) > 10 else 0
    at, count = 13 + _palette_bytes(flags), 0
    while at + 10 <= len(content) and count < MAX_COUNTED:
        if content[at] == 0x2C:
            count += 1
            at += 11 + _palette_bytes(content[at + 9])
        elif content[at] == 0x21:
            at += 2
        else:
            break
        while at < len(content) and content[at]:
            at += 1 + content[at]
        at += 1
    return count


def _palette_bytes(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _list_directories(content: bytes) -> Iterator[Tags]:
    """The numbers in each directory of a TIFF, and where they lie; stops at what is damaged."""
    order = {b"II": "<", b"MM": ">"}.get(content[:2])
    if order is None:
        return
    is_big = struct.unpack_from(f"{order}H", content, 2)[0] == 43 if len(content) >= 16 else False
    number, word, entry = ("Q", "Q", 20) if is_big else ("H", "I", 12)
    seen: set[int] = set()
    left = _MAX_TAGS
    try:
        (at,) = struct.unpack_from(f"{order}{word}", content, 8 if is_big else 4)
        while at and at not in seen and len(seen) < MAX_COUNTED and left > 0:
            seen.add(at)
            (count,) = struct.unpack_from(f"{order}{number}", content, at)
            start = at + struct.calcsize(f"={number}")
            left -= count
            if left < 0:
                return
            tags = [_read_tag(content, start + entry * one, order, word) for one in range(count)]
            (at,) = struct.unpack_from(f"{order}{word}", content, start + entry * count)
            yield {tag: values for tag, _, values in tags if values} | {
                -tag: (place,) for tag, place, _ in tags
            }
    except (struct.error, OverflowError):  # beyond the end, or beyond any end
        return


def _read_tag(content: bytes, at: int, order: str, word: str) -> tuple[int, int, tuple[int, ...]]:
    """A tag, where its numbers lie, and the first of them; of the description only how long it is."""
    tag, kind, count = struct.unpack_from(f"{order}HH{word}", content, at)
    room = struct.calcsize(f"={word}")
    place = at + 4 + room
    letter = _WIDTHS.get(kind)
    width = struct.calcsize(f"={letter}") if letter else 1
    if width * count > room:
        (place,) = struct.unpack_from(f"{order}{word}", content, place)
    if tag == 270:
        return tag, place, (count,)
    if letter is None or not count:
        return tag, place, ()
    return tag, place, struct.unpack_from(f"{order}{min(count, 8)}{letter}", content, place)


def _describe(content: bytes, tags: Tags) -> bytes:
    (place,), (count,) = tags.get(-270, (0,)), tags.get(270, (0,))
    return content[place : place + min(count, 1000)]
