"""How a source comes to this machine: by TFDS, by Kaggle's own client, or by hand.

Goes in: the name of a source, and TFDS's download manager. Comes out: the folder that holds it, as it comes.
What was downloaded before is not downloaded again. figshare publishes the MD5 of each file, and TFDS knows
only SHA-256, so the MD5 is compared here.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import requests
import tensorflow_datasets as tfds
from tensorflow_datasets.core.download.util import DownloadError

from tumor_ds.collection.errors import DatasetError
from tumor_ds.sources.catalogue import SOURCES
from tumor_ds.sources.figshare import FILE_IDS, SOURCE

FIGSHARE_URL = "https://ndownloader.figshare.com/files/"
# On Kaggle; of the last two the newest version, since which one was measured is not known.
KAGGLE_DATASETS = {
    "lgg_tcga": "mateuszbuda/lgg-mri-segmentation/versions/2",
    "feltrin44": "fernando2rad/brain-tumor-mri-images-44c",
    "alzheimer_oasis": "tourist55/alzheimers-dataset-4-class-of-images",
}


@dataclass(frozen=True)
class RemoteFile:
    """A file as its publisher states it.

    Attributes:
        bytes: its size.
        md5: its checksum, in hexadecimal digits.

    Example:
        >>> RemoteFile(3, "acbd18db4cc2f85cedef654fccc4a4d8").bytes
        3
    """

    bytes: int
    md5: str


# By the number in the address. Source: https://api.figshare.com/v2/articles/1512427, version 8.
FIGSHARE_FILES = dict(
    zip(
        FILE_IDS,
        (
            RemoteFile(214401279, "74b949ad33f042e6e103523091cd1428"),
            RemoteFile(217848429, "7e8a875500d2c8a346f270538e29890e"),
            RemoteFile(215563856, "8227bf6080cb71f15a88be8d25c79ae7"),
            RemoteFile(231679762, "b378a80d6174e5317d59eb28430c6652"),
        ),
        strict=True,
    )
)


def download_source(name: str, dl_manager: tfds.download.DownloadManager) -> Path:
    """Download a source, unless it is there.

    Args:
        name: of the source.
        dl_manager: of the build.

    Returns:
        The folder that holds the download as it comes.

    Raises:
        DatasetError: it cannot be downloaded; the message says how to get it by hand.
    """
    if name == SOURCE:
        return _download_figshare(dl_manager)
    if name in KAGGLE_DATASETS:
        from tumor_ds.collection.kaggle import download_dataset  # kagglehub sets up logging on import

        return download_dataset(KAGGLE_DATASETS[name])
    page = SOURCES[name].homepage if name in SOURCES else "where you keep them, with a table sources.csv,"
    raise DatasetError(f"tumor_ds/{name} cannot be downloaded by a command. {explain_by_hand(name, page)}")


def explain_by_hand(name: str, page: str) -> str:
    """Say how to get a source by hand, in one sentence."""
    return (
        f"Get its pictures from {page} and put them into a folder DIR; then: tumor build {name} --manual-dir"
        " DIR (with TFDS's own command --manual_dir DIR)."
    )


def _download_figshare(dl_manager: tfds.download.DownloadManager) -> Path:
    megabytes = sum(file.bytes for file in FIGSHARE_FILES.values()) // 10**6
    by_hand = f"By hand ({megabytes} MB): {explain_by_hand(SOURCE, SOURCES[SOURCE].homepage)}"
    try:
        paths = dl_manager.download({number: f"{FIGSHARE_URL}{number}" for number in FIGSHARE_FILES})
    except (requests.RequestException, DownloadError) as error:
        reason = " ".join(str(error).split())
        raise DatasetError(
            f"figshare cannot be reached: {reason}. Files that are whole are kept: the same command fetches"
            f" the others. {by_hand}"
        ) from error
    for number, path in paths.items():
        _check_file(Path(path), number, by_hand)
    return Path(path).parent


def _check_file(path: Path, number: int, by_hand: str) -> None:
    """Compare size and MD5; a file that is another is deleted, with what TFDS noted of it."""
    expected = FIGSHARE_FILES[number]
    with path.open("rb") as file:
        md5 = hashlib.file_digest(file, "md5").hexdigest()
    if (path.stat().st_size, md5) == (expected.bytes, expected.md5):
        return
    found = f"{path.stat().st_size:,} bytes with MD5 {md5}"
    path.unlink()
    path.with_suffix(f"{path.suffix}.INFO").unlink(missing_ok=True)
    raise DatasetError(
        f"{FIGSHARE_URL}{number} gave {found}, expected {expected.bytes:,} bytes with MD5 {expected.md5}. It"
        f" is deleted: the same command fetches it again. {by_hand}"
    )
