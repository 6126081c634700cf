"""From one picture to an honest answer: calibrated probabilities, labels not ruled out, heat maps, or a refusal.

Goes in: an artefact and a picture. Comes out: a `Prediction`.

Example:
    >>> from serving import from_pretrained
    >>> prediction = from_pretrained().predict("slice.jpg")
    >>> prediction.label, prediction.prediction_set, prediction.in_domain
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from serving.hub.fetch import locate_artefact
from serving.model import artefact
from serving.model.calibration import DEFAULT_COVERAGE, compute_prediction_sets, compute_probabilities
from serving.model.explain import compute_heatmap
from serving.model.guard import Verdict, judge
from serving.model.runtime import LiteRTModel, Outputs
from serving.preprocess import ImageSource, decode, fit_to_square

if TYPE_CHECKING:
    from serving.hub.publish import Pushed
    from serving.model.keras_runtime import KerasModel

# What runs a model, and the file that it runs.
RUNTIMES = {"litert": artefact.LITERT_FILE, "keras": artefact.KERAS_FILE}


@dataclass(frozen=True)
class Prediction:
    """The answer for one picture.

    Attributes:
        label: the most probable label; None exactly where the picture is refused.
        probabilities: calibrated, by label, summing to 1. They mean nothing where the picture is refused.
        prediction_sets: by the coverage aimed at, .95 and .99: the labels that cannot be ruled out, most
            probable first; wider where the picture is unlike the training pictures, empty where it is
            refused.
        verdict: of the guard.
        reason: why the verdict is not `like_training`, for the person who sent the picture; else empty.
        domain_distance: how strange the picture is, see `serving.model.guard`, as a share of what is refused:
            above 1 it is; one that is refused for its colour or because it is empty may have less.
        logits: float32 (classes,), in the order of `probabilities`.
        cams: float32 (h, w, classes), class activation maps; `heatmaps` is made of them.
        image_size: side of the model's input and of the heat maps, pixels.
    """

    label: str | None
    probabilities: dict[str, float]
    prediction_sets: dict[float, tuple[str, ...]]
    verdict: Verdict
    reason: str
    domain_distance: float
    logits: np.ndarray
    cams: np.ndarray
    image_size: int

    @property
    def in_domain(self) -> bool:
        """False exactly where the picture is refused; a slice unlike the training pictures is scored, and counts as in the domain."""
        return self.verdict is not Verdict.not_brain_mri

    @property
    def prediction_set(self) -> tuple[str, ...]:
        """The labels that cannot be ruled out at 95 %."""
        return self.prediction_sets[DEFAULT_COVERAGE]

    @cached_property
    def heatmaps(self) -> dict[str, np.ndarray]:
        """By label, float32 (image_size, image_size), [0, 1]: where the evidence for it lies, over the picture made square."""
        return {
            label: compute_heatmap(self.cams, index, self.image_size)
            for index, label in enumerate(self.probabilities)
        }

    @property
    def heatmap(self) -> np.ndarray:
        """The heat map of the most probable label, also where the picture is refused."""
        return self.heatmaps[max(self.probabilities, key=self.probabilities.__getitem__)]

    def to_dict(self) -> dict[str, Any]:
        """All that is no array as JSON-ready values; probabilities are null where the picture is refused."""
        return {
            "label": self.label,
            "verdict": self.verdict.value,
            "reason": self.reason,
            "in_domain": self.in_domain,
            "probabilities": self.probabilities if self.in_domain else None,
            "prediction_set": list(self.prediction_set),
            "prediction_sets": {
                str(coverage): list(members) for coverage, members in self.prediction_sets.items()
            },
            "domain_distance": self.domain_distance,
        }


class Classifier:
    """A loaded artefact. Safe to call from several threads.

    Attributes:
        folder: where the artefact lies; named by the commit where it came from the Hub.
        config: its `config.json`.
    """

    def __init__(self, folder: Path, runtime: str = "litert"):
        """Load and check an artefact.

        Args:
            folder: holds `config.json` and the runtime's model file.
            runtime: one of `RUNTIMES`.

        Raises:
            ArtefactError: something is missing, damaged or of another version.
        """
        self.config, self.folder = artefact.load_config(folder), folder
        self._model = _load_model(artefact.check_sha256(folder, RUNTIMES[runtime], self.config), self.config)

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels in the order of the logits."""
        return self.config.labels

    def predict(self, source: ImageSource) -> Prediction:
        """Classify one picture.

        Args:
            source: path, file content, PIL image, array (h, w), (h, w, 1), (h, w, 3) or (h, w, 4), or a
                `Picture` that `serving.preprocess.decode` gave, where its pixels are needed as well.

        Raises:
            ImageError: the picture cannot be read.
        """
        return self.predict_batch([source])[0]

    def predict_batch(self, sources: Sequence[ImageSource]) -> list[Prediction]:
        """Classify several pictures in one go; see `predict`."""
        if not sources:
            return []
        images, coloured = [], []
        for source in sources:
            picture = decode(source)
            images.append(fit_to_square(picture.grey, self.config.image_size, self.config.image_fit))
            coloured.append(picture.coloured)
        return self.score(np.stack(images), np.array(coloured))

    def run(self, images: np.ndarray) -> Outputs:
        """Give the raw outputs for preprocessed images, uint8 (n, size, size, 1)."""
        return self._model.run(images)

    def score(self, images: np.ndarray, coloured: np.ndarray | None = None) -> list[Prediction]:
        """Classify preprocessed images.

        Args:
            images: uint8 (n, size, size, 1), [0, 255], n at least 1.
            coloured: share of each picture's pixels that had a colour before it became grey, float (n,), [0,
                1]; None: they were grey.
        """
        config, outputs = self.config, self.run(images)
        probs = compute_probabilities(outputs.logits, config.temperature)
        judged = judge(
            config.guard, outputs.embeddings, images, np.zeros(len(images)) if coloured is None else coloured
        )
        return [
            Prediction(
                label=self.labels[probs[row].argmax()] if verdict is not Verdict.not_brain_mri else None,
                probabilities={label: float(probs[row, index]) for index, label in enumerate(self.labels)},
                prediction_sets=self._find_sets(probs[row], verdict),
                verdict=verdict,
                reason=reason,
                domain_distance=distance,
                logits=outputs.logits[row],
                cams=outputs.cams[row],
                image_size=config.image_size,
            )
            for row, (verdict, reason, distance) in enumerate(judged)
        ]

    def _find_sets(self, probs: np.ndarray, verdict: Verdict) -> dict[float, tuple[str, ...]]:
        """Prediction sets of one picture by coverage, from probabilities float64 (classes,)."""
        unlike = verdict is Verdict.unlike_training
        thresholds = (
            self.config.unlike_prediction_set_thresholds if unlike else self.config.prediction_set_thresholds
        )
        if verdict is Verdict.not_brain_mri:
            return dict.fromkeys(thresholds, ())
        order = np.argsort(-probs, kind="stable")
        members = {
            coverage: compute_prediction_sets(probs[None], threshold)[0]
            for coverage, threshold in thresholds.items()
        }
        return {
            coverage: tuple(self.labels[index] for index in order if row[index])
            for coverage, row in members.items()
        }

    def save_pretrained(self, folder: str | Path) -> None:
        """Copy the artefact; one that was loaded from the Hub has only the files that its runtime needs (`tumor pull` gets all).

        Args:
            folder: new, empty, or an artefact that is replaced.

        Raises:
            ArtefactError: the folder holds something else, or cannot be written.
        """
        artefact.copy_artefact(self.folder, Path(folder))

    def push_to_hub(self, repo_id: str, **options: Any) -> "Pushed":
        """Publish the artefact, which has to be whole, on the Hub; see `serving.hub.publish.push_artefact` for the options."""
        from serving.hub.publish import push_artefact

        return push_artefact(self.folder, repo_id, **options)


def _load_model(path: Path, config: artefact.ArtefactConfig) -> "LiteRTModel | KerasModel":
    """Load the model and check on one black image that it fits the config."""
    try:
        model = _open_keras(path) if path.name == artefact.KERAS_FILE else LiteRTModel(path)
        outputs = model.run(np.zeros((1, model.image_size, model.image_size, 1), np.uint8))
    except artefact.ArtefactError:
        raise
    except (ValueError, TypeError, AttributeError, RuntimeError) as error:
        raise artefact.ArtefactError(
            f"{path.name} is no model that can be run ({error}). Export it again."
        ) from error
    found = {
        "image size": model.image_size,
        "labels": outputs.logits.shape[1],
        "embedding": outputs.embeddings.shape[1],
    }
    expected = {
        "image size": config.image_size,
        "labels": len(config.labels),
        "embedding": len(config.guard.content_weights),
    }
    if found != expected:
        raise artefact.ArtefactError(
            f"{path.name} has {found}, but {artefact.CONFIG_FILE} says {expected}. Export both again"
            " together."
        )
    return model


def _open_keras(path: Path) -> "KerasModel":
    # Imported here: it brings TensorFlow.
    try:
        from serving.model.keras_runtime import KerasModel
    except ModuleNotFoundError as error:
        raise artefact.ArtefactError(
            f"The Keras runtime needs {error.name}: pip install '.[train]', or use runtime=\"litert\"."
        ) from error
    return KerasModel(path)


def from_pretrained(
    path_or_repo: str | Path | None = None, revision: str | None = None, runtime: str = "litert"
) -> Classifier:
    """Load a classifier.

    Args:
        path_or_repo: an artefact folder, a Hub repository `user/name`, or None for the model bundled with the
            package.
        revision: branch, tag or commit on the Hub; a commit pins the model for good.
        runtime: `litert` runs `model.tflite`, in about 80 MB; `keras` runs `model.keras`, needs TensorFlow
            and gives the same probabilities.

    Raises:
        ArtefactError: it cannot be found, is damaged, is of another format version, or its runtime is not
            installed.
        ValueError: there is no such runtime.
    """
    if runtime not in RUNTIMES:
        raise ValueError(f"Expected {' or '.join(RUNTIMES)} as runtime, got {runtime!r}.")
    files = (artefact.CARD_FILE, artefact.CONFIG_FILE, artefact.METRICS_FILE, RUNTIMES[runtime])
    return Classifier(locate_artefact(path_or_repo, revision, files), runtime)
