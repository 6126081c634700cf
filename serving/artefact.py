"""The artefact folder: what a trained model is on disk, in this package and on the Hugging Face Hub.

Goes in: nothing (the bundled model), a folder, or a Hub repository with an optional revision. Comes out: a checked folder and its
config. Only the files that serving needs are downloaded, and `model.tflite` is compared with the sha256 in `config.json`.
"""

import base64
import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

FORMAT_VERSION = 1
CONFIG_FILE = "config.json"
LITERT_FILE = "model.tflite"
KERAS_FILE = "model.keras"
METRICS_FILE = "metrics.json"
CARD_FILE = "README.md"
# A training run keeps its artefact in this subfolder.
RUN_SUBFOLDER = "artefact"
BUNDLED = Path(__file__).parent / "pretrained"
_REPO_ID = re.compile(r"[\w.-]+/[\w.-]+")


class ArtefactError(RuntimeError):
    """A model that cannot be loaded; the message says what was expected, what came and what to do."""


@dataclass(frozen=True)
class GuardConfig:
    """What the input guard compares a picture with.

    Attributes:
        prototypes: float32 (k, d), unit rows: centres of the training embeddings.
        threshold: largest cosine distance to the nearest prototype that still counts as a brain MRI slice.
    """

    prototypes: np.ndarray
    threshold: float


@dataclass(frozen=True)
class ArtefactConfig:
    """`config.json`, as far as serving reads it.

    Attributes:
        labels: in the order of the logits.
        image_size: side of the model's input, pixels.
        architecture: name of the network.
        temperature: divides the logits before the softmax.
        prediction_set_threshold: labels with at least this probability cannot be ruled out.
        coverage: share of pictures whose prediction set holds the true label, as aimed at on validation.
        guard: for refusing pictures that are no brain MRI.
        raw: the whole file.
    """

    labels: tuple[str, ...]
    image_size: int
    architecture: str
    temperature: float
    prediction_set_threshold: float
    coverage: float
    guard: GuardConfig
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
    folder = Path(path_or_repo)
    if folder.is_dir():
        return folder / RUN_SUBFOLDER if (folder / RUN_SUBFOLDER).is_dir() else folder
    if not _REPO_ID.fullmatch(str(path_or_repo)):
        raise ArtefactError(f"Expected an artefact folder or a Hub repository user/name; {path_or_repo} is neither.")
    return _download(str(path_or_repo), revision)


def load_config(folder: Path) -> ArtefactConfig:
    """Read and check `config.json`.

    Raises:
        ArtefactError: the file is missing, of another format version, or incomplete.
    """
    path = folder / CONFIG_FILE
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ArtefactError(f"{folder.name} holds no {CONFIG_FILE}, so it is no artefact. A finished `tumor train` writes one.") from error
    except json.JSONDecodeError as error:
        raise ArtefactError(f"{CONFIG_FILE} in {folder.name} is not valid JSON: {error}") from error
    if raw.get("format_version") != FORMAT_VERSION:
        raise ArtefactError(
            f"{CONFIG_FILE} has format version {raw.get('format_version')!r}; this package reads {FORMAT_VERSION}. Update one of the two."
        )
    try:
        return _parse(raw)
    except KeyError as error:
        raise ArtefactError(f"{CONFIG_FILE} in {folder.name} lacks the field {error}.") from error


def check_sha256(folder: Path, name: str, config: ArtefactConfig) -> Path:
    """Compare one file with the sha256 that `config.json` states.

    Raises:
        ArtefactError: the file is missing or differs.
    """
    path, expected = folder / name, config.raw["sha256"].get(name)
    if not path.is_file():
        raise ArtefactError(f"{name} is missing from {folder.name}. Download or export the artefact again.")
    found = compute_sha256(path)
    if found != expected:
        raise ArtefactError(f"{name} in {folder.name} is damaged or was swapped: sha256 {found}, expected {expected}. Download it again.")
    return path


def compute_sha256(path: Path) -> str:
    """Hash a file's content, as hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def encode_prototypes(prototypes: np.ndarray) -> dict[str, Any]:
    """Store unit rows float32 (k, d) as base64 of float16; inverse of what `load_config` reads."""
    return {"shape": list(prototypes.shape), "dtype": "<f2", "base64": base64.b64encode(prototypes.astype("<f2").tobytes()).decode()}


def _parse(raw: dict[str, Any]) -> ArtefactConfig:
    guard, calibration = raw["guard"], raw["calibration"]
    stored = guard["prototypes"]
    prototypes = np.frombuffer(base64.b64decode(stored["base64"]), dtype=stored["dtype"]).reshape(stored["shape"]).astype(np.float32)
    return ArtefactConfig(
        labels=tuple(raw["labels"]),
        image_size=raw["image"]["size"],
        architecture=raw["architecture"],
        temperature=calibration["temperature"],
        prediction_set_threshold=calibration["prediction_set_threshold"],
        coverage=calibration["coverage"],
        guard=GuardConfig(prototypes, guard["threshold"]),
        raw=raw,
    )


def _download(repo_id: str, revision: str | None) -> Path:
    # Imported here: the client takes longer to import than the bundled model to answer.
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError, RevisionNotFoundError

    try:
        return Path(snapshot_download(repo_id, revision=revision, allow_patterns=[CONFIG_FILE, LITERT_FILE]))
    except GatedRepoError as error:
        raise ArtefactError(f"{repo_id} is gated. Accept its terms on the Hub, then log in with `hf auth login`.") from error
    except RepositoryNotFoundError as error:
        raise ArtefactError(
            f"The Hub has no model {repo_id} that you may read. Check the name; for a private one log in with `hf auth login`."
        ) from error
    except RevisionNotFoundError as error:
        raise ArtefactError(f"{repo_id} has no revision {revision}. Name a branch, a tag or a commit of it.") from error
    except LocalEntryNotFoundError as error:
        raise ArtefactError(
            f"The Hub cannot be reached and {repo_id} is not in the local cache. Check the network, or use the bundled model."
        ) from error
    except HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else "no answer"
        raise ArtefactError(f"The Hub answered {status} for {repo_id}. Try again later.") from error
