"""Which names of a zip or a folder are pictures, and where each lies: CLASS/FILE or SPLIT/CLASS/FILE.

Goes in: names, as a zip or a folder gives them. Comes out: the pictures among them and the masks beside them,
without the folders that all of them share; or an error that says what cannot be read as it is meant.
"""

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
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
# `a_mask.png` is the mask of `a.jpg`; lossy formats blur the edge of a mask.
MASK_ENDING = "_mask"
MASK_SUFFIX = ".png"
_CLUTTER = ("__macosx", "thumbs.db", "ehthumbs.db", "desktop.ini")


def split_and_label(path: str) -> tuple[str, str]:
    """Folders of a picture: `("Training", "glioma")`; `("", "glioma")` where there are no split folders."""
    *split, label, _ = PurePosixPath(path).parts
    return "/".join(split), label


@dataclass(frozen=True)
class Selection:
    """The pictures of a source and their masks, by path in the collection.

    Attributes:
        names: name in the source of every picture and mask, by path.
        paths: of the pictures, sorted.
        masks: path of the mask by path of its picture, for the pictures that have one.

    Example:
        >>> select_pictures(["mine/glioma/a.jpg", "mine/glioma/a_mask.png"], Path("mine.zip")).masks
        {'glioma/a.jpg': 'glioma/a_mask.png'}
    """

    names: dict[str, str]
    paths: tuple[str, ...]
    masks: dict[str, str]


def select_pictures(names: Iterable[str], source: Path) -> Selection:
    """Apply the rules of `open_collection`."""
    originals: dict[str, str] = {}
    for name in names:
        _check_name(name, source)
        plain = PurePosixPath(name).as_posix()  # './a//b.jpg' is 'a/b.jpg'
        if name.endswith("/") or any(is_clutter(part) for part in plain.split("/")):
            continue
        if plain in originals and is_picture(plain):
            raise DatasetError(f"{source} holds {plain} twice. Remove one of them.")
        originals[plain] = name
    files = sorted(name for name in originals if is_picture(name))
    pictures = [name for name in files if not is_mask(name)]
    if not files:
        raise DatasetError(
            f"No picture in {source}; expected CLASS/FILE or SPLIT/CLASS/FILE with {' '.join(SUFFIXES)}."
            " Check that it is the right one."
        )
    _check_twins(files, source)
    masks = _match_masks(files, source)
    _check_depth(pictures, originals, source)
    cut = 0
    while pictures[0].count("/") - cut > 1 and len({name.split("/")[cut] for name in pictures}) == 1:
        cut += 1
    if pictures[0].count("/") - cut > 2:
        raise DatasetError(
            f"{pictures[0]} lies too deep in {source}; expected CLASS/FILE or SPLIT/CLASS/FILE. Move the"
            " class folders up."
        )
    paths = {name: "/".join(name.split("/")[cut:]) for name in files}
    return Selection(
        names={path: originals[name] for name, path in paths.items()},
        paths=tuple(paths[name] for name in pictures),
        masks={paths[picture]: paths[mask] for picture, mask in masks.items()},
    )


def _match_masks(files: list[str], source: Path) -> dict[str, str]:
    """The mask by its picture; refuse a mask that has none, or two."""
    by_stem: dict[str, list[str]] = {}
    for name in files:
        if not is_mask(name):
            by_stem.setdefault(_fold(name.rpartition(".")[0]), []).append(name)
    found = {}
    for mask in filter(is_mask, files):
        stem = mask.rpartition(".")[0][: -len(MASK_ENDING)]
        pictures = by_stem.get(_fold(stem), [])
        if not pictures:
            raise DatasetError(
                f"{mask} in {source} is taken for a mask, because its name ends in {MASK_ENDING}. Expected"
                f" its picture beside it: {stem} with one of {' '.join(SUFFIXES)}. Put the picture there; or,"
                " if this is a picture itself, rename it."
            )
        if len(pictures) > 1:
            raise DatasetError(
                f"{mask} in {source} is the mask of both {' and '.join(pictures)} by its name. Rename all but"
                " one of these pictures."
            )
        if not mask.lower().endswith(MASK_SUFFIX):
            raise DatasetError(
                f"{mask} in {source} is taken for the mask of {pictures[0]} by its name; expected"
                f" {stem}{MASK_ENDING}{MASK_SUFFIX}. Save the mask as PNG; or, if this is a picture itself,"
                " rename it."
            )
        found[pictures[0]] = mask
    return found


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


def _check_twins(files: list[str], source: Path) -> None:
    """Refuse names that are one file or folder on Windows or macOS: there the collection would be another."""
    seen: dict[str, str] = {}
    for name in sorted({*files, *(name.rpartition("/")[0] for name in files)}):
        twin = seen.setdefault(_fold(name), name)
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


def _fold(name: str) -> str:
    """The same for names that are one file on Windows or macOS."""
    return unicodedata.normalize("NFC", name).lower()


def is_picture(name: str) -> bool:
    """A picture, or the mask of one, by its suffix."""
    return name.lower().endswith(SUFFIXES)


def is_mask(name: str) -> bool:
    """The mask of a picture by its name, whatever its format."""
    stem = PurePosixPath(name.lower()).stem
    return is_picture(name) and stem.endswith(MASK_ENDING) and stem != MASK_ENDING


def is_clutter(part: str) -> bool:
    """A file or folder that is hidden, or left behind by a desktop."""
    return part.startswith(".") or part.lower() in _CLUTTER


def show_name(name: str) -> str:
    """The name, fit to print: control characters and bytes that are no text are spelt out."""
    return name if name.isprintable() else ascii(name)
