"""The files of Kaggle's collection, from its zip or from the folder unzipped from it.

Goes in: the folder that a person put the download into. Comes out: the picture files by their name in the collection,
listed, counted and checked before the first one is decoded.
"""

import contextlib
import io
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

ZIP_NAMES = ("brain-tumor-mri-dataset.zip", "archive.zip")
SPLIT_FOLDERS = ("Training", "Testing")
DOWNLOAD_URL = "https://www.kaggle.com/api/v1/datasets/download/masoudnickparvar/brain-tumor-mri-dataset?datasetVersionNumber=1"
REMEDY = f"Download version 1 again from {DOWNLOAD_URL} and leave the zip as it is."

Reader = Callable[[str], bytes]


class DatasetError(ValueError):
    """The collection on disk is not the one expected; the message names the file and the remedy."""


@contextlib.contextmanager
def open_collection(manual_dir: Path) -> Iterator[tuple[list[str], Reader]]:
    """Open the zip or the unzipped folder inside `manual_dir`.

    Yields:
        The sorted picture paths (`Training/glioma/Tr-gl_0010.jpg`) and a function that reads one of them.

    Raises:
        DatasetError: neither is there, or the zip is damaged.
    """
    for name in ZIP_NAMES:
        if (manual_dir / name).is_file():
            with _open_zip(manual_dir / name) as archive:
                yield sorted(_keep_pictures(archive.namelist())), archive.read
            return
    if not all((manual_dir / folder).is_dir() for folder in SPLIT_FOLDERS):
        raise DatasetError(
            f"Expected {' or '.join(ZIP_NAMES)}, or the folders {' and '.join(SPLIT_FOLDERS)}, in {manual_dir}; found none of them. "
            f"Download {DOWNLOAD_URL} there as {ZIP_NAMES[0]}."
        )
    found = (path.relative_to(manual_dir).as_posix() for folder in SPLIT_FOLDERS for path in (manual_dir / folder).rglob("*") if path.is_file())
    yield sorted(_keep_pictures(found)), lambda name: (manual_dir / name).read_bytes()


def check_listing(paths: list[str], labels: tuple[str, ...], expected: dict[tuple[str, str], int]) -> None:
    """Compare class folders and all counts with what is expected.

    Args:
        paths: picture paths in the collection.
        labels: the class folders that may occur.
        expected: number of images by (split folder, label).

    Raises:
        DatasetError: an unknown folder, or a count that does not agree.
    """
    counts: Counter[tuple[str, str]] = Counter()
    for path in paths:
        parts = PurePosixPath(path).parts
        if len(parts) != 3 or parts[0] not in SPLIT_FOLDERS or parts[1] not in labels:
            raise DatasetError(f"Unknown class folder: {path}. Expected {'|'.join(SPLIT_FOLDERS)}/{'|'.join(labels)}/FILE. {REMEDY}")
        counts[parts[0], parts[1]] += 1
    wrong = [
        f"{split}/{label} has {counts[split, label]} images, expected {count}"
        for (split, label), count in expected.items()
        if counts[split, label] != count
    ]
    if wrong:
        raise DatasetError(f"{'; '.join(wrong)}. These are not the files of Kaggle's version 1. {REMEDY}")


def read_grey(path: str, read: Reader) -> np.ndarray:
    """Decode one picture of the collection to grey at its native size.

    Args:
        path: name in the collection.
        read: from `open_collection`.

    Returns:
        uint8 (h, w, 1), [0, 255], turned upright by EXIF; luma as Pillow computes it (ITU-R BT.601).

    Raises:
        DatasetError: the file cannot be decoded.
    """
    try:
        with Image.open(io.BytesIO(read(path))) as image:
            upright = ImageOps.exif_transpose(image)
            return np.asarray(upright if upright.mode == "L" else upright.convert("RGB").convert("L"))[..., None]
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DatasetError(f"Cannot decode {path}: {error}. {REMEDY}") from error


def _open_zip(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:
        raise DatasetError(f"{path} is no readable zip: {error}. {REMEDY}") from error


def _keep_pictures(names: Iterable[str]) -> Iterator[str]:
    """Drop folders and what desktops leave behind (`.DS_Store`, `Thumbs.db`, `__MACOSX/`)."""
    for name in names:
        parts = PurePosixPath(name).parts
        if not name.endswith("/") and parts[0] != "__MACOSX" and not parts[-1].startswith(".") and parts[-1] != "Thumbs.db":
            yield name
