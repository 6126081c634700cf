"""Files that are whole or not there: written under a temporary name beside their place, then renamed.

Goes in: a path, local or on `gs://` (an `etils.epath.Path`), and content. Comes out: the file. Whoever reads
the path sees the earlier file or the new one, and a write that fails leaves nothing behind.

Links are followed. What cannot be replaced is written through: a device such as `/dev/null`, a pipe, what
this process prints to, and a file that is mounted by itself. `write_as_it_comes` is for content
that shall be seen, and kept, while there is more to come.
"""

import errno
import json
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, TypeVar

# `Path`, or `etils.epath.Path`, which this package does not import.
AnyPath = TypeVar("AnyPath", bound=Any)
# Linux counts bytes, not characters (limits.h, NAME_MAX).
MAX_NAME_BYTES = 255


@contextmanager
def replace_whole(path: AnyPath) -> Iterator[AnyPath]:
    """Give a temporary path to write to; it takes the place of `path` once the block ends without an error.

    Raises:
        OSError: of the block, or where the file cannot be put in its place.
    """
    if "://" not in str(path):
        if _is_written_through(path):
            with tempfile.TemporaryDirectory(prefix="tumor-") as folder:
                partial = type(path)(folder) / "content"
                yield partial
                _write_through(partial, path)
            return
        path = type(path)(os.path.realpath(path))
    # Two processes that write the same file do not share a temporary one.
    ending = f".{os.getpid()}.partial"
    partial = path.with_name(cut_name(path.name, MAX_NAME_BYTES - len(ending)) + ending)
    try:
        yield partial
        try:
            partial.replace(path)
        except OSError as error:
            if error.errno not in (errno.EBUSY, errno.EXDEV):  # a mount of its own has its own file system
                raise
            _write_through(partial, path)
            partial.unlink()
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def write_whole(path: Any, content: bytes | str) -> None:
    """Write a file; text as UTF-8.

    Raises:
        OSError: it cannot be written; an earlier file is as it was.
    """
    with replace_whole(path) as partial:
        partial.write_bytes(content.encode() if isinstance(content, str) else content)


def write_json(path: Any, content: Any) -> None:
    """Write indented JSON with a newline at its end; NaN is refused, since JSON has none.

    Raises:
        OSError: see `write_whole`.
        ValueError: a number is not finite.
    """
    write_whole(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


@contextmanager
def write_as_it_comes(path: Path) -> Iterator[IO[bytes]]:
    """Give a stream into the file itself: what is written and flushed stays, whatever happens next.

    Raises:
        OSError: of the block, or where the file cannot be opened.
    """
    descriptor = _find_descriptor(path)
    if descriptor is None:
        stream: IO[bytes] = path.open("wb")
    else:  # a second opening would start at the beginning of what is there
        sys.stdout.flush()
        stream = os.fdopen(os.dup(descriptor), "wb")
    with stream:
        yield stream


def cut_name(name: str, most_bytes: int) -> str:
    """Cut the name of a file to so many bytes, and no character in half.

    Example:
        >>> cut_name("höhe", 2), cut_name("höhe", 3), cut_name("height", 99)
        ('h', 'hö', 'height')
    """
    encoded = os.fsencode(name)
    return name if len(encoded) <= most_bytes else encoded[:most_bytes].decode(errors="ignore")


def _is_written_through(path: Any) -> bool:
    """Tell whether another file cannot take the place of what is there."""
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return False
    if not stat.S_ISREG(mode):
        return not stat.S_ISDIR(mode)
    if _find_descriptor(path) is not None:
        return True
    return not os.access(os.path.dirname(os.path.realpath(path)), os.W_OK) and os.access(path, os.W_OK)


def _find_descriptor(path: Any) -> int | None:
    """Standard output or standard error, where the path leads to what they are connected to."""
    for descriptor in (1, 2):
        try:
            if os.path.samestat(os.stat(path), os.fstat(descriptor)):
                return descriptor
        except OSError:
            continue
    return None


def _write_through(content: Any, path: Any) -> None:
    with content.open("rb") as source, write_as_it_comes(Path(os.fspath(path))) as target:
        shutil.copyfileobj(source, target)
