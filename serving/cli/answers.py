"""Answers as rows for JSON and CSV, the same in the app and on the terminal.

Goes in: predictions. Comes out: a JSON-ready row an input, and from these CSV with a row a picture or slice.
"""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

from serving.classifier import Prediction
from serving.pictures.anatomy import Volume
from serving.summary import summarise_volume

Row = dict[str, Any]
# A spreadsheet takes text that starts with one of these for a formula.
# Source: OWASP, "CSV Injection" (https://owasp.org/www-community/attacks/CSV_Injection).
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")


def build_row(name: str, answer: Prediction | str) -> Row:
    """Make the row of one picture: `file` and `Prediction.to_dict`, or `file` and why it cannot be read."""
    return {"file": name} | ({"error": answer} if isinstance(answer, str) else answer.to_dict())


def build_volume_row(name: str, volume: Volume, predictions: Sequence[Prediction]) -> Row:
    """Make the row of one volume.

    Returns:
        `file`, `format`, `plane`, `facts` and `skipped`; for one slice also the fields of its prediction, for
        several `summary` and `slices`: `slice` (from 0), `position_mm` and the fields of a prediction each.
    """
    row: Row = {"file": name, "format": volume.format, "plane": volume.plane}
    row |= {"facts": volume.facts, "skipped": list(volume.skipped)}
    if len(predictions) == 1:
        return row | predictions[0].to_dict()
    positions = volume.positions or (None,) * len(predictions)
    slices = [
        {"slice": number, "position_mm": position} | prediction.to_dict()
        for number, (position, prediction) in enumerate(zip(positions, predictions, strict=True))
    ]
    return row | {"summary": asdict(summarise_volume(predictions)), "slices": slices}


def list_slices(rows: Iterable[Row]) -> Iterator[Row]:
    """Flatten rows to one a picture and one a slice."""
    for row in rows:
        yield from ({"file": row["file"]} | each for each in row.get("slices", [row]))


def build_csv(rows: Iterable[Row], labels: Sequence[str], with_header: bool = True) -> bytes:
    """Write a line a picture or slice; an input that could not be read has only `file` and `error`.

    Args:
        rows: of `build_row` and `build_volume_row`; also `heatmap`, the path of a picture.
        labels: of the model, each a column `prob_...`.
        with_header: whether the names of the columns come first.

    Returns:
        UTF-8. Text that a spreadsheet would take for a formula starts with an apostrophe; file names that are
        no UTF-8 go out as they came in.
    """
    stream = io.StringIO(newline="")
    columns = (
        *("file", "slice", "position_mm", "label", "verdict", "in_domain"),
        *(f"prob_{label}" for label in labels),
        *("prediction_set", "domain_distance", "heatmap", "reason", "error"),
    )
    writer = csv.DictWriter(stream, columns, extrasaction="ignore")
    if with_header:
        writer.writeheader()
    for row in list_slices(rows):
        row |= {f"prob_{label}": value for label, value in (row.get("probabilities") or {}).items()}
        row["prediction_set"] = " ".join(row.get("prediction_set", ()))
        writer.writerow({column: _defuse(value) for column, value in row.items()})
    return stream.getvalue().encode("utf-8", "surrogateescape")


def _defuse(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA_STARTS) else value
