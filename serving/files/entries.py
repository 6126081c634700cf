"""The files of an upload: one file, several, a folder or a zip; opened where they are and never unpacked to disk.

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
# What zipfile, parsers and decoders written in Python raise on damaged data, whose lengths, types and offsets
# are not what they say. RuntimeError stands for RecursionError and methods of compression that zipfile lacks,
# ValueError for UnicodeError, ArithmeticError for OverflowError.
DAMAGE = (
    *(
        ArithmeticError,
        AssertionError,
        AttributeError,
        EOFError,
        LookupError,
        MemoryError,
        OSError,
        RuntimeError,
        TypeError,
        ValueError,
    ),
    *(lzma.LZMAError, struct.error, zipfile.BadZipFile, zlib.error),
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
        entry = _make_entry("The upload", len(source), lambda: io.BytesIO(source))
        return _list_zip(entry, io.BytesIO(source)) if entry.head.startswith(ZIP_MAGIC) else [entry]
    if not isinstance(source, str | Path):
        return [_open_file(path) for path in _limit([Path(path) for path in source], "The list")]
    path = Path(source)
    if path.is_dir():
        return [
            _open_file(found)
            for found in _limit(sorted(found for found in path.rglob("*") if found.is_file()), path.name)
        ]
    entry = _open_file(path)
    return _list_zip(entry, path) if entry.head.startswith(ZIP_MAGIC) else [entry]


def _limit(paths: list[Path], name: str) -> list[Path]:
    if not 0 < len(paths) <= MAX_FILES:
        raise ImageError(f"{name} holds {len(paths):,} files; 1 to {MAX_FILES:,} are accepted. {_ADVICE}")
    return paths


def _open_file(path: Path) -> Entry:
    try:
        return _make_entry(path.name, path.stat().st_size, lambda: path.open("rb"))
    except OSError as error:
        raise ImageError(
            f"{path.name} cannot be read: {error.strerror}. Check the path and its permissions."
        ) from error


def _make_entry(name: str, size: int, open_stream: Callable[[], AbstractContextManager[IO[bytes]]]) -> Entry:
    if size > MAX_VOLUME_BYTES:
        raise ImageError(f"{name} has {size:,} bytes; at most {MAX_VOLUME_BYTES:,} are accepted. {_ADVICE}")
    with open_stream() as stream:
        return Entry(name, stream.read(HEAD_BYTES), open_stream)


def _list_zip(file: Entry, content: Path | io.BytesIO) -> list[Entry]:
    """List the members of a zip; each is unpacked in memory when it is opened, from the one archive that the entries share."""
    try:
        archive = zipfile.ZipFile(content)
        members = [
            member
            for member in archive.infolist()
            if member.file_size and not member.filename.startswith("__MACOSX/")
        ]
        _check_zip(file.name, members)
        entries = []
        for member in sorted(members, key=lambda member: member.filename):
            with archive.open(member) as stream:
                head = stream.read(HEAD_BYTES)
            entries.append(
                Entry(PurePosixPath(member.filename).name, head, partial(_unpack, archive, member))
            )
        return entries
    except ImageError:
        raise
    except DAMAGE as error:
        raise ImageError(f"{file.name} is a damaged zip. Pack the files again.") from error


def _check_zip(name: str, members: list[zipfile.ZipInfo]) -> None:
    """Limit what a zip says it holds; `zipfile` unpacks no more of a member than that."""
    if not 0 < len(members) <= MAX_FILES:
        raise ImageError(f"{name} holds {len(members):,} files; 1 to {MAX_FILES:,} are accepted. {_ADVICE}")
    unpacked = sum(member.file_size for member in members)
    if unpacked > MAX_VOLUME_BYTES:
        raise ImageError(
            f"{name} unpacks to {unpacked:,} bytes; at most {MAX_VOLUME_BYTES:,} are accepted. {_ADVICE}"
        )
    if any(member.flag_bits & _ENCRYPTED for member in members):
        raise ImageError(f"{name} is locked with a password. Pack the files without one.")


def _unpack(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> IO[bytes]:
    try:
        return io.BytesIO(archive.read(member))
    except DAMAGE as error:
        raise ImageError(
            f"{PurePosixPath(member.filename).name} is damaged in its zip. Pack the files again."
        ) from error
