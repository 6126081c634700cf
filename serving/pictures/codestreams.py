"""Compressed frames of a DICOM file: does what is packed have the size that the header states?

Goes in: one frame as stored. Comes out: nothing, or an `ImageError`. A decoder makes room for whatever size
the stream states, so a stream of some kilobytes could take gigabytes.
"""

import struct
from itertools import pairwise

from serving.files.errors import ImageError

_AGAIN = "Export it uncompressed."
RLE = "1.2.840.10008.1.2.5"
_J2K_START = b"\xff\x4f\xff\x51"
# ITU-T T.81 table B.1: SOF markers but for DHT, JPG and DAC among them; F7 is that of JPEG-LS (T.87).
_SOF = frozenset({*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC})


def check_frame(frame: bytes, syntax: str, rows: int, columns: int, bytes_per_pixel: int) -> None:
    """Compare one frame of encapsulated pixel data with the header.

    `syntax` is the UID of the transfer syntax; `bytes_per_pixel` counts all samples together.

    Raises:
        ImageError: it would unpack to another size, or take more room; the message has no name in front.
    """
    if syntax == RLE:
        _check_rle(frame, rows * columns, bytes_per_pixel)
        return
    found = _find_size(frame)
    if found != (rows, columns):
        states = "states no size" if found is None else f"is {found[1]} x {found[0]}"
        raise ImageError(f"its compressed picture {states}, its header says {columns} x {rows}. {_AGAIN}")


def _find_size(frame: bytes) -> tuple[int, int] | None:
    """Height and width that a JPEG, JPEG-LS or JPEG 2000 stream states."""
    start = frame.find(_J2K_START, 0, 512)  # HTJ2K and JP2 boxes may stand before it
    if start >= 0 and len(frame) >= start + 24:
        width, height, left, top = struct.unpack_from(">4I", frame, start + 8)
        if left or top:
            # The decoder makes room for the whole grid, however little of it the picture takes.
            found = f"its compressed picture starts at {left}, {top} of its grid"
            raise ImageError(f"{found}, which is not read. {_AGAIN}")
        return height, width
    if not frame.startswith(b"\xff\xd8"):
        return None
    at = 2
    while at + 9 <= len(frame) and frame[at] == 0xFF:
        marker, length = frame[at + 1], int.from_bytes(frame[at + 2 : at + 4], "big")
        if marker in _SOF:
            height, width = struct.unpack_from(">2H", frame, at + 5)
            return height, width
        at += 1 if marker == 0xFF else 2 + length
    return None


def _check_rle(frame: bytes, pixels: int, bytes_per_pixel: int) -> None:
    """Add up the runs of every segment (PS3.5 annex G) without writing them out."""
    count = int.from_bytes(frame[:4], "little")
    if count != bytes_per_pixel or len(frame) < 64:
        found = f"its compressed picture has {count} segments"
        raise ImageError(f"{found}, its header says {bytes_per_pixel}. {_AGAIN}")
    starts = [*struct.unpack_from(f"<{count}I", frame, 4), len(frame)]
    for at, end in pairwise(starts):
        unpacked = 0
        while at < min(end, len(frame)) and unpacked <= pixels + 1:
            control = frame[at]
            unpacked += 0 if control == 128 else 257 - control if control > 128 else control + 1
            at += 2 if control > 128 else control + 2 if control < 128 else 1
        if not pixels <= unpacked <= pixels + 1:
            found = "its compressed picture does not unpack"
            raise ImageError(f"{found} to the {pixels:,} pixels of its header. {_AGAIN}")
