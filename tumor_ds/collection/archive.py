"""Pictures in class folders, from a zip or a folder: which files there are, and the bytes of each.

Goes in: a zip or a folder laid out as CLASS/FILE or SPLIT/CLASS/FILE, perhaps below folders that all pictures
    share.
Comes out: the sorted paths of its pictures, and a function that reads one of them; `pictures` decodes it.
Nothing is written to disk. What cannot be read as it is meant is refused by name, because a dataset that
loses files in silence is worse than none.
"""

import contextlib
import os
import stat
import struct
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO

from tumor_ds.collection.pictures import DatasetError, Reader

ZIP_NAMES = ("brain-tumor-mri-dataset.zip", "archive.zip")
SPLIT_FOLDERS = ("Training", "Testing")
DOWNLOAD_URL = "https://www.kaggle.com/api/v1/datasets/download/masoudnickparvar/brain-tumor-mri-dataset?datasetVersionNumber=1"

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
# Many times any slice; bounds what a zip bomb can fill the memory with.
MAX_FILE_BYTES = 64 * 1024 * 1024
# zipfile unpacks bzip2 and LZMA without an upper bound, and zips of pictures do not use them.
_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_CLUTTER = ("__macosx", "thumbs.db", "ehthumbs.db", "desktop.ini")
# What zipfile raises for damage, besides its own error.
_ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, struct.error, OSError, EOFError, ValueError, RuntimeError)


@dataclass(frozen=True)
class Collection:
    """The pictures of an open zip or folder.

    Attributes:
        paths: sorted as plain strings; `glioma/a.jpg`, or `Training/glioma/a.jpg`. Folders that all pictures
            share are left out.
        read: gives the bytes of one of them; raises `DatasetError` with its name.
    """

    paths: tuple[str, ...]
    read: Reader


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
    entries = (
        sorted(path for path in manual_dir.iterdir() if not _is_clutter(path.name))
        if manual_dir.is_dir()
        else []
    )
    zips = [path for path in entries if path.suffix.lower() == ".zip" and path.is_file()]
    if len(zips) > 1:
        raise DatasetError(
            f"Expected one zip in {manual_dir}; found {', '.join(_show(path.name) for path in zips)}. Leave"
            " only the collection's."
        )
    picture = (
        next((name for name in _walk(manual_dir) if "/" in name and _is_picture(name)), None)
        if entries
        else None
    )
    if zips and picture:
        raise DatasetError(
            f"Expected a zip or class folders with pictures in {manual_dir}; found both,"
            f" {_show(zips[0].name)} and {_show(picture)}. Leave only the one that holds the collection."
        )
    if zips or picture:
        return zips[0] if zips else manual_dir
    found = ", ".join(_show(path.name) for path in entries[:5]) + (", ..." if len(entries) > 5 else "")
    raise DatasetError(
        f"Expected a zip, or class folders with pictures ({' '.join(SUFFIXES)}), in {manual_dir}; found"
        f" {found or 'nothing'}. Put your collection there; or Kaggle's: download {DOWNLOAD_URL} there as"
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
    5. The folders that all pictures share are stripped, and CLASS/FILE or SPLIT/CLASS/FILE must be left. A
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
        names = _select_pictures(_walk(source), source)
        yield Collection(
            tuple(names), lambda path: _read_bounded(path, lambda: (source / names[path]).open("rb"))
        )
        return
    try:
        opened = zipfile.ZipFile(source)
    except _ZIP_ERRORS as error:
        reason = _explain(error)
        raise DatasetError(
            f"{source} is no readable zip: {reason}. Download it again (Kaggle's: {DOWNLOAD_URL}), or zip the"
            " folder again."
        ) from error
    with opened as archive:
        # zipfile cuts `filename` at a NUL; `orig_filename` is what the zip holds.
        members = {info.orig_filename: info for info in archive.infolist()}
        names = _select_pictures((info.orig_filename for info in archive.infolist()), source)
        _check_members(members, names.values(), source)
        yield Collection(
            tuple(names), lambda path: _read_bounded(path, lambda: archive.open(members[names[path]]))
        )


def split_and_label(path: str) -> tuple[str, str]:
    """Folders of a picture: `("Training", "glioma")`, or `("", "glioma")` where there are no split folders."""
    *split, label, _ = PurePosixPath(path).parts
    return "/".join(split), label


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
        folders[:] = sorted(name for name in folders if not _is_clutter(name))
        for name in sorted(name for name in files if not _is_clutter(name)):
            path = os.path.join(root, name)
            if not os.path.isfile(path):
                raise DatasetError(
                    f"{_show(path)} is a broken link, unreachable, or no regular file. Replace or remove it."
                )
            yield Path(path).relative_to(folder).as_posix()


def _select_pictures(names: Iterable[str], source: Path) -> dict[str, str]:
    """Apply the rules of `open_collection`; gives the name in the source by path in the collection, sorted."""
    originals: dict[str, str] = {}
    for name in names:
        _check_name(name, source)
        plain = PurePosixPath(name).as_posix()  # './a//b.jpg' is 'a/b.jpg'
        if name.endswith("/") or any(_is_clutter(part) for part in plain.split("/")):
            continue
        if plain in originals and _is_picture(plain):
            raise DatasetError(f"{source} holds {plain} twice. Remove one of them.")
        originals[plain] = name
    pictures = sorted(name for name in originals if _is_picture(name))
    if not pictures:
        raise DatasetError(
            f"No picture in {source}; expected CLASS/FILE or SPLIT/CLASS/FILE with {' '.join(SUFFIXES)}."
            " Check that it is the right one."
        )
    _check_twins(pictures, source)
    _check_depth(pictures, originals, source)
    cut = 0
    while pictures[0].count("/") - cut > 1 and len({name.split("/")[cut] for name in pictures}) == 1:
        cut += 1
    if pictures[0].count("/") - cut > 2:
        raise DatasetError(
            f"{pictures[0]} lies too deep in {source}; expected CLASS/FILE or SPLIT/CLASS/FILE. Move the"
            " class folders up."
        )
    return {"/".join(name.split("/")[cut:]): originals[name] for name in pictures}


def _check_name(name: str, source: Path) -> None:
    """Refuse what could point outside the source, and what no dataset can store or show as it is.

    That is bytes that are no text, control characters, signs that change how the text around them is shown
    (U+202E), and blanks around a name, which TFDS strips from the names of classes when it loads them.
    """
    windows = PureWindowsPath(name)
    invisible = any(unicodedata.category(sign) in ("Cc", "Cf", "Cs") for sign in name)
    if (
        "\\" in name
        or windows.anchor
        or ".." in windows.parts
        or invisible
        or any(part != part.strip() for part in name.split("/"))
    ):
        raise DatasetError(
            f"{source} holds {_show(name)}, which is not a plain relative path with forward slashes, or has"
            " invisible signs, or blanks at the start or end of a name. If you trust where it comes from,"
            " rename that file and zip the folder again with another program."
        )


def _check_twins(pictures: list[str], source: Path) -> None:
    """Refuse names that are one file or folder on Windows or macOS, where the collection would have another content."""
    seen: dict[str, str] = {}
    for name in sorted({*pictures, *(name.rpartition("/")[0] for name in pictures)}):
        twin = seen.setdefault(unicodedata.normalize("NFC", name).lower(), name)
        if twin != name:
            raise DatasetError(
                f"{source} holds {twin} and {name}, which differ only in case or in how accents are stored."
                " Rename one of them."
            )


def _check_depth(pictures: list[str], names: Iterable[str], source: Path) -> None:
    """All pictures equally deep and in a folder; no other file as deep as they are or deeper."""
    shallow, deep = (find(pictures, key=lambda name: name.count("/")) for find in (min, max))
    depth = deep.count("/")
    if depth == 0:
        raise DatasetError(
            f"{shallow} lies in no class folder of {source}. Put every picture into a folder named by its"
            " class."
        )
    if shallow.count("/") != depth:
        raise DatasetError(
            f"{shallow} and {deep} lie at different depths in {source}; expected all as CLASS/FILE or all as"
            " SPLIT/CLASS/FILE. Move or remove one."
        )
    others = sorted(name for name in names if not _is_picture(name) and name.count("/") >= depth)
    if others:
        raise DatasetError(
            f"{others[0]} lies among the pictures of {source} and is none of {' '.join(SUFFIXES)}"
            f" ({len(others)} such). Take it out; DICOM: convert it to PNG first."
        )


def _check_members(members: dict[str, zipfile.ZipInfo], pictures: Iterable[str], source: Path) -> None:
    for name, info in members.items():
        if stat.S_ISLNK(info.external_attr >> 16):
            raise DatasetError(
                f"{name} in {source} is a symbolic link. Zip the folder again with the file itself in its"
                " place."
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


def _read_bounded(path: str, open_file: Callable[[], IO[bytes]]) -> bytes:
    """Bytes of one file; counts them itself, because a zip's directory can state any size."""
    try:
        with open_file() as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except _ZIP_ERRORS as error:
        raise DatasetError(f"Cannot decode {path}: {_explain(error)}. Replace the file.") from error
    if len(content) > MAX_FILE_BYTES:
        raise DatasetError(
            f"Cannot decode {path}: it has more than {MAX_FILE_BYTES:,} bytes. Replace the file."
        )
    return content


def _explain(error: Exception) -> str:
    """The reason without the path on this machine that an OSError brings along: it stands in pages that are passed on."""
    return (
        error.strerror or type(error).__name__
        if isinstance(error, OSError) and error.filename
        else str(error)
    )


def _is_picture(name: str) -> bool:
    return name.lower().endswith(SUFFIXES)


def _is_clutter(part: str) -> bool:
    return part.startswith(".") or part.lower() in _CLUTTER


def _show(name: str) -> str:
    return name if name.isprintable() else ascii(name)
