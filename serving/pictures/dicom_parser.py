"""The parser of DICOM: pydicom, imported on first use, bounded, and silent while a file is read here.

Goes in: a stream. Comes out: a data set. What pydicom warns of and logs may quote the header of a patient.
"""

import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

from serving.files.entries import DAMAGE, Entry
from serving.files.errors import ImageError

if TYPE_CHECKING:
    from pydicom import Dataset

# The parser takes microseconds for each element; an enhanced MR has some hundred.
_MAX_ELEMENTS = 10_000
# Groups of the pixels, and of what may follow them.
_PIXELS, _AFTER_PIXELS = 0x7FE00000, 0x7FE10000
_DEFLATED = "1.2.840.10008.1.2.1.99"
_LOGGERS = ("pydicom", "pydicom.pixels.decoders.base", "pydicom.pixels.utils")
# PS3.5 table 6.2-1, those of short elements: what a file without a prefix may start with.
_TYPES = tuple(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())
_lock = threading.Lock()
# Of the threads that read at this moment.
_readers: list[int] = []


def find_start(head: bytes) -> int | None:
    """Find the first element: behind 128 bytes and the prefix `DICM`; old files lack either, or both.

    Args:
        head: of the file, some hundred bytes.

    Returns:
        Its place; None where the file is no DICOM.
    """
    if head[128:132] == b"DICM":
        return 132
    if head[:4] == b"DICM":
        return 4
    if head[:128] == bytes(128) and _is_first_element(head[128:140]):
        return 128
    return 0 if _is_first_element(head) else None


def _is_first_element(head: bytes) -> bool:
    """Tell an element of group 2 or 8, in either byte order."""
    if head[:2] in (b"\x02\x00", b"\x08\x00") and head[3:4] == b"\x00":
        # Else a length, of less than 64 kB.
        return head[4:6] in _TYPES or (head[:1] == b"\x08" and head[6:8] == b"\x00\x00")
    return head[:3] == b"\x00\x08\x00" and head[4:6] in _TYPES


class _Behind:
    """A stream without its first bytes, for a parser that goes back to the start."""

    def __init__(self, stream: Any, first: int):
        self._stream, self._first, self.read = stream, first, stream.read
        self.seek(0)

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._stream.seek(offset + (self._first if whence == 0 else 0), whence) - self._first

    def tell(self) -> int:
        return self._stream.tell() - self._first


def import_pydicom() -> ModuleType:
    """Import the parser, which takes a while and is an extra."""
    try:
        import pydicom
        import pydicom.encaps
        import pydicom.pixels
    except ImportError as error:
        raise ImageError("Reading DICOM needs the extra `medical`: pip install '.[medical]'") from error
    return pydicom


@contextmanager
def silence_pydicom() -> Iterator[None]:
    """Swallow what pydicom warns of and logs in this thread, for as long as the block lasts.

    Other threads and pydicom's settings are left alone. `warnings.catch_warnings` would not do: it changes
    the filters of all threads, and two threads that use it at once leave the wrong ones behind.
    """
    misc = import_pydicom().misc
    with _lock:
        _readers.append(threading.get_ident())
        if len(_readers) == 1:
            # All warnings of pydicom pass through this module.
            misc.warnings = SimpleNamespace(warn=_warn)
            for name in _LOGGERS:
                logging.getLogger(name).addFilter(_is_from_elsewhere)
    try:
        yield
    finally:
        with _lock:
            _readers.remove(threading.get_ident())
            if not _readers:
                misc.warnings = warnings
                for name in _LOGGERS:
                    logging.getLogger(name).removeFilter(_is_from_elsewhere)


def _warn(message: str, category: type[Warning] | None = None, stacklevel: int = 1) -> None:
    if _is_from_elsewhere():
        warnings.warn(message, category, stacklevel + 1)


def _is_from_elsewhere(_record: logging.LogRecord | None = None) -> bool:
    return threading.get_ident() not in _readers


def list_damage() -> tuple[type[Exception], ...]:
    """What damaged DICOM makes pydicom and its decoders raise; two of its errors have no base in common."""
    errors = import_pydicom().errors
    return (*DAMAGE, errors.BytesLengthException, errors.InvalidDicomError)


def parse(stream: Any, entry: Entry, with_pixels: bool) -> "Dataset":
    """Parse a file up to its pixels, with or without them; what follows is not needed and may be much.

    Raises:
        ImageError: it cannot be parsed.
    """
    pydicom = import_pydicom()
    reader = pydicom.filereader
    try:
        start = find_start(entry.head) or 0
        if start in (4, 128):
            stream, start = _Behind(stream, start), 0
        stream.seek(start)
        meta = reader.read_dataset(stream, False, True, stop_when=lambda tag, _vr, _length: tag >> 16 != 2)
        if meta.get("TransferSyntaxUID") == _DEFLATED:
            raise ImageError(f"{entry.name} is deflated DICOM, which is not read. Export it uncompressed.")
        stream.seek(0)
        end, left = _AFTER_PIXELS if with_pixels else _PIXELS, iter(range(_MAX_ELEMENTS))
        dataset = reader.read_partial(
            stream, lambda tag, _vr, _length: tag >= end or next(left, None) is None, force=True
        )
        if "TransferSyntaxUID" not in dataset.file_meta:
            (is_implicit, is_little_endian), uid = dataset.original_encoding, pydicom.uid
            explicit = uid.ExplicitVRLittleEndian if is_little_endian else uid.ExplicitVRBigEndian
            dataset.file_meta.TransferSyntaxUID = uid.ImplicitVRLittleEndian if is_implicit else explicit
        return dataset
    except ImageError:
        raise
    except list_damage():  # the parser's message may quote the header
        raise ImageError(f"{entry.name} is damaged: it cannot be read as DICOM. Export it again.") from None


def find_value(header: "Dataset", number: int, sequence: str, keyword: str) -> Any:
    """A value that stands in the header itself or, in a multi-frame file, with one frame or with all."""
    if keyword in header:
        return header.get(keyword)
    for groups, index in (("PerFrame", number), ("Shared", 0)):
        items = header.get(f"{groups}FunctionalGroupsSequence")
        if items and index < len(items) and items[index].get(sequence):
            return items[index].get(sequence)[0].get(keyword)
    return None
