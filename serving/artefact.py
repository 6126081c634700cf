"""The artefact folder: what a trained model is on disk, in this package and on the Hugging Face Hub.

Goes in: nothing (the bundled model), a folder, or a Hub repository with an optional revision. Comes out: a checked folder and its
config. Only the files that serving needs are downloaded, and `model.tflite` is compared with the sha256 in `config.json`.
"""

import hashlib
import json
import logging
import math
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serving.calibration import DEFAULT_COVERAGE
from serving.guard import Guard, parse_guard
from serving.preprocess import FITS

FORMAT_VERSION = 3
CONFIG_FILE = "config.json"
LITERT_FILE = "model.tflite"
KERAS_FILE = "model.keras"
METRICS_FILE = "metrics.json"
CARD_FILE = "README.md"
# A training run keeps its artefact in this subfolder.
RUN_SUBFOLDER = "artefact"
BUNDLED = Path(__file__).parent / "pretrained"
_REPO_ID = re.compile(r"[\w.-]+/[\w.-]+")
# Like 5xx these say nothing about the repository. Any other error is a refusal, for which cached files are no remedy.
_OUTAGE_STATUS = (408, 429)
logger = logging.getLogger(__name__)


class ArtefactError(RuntimeError):
    """A model that cannot be loaded; the message says what was expected, what came and what to do."""


@dataclass(frozen=True)
class ArtefactConfig:
    """`config.json`, as far as serving reads it.

    Attributes:
        labels: in the order of the logits.
        image_size: side of the model's input, pixels.
        image_fit: how a picture is made square, one of `serving.preprocess.FITS`.
        architecture: name of the network.
        temperature: divides the logits before the softmax.
        prediction_set_thresholds: by coverage, the share of pictures whose prediction set shall hold the true label: labels with at
            least this probability cannot be ruled out; .95 is always among them.
        unlike_prediction_set_thresholds: the same for slices unlike the training slices: lower, so their sets are wider.
        any_tumour_thresholds: by sensitivity, the share of tumours that an alarm shall catch: the least 1 - p(notumor) that raises it.
        guard: tells what may be scored.
        raw: the whole file.
    """

    labels: tuple[str, ...]
    image_size: int
    image_fit: str
    architecture: str
    temperature: float
    prediction_set_thresholds: dict[float, float]
    unlike_prediction_set_thresholds: dict[float, float]
    any_tumour_thresholds: dict[float, float]
    guard: Guard
    raw: dict[str, Any]


def locate_artefact(path_or_repo: str | Path | None = None, revision: str | None = None) -> Path:
    """Find the artefact folder, downloading it where it is named by Hub repository.

    Args:
        path_or_repo: a folder (an artefact or the run that made it), a Hub repository `user/name`, or None for the bundled model.
        revision: branch, tag or commit on the Hub.

    Raises:
        ArtefactError: neither a folder nor a repository, or the Hub refused or could not be reached.
    """
    if path_or_repo is None:
        if revision is not None:
            raise ArtefactError(f"The bundled model has no revisions, got revision={revision!r}. Name a Hub repository as well.")
        return BUNDLED
    # os.path, because Path.is_dir raises where a name is too long or a parent may not be read.
    if os.path.isdir(path_or_repo):
        if revision is not None:
            raise ArtefactError(f"A folder has no revisions, got revision={revision!r} for {path_or_repo}. Name a Hub repository, or leave it out.")
        run = Path(path_or_repo, RUN_SUBFOLDER)
        return run if run.is_dir() else Path(path_or_repo)
    if not _REPO_ID.fullmatch(str(path_or_repo)):
        raise ArtefactError(f"Expected an artefact folder or a Hub repository user/name; {path_or_repo} is neither.")
    return _download(str(path_or_repo), revision)


def load_config(folder: Path) -> ArtefactConfig:
    """Read and check `config.json`.

    Raises:
        ArtefactError: the file is missing, of another format version, incomplete or malformed.
    """
    path = folder / CONFIG_FILE
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ArtefactError(f"{folder} holds no {CONFIG_FILE}, so it is no artefact. A finished `tumor train` writes one.") from error
    except OSError as error:
        raise ArtefactError(f"{path} cannot be read: {error.strerror}. Check that it is a file and its permissions.") from error
    except (ValueError, RecursionError) as error:
        raise ArtefactError(f"{path} is not valid JSON: {error}. Download or export the artefact again.") from error
    if not isinstance(raw, dict):
        raise ArtefactError(f"{path} should hold a JSON object; it holds a {type(raw).__name__}. Download or export the artefact again.")
    if raw.get("format_version") != FORMAT_VERSION:
        raise ArtefactError(
            f"{CONFIG_FILE} has format version {raw.get('format_version')!r}; this package reads {FORMAT_VERSION}. Update one of the two."
        )
    try:
        return _parse(raw)
    except KeyError as error:
        raise ArtefactError(f"{path} lacks the field {error}. Download or export the artefact again.") from error
    except (TypeError, ValueError, OverflowError) as error:
        raise ArtefactError(f"{path} is malformed: {error}. Download or export the artefact again.") from error


def check_sha256(folder: Path, name: str, config: ArtefactConfig) -> Path:
    """Compare one file with the sha256 that `config.json` states.

    Raises:
        ArtefactError: the file is missing or differs.
    """
    path, expected = folder / name, config.raw["sha256"].get(name)
    if not path.is_file():
        raise ArtefactError(f"{name} is missing from {folder}. Download or export the artefact again.")
    found = compute_sha256(path)
    if found != expected:
        raise ArtefactError(
            f"{name} in {folder} is damaged or was swapped: sha256 {found}, expected {expected}. "
            "Download it again; one from the Hub has to leave the cache first (`hf cache rm model/USER/NAME`)."
        )
    return path


def compute_sha256(path: Path) -> str:
    """Hash a file's content, as hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _parse(raw: dict[str, Any]) -> ArtefactConfig:
    calibration, labels, size, fit = raw["calibration"], raw["labels"], raw["image"]["size"], raw["image"]["fit"]
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels) or not 2 <= len(labels) == len(set(labels)):
        raise ValueError(f"labels should be a list of two or more different names, got {labels!r}")
    if not isinstance(size, int) or not 1 <= size <= 4096:
        raise ValueError(f"image.size should be a whole number of pixels from 1 to 4096, got {size!r}")
    if fit not in FITS:
        raise ValueError(f"image.fit should be {' or '.join(FITS)}, got {fit!r}")
    if not isinstance(raw["sha256"][LITERT_FILE], str):
        raise ValueError(f"sha256 of {LITERT_FILE} should be text, got {raw['sha256'][LITERT_FILE]!r}")
    return ArtefactConfig(
        labels=tuple(labels),
        image_size=size,
        image_fit=fit,
        architecture=raw["architecture"],
        temperature=_parse_number(calibration, "temperature", 1e-3, 1e3),
        prediction_set_thresholds=_parse_thresholds(calibration, "prediction_set_thresholds", (DEFAULT_COVERAGE,)),
        unlike_prediction_set_thresholds=_parse_thresholds(calibration, "unlike_prediction_set_thresholds", (DEFAULT_COVERAGE,)),
        any_tumour_thresholds=_parse_thresholds(calibration, "any_tumour_thresholds"),
        guard=parse_guard(raw["guard"]),
        raw=raw,
    )


def _parse_number(section: dict[str, Any], name: str, low: float, high: float) -> float:
    value = section[name]
    if not isinstance(value, int | float) or not math.isfinite(value) or not low <= value <= high:
        raise ValueError(f"{name} should be a number from {low:g} to {high:g}, got {value!r}")
    return value


def _parse_thresholds(section: dict[str, Any], name: str, required: tuple[float, ...] = ()) -> dict[float, float]:
    """Read an object such as {"0.95": 0.4}: a threshold for each share."""
    stored = section[name]
    if not isinstance(stored, dict):
        raise ValueError(f"{name} should be an object of thresholds by share, got {stored!r}")
    thresholds = {float(share): _parse_number(stored, share, 0.0, 1.0) for share in stored}
    if not all(0.0 < share < 1.0 for share in thresholds) or not thresholds.keys() >= set(required):
        raise ValueError(f"{name} should be for shares between 0 and 1, {' and '.join(map(str, required)) or 'any'} among them; got {list(stored)}")
    return thresholds


def _download(repo_id: str, revision: str | None) -> Path:
    # Imported here: the client takes longer to import than the bundled model to answer.
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        HTTPError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    name, outage = f"{repo_id} at {revision or 'main'}", None
    try:
        outage = _find_outage(repo_id, revision)
        patterns = [CONFIG_FILE, LITERT_FILE]
        folder = Path(snapshot_download(repo_id, revision=revision, allow_patterns=patterns, local_files_only=outage is not None))
    except HFValidationError as error:
        raise ArtefactError(f"Expected an artefact folder or a Hub repository user/name; {repo_id} is neither.") from error
    except GatedRepoError as error:
        raise ArtefactError(f"{repo_id} is gated. Accept its terms on the Hub, then log in with `hf auth login`.") from error
    except RepositoryNotFoundError as error:
        raise ArtefactError(
            f"There is no folder {repo_id}, and the Hub has no model of this name that you may read. "
            "Check the name; for a private one log in with `hf auth login`."
        ) from error
    except RevisionNotFoundError as error:
        raise ArtefactError(f"{repo_id} has no revision {revision or 'main'}. Name a branch, a tag or a commit of it.") from error
    except LocalEntryNotFoundError as error:
        raise ArtefactError(
            f"The Hub cannot be used ({outage or error}) and {name} is not whole in the local cache. Try again later, or use the bundled model."
        ) from error
    except HfHubHTTPError as error:
        status = error.response.status_code
        advice = "Log in again with `hf auth login`." if status in (401, 403) else "Try again later."
        raise ArtefactError(f"The Hub answered {status} for {name}. {advice}") from error
    except (HTTPError, OSError, ValueError) as error:
        raise ArtefactError(f"{name} cannot be downloaded ({type(error).__name__}: {error}). Check the network, HF_ENDPOINT and the disk.") from error
    if outage is not None and folder.name != revision:
        logger.warning("The Hub cannot be used (%s): %s comes from the local cache, commit %s, and may be out of date.", outage, name, folder.name)
    return folder


def _find_outage(repo_id: str, revision: str | None) -> str | None:
    """Ask the Hub for a revision; say why it cannot be asked, or None where it knows the revision. A refusal is raised.

    `snapshot_download` asks the same without a time limit, and takes a refusal, too, as a reason to hand out cached files unsaid.
    """
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import HfHubHTTPError, HTTPError, OfflineModeIsEnabled

    try:
        HfApi().model_info(repo_id, revision=revision, timeout=constants.HF_HUB_ETAG_TIMEOUT)
    except OfflineModeIsEnabled:
        return "HF_HUB_OFFLINE is set"
    except HfHubHTTPError as error:
        status = error.response.status_code
        if status < 500 and status not in _OUTAGE_STATUS:
            raise
        return f"it answered {status}"
    except HTTPError as error:
        return f"{type(error).__name__}: {error}"
    return None
