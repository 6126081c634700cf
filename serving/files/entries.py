"""The files of an upload: one file, several, a folder or a zip; never unpacked to disk.

Goes in: a path, paths, or the bytes of a file. Comes out: an `Entry` a file. Counts and sizes are limited
before anything is unpacked, because a zip of some kilobytes can unpack to gigabytes. Names inside a zip are
only shown, so a name like `../../x` leads nowhere.
"""

import io
import lzma
import struct
import zipfile
import zlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO

from serving.files.errors import ImageError

# Of one file, as it is sent; and of what the files of one zip hold together.
MAX_VOLUME_BYTES = 256 * 1024 * 1024
# A series has some hundred slices, a study up to some thousand; reading 2,000 headers takes a second.
MAX_FILES = 2000
# Of one volume, once its pixels are square: 488 slices of 512 x 512.
MAX_VOXELS = 128_000_000
MAX_SLICES = 2000
HEAD_BYTES = 1024
ZIP_MAGIC = (b"PK\x03\x04", b"PK\x05\x06")
# What zipfile, parsers and decoders in Python raise on damaged data. RuntimeError: also RecursionError, and
# compressions that zipfile lacks; ValueError: also UnicodeError; ArithmeticError: also OverflowError.
DAMAGE = (
    *(ArithmeticError, AssertionError, AttributeError, EOFError, LookupError, MemoryError, OSError),
    *(RuntimeError, TypeError, ValueError, lzma.LZMAError, struct.error, zipfile.BadZipFile, zlib.error),
)
_ENCRYPTED = 0x1
_ADVICE = "Send one DICOM series or one NIfTI file."

VolumeSource = str | Path | bytes | Sequence[str | Path]


@dataclass(frozen=True)
class Entry:
    """One file of an upload.

    Attributes:
        name: last part of its name, fit to show.
        head: its first bytes, by which formats are told apart.
        open: gives a seekable stream of its content.

    Example:
        >>> [entry] = list_entries(b"content")
        >>> entry.open().read()
        b'content'
    """

    name: str
    head: bytes
    open: Callable[[], AbstractContextManager[IO[bytes]]]


def list_entries(source: VolumeSource) -> list[Entry]:
    """List the files of an upload in the order of their names.

    Args:
        source: path of a file, of a zip, or of a folder with all its subfolders; paths of several files; or
            the bytes of a file or a zip.

    Raises:
        ImageError: there is no file, one cannot be read, a zip is damaged or locked, or there is too much.
    """
    if isinstance(source, bytes):
        _limit("The upload", 1, len(source))
        entry = Entry("The upload", source[:HEAD_BYTES], lambda: io.BytesIO(source))
        return _list_zip(entry, io.BytesIO(source)) if entry.head.startswith(ZIP_MAGIC) else [entry]
    if not isinstance(source, str | Path):
        return _open_files([Path(path) for path in source], "The list")
    path = Path(source)
    if path.is_dir():
        return _open_files(sorted(found for found in path.rglob("*") if found.is_file()), path.name)
    entry = _open_file(path)
    return _list_zip(entry, path) if entry.head.startswith(ZIP_MAGIC) else [entry]


def read_start(path: Path, limit: int) -> bytes:
    """Read the first bytes of a file, at most `limit`.

    Raises:
        ImageError: the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return file.read(limit)
    except OSError as error:
        what = f"{path.name} cannot be read: {error.strerror}. Check the path and its permissions."
        raise ImageError(what) from error


def _limit(name: str, files: int, size: int) -> None:
    if not 0 < files <= MAX_FILES:
        raise ImageError(f"{name} holds {files:,} files; 1 to {MAX_FILES:,} are accepted. {_ADVICE}")
    if size > MAX_VOLUME_BYTES:
        raise ImageError(f"{name} holds {size:,} bytes; at most {MAX_VOLUME_BYTES:,} are accepted. {_ADVICE}")


def _open_files(paths: list[Path], name: str) -> list[Entry]:
    _limit(name, len(paths), 0)
    return [_open_file(path) for path in paths]


def _open_file(path: Path) -> Entry:
    head = read_start(path, HEAD_BYTES)
    _limit(path.name, 1, path.stat().st_size)
    return Entry(path.name, head, lambda: path.open("rb"))


def _list_zip(file: Entry, content: Path | io.BytesIO) -> list[Entry]:
    """List the members of a zip; each is unpacked in memory when it is opened."""
    try:
        archive = zipfile.ZipFile(content)
        listed = sorted(archive.infolist(), key=lambda member: member.filename)
        members = [one for one in listed if one.file_size and not one.filename.startswith("__MACOSX/")]
        # Of a member, `zipfile` unpacks no more than the zip says it holds.
        _limit(file.name, len(members), sum(member.file_size for member in members))
        if any(member.flag_bits & _ENCRYPTED for member in members):
            raise ImageError(f"{file.name} is locked with a password. Pack the files without one.")
        entries = []
        for member in members:
            with archive.open(member) as stream:
                head = stream.read(HEAD_BYTES)
            name = PurePosixPath(member.filename).name
            entries.append(Entry(name, head, partial(_unpack, archive, member, name)))
        return entries
    except ImageError:
        raise
    except DAMAGE as error:
        raise ImageError(f"{file.name} is a damaged zip. Pack the files again.") from error


def _unpack(archive: zipfile.ZipFile, member: zipfile.ZipInfo, name: str) -> IO[bytes]:
    try:
        return io.BytesIO(archive.read(member))
    except DAMAGE as error:
        raise ImageError(f"{name} is damaged in its zip. Pack the files again.") from error
