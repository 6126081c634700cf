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
from serving.summary import measure_area, summarise_volume

Row = dict[str, Any]
# A spreadsheet takes text that starts with one of these for a formula.
# Source: OWASP, "CSV Injection" (https://owasp.org/www-community/attacks/CSV_Injection).
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")


def build_row(name: str, answer: Prediction | str, area_mm2: float | None = None) -> Row:
    """Make the row of one picture.

    Args:
        name: of its file.
        answer: its prediction, or why it cannot be read.
        area_mm2: inside its outlines; None: not known.

    Returns:
        `file` with the fields of `Prediction.to_dict` and `area_mm2`, or `file` and `error`.
    """
    if isinstance(answer, str):
        return {"file": name, "error": answer}
    return {"file": name} | answer.to_dict() | {"area_mm2": area_mm2}


def build_volume_row(name: str, volume: Volume, predictions: Sequence[Prediction]) -> Row:
    """Make the row of one volume.

    Returns:
        `file`, `format`, `plane`, `facts` and `skipped`; for one slice also the fields of its prediction and
        `area_mm2`, for several `summary` and `slices`: `slice` (from 0), `position_mm` and the same fields
        each.
    """
    row: Row = {"file": name, "format": volume.format, "plane": volume.plane}
    row |= {"facts": volume.facts, "skipped": list(volume.skipped)}
    fields = [
        prediction.to_dict() | {"area_mm2": measure_area(prediction, volume.pixel_mm2)}
        for prediction in predictions
    ]
    if len(fields) == 1:
        return row | fields[0]
    positions = volume.positions or (None,) * len(predictions)
    slices = [
        {"slice": number, "position_mm": position} | each
        for number, (position, each) in enumerate(zip(positions, fields, strict=True))
    ]
    return row | {"summary": asdict(summarise_volume(predictions, volume)), "slices": slices}


def list_slices(rows: Iterable[Row]) -> Iterator[Row]:
    """Flatten rows to one a picture and one a slice, each with the mask of its volume where that has one."""
    for row in rows:
        shared = {name: row[name] for name in ("file", "mask") if name in row}
        yield from (shared | each for each in row.get("slices", [row]))


def build_csv(rows: Iterable[Row], labels: Sequence[str], with_header: bool = True) -> bytes:
    """Write a line a picture or slice; an input that could not be read has only `file` and `error`.

    Args:
        rows: of `build_row` and `build_volume_row`; also `heatmap` and `mask`, paths of pictures.
        labels: of the model, each a column `prob_...`.
        with_header: whether the names of the columns come first.

    Returns:
        UTF-8. Labels of a prediction set are separated by semicolons. Text that a spreadsheet would take for
        a formula starts with an apostrophe; file names that are no UTF-8 go out as they came in.
    """
    stream = io.StringIO(newline="")
    columns = (
        *("file", "slice", "position_mm", "label", "verdict", "in_domain"),
        *(f"prob_{label}" for label in labels),
        *(
            "prediction_set",
            "domain_distance",
            "tumor_share",
            "area_mm2",
            "heatmap",
            "mask",
            "reason",
            "error",
        ),
    )
    writer = csv.DictWriter(stream, columns, extrasaction="ignore")
    if with_header:
        writer.writeheader()
    for row in list_slices(rows):
        row |= {f"prob_{label}": value for label, value in (row.get("probabilities") or {}).items()}
        row["prediction_set"] = ";".join(row.get("prediction_set", ()))
        writer.writerow({column: _defuse(value) for column, value in row.items()})
    return stream.getvalue().encode("utf-8", "surrogateescape")


def _defuse(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA_STARTS) else value
