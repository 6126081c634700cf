"""Which names of a zip or a folder are pictures, and where each lies: CLASS/FILE or SPLIT/CLASS/FILE.

Goes in: names, as a zip or a folder gives them. Comes out: the pictures among them, without the folders that
all of them share; or an error that says what cannot be read as it is meant.
"""

import unicodedata
from collections.abc import Iterable
from pathlib import Path, PurePosixPath, PureWindowsPath

from tumor_ds.collection.errors import DatasetError

SPLIT_FOLDERS = ("Training", "Testing")
# Files that count as pictures, by suffix, and the format that it promises.
FORMATS = {
    ".jpg": "jpeg",
    ".jpeg": "jpeg",
    ".png": "png",
    ".bmp": "bmp",
    ".tif": "tiff",
    ".tiff": "tiff",
    ".webp": "webp",
}
SUFFIXES = tuple(FORMATS)
_CLUTTER = ("__macosx", "thumbs.db", "ehthumbs.db", "desktop.ini")


def split_and_label(path: str) -> tuple[str, str]:
    """Folders of a picture: `("Training", "glioma")`; `("", "glioma")` where there are no split folders."""
    *split, label, _ = PurePosixPath(path).parts
    return "/".join(split), label


def select_pictures(names: Iterable[str], source: Path) -> dict[str, str]:
    """Apply the rules of `open_collection`: name in the source by path in the collection, sorted."""
    originals: dict[str, str] = {}
    for name in names:
        _check_name(name, source)
        plain = PurePosixPath(name).as_posix()  # './a//b.jpg' is 'a/b.jpg'
        if name.endswith("/") or any(is_clutter(part) for part in plain.split("/")):
            continue
        if plain in originals and is_picture(plain):
            raise DatasetError(f"{source} holds {plain} twice. Remove one of them.")
        originals[plain] = name
    pictures = sorted(name for name in originals if is_picture(name))
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
    is_invisible = any(unicodedata.category(sign) in ("Cc", "Cf", "Cs") for sign in name)
    has_blanks = any(part != part.strip() for part in name.split("/"))
    if "\\" in name or windows.anchor or ".." in windows.parts or is_invisible or has_blanks:
        raise DatasetError(
            f"{source} holds {show_name(name)}, which is not a plain relative path with forward slashes, or"
            " has invisible signs, or blanks at the start or end of a name. If you trust where it comes from,"
            " rename that file and zip the folder again with another program."
        )


def _check_twins(pictures: list[str], source: Path) -> None:
    """Refuse names that are one file or folder on Windows or macOS: there the collection would be another."""
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
    others = sorted(name for name in names if not is_picture(name) and name.count("/") >= depth)
    if others:
        raise DatasetError(
            f"{others[0]} lies among the pictures of {source} and is none of {' '.join(SUFFIXES)}"
            f" ({len(others)} such). Take it out; DICOM: convert it to PNG first."
        )


def is_picture(name: str) -> bool:
    """A picture by its suffix."""
    return name.lower().endswith(SUFFIXES)


def is_clutter(part: str) -> bool:
    """A file or folder that is hidden, or left behind by a desktop."""
    return part.startswith(".") or part.lower() in _CLUTTER


def show_name(name: str) -> str:
    """The name, fit to print: control characters and bytes that are no text are spelt out."""
    return name if name.isprintable() else ascii(name)
