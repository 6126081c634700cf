"""Start from a model that somebody has trained, instead of from ImageNet weights.

Goes in: the network of a run, and an artefact: the bundled one, a folder, or a Hub repository. Comes out: the
network with the artefact's weights wherever both have the same layer, and a record of what was taken. A few
pictures of one's own are enough to adapt a model that has seen thousands of brains.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from serving.hub.fetch import locate_artefact
from serving.model import artefact
from serving.model.keras_runtime import LOGITS_LAYER, load_safely
from trainer.config import ConfigError

BUNDLED = "bundled"


@dataclass(frozen=True)
class Start:
    """What a run started from.

    Attributes:
        model: as the config names it.
        commit: of the Hub repository; empty for a folder and the bundled model.
        sha256: of its `model.keras`.
        layers: how many layers with weights were taken from it, of how many.
        labels: whose weights in the last layer were taken, too.

    Example:
        >>> Start("bundled", "", "0" * 64, (104, 118), ("glioma",)).to_dict()["labels"]
        ['glioma']
    """

    model: str
    commit: str
    sha256: str
    layers: tuple[int, int]
    labels: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return {**asdict(self), "layers": list(self.layers), "labels": list(self.labels)}


def start_from(model: keras.Model, name: str, architecture: str, labels: Sequence[str]) -> Start:
    """Copy the weights of an artefact into a network.

    Layers are the same where name and shapes agree: the backbone always, the decoder where both have one of
    the same width. Of the last layer each label that both know takes its weights; others start as they were
    drawn. Pictures of another size need no other weights.

    Args:
        model: of the run; changed in place.
        name: `bundled`, an artefact or run folder, or `user/repo`, `user/repo@revision`.
        architecture: of the run, as in `ModelConfig`.
        labels: of the run.

    Raises:
        ArtefactError: it cannot be had, or is damaged.
        ConfigError: it is of another architecture.
    """
    folder, commit = _locate(name)
    config = artefact.load_config(folder)
    if config.architecture != architecture:
        raise ConfigError(
            f"model.start: expected a model of architecture {architecture}, got {name}, which is"
            f" {config.architecture}. Set model.architecture={config.architecture}, or start from another."
        )
    source = load_safely(artefact.check_sha256(folder, artefact.KERAS_FILE, config))
    taken, total = 0, 0
    for layer in model.layers:
        if not layer.weights or layer.name == LOGITS_LAYER:
            continue
        total += 1
        taken += _copy_layer(source, layer)
    shared = tuple(label for label in labels if label in config.labels)
    _copy_labels(
        source, model, [config.labels.index(label) for label in shared], [*map(labels.index, shared)]
    )
    sha256 = config.raw["sha256"][artefact.KERAS_FILE]
    return Start(name, commit, sha256, (taken, total), shared)


def _locate(name: str) -> tuple[Path, str]:
    """Folder of an artefact, and its commit where it comes from the Hub."""
    if name == BUNDLED:
        return artefact.BUNDLED, ""
    repo, _, revision = name.partition("@")
    is_folder = Path(name).is_dir()
    files = (*artefact.SERVING_FILES, artefact.KERAS_FILE)
    folder = locate_artefact(name if is_folder else repo, None if is_folder else revision or None, files)
    return folder, "" if is_folder else folder.name


def _copy_layer(source: keras.Model, layer: keras.Layer) -> bool:
    """Copy a layer's weights where the source has the same layer; say whether it has."""
    same = next((other for other in source.layers if other.name == layer.name), None)
    shapes = [tuple(weight.shape) for weight in layer.weights]
    if same is None or [tuple(weight.shape) for weight in same.weights] != shapes:
        return False
    for weight, other in zip(layer.weights, same.weights, strict=True):
        weight.assign(np.asarray(other))
    return True


def _copy_labels(source: keras.Model, model: keras.Model, sources: list[int], targets: list[int]) -> None:
    """Copy columns of the last layer, from `sources` to `targets`."""
    last, other = model.get_layer(LOGITS_LAYER), source.get_layer(LOGITS_LAYER)
    if not targets or last.kernel.shape[0] != other.kernel.shape[0]:
        return
    for weight, value in ((last.kernel, other.kernel), (last.bias, other.bias)):
        changed = np.array(weight)
        changed[..., targets] = np.asarray(value)[..., sources]
        weight.assign(changed)
