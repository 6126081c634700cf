"""From one picture to an honest answer: calibrated probabilities, labels not ruled out, heat map, or a refusal.

Goes in: an artefact and a picture. Comes out: a `Prediction`.

Example:
    >>> from serving import from_pretrained
    >>> prediction = from_pretrained().predict("slice.jpg")
    >>> prediction.label, prediction.prediction_set, prediction.in_domain
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from serving import artefact
from serving.calibration import DEFAULT_COVERAGE, compute_prediction_sets, compute_probabilities
from serving.explain import compute_heatmap
from serving.guard import compute_distances
from serving.hub import locate_artefact
from serving.preprocess import ImageSource, preprocess
from serving.runtime import LiteRTModel, Outputs

if TYPE_CHECKING:
    from serving.keras_runtime import KerasModel
    from serving.publish import Pushed

# What runs a model, and the file that it runs.
RUNTIMES = {"litert": artefact.LITERT_FILE, "keras": artefact.KERAS_FILE}


@dataclass(frozen=True)
class Prediction:
    """The answer for one picture.

    Attributes:
        label: the most probable label; None where the picture is refused.
        probabilities: calibrated, by label, summing to 1. They mean nothing where the picture is refused.
        prediction_sets: by the coverage aimed at, .95 and .99: the labels that cannot be ruled out, most probable first; empty where the
            picture is refused.
        in_domain: False where the picture does not look like a brain MRI slice.
        domain_distance: from the training data, [0, 1]; see `serving.guard`.
        heatmap: float32 (size, size), [0, 1]: where the evidence for the most probable label lies, over the picture made square.
    """

    label: str | None
    probabilities: dict[str, float]
    prediction_sets: dict[float, tuple[str, ...]]
    in_domain: bool
    domain_distance: float
    heatmap: np.ndarray

    @property
    def prediction_set(self) -> tuple[str, ...]:
        """The labels that cannot be ruled out at 95 %."""
        return self.prediction_sets[DEFAULT_COVERAGE]

    def to_dict(self) -> dict[str, Any]:
        """All but the heat map as JSON-ready values; probabilities are null where the picture is refused."""
        return {
            "label": self.label,
            "in_domain": self.in_domain,
            "probabilities": self.probabilities if self.in_domain else None,
            "prediction_set": list(self.prediction_set),
            "prediction_sets": {str(coverage): list(members) for coverage, members in self.prediction_sets.items()},
            "domain_distance": self.domain_distance,
        }


class Classifier:
    """A loaded artefact. Safe to call from several threads."""

    def __init__(self, folder: Path, runtime: str = "litert"):
        """Load and check an artefact.

        Args:
            folder: holds `config.json` and the runtime's model file.
            runtime: one of `RUNTIMES`.

        Raises:
            ArtefactError: something is missing, damaged or of another version.
        """
        self.config, self._folder = artefact.load_config(folder), folder
        self._model = _load_model(artefact.check_sha256(folder, RUNTIMES[runtime], self.config), self.config)

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels in the order of the logits."""
        return self.config.labels

    def predict(self, source: ImageSource) -> Prediction:
        """Classify one picture.

        Args:
            source: path, file content, PIL image, or array (h, w), (h, w, 1), (h, w, 3) or (h, w, 4).

        Raises:
            ImageError: the picture cannot be read.
        """
        return self.predict_batch([source])[0]

    def predict_batch(self, sources: Sequence[ImageSource]) -> list[Prediction]:
        """Classify several pictures in one go; see `predict`."""
        if not sources:
            return []
        images = np.stack([preprocess(source, self.config.image_size, self.config.image_fit) for source in sources])
        return self.interpret(self.run(images))

    def run(self, images: np.ndarray) -> Outputs:
        """Score preprocessed images, uint8 (n, size, size, 1), without interpreting them."""
        return self._model.run(images)

    def interpret(self, outputs: Outputs) -> list[Prediction]:
        """Turn raw outputs into calibrated, guarded predictions."""
        config = self.config
        probs = compute_probabilities(outputs.logits, config.temperature)
        members = {coverage: compute_prediction_sets(probs, threshold) for coverage, threshold in config.prediction_set_thresholds.items()}
        distances = compute_distances(outputs.embeddings, config.guard.directions)
        predictions = []
        for row, cams in enumerate(outputs.cams):
            order = np.argsort(-probs[row], kind="stable")
            in_domain = bool(distances[row] <= config.guard.threshold)
            predictions.append(
                Prediction(
                    label=self.labels[order[0]] if in_domain else None,
                    probabilities={label: float(probs[row, index]) for index, label in enumerate(self.labels)},
                    prediction_sets={
                        coverage: tuple(self.labels[index] for index in order if rows[row, index]) if in_domain else ()
                        for coverage, rows in members.items()
                    },
                    in_domain=in_domain,
                    domain_distance=float(distances[row]),
                    heatmap=compute_heatmap(cams, int(order[0]), config.image_size),
                )
            )
        return predictions

    def save_pretrained(self, folder: str | Path) -> None:
        """Copy the artefact; one that was loaded from the Hub has only the files that its runtime needs (`tumor pull` gets all).

        Args:
            folder: new, empty, or an artefact that is replaced.

        Raises:
            ArtefactError: the folder holds something else, or cannot be written.
        """
        artefact.copy_artefact(self._folder, Path(folder))

    def push_to_hub(self, repo_id: str, **options: Any) -> "Pushed":
        """Publish the artefact, which has to be whole, on the Hub; see `serving.publish.push_artefact` for the options."""
        from serving.publish import push_artefact

        return push_artefact(self._folder, repo_id, **options)


def _load_model(path: Path, config: artefact.ArtefactConfig) -> "LiteRTModel | KerasModel":
    """Load the model and check on one black image that it fits the config."""
    try:
        model = _open_keras(path) if path.name == artefact.KERAS_FILE else LiteRTModel(path)
        outputs = model.run(np.zeros((1, model.image_size, model.image_size, 1), np.uint8))
    except artefact.ArtefactError:
        raise
    except (ValueError, TypeError, AttributeError, RuntimeError) as error:
        raise artefact.ArtefactError(f"{path.name} is no model that can be run ({error}). Export it again.") from error
    found = {"image size": model.image_size, "labels": outputs.logits.shape[1], "embedding": outputs.embeddings.shape[1]}
    expected = {"image size": config.image_size, "labels": len(config.labels), "embedding": config.guard.directions.shape[1]}
    if found != expected:
        raise artefact.ArtefactError(f"{path.name} has {found}, but {artefact.CONFIG_FILE} says {expected}. Export both again together.")
    return model


def _open_keras(path: Path) -> "KerasModel":
    # Imported here: it brings TensorFlow.
    try:
        from serving.keras_runtime import KerasModel
    except ModuleNotFoundError as error:
        raise artefact.ArtefactError(f"The Keras runtime needs {error.name}: pip install '.[train]', or use runtime=\"litert\".") from error
    return KerasModel(path)


def from_pretrained(path_or_repo: str | Path | None = None, revision: str | None = None, runtime: str = "litert") -> Classifier:
    """Load a classifier.

    Args:
        path_or_repo: an artefact folder, a Hub repository `user/name`, or None for the model bundled with the package.
        revision: branch, tag or commit on the Hub; a commit pins the model for good.
        runtime: `litert` runs `model.tflite`, in about 80 MB; `keras` runs `model.keras`, needs TensorFlow and gives the same
            probabilities.

    Raises:
        ArtefactError: it cannot be found, is damaged, is of another format version, or its runtime is not installed.
        ValueError: there is no such runtime.
    """
    if runtime not in RUNTIMES:
        raise ValueError(f"Expected {' or '.join(RUNTIMES)} as runtime, got {runtime!r}.")
    return Classifier(locate_artefact(path_or_repo, revision, (artefact.CONFIG_FILE, RUNTIMES[runtime])), runtime)
