import csv
import io
import os
import urllib.parse

import numpy as np
import pytest

from serving import from_pretrained
from serving.app import views
from serving.app.service import Answer
from serving.app.views import EXAMPLES
from serving.cli.answers import build_csv, build_row, build_volume_row, list_slices
from serving.cli.batch import Input, score_inputs
from serving.cli.pictures import PictureWriter
from serving.model.guard import Verdict
from serving.pictures.anatomy import Volume
from serving.preprocess import decode

LABELS = ("glioma", "meningioma", "notumor", "pituitary")
COLUMNS = [
    *("file", "slice", "position_mm", "label", "verdict", "in_domain"),
    *(f"prob_{label}" for label in LABELS),
    *("prediction_set", "domain_distance", "tumor_share", "area_mm2", "heatmap", "mask", "reason", "error"),
]


@pytest.fixture(scope="module")
def prediction():
    return from_pretrained().predict(EXAMPLES / "glioma.png")


def read(content: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(content.decode("utf-8", "surrogateescape"), newline="")))


def make_volume(count: int, positions: tuple[float, ...] | None) -> Volume:
    return Volume(
        (np.zeros((9, 9), np.uint8),) * count, "DICOM", "axial", positions, {"rows": "9"}, ("a is no DICOM",)
    )


def test_columns_and_numbers(prediction):
    [row] = read(build_csv([build_row("a.png", prediction) | {"heatmap": "maps/a.png"}], LABELS))
    assert list(row) == COLUMNS
    assert (row["file"], row["label"], row["heatmap"]) == ("a.png", "glioma", "maps/a.png")
    assert (row["slice"], row["position_mm"], row["error"]) == ("", "", "")
    assert row["prediction_set"] == ";".join(prediction.prediction_set)
    assert [float(row[f"prob_{label}"]) for label in LABELS] == list(prediction.probabilities.values())
    assert float(row["domain_distance"]) == prediction.domain_distance


def test_app_and_terminal_give_the_same_rows():
    """The same picture through the page's batch and through `tumor predict`."""
    path, classifier = EXAMPLES / "glioma.png", from_pretrained()
    answers = [Answer("=a.png", decode(path), classifier.predict(path)), Answer("b", error="b, not read")]
    page = views.render_batch(answers, classifier.config)
    address = page.split('href="data:text/csv;charset=utf-8,')[1].split('"')[0]
    rows = [
        next(score_inputs(classifier, [Input("=a.png", path)], None, PictureWriter("pad", None, None))),
        build_row("b", "b, not read"),
    ]
    assert urllib.parse.unquote_to_bytes(address) == build_csv(rows, classifier.labels)


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n"])
def test_no_text_is_a_formula(prediction, start):
    name = f'{start}HYPERLINK("http://127.0.0.1/")'
    rows = [build_row(name, f"{name} is damaged."), build_row(name, prediction) | {"heatmap": name}]
    failed, good = read(build_csv(rows, LABELS))
    assert (failed["file"], failed["error"]) == (f"'{name}", f"'{name} is damaged.")
    assert (good["file"], good["heatmap"]) == (f"'{name}", f"'{name}")


def test_slices_of_a_volume_have_a_row_each(prediction):
    row = build_volume_row("series", make_volume(2, (-5.0, 0.0)), [prediction] * 2)
    assert row["summary"]["counts"] == {Verdict.not_brain_mri: 0, **dict.fromkeys(LABELS, 0), "glioma": 2}
    first, second = read(build_csv([row], LABELS))
    # A negative number is no formula.
    assert (first["file"], first["slice"], first["position_mm"]) == ("series", "0", "-5.0")
    assert (second["slice"], second["position_mm"], second["label"]) == ("1", "0.0", "glioma")


def test_volume_of_one_slice_is_answered_as_a_picture(prediction):
    row = build_volume_row("one.dcm", make_volume(1, None), [prediction])
    assert row == {
        "file": "one.dcm",
        **{"format": "DICOM", "plane": "axial", "facts": {"rows": "9"}, "skipped": ["a is no DICOM"]},
        **prediction.to_dict(),
        "area_mm2": None,
    }
    assert list(list_slices([row])) == [row]


def test_positions_may_be_unknown(prediction):
    row = build_volume_row("series", make_volume(2, None), [prediction] * 2)
    assert [one["position_mm"] for one in row["slices"]] == [None, None]


def test_names_that_are_no_utf8_go_out_as_they_came_in():
    name = os.fsdecode(b"\xff.png")
    assert build_csv([build_row(name, "not read")], LABELS).splitlines()[1].startswith(b"\xff.png,")
