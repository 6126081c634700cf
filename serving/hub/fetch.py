"""Models from the Hugging Face Hub: fetched file by file, pinned to a revision, served from the cache while the Hub is out.

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

from serving.model.artefact import (
    ARTEFACT_PATTERNS,
    BUNDLED,
    CONFIG_FILE,
    LITERT_FILE,
    RUN_SUBFOLDER,
    ArtefactError,
    copy_artefact,
    is_inside,
    verify_artefact,
)

_REPO_ID = re.compile(r"[\w.-]+/[\w.-]+")
# Like 5xx these say nothing about the repository. Any other error is a refusal, for which cached files are no
# remedy.
_OUTAGE_STATUS = (408, 429)
_ADVICE = {
    401: "Log in again with `hf auth login`.",
    403: (
        "Your token may not do this: make one that may at https://huggingface.co/settings/tokens, then `hf"
        " auth login`."
    ),
    409: "Somebody else changed it at the same time: run this again.",
    412: "Somebody else changed it at the same time: run this again.",
    429: "It limits how often one may ask: wait some minutes, then run this again.",
}
logger = logging.getLogger(__name__)


def locate_artefact(
    path_or_repo: str | Path | None = None,
    revision: str | None = None,
    patterns: Sequence[str] = (CONFIG_FILE, LITERT_FILE),
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
    if path_or_repo is None:
        if revision is not None:
            raise ArtefactError(
                f"The bundled model has no revisions, got revision={revision!r}. Name a Hub repository as"
                " well."
            )
        return BUNDLED
    # os.path, because Path.is_dir raises where a name is too long or a parent may not be read.
    if os.path.isdir(path_or_repo):
        if revision is not None:
            raise ArtefactError(
                f"A folder has no revisions, got revision={revision!r} for {path_or_repo}. Name a Hub"
                " repository, or leave it out."
            )
        run = Path(path_or_repo, RUN_SUBFOLDER)
        return run if run.is_dir() else Path(path_or_repo)
    if not _REPO_ID.fullmatch(str(path_or_repo)):
        raise ArtefactError(
            f"Expected an artefact folder or a Hub repository user/name; {path_or_repo} is neither."
        )
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
    snapshot = download(repo_id, revision, ARTEFACT_PATTERNS)
    verify_artefact(snapshot)
    copy_artefact(snapshot, folder)
    return snapshot.name


def check_repo_id(repo_id: str) -> None:
    """Refuse what is no `user/name`; the client would take a bare name for one of the user's own.

    Raises:
        ArtefactError: it is none.
    """
    if not _REPO_ID.fullmatch(repo_id):
        raise ArtefactError(f"Expected a Hub repository user/name; {repo_id} is none.")


def download(repo_id: str, revision: str | None, patterns: Sequence[str]) -> Path:
    """Fetch the files of a repository that match, or take them from the cache while the Hub is out, and say so.

    Returns:
        The snapshot in the cache; its name is the commit.

    Raises:
        ArtefactError: it cannot be had.
    """
    # Imported here: the client takes longer to import than the bundled model to answer.
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    name, outage = f"{repo_id} at {revision or 'main'}", None
    with explain_errors(name):
        try:
            outage = _find_outage(repo_id, revision)
            folder = Path(
                snapshot_download(
                    repo_id,
                    revision=revision,
                    allow_patterns=list(patterns),
                    local_files_only=outage is not None,
                )
            )
        except LocalEntryNotFoundError as error:
            raise ArtefactError(
                f"The Hub cannot be used ({outage or error}) and {name} is not whole in the local cache. Try"
                " again later, or use the bundled model."
            ) from error
    if outage is not None and folder.name != revision:
        logger.warning(
            "The Hub cannot be used (%s): %s comes from the local cache, commit %s, and may be out of date.",
            outage,
            name,
            folder.name,
        )
    return folder


@contextmanager
def explain_errors(name: str, doing: str = "downloaded") -> Iterator[None]:
    """Turn what the Hub's client raises into an `ArtefactError` with one line that says what to do.

    Args:
        name: `user/name`, or `user/name at REVISION`.
        doing: what would have been done, for "cannot be ...".
    """
    from huggingface_hub import errors

    repo_id, _, revision = name.partition(" at ")
    try:
        yield
    except ArtefactError:
        raise
    except errors.HFValidationError as error:
        raise ArtefactError(
            f"Expected an artefact folder or a Hub repository user/name; {repo_id} is neither."
        ) from error
    except errors.GatedRepoError as error:
        raise ArtefactError(
            f"{repo_id} is gated. Accept its terms on the Hub, then log in with `hf auth login`."
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise ArtefactError(
            f"There is no folder {repo_id}, and the Hub has no model of this name that you may read. "
            "Check the name; for a private one log in with `hf auth login`."
        ) from error
    except errors.RevisionNotFoundError as error:
        raise ArtefactError(
            f"{repo_id} has no revision {revision or 'main'}. Name a branch, a tag or a commit of it."
        ) from error
    except errors.OfflineModeIsEnabled as error:
        raise ArtefactError(f"{name} cannot be {doing} while HF_HUB_OFFLINE is set. Unset it.") from error
    except errors.HfHubHTTPError as error:
        raise ArtefactError(_tell_status(error, name)) from error
    except (errors.HTTPError, errors.XetDownloadError, OSError, ValueError, RuntimeError) as error:
        raise ArtefactError(_tell_failure(error, name, doing)) from error


def _tell_status(error: Exception, name: str) -> str:
    status = error.response.status_code  # type: ignore[attr-defined]
    message = getattr(error, "server_message", None)
    said = f" ({message})" if message and status not in (401, 403) else ""
    return f"The Hub answered {status} for {name}{said}. {_ADVICE.get(status, 'Try again later.')}"


def _tell_failure(error: Exception, name: str, doing: str) -> str:
    from huggingface_hub.errors import HfHubHTTPError

    # The client wraps what befalls one of several files that it uploads.
    if isinstance(error, RuntimeError) and error.__cause__ is not None:
        cause = error.__cause__
        told = (
            _tell_status(cause, name)
            if isinstance(cause, HfHubHTTPError)
            else f"({type(cause).__name__}: {cause})"
        )
        return f"{name} cannot be {doing}: {str(error).rstrip('.')}. {told}"
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return (
            f"{name} cannot be {doing}: the disk is full. Free some space, or let HF_HOME name a folder on"
            " another disk."
        )
    return (
        f"{name} cannot be {doing} ({type(error).__name__}: {error}). Check the network, HF_ENDPOINT and the"
        " disk."
    )


def _find_outage(repo_id: str, revision: str | None) -> str | None:
    """Ask the Hub for a revision; say why it cannot be asked, or None where it knows the revision. A refusal is raised.

    `snapshot_download` asks the same without a time limit, and takes a refusal, too, as a reason to hand out
    cached files unsaid.
    """
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import HfHubHTTPError, HTTPError, OfflineModeIsEnabled

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
    for file in info.siblings or ():
        if not is_inside(file.rfilename):
            raise ArtefactError(
                f"{repo_id} lists a file {file.rfilename!r}, outside its own folder. Nothing was downloaded;"
                " do not use it."
            )
    return None
