"""What a model said about every image of a set: `predictions.csv`, the one source of every figure.

Goes in: logits, probabilities and facts of the images, or the file. Comes out: `Predictions`, checked.
Numbers are written with all their digits, so a loaded file gives the figures that the run gave.
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from serving.files.errors import UserError
from serving.files.writing import replace_whole

PREDICTIONS_FILE = "predictions.csv"
# Beside it where models of several folds answered.
OVER_FOLDS_FILE = "over_folds.json"
FACT_COLUMNS = ("protocol", "filename", "group", "has_train_twin", "label", "predicted", "refused")
ARRAYS = ("groups", "has_train_twin", "true", "logits", "probs", "refused")
LOGIT_PREFIX, PROB_PREFIX = "logit_", "prob_"
# Far above what rounding to six digits does, far below any damage that matters.
SUM_TOLERANCE = 1e-4
REMEDY = "Write it again: tumor evaluate"


class PredictionsError(UserError):
    """Predictions that cannot be scored; the message says what was expected, what came and what to do."""


@dataclass(frozen=True, eq=False)
class Predictions:
    """Answers for n images, each image once; checked when made.

    Attributes:
        protocol: what the images are: a config of `tumor_ds`, or `images-FOLDER`.
        labels: in the order of the columns.
        filenames: n different paths.
        groups: int (n,); images of one group are not independent of each other.
        has_train_twin: bool (n,), test images that are a mirrored or turned training image.
        true: int (n,), indices into `labels`.
        logits: float32 (n, classes).
        probs: float64 (n, classes), calibrated, rows sum to 1.
        refused: bool (n,), by the input guard; refused images are scored all the same.
        tumor_peak: float64 (n,), [0, 1], highest value of the tumour map; None where the model has no map.

    Raises:
        PredictionsError: no images, an image twice, arrays that do not fit each other, logits or
            probabilities that are no numbers.

    Example:
        >>> predictions = load_predictions(Path("configs/results/official/predictions.csv"))
        >>> unseen = predictions.take(~predictions.has_train_twin)
        >>> round(float((unseen.predicted == unseen.true).mean()), 4)
        0.9875
    """

    protocol: str
    labels: tuple[str, ...]
    filenames: tuple[str, ...]
    groups: np.ndarray
    has_train_twin: np.ndarray
    true: np.ndarray
    logits: np.ndarray
    probs: np.ndarray
    refused: np.ndarray
    tumor_peak: np.ndarray | None = None

    def __post_init__(self) -> None:
        if not self.filenames:
            raise PredictionsError(
                "Expected at least one image to score, got none. Check the split, or the folder."
            )
        if len(set(self.filenames)) < len(self.filenames):
            twice = next(name for name in self.filenames if self.filenames.count(name) > 1)
            raise PredictionsError(f"Expected every image once, got {twice} more than once. {REMEDY}")
        self._check_shapes()
        self._check_numbers()

    @property
    def predicted(self) -> np.ndarray:
        """Most probable label, int (n,), indices into `labels`."""
        return self.probs.argmax(axis=1)

    def take(self, rows: np.ndarray) -> "Predictions":
        """Some of the images: bool (n,), or int (m,) in the order given."""
        chosen = np.arange(len(self.filenames))[rows]
        names = tuple(self.filenames[row] for row in chosen)
        arrays = {name: getattr(self, name)[chosen] for name in ARRAYS}
        tumor_peak = None if self.tumor_peak is None else self.tumor_peak[chosen]
        return Predictions(self.protocol, self.labels, names, **arrays, tumor_peak=tumor_peak)

    def _check_shapes(self) -> None:
        count, classes = len(self.filenames), len(self.labels)
        for name in ARRAYS:
            shape = (count, classes) if name in ("logits", "probs") else (count,)
            found = getattr(self, name).shape
            if found != shape:
                raise PredictionsError(f"Expected {name} of shape {shape}, got {found}. {REMEDY}")
        if self.true.min() < 0 or self.true.max() >= classes:
            raise PredictionsError(
                f"Expected labels 0 to {classes - 1}, got {self.true.min()} to {self.true.max()}. {REMEDY}"
            )

    def _check_numbers(self) -> None:
        broken = ~(np.isfinite(self.logits).all(axis=1) & np.isfinite(self.probs).all(axis=1))
        if broken.any():
            name = self.filenames[int(broken.argmax())]
            raise PredictionsError(
                f"Expected finite logits and probabilities, got NaN or infinity for {broken.sum()} of"
                f" {len(broken)} images, first {name}. The model's weights or the file are damaged: export"
                " the model, or download it, again."
            )
        wrong = (np.abs(self.probs.sum(axis=1) - 1) > SUM_TOLERANCE) | (self.probs < 0).any(axis=1)
        if wrong.any():
            row = int(wrong.argmax())
            raise PredictionsError(
                f"Expected probabilities from 0 that sum to 1, got {self.probs[row].tolist()} for"
                f" {self.filenames[row]}. {REMEDY}"
            )


def pool_predictions(parts: Sequence[Predictions]) -> Predictions:
    """Put the predictions of several models about different images together, as of folds.

    Raises:
        PredictionsError: they are about other labels or protocols, or an image is in two of them.
    """
    first = parts[0]
    for part in parts[1:]:
        if (part.labels, part.protocol) != (first.labels, first.protocol):
            raise PredictionsError(
                f"Expected predictions about {first.protocol} {first.labels}, got {part.protocol}"
                f" {part.labels}. {REMEDY}"
            )
    names = tuple(name for part in parts for name in part.filenames)
    arrays = {name: np.concatenate([getattr(part, name) for part in parts]) for name in ARRAYS}
    peaks = [part.tumor_peak for part in parts if part.tumor_peak is not None]
    tumor_peak = np.concatenate(peaks) if len(peaks) == len(parts) else None
    return Predictions(first.protocol, first.labels, names, **arrays, tumor_peak=tumor_peak)


def save_predictions(predictions: Predictions, path: Path) -> None:
    """Write a row an image, with every digit, whole or not at all."""
    labels, predicted = predictions.labels, predictions.predicted
    with replace_whole(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(_build_header(labels))
        for row, filename in enumerate(predictions.filenames):
            twin, refused = int(predictions.has_train_twin[row]), int(predictions.refused[row])
            facts = [predictions.protocol, filename, predictions.groups[row], twin]
            said = [labels[predictions.true[row]], labels[predicted[row]], refused]
            # str() of a numpy number is the shortest text that reads back as the same number.
            numbers = map(str, (*predictions.logits[row], *predictions.probs[row]))
            writer.writerow([*facts, *said, *numbers])


def load_predictions(
    path: Path, labels: Sequence[str] | None = None, protocol: str | None = None
) -> Predictions:
    """Read and check `predictions.csv`.

    Args:
        path: the file.
        labels: names in the order expected; None: as the file has them.
        protocol: the protocol expected; None: whichever.

    Raises:
        PredictionsError: the file is missing, damaged, or about another dataset.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            header, *rows = list(csv.reader(file)) or [[]]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise PredictionsError(
            f"{path} cannot be read as predictions: {reason}. Expected the {PREDICTIONS_FILE} of tumor"
            " evaluate."
        ) from error
    found = _read_labels(path, header)
    if labels is not None and found != tuple(labels):
        raise PredictionsError(
            f"{path} is about the labels {found}, expected {tuple(labels)}. It is of another dataset: name"
            " its own model."
        )
    predictions = _parse(path, found, header, rows)
    if protocol is not None and predictions.protocol != protocol:
        raise PredictionsError(
            f"{path} is about {predictions.protocol}, expected {protocol}. Name the file of that dataset."
        )
    return predictions


def _build_header(labels: Sequence[str]) -> list[str]:
    numbers = [f"{prefix}{label}" for prefix in (LOGIT_PREFIX, PROB_PREFIX) for label in labels]
    return [*FACT_COLUMNS, *numbers]


def _read_labels(path: Path, header: list[str]) -> tuple[str, ...]:
    labels = tuple(name.removeprefix(LOGIT_PREFIX) for name in header if name.startswith(LOGIT_PREFIX))
    if len(labels) < 2 or header != _build_header(labels):
        expected = ", ".join([*FACT_COLUMNS, f"{LOGIT_PREFIX}LABEL ...", f"{PROB_PREFIX}LABEL ..."])
        raise PredictionsError(
            f"{path} has the columns {', '.join(header) or 'none'}; expected {expected}. {REMEDY}"
        )
    return labels


def _read_columns(
    path: Path, labels: tuple[str, ...], header: list[str], rows: list[list[str]]
) -> dict[str, list[str]]:
    """Cells by column, each row whole, of one protocol and known labels."""
    for line, row in enumerate(rows, start=2):
        if len(row) != len(header):
            raise PredictionsError(
                f"{path}, line {line}: expected {len(header)} values, got {len(row)}. It is cut short or"
                f" damaged. {REMEDY}"
            )
    columns = {name: [row[index] for row in rows] for index, name in enumerate(header)}
    protocols = sorted(set(columns["protocol"]))
    if len(protocols) > 1:
        raise PredictionsError(f"{path} mixes the protocols {', '.join(protocols)}; expected one. {REMEDY}")
    unknown = sorted(set(columns["label"]) - set(labels))
    if unknown:
        raise PredictionsError(
            f"{path} has the true label {unknown[0]!r}; expected one of {', '.join(labels)}. {REMEDY}"
        )
    return columns


def _parse(path: Path, labels: tuple[str, ...], header: list[str], rows: list[list[str]]) -> Predictions:
    columns = _read_columns(path, labels, header, rows)
    try:
        predictions = Predictions(
            protocol=columns["protocol"][0] if rows else "",
            labels=labels,
            filenames=tuple(columns["filename"]),
            groups=np.array([int(value) for value in columns["group"]], np.int64),
            has_train_twin=_parse_flags(columns["has_train_twin"]),
            true=np.array([labels.index(value) for value in columns["label"]], np.int64),
            logits=_parse_numbers(columns, LOGIT_PREFIX, labels).astype(np.float32),
            probs=_parse_numbers(columns, PROB_PREFIX, labels),
            refused=_parse_flags(columns["refused"]),
        )
    except PredictionsError as error:
        raise PredictionsError(f"{path}: {error}") from error
    except ValueError as error:
        raise PredictionsError(f"{path} holds a value that is no number: {error}. {REMEDY}") from error
    if [labels[index] for index in predictions.predicted] != columns["predicted"]:
        raise PredictionsError(
            f"{path} names other predicted labels than its probabilities do. It was edited or damaged."
            f" {REMEDY}"
        )
    return predictions


def _parse_numbers(columns: dict[str, list[str]], prefix: str, labels: tuple[str, ...]) -> np.ndarray:
    return np.array([[float(value) for value in columns[f"{prefix}{label}"]] for label in labels]).T


def _parse_flags(values: list[str]) -> np.ndarray:
    wrong = sorted(set(values) - {"0", "1"})
    if wrong:
        raise ValueError(f"{wrong[0]!r} where 0 or 1 was expected")
    return np.array([value == "1" for value in values])
