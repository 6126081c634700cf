"""From a picture to an answer: calibrated probabilities, labels not ruled out, outlines, or a refusal.

Goes in: an artefact and pictures. Comes out: a `Prediction` a picture.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args, overload

import numpy as np

from serving.files.errors import ImageError
from serving.hub.fetch import locate_artefact
from serving.model import artefact
from serving.model.calibration import compute_prediction_sets
from serving.model.combination import compute_answers, explain_disagreements
from serving.model.copying import copy_artefact
from serving.model.guard import Verdict, judge
from serving.model.loading import RUNTIMES, load_model
from serving.model.outline import compute_tumor_shares
from serving.model.prediction import FoundTumor, Prediction
from serving.model.runtime import MAX_BATCH, MAX_INTERPRETERS, Outputs
from serving.model.streaming import map_in_threads, split_stream
from serving.preprocess import ImageSource, decode, fit_to_square

if TYPE_CHECKING:
    from serving.hub.publish import Pushed

# Preprocessed images that `score` takes together. The guard needs some 300 kB for each of them.
CHUNK = 8 * MAX_BATCH
# What becomes of a picture of a batch that cannot be read: it ends the batch, or its error is its answer.
Errors = Literal["raise", "return"]


class Classifier:
    """A loaded artefact. Safe to call from several threads.

    Pickled, it is its folder and its runtime: another process, as of joblib, Dask or `multiprocessing`, loads
    the artefact anew and has to find the folder.

    Attributes:
        folder: where the artefact lies, absolute; named by the commit where it came from the Hub.
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
        self.config, self.folder, self._runtime = artefact.load_config(folder), folder.absolute(), runtime
        self._model = load_model(artefact.check_sha256(folder, RUNTIMES[runtime], self.config), self.config)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.folder, self._runtime)

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels in the order of the logits."""
        return self.config.labels

    def predict(self, source: ImageSource) -> Prediction:
        """Classify one picture.

        Args:
            source: path, file content, file opened with mode "rb", PIL image, array (h, w), (h, w, 1),
                (h, w, 3) or (h, w, 4), or what `serving.preprocess.decode` gave.

        Raises:
            ImageError: the picture cannot be read.
        """
        [answer] = self._answer([(None, source)])
        if isinstance(answer, ImageError):
            raise answer
        return answer

    @overload
    def predict_batch(
        self, sources: Iterable[ImageSource], errors: Literal["raise"] = "raise", progress: bool = False
    ) -> list[Prediction]: ...

    @overload
    def predict_batch(
        self, sources: Iterable[ImageSource], errors: Errors, progress: bool = False
    ) -> list[Prediction | ImageError]: ...

    def predict_batch(
        self, sources: Iterable[ImageSource], errors: Errors = "raise", progress: bool = False
    ) -> Sequence[Prediction | ImageError]:
        """Classify several pictures, on all cores.

        Args:
            sources: pictures as `predict` takes them.
            errors: `raise`: a picture that cannot be read ends the batch; `return`: its error takes the place
                of its answer. Either names the picture by its place, from 0.
            progress: whether stderr shows how far it is.

        Returns:
            An answer a picture, in order.

        Raises:
            ImageError: `errors` is `raise`, and a picture cannot be read.
            ValueError: `errors` is neither.
        """
        answers = self.predict_stream(sources, errors)
        if not progress:
            return list(answers)
        from rich.console import Console  # here, because most callers want none
        from rich.progress import track

        total = len(sources) if isinstance(sources, Sequence) else None
        console = Console(stderr=True)
        return list(track(answers, "Scoring", total, console=console))

    def predict_stream(
        self, sources: Iterable[ImageSource], errors: Errors = "raise"
    ) -> Iterator[Prediction | ImageError]:
        """Classify a stream of pictures, on all cores: the iterator gives answers while it takes pictures.

        Args:
            sources: pictures as `predict` takes them, as many as there are; some `MAX_BATCH` a core are in
                memory at a time, so paths cost less than what they hold.
            errors: see `predict_batch`.

        Raises:
            ImageError: as `predict_batch` does, once the answers before it were taken.
            ValueError: as `predict_batch` does.
        """
        if errors not in get_args(Errors):
            raise ValueError(f"Expected {' or '.join(get_args(Errors))} as errors, got {errors!r}.")
        chunks = split_stream(enumerate(sources), MAX_BATCH)
        answered = map_in_threads(self._answer, chunks, MAX_INTERPRETERS)
        answers = (answer for chunk in answered for answer in chunk)
        return _raise_errors(answers) if errors == "raise" else answers

    def _answer(self, numbered: Sequence[tuple[int | None, ImageSource]]) -> list[Prediction | ImageError]:
        """Decode and score up to `MAX_BATCH` pictures together, each with its place in the batch."""
        answers: list[Prediction | ImageError | None] = []
        images, coloured, shapes = [], [], []
        for place, source in numbered:
            try:
                picture = decode(source)
            except ImageError as error:
                answers.append(
                    error if place is None else ImageError(f"Picture {place} of the batch: {error}")
                )
                continue
            images.append(fit_to_square(picture.grey, self.config.image_size, self.config.image_fit))
            coloured.append(picture.coloured)
            shapes.append(picture.grey.shape)
            answers.append(None)
        found = iter(self.score(np.stack(images), np.array(coloured), shapes) if images else ())
        return [next(found) if answer is None else answer for answer in answers]

    def run(self, images: np.ndarray) -> Outputs:
        """Give the raw outputs for preprocessed images, uint8 (n, size, size, 1)."""
        return self._model.run(images)

    def score(
        self,
        images: np.ndarray,
        coloured: np.ndarray | None = None,
        shapes: Sequence[tuple[int, ...]] | None = None,
    ) -> list[Prediction]:
        """Classify preprocessed images.

        Args:
            images: uint8 (n, size, size, 1), [0, 255].
            coloured: float (n,), [0, 1], share of each picture's pixels that had a colour; None: 0.
            shapes: height and width of each picture before it was made square, the frame of its tumour map
                and outlines; None: the preprocessed images are the pictures.
        """
        coloured = np.zeros(len(images)) if coloured is None else coloured
        shapes = [images.shape[1:3]] * len(images) if shapes is None else shapes
        predictions: list[Prediction] = []
        for start in range(0, len(images), CHUNK):
            chunk = slice(start, start + CHUNK)
            predictions += self._score_chunk(images[chunk], coloured[chunk], shapes[chunk])
        return predictions

    def _score_chunk(
        self, images: np.ndarray, coloured: np.ndarray, shapes: Sequence[tuple[int, ...]]
    ) -> list[Prediction]:
        config, outputs = self.config, self.run(images)
        logits, peaks = outputs.logits, outputs.tumor_peaks
        probs = compute_answers(logits, peaks, config.temperature, config.healthy, config.map)
        doubts = explain_disagreements(logits, probs, peaks, config.healthy, config.map)
        judged = judge(config.guard, outputs.embeddings, images, coloured)
        judged = [_add_doubt(*one, doubt) for one, doubt in zip(judged, doubts, strict=True)]
        found = self._find_tumors(outputs, images, shapes)
        return [
            Prediction(
                label=self.labels[probs[row].argmax()] if verdict is not Verdict.not_brain_mri else None,
                unguarded_probabilities=dict(zip(self.labels, probs[row].tolist(), strict=True)),
                prediction_sets=self._find_sets(probs[row], verdict),
                verdict=verdict,
                reason=reason,
                domain_distance=distance,
                logits=outputs.logits[row],
                cams=outputs.cams[row],
                found=found[row],
                healthy_label=config.healthy_label,
            )
            for row, (verdict, reason, distance) in enumerate(judged)
        ]

    def _find_tumors(
        self, outputs: Outputs, images: np.ndarray, shapes: Sequence[tuple[int, ...]]
    ) -> Sequence[FoundTumor | None]:
        """What the tumour map says of each picture; None for each where the model has no map."""
        config = self.config.map
        if outputs.tumor_maps is None or config is None:
            return [None] * len(images)
        shares = compute_tumor_shares(outputs.tumor_maps, images, config.threshold)
        return [
            FoundTumor(
                square_map=outputs.tumor_maps[row],
                threshold=config.threshold,
                share=float(share),
                height=shapes[row][0],
                width=shapes[row][1],
                fit=self.config.image_fit,
            )
            for row, share in enumerate(shares)
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


def _raise_errors(answers: Iterable[Prediction | ImageError]) -> Iterator[Prediction]:
    for answer in answers:
        if isinstance(answer, ImageError):
            raise answer
        yield answer


def _add_doubt(verdict: Verdict, reason: str, distance: float, doubt: str) -> tuple[Verdict, str, float]:
    """Verdict and reason of a picture about which classes and tumour map may contradict each other."""
    if not doubt or verdict is Verdict.not_brain_mri:
        return verdict, reason, distance
    return Verdict.unlike_training, f"{reason} {doubt}".strip(), distance


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
