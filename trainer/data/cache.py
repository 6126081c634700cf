"""Preprocessed images in files that outlive a run: `data.cache = "file"`.

Goes in: what names the content, and the images. Comes out: a mapped file. Files that were not used for the
longest time are deleted once all together are larger than `LARGEST_BYTES`; one that any process has mapped
or is writing is locked, and stays.
"""

import fcntl
import hashlib
import math
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np

from serving.files.errors import UserError
from serving.files.writing import replace_whole

# All of this collection at 192 pixels takes 210 MB.
LARGEST_BYTES = 4 * 1000**3
# The names of this module and of nobody else: a key, and perhaps what a killed writer left.
_OWN_NAME = re.compile(r"[0-9a-f]{32}\.uint8(\.\d+\.partial)?")


class CacheError(UserError):
    """Preprocessed images cannot be kept; the message says where, why and what to do.

    Example:
        >>> raise CacheError("Cannot keep images in /full: No space left on device. Set XDG_CACHE_HOME ...")
        Traceback (most recent call last):
        trainer.data.cache.CacheError: Cannot keep images in /full: ...
    """


def find_cache_dir() -> Path:
    """Where files are kept: `$XDG_CACHE_HOME/brain-tumor-mri`, or the same in `~/.cache`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "brain-tumor-mri"


def map_images(content: str, shape: tuple[int, ...], images: Iterator[tuple[int, np.ndarray]]) -> np.ndarray:
    """Map the file of some images, written first where there is none.

    Args:
        content: names everything that the pixels depend on; another content has another file.
        shape: (n, ...), as (n, size, size, 1).
        images: place and uint8 (...) of each; read only where the file has to be written.

    Returns:
        uint8 `shape`, read-only. Without images nothing is written.

    Raises:
        CacheError: the folder cannot be written, or the disk is full.
    """
    if not math.prod(shape):  # an empty file cannot be mapped
        return np.empty(shape, np.uint8)
    folder = find_cache_dir()
    path = folder / f"{hashlib.sha256(content.encode()).hexdigest()[:32]}.uint8"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.stat().st_size != math.prod(shape):
            _write(path, images)
        with path.open("rb") as file:
            # The map keeps the lock for as long as it lives.
            _lock(file.fileno(), fcntl.LOCK_SH)
            os.utime(path)
            mapped = np.memmap(file, np.uint8, "r", shape=shape)
    except OSError as error:
        raise CacheError(
            f"Cannot keep images in {folder}: {error.strerror or error}. Set XDG_CACHE_HOME to another place,"
            " or data.cache=memory."
        ) from error
    with suppress(OSError):  # another process may delete the same file
        _delete_oldest(folder)
    return mapped


def _write(path: Path, images: Iterator[tuple[int, np.ndarray]]) -> None:
    """Plain writes, since a full disk kills a process that writes through a map."""
    with replace_whole(path) as partial, partial.open("wb") as file:
        _lock(file.fileno(), fcntl.LOCK_SH)
        for number, image in images:
            file.seek(number * image.nbytes)
            file.write(image.tobytes())


def _delete_oldest(folder: Path) -> None:
    """Delete own files that no process uses, the least recently used first, down to `LARGEST_BYTES`."""
    own = [path for path in folder.iterdir() if _OWN_NAME.fullmatch(path.name) and not path.is_symlink()]
    found = sorted((status.st_mtime_ns, status.st_size, path) for path in own if (status := path.stat()))
    total = sum(size for _, size, _ in found)
    for _, size, path in found:
        if total <= LARGEST_BYTES:
            return
        with path.open("rb") as file:
            if _lock(file.fileno(), fcntl.LOCK_EX):
                path.unlink()
                total -= size


def _lock(descriptor: int, kind: int) -> bool:
    """Whether a file could be locked at once: another process may hold it, or the disk have no locks."""
    with suppress(OSError):
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        return True
    return False
