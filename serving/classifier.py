"""From a picture to an answer: calibrated probabilities, labels not ruled out, heat maps, or a refusal.

Goes in: an artefact and pictures. Comes out: a `Prediction` a picture.
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
from serving.model.copying import copy_artefact
from serving.model.explain import compute_heatmap
from serving.model.guard import Verdict, judge
from serving.model.runtime import MAX_BATCH, LiteRTModel, Outputs
from serving.preprocess import ImageSource, decode, fit_to_square

if TYPE_CHECKING:
    from serving.hub.publish import Pushed
    from serving.model import keras_runtime

# What runs a model, and the file that it runs.
RUNTIMES = {"litert": artefact.LITERT_FILE, "keras": artefact.KERAS_FILE}
# Pictures that are decoded and scored together. The guard needs some 300 kB for each of them.
CHUNK = 8 * MAX_BATCH


@dataclass(frozen=True)
class Prediction:
    """The answer for one picture.

    Attributes:
        label: the most probable label; None exactly where the picture is refused.
        probabilities: calibrated, by label, summing to 1. They mean nothing where the picture is refused.
        prediction_sets: by the coverage aimed at, .95 and .99: the labels that cannot be ruled out, most
            probable first; wider for a picture unlike the training pictures, empty for a refused one.
        verdict: of the guard.
        reason: why the verdict is not `like_training`, for the person who sent the picture; else empty.
        domain_distance: outlier score of `serving.model.guard`, as a share of the score from which pictures
            are refused; one that is refused for its colour or because it is empty may have less than 1.
        logits: float32 (classes,), in the order of `probabilities`.
        cams: float32 (h, w, classes), class activation maps; `heatmaps` is made of them.
        image_size: side of the model's input and of the heat maps, pixels.

    Example:
        >>> prediction = from_pretrained().predict(artefact.BUNDLED.parent / "app/examples/glioma.png")
        >>> prediction.label, prediction.prediction_set, prediction.in_domain
        ('glioma', ('glioma',), True)
        >>> prediction.heatmap.shape
        (160, 160)
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
        """False exactly where the picture is refused; a slice unlike the training pictures is scored."""
        return self.verdict is not Verdict.not_brain_mri

    @property
    def prediction_set(self) -> tuple[str, ...]:
        """The labels that cannot be ruled out at 95 %."""
        return self.prediction_sets[DEFAULT_COVERAGE]

    @cached_property
    def heatmaps(self) -> dict[str, np.ndarray]:
        """By label, float32 (image_size, image_size), [0, 1]: where the evidence for it lies."""
        labels = enumerate(self.probabilities)
        return {label: compute_heatmap(self.cams, index, self.image_size) for index, label in labels}

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
            "prediction_sets": {str(share): list(members) for share, members in self.prediction_sets.items()},
            "domain_distance": self.domain_distance,
        }


class Classifier:
    """A loaded artefact. Safe to call from several threads.

    Attributes:
        folder: where the artefact lies; named by the commit where it came from the Hub.
        config: its `config.json`.

    Example:
        >>> classifier = from_pretrained()
        >>> black = np.zeros((200, 180), np.uint8)
        >>> [prediction.reason for prediction in classifier.predict_batch([black])]
        ['It is empty: nearly all of it has one grey level.']
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
            source: path, file content, PIL image, array (h, w), (h, w, 1), (h, w, 3) or (h, w, 4), or what
                `serving.preprocess.decode` gave.

        Raises:
            ImageError: the picture cannot be read.
        """
        return self.predict_batch([source])[0]

    def predict_batch(self, sources: Sequence[ImageSource]) -> list[Prediction]:
        """Classify several pictures; see `predict`. Only `CHUNK` of them are in memory at a time."""
        predictions: list[Prediction] = []
        for start in range(0, len(sources), CHUNK):
            images, coloured = [], []
            for source in sources[start : start + CHUNK]:
                picture = decode(source)
                images.append(fit_to_square(picture.grey, self.config.image_size, self.config.image_fit))
                coloured.append(picture.coloured)
            predictions += self.score(np.stack(images), np.array(coloured))
        return predictions

    def run(self, images: np.ndarray) -> Outputs:
        """Give the raw outputs for preprocessed images, uint8 (n, size, size, 1)."""
        return self._model.run(images)

    def score(self, images: np.ndarray, coloured: np.ndarray | None = None) -> list[Prediction]:
        """Classify preprocessed images.

        Args:
            images: uint8 (n, size, size, 1), [0, 255].
            coloured: float (n,), [0, 1], share of each picture's pixels that had a colour; None: 0.
        """
        coloured = np.zeros(len(images)) if coloured is None else coloured
        chunks = [slice(start, start + CHUNK) for start in range(0, len(images), CHUNK)]
        return [one for chunk in chunks for one in self._score_chunk(images[chunk], coloured[chunk])]

    def _score_chunk(self, images: np.ndarray, coloured: np.ndarray) -> list[Prediction]:
        config, outputs = self.config, self.run(images)
        probs = compute_probabilities(outputs.logits, config.temperature)
        judged = judge(config.guard, outputs.embeddings, images, coloured)
        return [
            Prediction(
                label=self.labels[probs[row].argmax()] if verdict is not Verdict.not_brain_mri else None,
                probabilities=dict(zip(self.labels, probs[row].tolist(), strict=True)),
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
        thresholds = self.config.prediction_set_thresholds
        if verdict is Verdict.not_brain_mri:
            return dict.fromkeys(thresholds, ())
        if verdict is Verdict.unlike_training:
            thresholds = self.config.unlike_prediction_set_thresholds
        order = np.argsort(-probs, kind="stable")
        sets = {}
        for coverage, threshold in thresholds.items():
            [members] = compute_prediction_sets(probs[None], threshold)
            sets[coverage] = tuple(self.labels[index] for index in order if members[index])
        return sets

    def save_pretrained(self, folder: str | Path) -> None:
        """Copy the artefact; one from the Hub has only what its runtime needs (`tumor pull` gets all).

        Args:
            folder: new, empty, or an artefact that is replaced.

        Raises:
            ArtefactError: the folder holds something else, or cannot be written.
        """
        copy_artefact(self.folder, Path(folder))

    def push_to_hub(self, repo_id: str, **options: Any) -> "Pushed":
        """Publish the artefact, which has to be whole; options: see `serving.hub.publish.push_artefact`."""
        from serving.hub.publish import push_artefact

        return push_artefact(self.folder, repo_id, **options)


def _load_model(path: Path, config: artefact.ArtefactConfig) -> "LiteRTModel | keras_runtime.KerasModel":
    """Load the model and check on one black image that it fits the config."""
    model: LiteRTModel | keras_runtime.KerasModel
    try:
        if path.name == artefact.KERAS_FILE:
            from serving.model.keras_runtime import KerasModel  # here, because it brings TensorFlow

            model = KerasModel(path)
        else:
            model = LiteRTModel(path)
        outputs = model.run(np.zeros((1, model.image_size, model.image_size, 1), np.uint8))
    except artefact.ArtefactError:
        raise
    except ModuleNotFoundError as error:
        advice = "pip install '.[train]', or use runtime=\"litert\""
        raise artefact.ArtefactError(f"The Keras runtime needs {error.name}: {advice}.") from error
    except (ValueError, TypeError, AttributeError, RuntimeError) as error:
        problem = f"{path.name} is no model that can be run ({error})"
        raise artefact.ArtefactError(f"{problem}. Export it again.") from error
    sizes = (model.image_size, outputs.logits.shape[1], outputs.embeddings.shape[1])
    stated = (config.image_size, len(config.labels), len(config.guard.content_weights))
    if sizes != stated:
        names = ("image size", "labels", "embedding")
        found, expected = (dict(zip(names, values, strict=True)) for values in (sizes, stated))
        problem = f"{path.name} has {found}, but {artefact.CONFIG_FILE} says {expected}"
        raise artefact.ArtefactError(f"{problem}. Export both again together.")
    return model


def from_pretrained(
    path_or_repo: str | Path | None = None, revision: str | None = None, runtime: str = "litert"
) -> Classifier:
    """Load a classifier.

    Args:
        path_or_repo: an artefact folder, a Hub repository `user/name`, or None for the bundled model.
        revision: branch, tag or commit on the Hub; a commit pins the model for good.
        runtime: `litert` runs `model.tflite` in 80 MB; `keras` runs `model.keras` and needs TensorFlow.

    Raises:
        ArtefactError: it cannot be found, is damaged or of another format version, or its runtime is missing.
        ValueError: there is no such runtime.
    """
    if runtime not in RUNTIMES:
        raise ValueError(f"Expected {' or '.join(RUNTIMES)} as runtime, got {runtime!r}.")
    files = (*artefact.SERVING_FILES, RUNTIMES[runtime])
    return Classifier(locate_artefact(path_or_repo, revision, files), runtime)
