"""`predictions.csv`: a row an image, the one source of every figure.

Goes in: `Predictions`, or the file. Comes out: the other, checked. Numbers are written with all their digits,
so a loaded file gives the figures that the run gave.

The columns, in order; those of a line stand all in a file, or none:
    protocol, filename, group, has_train_twin, label, predicted, refused: in every file; `label` is empty
        where the kind is unknown, or none of the labels
    healthy_label: where another label than `notumor` says that nothing is found
    tumor, source, sequence, skull: of pictures of a built dataset (`trainer.evaluation.origins`)
    unlike_training: in files since December 2026
    logit_LABEL, prob_LABEL: in every file
    tumor_peak: of models with a tumour map
    outline, tumor_share, dice, ...: of such models, on a built dataset (`trainer.evaluation.localisation`)
"""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from serving.files.writing import replace_whole
from serving.model.artefact import find_default_healthy
from trainer.evaluation.image_columns import format_cell
from trainer.evaluation.localisation import Localisation
from trainer.evaluation.origins import Origins
from trainer.evaluation.predictions import (
    PREDICTIONS_FILE,
    REMEDY,
    UNKNOWN_KIND,
    Predictions,
    PredictionsError,
)

FACT_COLUMNS = ("protocol", "filename", "group", "has_train_twin", "label", "predicted", "refused")
ORIGIN_COLUMNS, LOCALISATION_COLUMNS = Origins.list_names(), Localisation.list_names()
HEALTHY_COLUMN = "healthy_label"
UNLIKE_COLUMN, PEAK_COLUMN = "unlike_training", "tumor_peak"
LOGIT_PREFIX, PROB_PREFIX = "logit_", "prob_"


def save_predictions(predictions: Predictions, path: Path) -> None:
    """Write a row an image, with every digit, whole or not at all."""
    labels, predicted = predictions.labels, predictions.predicted
    with replace_whole(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(_build_header(labels, *_list_optional(predictions)))
        for row, filename in enumerate(predictions.filenames):
            twin, refused = int(predictions.has_train_twin[row]), int(predictions.refused[row])
            facts = [predictions.protocol, filename, predictions.groups[row], twin]
            true = labels[predictions.true[row]] if predictions.is_known[row] else ""
            said = [true, labels[predicted[row]], refused]
            # str() of a numpy number is the shortest text that reads back as the same number.
            numbers = map(str, (*predictions.logits[row], *predictions.probs[row]))
            before, after = _format_optional(predictions, row)
            writer.writerow([*facts, *said, *before, *numbers, *after])


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


def _list_optional(predictions: Predictions) -> tuple[list[str], list[str]]:
    """Optional columns before and after the logits and probabilities."""
    before = [HEALTHY_COLUMN] if _is_named(predictions) else []
    before += [*(ORIGIN_COLUMNS if predictions.origins else ())]
    before += [UNLIKE_COLUMN] if predictions.unlike_training is not None else []
    after = [PEAK_COLUMN] if predictions.tumor_peak is not None else []
    return before, [*after, *(LOCALISATION_COLUMNS if predictions.localisation else ())]


def _format_optional(predictions: Predictions, row: int) -> tuple[list[str], list[str]]:
    """Cells of `_list_optional`."""
    before = [str(predictions.healthy_label)] if _is_named(predictions) else []
    before += predictions.origins.format_cells(row) if predictions.origins else []
    if predictions.unlike_training is not None:
        before.append(str(int(predictions.unlike_training[row])))
    after = [] if predictions.tumor_peak is None else [format_cell(predictions.tumor_peak[row])]
    return before, after + (predictions.localisation.format_cells(row) if predictions.localisation else [])


def _is_named(predictions: Predictions) -> bool:
    """Whether the healthy label is another one than the labels tell by themselves."""
    return predictions.healthy_label != find_default_healthy(predictions.labels)


def _build_header(labels: Sequence[str], before: Sequence[str], after: Sequence[str]) -> list[str]:
    numbers = [f"{prefix}{label}" for prefix in (LOGIT_PREFIX, PROB_PREFIX) for label in labels]
    return [*FACT_COLUMNS, *before, *numbers, *after]


def _read_labels(path: Path, header: list[str]) -> tuple[str, ...]:
    labels = tuple(name.removeprefix(LOGIT_PREFIX) for name in header if name.startswith(LOGIT_PREFIX))
    # Each group of optional columns stands whole and in its place, or not at all.
    before = [name for name in [HEALTHY_COLUMN] if name in header]
    before += [*(ORIGIN_COLUMNS if ORIGIN_COLUMNS[0] in header else ())]
    before += [name for name in [UNLIKE_COLUMN] if name in header]
    after = [name for name in [PEAK_COLUMN] if name in header]
    after += LOCALISATION_COLUMNS if LOCALISATION_COLUMNS[0] in header else ()
    if len(labels) < 2 or header != _build_header(labels, before, after):
        expected = ", ".join(_build_header(["LABEL ..."], before, after))
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
    # Where more is known than the kind, the kind may be unknown.
    allowed = {*labels, ""} if ORIGIN_COLUMNS[0] in columns else {*labels}
    healthy = sorted(set(columns.get(HEALTHY_COLUMN, ())))
    if len(healthy) > 1 or not set(healthy) <= {*labels}:
        raise PredictionsError(
            f"{path} has the healthy label {' and '.join(healthy)}; expected one of {', '.join(labels)}."
            f" {REMEDY}"
        )
    unknown = sorted(set(columns["label"]) - allowed)
    if unknown:
        raise PredictionsError(
            f"{path} has the true label {unknown[0]!r}; expected one of {', '.join(labels)}. {REMEDY}"
        )
    return columns


def _parse(path: Path, labels: tuple[str, ...], header: list[str], rows: list[list[str]]) -> Predictions:
    columns = _read_columns(path, labels, header, rows)
    indices = {label: index for index, label in enumerate(labels)} | {"": UNKNOWN_KIND}
    try:
        predictions = Predictions(
            protocol=columns["protocol"][0] if rows else "",
            labels=labels,
            filenames=tuple(columns["filename"]),
            groups=np.array([int(value) for value in columns["group"]], np.int64),
            has_train_twin=_parse_flags(columns["has_train_twin"]),
            true=np.array([indices[value] for value in columns["label"]], np.int64),
            logits=_parse_numbers(columns, LOGIT_PREFIX, labels).astype(np.float32),
            probs=_parse_numbers(columns, PROB_PREFIX, labels),
            refused=_parse_flags(columns["refused"]),
            **_parse_optional(columns),
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


def _parse_optional(columns: dict[str, list[str]]) -> dict[str, Any]:
    """The optional fields of `Predictions` that a file has."""
    found: dict[str, Any] = {}
    if columns.get(HEALTHY_COLUMN):
        found["named_healthy"] = columns[HEALTHY_COLUMN][0]
    if UNLIKE_COLUMN in columns:
        found["unlike_training"] = _parse_flags(columns[UNLIKE_COLUMN])
    if PEAK_COLUMN in columns:
        found["tumor_peak"] = np.array([float(value) for value in columns[PEAK_COLUMN]])
    if ORIGIN_COLUMNS[0] in columns:
        found["origins"] = Origins.parse(columns)
    if LOCALISATION_COLUMNS[0] in columns:
        found["localisation"] = Localisation.parse(columns)
    return found


def _parse_numbers(columns: dict[str, list[str]], prefix: str, labels: tuple[str, ...]) -> np.ndarray:
    return np.array([[float(value) for value in columns[f"{prefix}{label}"]] for label in labels]).T


def _parse_flags(values: list[str]) -> np.ndarray:
    wrong = sorted(set(values) - {"0", "1"})
    if wrong:
        raise ValueError(f"{wrong[0]!r} where 0 or 1 was expected")
    return np.array([value == "1" for value in values])
