"""The artefact folder: what a trained model is on disk, in this package and on the Hugging Face Hub.

Goes in: a folder. Comes out: its checked config, and the certainty that its model files are those whose
sha256 `config.json` states. `serving.hub.fetch` finds the folder and `serving.hub.publish` uploads it.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serving.files.errors import UserError
from serving.model.calibration import DEFAULT_COVERAGE
from serving.model.guard import Guard, parse_guard, parse_number
from serving.preprocess import FITS

# 6: a section for the tumour map, null where the model has none.
FORMAT_VERSION = 6
# The label that says that nothing is found, where a model or dataset names no other.
NO_TUMOUR = "notumor"
CONFIG_FILE = "config.json"
LITERT_FILE = "model.tflite"
KERAS_FILE = "model.keras"
METRICS_FILE = "metrics.json"
RESULTS_FILE = "results.md"  # figures of other runs, for the card; not every artefact has it
CARD_FILE = "README.md"
FIGURES_FOLDER = "figures"
# What serving reads beside the one model file that its runtime needs.
SERVING_FILES = (CARD_FILE, CONFIG_FILE, METRICS_FILE)
# What every whole artefact has; figures and results of other runs are optional, nothing else belongs to it.
ARTEFACT_FILES = (*SERVING_FILES, LITERT_FILE, KERAS_FILE)
ARTEFACT_PATTERNS = (*ARTEFACT_FILES, RESULTS_FILE, f"{FIGURES_FOLDER}/*.png")
# A training run keeps its artefact in this subfolder.
RUN_SUBFOLDER = "artefact"
BUNDLED = Path(__file__).parents[1] / "pretrained"
_REMEDY = "Download or export the artefact again"


class ArtefactError(UserError, RuntimeError):
    """A model that cannot be loaded or published."""


@dataclass(frozen=True)
class Combination:
    """How the classes and the tumour map together tell tumour from none; see `serving.model.combination`.

    Attributes:
        intercept: added to the weighted log-odds.
        class_weight: at least 0, of the log-odds of a tumour by the classes.
        map_weight: at least 0, of the log-odds of the map's highest value.

    Example:
        >>> Combination(intercept=0.0, class_weight=1.0, map_weight=0.0)  # the classes alone
        Combination(intercept=0.0, class_weight=1.0, map_weight=0.0)
    """

    intercept: float
    class_weight: float
    map_weight: float


@dataclass(frozen=True)
class MapConfig:
    """What is fitted to the tumour map.

    Attributes:
        threshold: least value of the map, in (0, 1], inside an outline.
        combination: how the map's highest value enters into tumour or none.

    Example:
        >>> parse_map({"threshold": 0.5, "combination": {"intercept": 0, "class": 1, "map": 0}}).threshold
        0.5
    """

    threshold: float
    combination: Combination


@dataclass(frozen=True)
class ArtefactConfig:
    """`config.json`, as far as serving reads it.

    Attributes:
        labels: in the order of the logits.
        healthy_label: the label that says that nothing is found; None where no label does. A config without
            this field means `NO_TUMOUR`, where the model has that label.
        image_size: side of the model's input, pixels.
        image_fit: how a picture is made square, one of `serving.preprocess.FITS`.
        architecture: name of the network.
        temperature: divides the logits before the softmax.
        prediction_set_thresholds: by coverage, the share of pictures whose prediction set shall hold the true
            label: labels with at least this probability cannot be ruled out; .95 is always among them.
        unlike_prediction_set_thresholds: the same for slices unlike the training slices; lower.
        any_tumour_thresholds: by sensitivity, the share of tumours that an alarm shall catch: the least 1 -
            p(healthy label) that raises it; none without that label.
        guard: tells what may be scored.
        map: of the tumour map; None where the model has none.
        raw: the whole file.

    Example:
        >>> config = load_config(BUNDLED)
        >>> config.image_size, config.labels
        (160, ('glioma', 'meningioma', 'notumor', 'pituitary'))
    """

    labels: tuple[str, ...]
    healthy_label: str | None
    image_size: int
    image_fit: str
    architecture: str
    temperature: float
    prediction_set_thresholds: dict[float, float]
    unlike_prediction_set_thresholds: dict[float, float]
    any_tumour_thresholds: dict[float, float]
    guard: Guard
    map: MapConfig | None
    raw: dict[str, Any]

    @property
    def healthy(self) -> int | None:
        """Index of the healthy label; None where there is none."""
        return None if self.healthy_label is None else self.labels.index(self.healthy_label)


def find_default_healthy(labels: Sequence[str]) -> str | None:
    """The healthy label where none is named: `NO_TUMOUR`, if it is one of the labels.

    Example:
        >>> find_default_healthy(("glioma", "notumor")), find_default_healthy(("left", "right"))
        ('notumor', None)
    """
    return NO_TUMOUR if NO_TUMOUR in labels else None


def load_config(folder: Path) -> ArtefactConfig:
    """Read and check `config.json`.

    Raises:
        ArtefactError: the file is missing, of another format version, incomplete or malformed.
    """
    path = folder / CONFIG_FILE
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        advice = "A finished `tumor train` writes one."
        raise ArtefactError(f"{folder} holds no {CONFIG_FILE}, so it is no artefact. {advice}") from error
    except OSError as error:
        raise ArtefactError(f"{path} cannot be read: {error.strerror}. Check its permissions.") from error
    except (ValueError, RecursionError) as error:
        raise ArtefactError(f"{path} is not valid JSON: {error}. {_REMEDY}.") from error
    if not isinstance(raw, dict):
        raise ArtefactError(f"{path} should hold a JSON object, not a {type(raw).__name__}. {_REMEDY}.")
    if raw.get("format_version") != FORMAT_VERSION:
        versions = f"version {raw.get('format_version')!r}; this package reads {FORMAT_VERSION}"
        advice = "Export the run again (`tumor export RUN`), or use the version that wrote it."
        raise ArtefactError(f"{CONFIG_FILE} has format {versions}. {advice}")
    try:
        return _parse(raw)
    except KeyError as error:
        raise ArtefactError(f"{path} lacks the field {error}. {_REMEDY}.") from error
    except (TypeError, ValueError, OverflowError) as error:
        raise ArtefactError(f"{path} is malformed: {error}. {_REMEDY}.") from error


def check_sha256(folder: Path, name: str, config: ArtefactConfig) -> Path:
    """Compare one file with the sha256 that `config.json` states.

    Raises:
        ArtefactError: the file is missing or differs, or its sha256 is not stated.
    """
    expected = config.raw["sha256"].get(name)
    if not isinstance(expected, str):
        problem = f"{CONFIG_FILE} in {folder} states no sha256 of {name}, so it cannot be trusted"
        raise ArtefactError(f"{problem}. {_REMEDY}.")
    path = _find_file(folder, name)
    if (found := compute_sha256(path)) != expected:
        problem = f"{name} in {folder} is damaged or was swapped: sha256 {found}, expected {expected}"
        advice = "one from the Hub has to leave the cache first (`hf cache rm model/USER/NAME`)"
        raise ArtefactError(f"{problem}. Download it again; {advice}.")
    return path


def verify_artefact(folder: Path) -> ArtefactConfig:
    """Check that an artefact is whole, and both models as `config.json` states.

    Raises:
        ArtefactError: something is missing, damaged or of another version.
    """
    config = load_config(folder)
    for name in (LITERT_FILE, KERAS_FILE):
        check_sha256(folder, name, config)
    for name in (METRICS_FILE, CARD_FILE):
        _find_file(folder, name)
    return config


def list_files(folder: Path) -> list[str]:
    """Files of an artefact that a folder holds, by path inside it, sorted; no others."""
    found = (path for pattern in ARTEFACT_PATTERNS for path in folder.glob(pattern) if path.is_file())
    return sorted(path.relative_to(folder).as_posix() for path in found)


def is_inside(name: str) -> bool:
    """Whether a file's name from elsewhere stays inside the folder it is put into, on any system."""
    return name[:1] not in ("", "/") and not {"\\", ":"} & set(name) and ".." not in name.split("/")


def compute_sha256(path: Path) -> str:
    """Hash a file's content, as hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _find_file(folder: Path, name: str) -> Path:
    if not (folder / name).is_file():
        raise ArtefactError(f"{name} is missing from {folder}. {_REMEDY}; `tumor pull` fetches all of it.")
    return folder / name


def _parse(raw: dict[str, Any]) -> ArtefactConfig:
    calibration, labels, image = raw["calibration"], raw["labels"], raw["image"]
    size, fit = image["size"], image["fit"]
    is_list = isinstance(labels, list) and all(isinstance(label, str) for label in labels)
    if not is_list or not 2 <= len(labels) == len(set(labels)):
        raise ValueError(f"labels should be a list of two or more different names, got {labels!r}")
    healthy = raw.get("healthy_label", find_default_healthy(labels))
    if healthy not in (None, *labels):
        raise ValueError(f"healthy_label should be one of the labels or null, got {healthy!r}")
    if not isinstance(size, int) or not 1 <= size <= 4096:
        raise ValueError(f"image.size should be a whole number of pixels from 1 to 4096, got {size!r}")
    if fit not in FITS:
        raise ValueError(f"image.fit should be {' or '.join(FITS)}, got {fit!r}")
    if not isinstance(raw["sha256"][LITERT_FILE], str):
        raise ValueError(f"sha256 of {LITERT_FILE} should be text, got {raw['sha256'][LITERT_FILE]!r}")
    sets = ("prediction_set_thresholds", "unlike_prediction_set_thresholds")
    set_thresholds = {name: _parse_thresholds(calibration, name, DEFAULT_COVERAGE) for name in sets}
    return ArtefactConfig(
        labels=tuple(labels),
        healthy_label=healthy,
        image_size=size,
        image_fit=fit,
        architecture=raw["architecture"],
        temperature=parse_number(calibration["temperature"], "temperature", 1e-3, 1e3),
        any_tumour_thresholds=_parse_thresholds(calibration, "any_tumour_thresholds", None),
        guard=parse_guard(raw["guard"]),
        map=parse_map(raw["map"]),
        raw=raw,
        **set_thresholds,
    )


def encode_map(config: MapConfig) -> dict[str, Any]:
    """Write the `map` section of `config.json`."""
    combination = config.combination
    weights = {"class": combination.class_weight, "map": combination.map_weight}
    return {"threshold": config.threshold, "combination": {"intercept": combination.intercept, **weights}}


def parse_map(stored: dict[str, Any] | None) -> MapConfig | None:
    """Read and check the `map` section of `config.json`.

    Raises:
        KeyError: a field is missing.
        TypeError: a field is of another kind.
        ValueError: a number is out of range.
    """
    if stored is None:
        return None
    numbers, name = stored["combination"], "map.combination"
    return MapConfig(
        threshold=parse_number(stored["threshold"], "map.threshold", 1e-6, 1.0),
        combination=Combination(
            intercept=parse_number(numbers["intercept"], f"{name}.intercept"),
            class_weight=parse_number(numbers["class"], f"{name}.class", 0.0),
            map_weight=parse_number(numbers["map"], f"{name}.map", 0.0),
        ),
    )


def _parse_thresholds(section: dict[str, Any], name: str, required: float | None) -> dict[float, float]:
    """Read an object such as {"0.95": 0.4}: a threshold for each share."""
    stored = section[name]
    if not isinstance(stored, dict):
        raise ValueError(f"{name} should be an object of thresholds by share, got {stored!r}")
    thresholds = {float(share): parse_number(value, name, 0.0, 1.0) for share, value in stored.items()}
    if not all(0.0 < share < 1.0 for share in thresholds) or required not in (None, *thresholds):
        raise ValueError(
            f"{name} should be for shares from 0 to 1, {required} among them; got {list(stored)}"
        )
    return thresholds
