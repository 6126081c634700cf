"""What adapters share: where a download lies below a folder, and how one of its pictures is read.

Goes in: a folder that a person named, with the unpacked download somewhere in it. Comes out: the paths that
an adapter looks for, and pixels from the one decoder of this project. It exists so that all adapters look
equally deep and name a damaged file in the same words.
"""

from pathlib import Path

import numpy as np

from serving.preprocess import Picture
from tumor_ds.collection.archive import Collection, open_collection
from tumor_ds.collection.errors import DatasetError

# Folders that may lie above what is looked for: a zip's own, and the one it was unpacked into.
_LEVELS_ABOVE = 4


def find_below(folder: Path, pattern: str) -> list[Path]:
    """Find what matches a glob pattern, at the shallowest level where anything does.

    Args:
        folder: where to look; up to four folders may lie between it and what matches.
        pattern: such as `kaggle_3m/TCGA_*`, with forward slashes.

    Returns:
        The paths, sorted; none where nothing matches.

    Example:
        >>> import tumor_ds
        >>> [path.name for path in find_below(Path(tumor_ds.__path__[0]), "Training/glioma")]
        ['glioma']
    """
    for level in range(_LEVELS_ABOVE + 1):
        if found := sorted(folder.glob("*/" * level + pattern)):
            return found
    return []


def list_pictures(folder: Path) -> list[tuple[str, str]]:
    """List the pictures in class folders, with the rules of `open_collection`.

    Returns:
        (folders that all pictures share, or nothing; CLASS/FILE or SPLIT/CLASS/FILE) of each, sorted.

    Raises:
        DatasetError: there is none, or a file breaks one of the rules; the message names it.
    """
    with open_collection(folder) as collection:
        return [(collection.prefix, path) for path in collection.paths]


def read_picture(folder: Path, name: str) -> Picture:
    """Decode one picture.

    Args:
        folder: that holds the download.
        name: path of the picture in it, which errors name.

    Raises:
        PictureError: the file is empty, damaged, too large, or no picture.
    """
    return Collection((name,), lambda path: (folder / path).read_bytes()).decode(name)


def empty_mask(image: np.ndarray, tumor: bool | None) -> np.ndarray | None:
    """Make the mask of a picture without an outline: all zero where it shows no tumour, else unknown."""
    return np.zeros_like(image) if tumor is False else None


def check_count(what: str, found: int, expected: int, homepage: str) -> None:
    """Refuse a download that is not whole, or holds more than was published.

    Raises:
        DatasetError: the two numbers differ.
    """
    if found != expected:
        raise DatasetError(f"{what}: {found:,}, expected {expected:,}. Download it again from {homepage}.")
