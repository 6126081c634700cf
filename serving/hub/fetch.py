"""Models from the Hugging Face Hub, pinned to a revision; from the local cache while the Hub is out.

Goes in: a folder or a Hub repository, perhaps with a revision. Comes out: an artefact folder on this machine.
Only files that are asked for are downloaded, whatever else a repository lists, and every failure becomes one
line that says what to do.
"""

import errno
import logging
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from serving.model import artefact
from serving.model.artefact import ArtefactError
from serving.model.copying import copy_artefact

_REPO_ID = re.compile(r"[\w.-]+/[\w.-]+")
# Like 5xx these say nothing about the repository. Other errors are refusals, which no cached file mends.
_OUTAGE_STATUS = (408, 429)
_MAY_NOT_WRITE = (errno.EACCES, errno.EPERM, errno.EROFS)
_NEITHER = "Expected an artefact folder or a Hub repository user/name; {} is neither."
_TOKENS = "https://huggingface.co/settings/tokens"
_ADVICE = {
    401: "Log in again with `hf auth login`.",
    403: f"Your token may not do this: make one that may at {_TOKENS}, then `hf auth login`.",
    409: "Somebody else changed it at the same time: run this again.",
    412: "Somebody else changed it at the same time: run this again.",
    429: "It limits how often one may ask: wait some minutes, then run this again.",
}
logger = logging.getLogger(__name__)


def locate_artefact(
    path_or_repo: str | Path | None = None,
    revision: str | None = None,
    patterns: Sequence[str] = (artefact.CONFIG_FILE, artefact.LITERT_FILE),
) -> Path:
    """Find the artefact folder, downloading it where it is named by Hub repository.

    Args:
        path_or_repo: a folder (an artefact or the run that made it), a Hub repository `user/name`, or None
            for the bundled model.
        revision: branch, tag or commit on the Hub.
        patterns: the files to download; `*` stands for anything.

    Raises:
        ArtefactError: neither a folder nor a repository, or the Hub refused or could not be reached.
    """
    # os.path, because Path.is_dir raises where a name is too long or a parent may not be read.
    is_folder = path_or_repo is not None and os.path.isdir(path_or_repo)
    if revision is not None and (is_folder or path_or_repo is None):
        name = "A folder" if is_folder else "The bundled model"
        raise ArtefactError(f"{name} has no revisions, got {revision!r}. Name a repository, or leave it out.")
    if path_or_repo is None:
        return artefact.BUNDLED
    if is_folder:
        run = Path(path_or_repo, artefact.RUN_SUBFOLDER)
        return run if run.is_dir() else Path(path_or_repo)
    if not _REPO_ID.fullmatch(str(path_or_repo)):
        raise ArtefactError(_NEITHER.format(path_or_repo))
    return download(str(path_or_repo), revision, patterns)


def pull_artefact(repo_id: str, folder: Path, revision: str | None = None) -> str:
    """Copy a whole artefact from the Hub into a folder, once both model files have the right sha256.

    Args:
        repo_id: Hub repository `user/name`.
        folder: new, empty, or an artefact that is replaced.
        revision: branch, tag or commit.

    Returns:
        The commit.

    Raises:
        ArtefactError: it cannot be had, is damaged or incomplete, or the folder holds something else.
    """
    check_repo_id(repo_id)
    snapshot = download(repo_id, revision, artefact.ARTEFACT_PATTERNS)
    artefact.verify_artefact(snapshot)
    copy_artefact(snapshot, folder)
    return snapshot.name


def check_repo_id(repo_id: str) -> None:
    """Refuse what is no `user/name` with an `ArtefactError`; the client takes bare names for the user's."""
    if not _REPO_ID.fullmatch(repo_id):
        raise ArtefactError(f"Expected a Hub repository user/name; {repo_id} is none.")


def download(repo_id: str, revision: str | None, patterns: Sequence[str]) -> Path:
    """Fetch the files of a repository that match; where that cannot be, take them from the cache and say so.

    That is so while the Hub is out, and where it has what a cache that nobody may write to lacks.

    Returns:
        The snapshot in the cache; its name is the commit.

    Raises:
        ArtefactError: it cannot be had.
    """
    # Imported here: the client takes longer to import than the bundled model to answer.
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    name = f"{repo_id} at {revision or 'main'}"

    def fetch(is_cached: bool) -> Path:
        options: dict[str, Any] = {"revision": revision, "allow_patterns": list(patterns)}
        return Path(snapshot_download(repo_id, local_files_only=is_cached, **options))

    with explain_errors(name):
        outage = _find_outage(repo_id, revision)
        problem = f"The Hub cannot be used ({outage})"
        try:
            try:
                folder = fetch(is_cached=outage is not None)
            except OSError as error:
                if error.errno not in _MAY_NOT_WRITE:
                    raise
                outage = problem = f"The local cache cannot be written to ({error.strerror})"
                folder = fetch(is_cached=True)
        except LocalEntryNotFoundError as error:
            problem = problem if outage else f"The Hub cannot be used ({error})"
            advice = "Try again later, let HF_HOME name another folder, or use the bundled model."
            raise ArtefactError(f"{problem} and {name} is not whole in the local cache. {advice}") from error
    if outage is not None and folder.name != revision:
        cached = f"{name} comes from the local cache, commit {folder.name}, and may be out of date"
        logger.warning("%s: %s.", problem, cached)
    return folder


@contextmanager
def explain_errors(name: str, action: str = "downloaded") -> Iterator[None]:
    """Turn what the Hub's client raises into an `ArtefactError` with one line that says what to do.

    `name` is `user/name`, or `user/name at REVISION`; `action` follows on "cannot be".
    """
    from huggingface_hub.errors import HTTPError, XetDownloadError

    try:
        yield
    except ArtefactError:
        raise
    # ImportError: a proxy for SOCKS needs a package more.
    except (HTTPError, XetDownloadError, ImportError, OSError, ValueError, RuntimeError) as error:
        raise ArtefactError(_describe(error, name, action)) from error


def _describe(error: Exception, name: str, action: str) -> str:
    from huggingface_hub import errors

    repo_id, _, revision = name.partition(" at ")
    match error:
        case errors.HFValidationError():
            return _NEITHER.format(repo_id)
        case errors.GatedRepoError():
            return f"{repo_id} is gated. Accept its terms on the Hub, then log in with `hf auth login`."
        case errors.RepositoryNotFoundError():
            missing = f"There is no folder {repo_id}, and the Hub has no model of this name that you may read"
            return f"{missing}. Check the name; for a private one log in with `hf auth login`."
        case errors.RevisionNotFoundError():
            return f"{repo_id} has no revision {revision or 'main'}. Name a branch, a tag or a commit of it."
        case errors.OfflineModeIsEnabled():
            return f"{name} cannot be {action} while HF_HUB_OFFLINE is set. Unset it."
        case errors.HfHubHTTPError():
            return _describe_status(error, name)
        case RuntimeError(__cause__=Exception() as cause):
            # The client wraps what befalls one of several files that it uploads.
            is_answer = isinstance(cause, errors.HfHubHTTPError)
            reason = _describe_status(cause, name) if is_answer else f"({type(cause).__name__}: {cause})"
            return f"{name} cannot be {action}: {str(error).rstrip('.')}. {reason}"
        case OSError(errno=errno.ENOSPC | errno.EDQUOT):
            advice = "Free some space, or let HF_HOME name a folder on another disk."
            return f"{name} cannot be {action}: the disk is full. {advice}"
    reason = f"{type(error).__name__}: {error}"
    return f"{name} cannot be {action} ({reason}). Check the network, HF_ENDPOINT and the disk."


def _describe_status(error: Exception, name: str) -> str:
    status = error.response.status_code  # type: ignore[attr-defined]
    message = getattr(error, "server_message", None)
    reason = f" ({message})" if message and status not in (401, 403) else ""
    return f"The Hub answered {status} for {name}{reason}. {_ADVICE.get(status, 'Try again later.')}"


def _find_outage(repo_id: str, revision: str | None) -> str | None:
    """Ask the Hub for a revision: None where it knows it, why it cannot be asked, or a refusal is raised."""
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import HfHubHTTPError, HTTPError, OfflineModeIsEnabled

    # `snapshot_download` asks without a time limit, and after a refusal, too, hands out cached files unsaid.
    try:
        info = HfApi().model_info(repo_id, revision=revision, timeout=constants.HF_HUB_ETAG_TIMEOUT)
    except OfflineModeIsEnabled:
        return "HF_HUB_OFFLINE is set"
    except HfHubHTTPError as error:
        status = error.response.status_code
        if status < 500 and status not in _OUTAGE_STATUS:
            raise
        return f"it answered {status}"
    except HTTPError as error:
        return f"{type(error).__name__}: {error}"
    names = [file.rfilename for file in info.siblings or ()]
    if outside := [name for name in names if not artefact.is_inside(name)]:
        problem = f"{repo_id} lists {outside[0]!r}, outside its own folder"
        raise ArtefactError(f"{problem}. Nothing was downloaded; do not use it.")
    return None
