"""Pictures in class folders, from a zip or a folder: which files there are, and each of them decoded.

Goes in: a zip or a folder laid out as CLASS/FILE or SPLIT/CLASS/FILE, perhaps below folders that all pictures
share. Comes out: the sorted paths of its pictures, and functions that read and decode one of them or its
mask, with the one decoder and the limits of `serving`. Nothing is written to disk. What cannot be read as it
is meant is refused by name, because a dataset that loses files in silence is worse than none.
"""

import contextlib
import os
import stat
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO

import numpy as np

from serving.files.entries import DAMAGE, HEAD_BYTES
from serving.files.errors import ImageError
from serving.pictures.image_files import MAX_BYTES, Picture
from serving.pictures.volumes import is_volume
from serving.preprocess import decode
from tumor_ds.collection.errors import DatasetError, PictureError
from tumor_ds.collection.layout import (
    SUFFIXES,
    Selection,
    is_clutter,
    is_picture,
    select_pictures,
    show_name,
)
from tumor_ds.collection.masks import decode_mask

KAGGLE_NAME = "masoudnickparvar/brain-tumor-mri-dataset"
HOMEPAGE = f"https://www.kaggle.com/datasets/{KAGGLE_NAME}"
DOWNLOAD_URL = f"https://www.kaggle.com/api/v1/datasets/download/{KAGGLE_NAME}?datasetVersionNumber=1"
ZIP_NAMES = ("brain-tumor-mri-dataset.zip", "archive.zip")

# zipfile unpacks bzip2 and LZMA without an upper bound, and zips of pictures do not use them.
_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


@dataclass(frozen=True)
class Collection:
    """The pictures of an open zip or folder.

    Attributes:
        paths: sorted as plain strings; `glioma/a.jpg`, or `Training/glioma/a.jpg`. Folders that all pictures
            share are left out; masks are not among them.
        read: gives the bytes of a picture or a mask; raises `PictureError`, also for more than `MAX_BYTES`.
        prefix: the folders that are left out, `mine/`, or nothing.
        masks: path of the mask, `glioma/a_mask.png`, by path of its picture; only for those that have one.

    Example:
        >>> import tumor_ds
        >>> with open_collection(Path(tumor_ds.__path__[0], "dummy_data")) as collection:
        ...     collection.read_grey(collection.paths[0]).shape
        (24, 20, 1)
    """

    paths: tuple[str, ...]
    read: Callable[[str], bytes]
    prefix: str = ""
    masks: Mapping[str, str] = field(default_factory=dict)

    def decode(self, path: str) -> Picture:
        """Decode one picture at its native size; its content counts, not its suffix.

        Raises:
            PictureError: the file is empty, damaged, too large, or no picture.
        """
        content = self.read(path)
        if is_volume(content[:HEAD_BYTES]):
            raise PictureError(path, "it is DICOM, NIfTI or a zip by its content, not a picture")
        try:
            return decode(content)
        except ImageError as error:
            raise PictureError(path, _shorten(error)) from error

    def read_grey(self, path: str) -> np.ndarray:
        """Pixels of `decode`: uint8 (h, w, 1), [0, 255]."""
        return self.decode(path).grey[..., None]

    def read_mask(self, path: str) -> np.ndarray | None:
        """Read the mask of a picture, by the path of the picture.

        Returns:
            uint8 (h, w), the size of the picture: 255 where the mask is not black, 0 elsewhere. All 0 says
            that the picture shows no tumour. None where no mask lies beside the picture.

        Raises:
            PictureError: the mask is damaged, no PNG by its content, of another size than its picture, or
                says tumour everywhere; or the picture cannot be decoded.
        """
        if path not in self.masks:
            return None
        mask_path = self.masks[path]
        try:
            mask = decode_mask(self.read(mask_path))
        except ImageError as error:
            raise PictureError(mask_path, _shorten(error)) from error
        height, width = self.decode(path).grey.shape
        if mask.shape != (height, width):
            size = f"{mask.shape[1]} x {mask.shape[0]} pixels"
            raise PictureError(mask_path, f"it has {size}, expected {width} x {height} as in {path}")
        if mask.all():
            raise PictureError(mask_path, "no pixel is black, expected black outside the tumour")
        return mask


def find_source(manual_dir: Path) -> Path:
    """Find the zip or the folder that holds the collection.

    Args:
        manual_dir: the folder that a person put it into.

    Returns:
        The zip by one of `ZIP_NAMES`, else the only zip there, else `manual_dir` itself if a folder in
        it holds a picture.

    Raises:
        DatasetError: none of these is there; or several zips are, or a zip and pictures in folders, and no
            zip has a known name.
    """
    for name in ZIP_NAMES:
        if (manual_dir / name).is_file():
            return manual_dir / name
    found = manual_dir.iterdir() if manual_dir.is_dir() else ()
    entries = sorted(path for path in found if not is_clutter(path.name))
    zips = [path for path in entries if path.suffix.lower() == ".zip" and path.is_file()]
    if len(zips) > 1:
        raise DatasetError(
            f"Expected one zip in {manual_dir}; found {', '.join(show_name(path.name) for path in zips)}."
            " Leave only the collection's."
        )
    names = _walk(manual_dir) if entries else iter(())
    picture = next((name for name in names if "/" in name and is_picture(name)), None)
    if zips and picture:
        raise DatasetError(
            f"Expected a zip or class folders with pictures in {manual_dir}; found both,"
            f" {show_name(zips[0].name)} and {show_name(picture)}. Leave only the one that holds the"
            " collection."
        )
    if zips or picture:
        return zips[0] if zips else manual_dir
    listed = ", ".join(show_name(path.name) for path in entries[:5]) + (", ..." if len(entries) > 5 else "")
    raise DatasetError(
        f"Expected a zip, or class folders with pictures ({' '.join(SUFFIXES)}), in {manual_dir}; found"
        f" {listed or 'nothing'}. Put your collection there; or Kaggle's: download {DOWNLOAD_URL} there as"
        f" {ZIP_NAMES[0]}."
    )


@contextlib.contextmanager
def open_collection(source: Path) -> Iterator[Collection]:
    """Open a zip or a folder and list its pictures.

    1. Every name must be a plain relative one, with forward slashes, without `..`, invisible signs, and
       blanks around a part of it.
    2. Hidden files and what desktops leave behind (`.DS_Store`, `__MACOSX/`, `Thumbs.db`, `desktop.ini`) are
       dropped.
    3. A file is a picture by its suffix, one of `SUFFIXES` in either case. All pictures must lie equally
       deep.
    4. Any other file may lie above them (a README beside the class folders, a table in a split folder), and
       is then ignored; as deep as the pictures or deeper it is refused, so that a class folder full of DICOM
       files is not lost in silence.
    5. `a_mask.png`, in either case, is the mask of the picture `a` beside it, and no picture of its own. A
       file named so without a picture, or in another format, is refused.
    6. The folders that all pictures share are stripped, and CLASS/FILE or SPLIT/CLASS/FILE must be left. A
       lone split folder is stripped, too.

    Args:
        source: a zip file or a folder.

    Yields:
        The collection; it can be read until the context ends.

    Raises:
        DatasetError: the zip is damaged, there is no picture, or a file breaks one of the rules; the message
            names it.
    """
    if source.is_dir():
        selection = select_pictures(_walk(source), source)
        yield _list(selection, lambda name: (source / name).open("rb"))
        return
    with _open_zip(source) as archive:
        # zipfile cuts `filename` at a NUL; `orig_filename` is what the zip holds.
        members = {info.orig_filename: info for info in archive.infolist()}
        selection = select_pictures((info.orig_filename for info in archive.infolist()), source)
        _check_members(members, selection.names.values(), source)
        yield _list(selection, lambda name: archive.open(members[name]))


def _list(selection: Selection, open_file: Callable[[str], IO[bytes]]) -> Collection:
    """The collection of what was selected; `open_file` takes names in the source."""
    names, paths = selection.names, selection.paths
    prefix = PurePosixPath(names[paths[0]]).as_posix().removesuffix(paths[0])
    return Collection(
        paths, lambda path: _read(path, lambda: open_file(names[path])), prefix, selection.masks
    )


def _open_zip(source: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(source)
    except DAMAGE as error:
        raise DatasetError(
            f"{source} is no readable zip: {_explain(error)}. Download it again (Kaggle's: {DOWNLOAD_URL}),"
            " or zip the folder again."
        ) from error


def _walk(folder: Path) -> Iterator[str]:
    """Names of the files below a folder; links are followed, clutter is not entered."""

    def refuse(error: OSError) -> None:
        raise DatasetError(
            f"Cannot list {error.filename}: {error.strerror}. Make the folder readable or take it out."
        ) from error

    seen = set()
    for root, folders, files in os.walk(folder, onerror=refuse, followlinks=True):
        real = os.path.realpath(root)
        if real in seen:
            raise DatasetError(
                f"{root} and another folder are one and the same by a link; its pictures would count twice."
                " Remove the link."
            )
        seen.add(real)
        folders[:] = sorted(name for name in folders if not is_clutter(name))
        for name in sorted(name for name in files if not is_clutter(name)):
            path = os.path.join(root, name)
            if not os.path.isfile(path):
                raise DatasetError(
                    f"{show_name(path)} is a broken link, unreachable, or no regular file. Replace or remove"
                    " it."
                )
            yield Path(path).relative_to(folder).as_posix()


def _check_members(members: dict[str, zipfile.ZipInfo], pictures: Iterable[str], source: Path) -> None:
    for name, info in members.items():
        if stat.S_ISLNK(info.external_attr >> 16):
            raise DatasetError(
                f"{name} in {source} is a symbolic link. Zip the folder with the file in its place."
            )
    for info in (members[name] for name in pictures):
        if info.flag_bits & 0x1:
            raise DatasetError(
                f"{info.filename} in {source} is encrypted. Zip the folder again without a password."
            )
        if info.compress_type not in _COMPRESSIONS:
            raise DatasetError(
                f"{info.filename} in {source} is compressed by method {info.compress_type}. Zip the folder"
                " again with 'deflate'."
            )


def _read(path: str, open_file: Callable[[], IO[bytes]]) -> bytes:
    """Bytes of one file; counts them itself, because a zip's directory can state any size."""
    try:
        with open_file() as file:
            content = file.read(MAX_BYTES + 1)
    except DAMAGE as error:
        raise PictureError(path, _explain(error)) from error
    if len(content) > MAX_BYTES:
        raise PictureError(path, f"it has more than {MAX_BYTES:,} bytes")
    return content


def _shorten(error: ImageError) -> str:
    """The reason: bytes have no name there, and its remedy is for someone who sends a file to the app."""
    return str(error).replace("The upload", "it", 1).partition(". ")[0]


def _explain(error: Exception) -> str:
    """The reason, without a path on this machine: it stands in pages that are passed on."""
    if isinstance(error, OSError) and error.filename:
        return error.strerror or type(error).__name__
    return str(error) or type(error).__name__
