"""Arrays and text of MATLAB 7.3 files, in a folder or a zip; they are HDF5 with MATLAB's order of axes.

Goes in: a folder or a zip, and the path of a file in it. Comes out: matrices with rows first and text, both
checked. It exists because MATLAB stores the columns of a matrix one after the other, so that HDF5 gives it
transposed.
"""

import functools
import zipfile
from pathlib import Path

import h5py
import numpy as np

CHARACTERS = np.dtype(np.uint16)
_NUMBERS = "iuf"


def list_zip(archive: Path) -> list[str]:
    """Names of the files in a zip.

    Raises:
        zipfile.BadZipFile: it is none.
        OSError: it cannot be read.
    """
    return _open_zip(archive, archive.stat().st_mtime_ns).namelist()


def open_mat(place: Path, path: str) -> h5py.File:
    """Open a file for reading; one in a zip is unpacked in memory.

    Args:
        place: the folder or the zip.
        path: of the file in it.

    Raises:
        one of `serving.files.entries.DAMAGE`: it cannot be read, is truncated, or is no HDF5.
    """
    if place.is_dir():
        return h5py.File(place / path)
    return h5py.File.in_memory(_open_zip(place, place.stat().st_mtime_ns).read(path))


# A zip is opened once for all its files: reading its list takes longer than reading one of them.
@functools.lru_cache(maxsize=8)
def _open_zip(archive: Path, modified: int) -> zipfile.ZipFile:
    return zipfile.ZipFile(archive)


def read_matrix(data: h5py.Group, name: str) -> np.ndarray:
    """Read a field of numbers: any integer or float dtype, (rows, columns).

    Raises:
        KeyError: there is no such field.
        ValueError: it has another number of axes, another dtype, nothing in it, or NaN or infinity.
    """
    field = data[name]
    if field.ndim != 2 or field.dtype.kind not in _NUMBERS or 0 in field.shape:
        raise ValueError(f"{name} is {field.dtype} {field.shape}, expected numbers (rows, columns)")
    matrix = field[()].T
    if matrix.dtype.kind == "f" and not np.isfinite(matrix).all():
        raise ValueError(f"{name} holds NaN or infinity, expected finite numbers")
    return matrix


def read_text(data: h5py.Group, name: str) -> str:
    """Read a field of characters, which MATLAB stores as uint16.

    Raises:
        KeyError: there is no such field.
        ValueError: it is no text.
    """
    field = data[name]
    if field.dtype != CHARACTERS:
        raise ValueError(f"{name} is {field.dtype}, expected text, as {CHARACTERS}")
    return field[()].tobytes().decode("utf-16-le")
