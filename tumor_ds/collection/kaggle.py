"""The download of Kaggle's collection, by Kaggle's own client.

Goes in: the number of a version. Comes out: the folder with its pictures in kagglehub's cache
(`KAGGLEHUB_CACHE`, else `~/.cache/kagglehub`; in a Kaggle or Colab notebook the mounted folder). No account
is needed, and a second call downloads nothing. kagglehub shows the progress, goes on with a broken download
and unpacks; here its errors become one kind with a way out, and no download that failed stays in the cache,
where it would fail again or pass for complete. Whether these are the right files is checked by `versions`;
where they are not, the builder names the folder to delete.
"""

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

import kagglehub
import requests
from kagglehub.cache import Cache, delete_from_cache, get_cached_archive_path, mark_as_incomplete
from kagglehub.clients import build_kaggle_client
from kagglehub.exceptions import BackendError, CredentialError, DataCorruptionError, NotFoundError
from kagglehub.handle import DatasetHandle, parse_dataset_handle
from kagglesdk.datasets.types.dataset_api_service import ApiGetDatasetRequest

from serving.files.entries import DAMAGE
from tumor_ds.collection.archive import KAGGLE_NAME, ZIP_NAMES
from tumor_ds.collection.errors import DatasetError
from tumor_ds.collection.layout import SPLIT_FOLDERS
from tumor_ds.collection.versions import VERSIONS, build_url

MOUNT_ERRORS = (BackendError, CredentialError, NotFoundError)
# A wrong MD5; no archive at all, a full disk, a damaged zip.
ARCHIVE_ERRORS = (DataCorruptionError, *DAMAGE)


def download_collection(version: int) -> Path:
    """Download one version of the collection, unless it is in the cache.

    The bytes are compared with the MD5 that the server states, where it states one, and every file with the
    checksum in the zip. No checksum of the zip is recorded here: Kaggle publishes none.

    Args:
        version: 1 or 2.

    Returns:
        The folder that holds `Training` and `Testing`.

    Raises:
        DatasetError: it cannot be downloaded; the message ends with the steps to do it by hand.
    """
    if version not in VERSIONS:
        expected = " or ".join(map(str, VERSIONS))
        by_hand = _explain_by_hand(build_url(VERSIONS[0]))
        raise DatasetError(f"Expected version {expected} of the collection, got {version!r}. {by_hand}")
    by_hand = _explain_by_hand(build_url(version))
    handle = parse_dataset_handle(f"{KAGGLE_NAME}/versions/{version}")
    folder = _download(handle, by_hand)
    if not all((folder / name).is_dir() for name in SPLIT_FOLDERS):
        delete_from_cache(handle)  # kagglehub takes an empty zip, and a file of zeros, for complete
        what = f"Expected the folders {' and '.join(SPLIT_FOLDERS)} in {folder}, and they are not there."
        raise DatasetError(f"{what} {by_hand}")
    return folder


def download_dataset(name: str) -> Path:
    """Download another dataset on Kaggle, unless it is in the cache; whether it is whole its adapter checks.

    Args:
        name: `owner/dataset` for the newest version, or `owner/dataset/versions/2`.

    Returns:
        The folder that holds its files.

    Raises:
        DatasetError: as for `download_collection`.
    """
    handle = parse_dataset_handle(name)
    by_hand = _explain_by_hand(f"https://www.kaggle.com/datasets/{handle.owner}/{handle.dataset}")
    if not handle.is_versioned():
        with _explain_errors(handle, by_hand):
            handle = handle.with_version(_find_newest_version(handle))
    return _download(handle, by_hand)


def _find_newest_version(handle: DatasetHandle) -> int:
    request = ApiGetDatasetRequest()
    request.owner_slug, request.dataset_slug = handle.owner, handle.dataset
    with build_kaggle_client() as client:
        return client.datasets.dataset_api_client.get_dataset(request).current_version_number


def _download(handle: DatasetHandle, by_hand: str) -> Path:
    with _explain_errors(handle, by_hand):
        if not _is_complete(handle):
            # Where someone deleted the folder, its marker is still there and would vouch for a new one that
            # is half unpacked.
            mark_as_incomplete(handle)
        return Path(kagglehub.dataset_download(str(handle)))


@contextlib.contextmanager
def _explain_errors(handle: DatasetHandle, by_hand: str) -> Iterator[None]:
    """Turn what kagglehub raises into one error that says what to do by hand."""
    try:
        yield
    except requests.HTTPError as error:
        raise DatasetError(f"Kaggle refused the download: {_in_one_line(error)} {by_hand}") from error
    except requests.RequestException as error:
        raise DatasetError(f"{_describe_break(handle, error)} {by_hand}") from error
    except MOUNT_ERRORS as error:
        what = f"This notebook cannot mount the collection: {_in_one_line(error)}"
        raise DatasetError(f"{what} {by_hand}") from error
    except ARCHIVE_ERRORS as error:
        what = f"The download failed: {_describe_archive(handle, error)} Nothing of it is kept;"
        _discard(handle)
        raise DatasetError(f"{what} the same command starts afresh. {by_hand}") from error


def _explain_by_hand(page: str) -> str:
    name = f" as {ZIP_NAMES[0]}" if KAGGLE_NAME in page else ""
    return (
        f"By hand: download {page} in a browser or with curl -L, put it{name} in a folder DIR, then run the"
        " same command with --manual-dir DIR"
    )


def _in_one_line(error: Exception) -> str:
    """The message as one sentence, without the signatures that Kaggle's storage has in its addresses."""
    words = re.sub(r"\?\S+", "", " ".join(str(error).split())) or type(error).__name__
    return words.rstrip(".") + "."


def _is_complete(handle: DatasetHandle) -> bool:
    return Cache().load_from_cache(handle) is not None


def _describe_break(handle: DatasetHandle, error: requests.RequestException) -> str:
    what = f"Kaggle cannot be reached: {_in_one_line(error)}"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        what = "The transfer from Kaggle broke off."
    archive = Path(get_cached_archive_path(handle))
    kept_bytes = archive.stat().st_size if archive.is_file() else 0
    resume = f" {kept_bytes:,} bytes are kept: the same command goes on where it stopped."
    return what + resume if kept_bytes else what


def _describe_archive(handle: DatasetHandle, error: Exception) -> str:
    archive = Path(get_cached_archive_path(handle))
    head = b""
    if archive.is_file():
        with archive.open("rb") as file:
            head = file.read(1024)
    if b"<html" in head.lower() or b"<!doctype html" in head.lower():
        return "expected a zip, got an HTML page (login or consent page?)."
    if head and not head.startswith(b"PK"):
        return f"expected a zip, got a file that starts with {head[:40]!r}."
    return _in_one_line(error)


def _discard(handle: DatasetHandle) -> None:
    """Delete what the failed download left.

    kagglehub keeps an archive that it could not unpack. The next call finds it "already complete" by its
    size, skips the MD5 and fails again, for ever. It has no call to delete an archive.
    """
    with contextlib.suppress(OSError):  # a cache that cannot be written; the error that led here says so
        Path(get_cached_archive_path(handle)).unlink(missing_ok=True)
        if not _is_complete(handle):
            delete_from_cache(handle)
