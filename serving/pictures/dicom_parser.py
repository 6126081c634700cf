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
_lock = threading.Lock()
# Of the threads that read at this moment.
_readers: list[int] = []


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
        stream.seek(132 if entry.head[128:132] == b"DICM" else 0)
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
