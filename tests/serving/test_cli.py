import csv
import json

import pytest
from typer.testing import CliRunner

from serving import from_pretrained
from serving.app import EXAMPLES
from trainer.cli import app

GLIOMA = str(EXAMPLES / "glioma.png")


def run(*arguments: str):
    return CliRunner().invoke(app, list(arguments))


def test_json_equals_the_classifier():
    result = run("predict", GLIOMA, "--json")
    assert result.exit_code == 0, result.output
    [row] = json.loads(result.stdout)
    prediction = from_pretrained().predict(GLIOMA)
    assert row["label"] == "glioma"
    assert row["probabilities"] == pytest.approx(prediction.probabilities)
    assert row["prediction_set"] == list(prediction.prediction_set)


def test_csv_has_a_row_a_picture(tmp_path):
    bad, out = tmp_path / "bad.png", tmp_path / "out.csv"
    bad.write_text("no picture")
    result = run("predict", GLIOMA, str(bad), "--csv", str(out))
    assert result.exit_code == 2
    with out.open(newline="") as file:
        good, failed = csv.DictReader(file)
    assert good["label"] == "glioma"
    assert float(good["prob_glioma"]) > 0.5
    assert "not a picture" in failed["error"]
    assert failed["label"] == ""
    assert [path.name for path in tmp_path.iterdir() if "partial" in path.name] == []


def test_table_names_every_picture():
    result = run("predict", GLIOMA, str(EXAMPLES / "notumor.png"))
    assert result.exit_code == 0
    assert "glioma" in result.stdout
    assert "not a medical" in result.stdout


def test_one_bad_picture_does_not_stop_the_rest(tmp_path):
    result = run("predict", str(tmp_path / "nothing.png"), GLIOMA, "--json")
    rows = json.loads(result.stdout)
    assert result.exit_code == 2
    assert "cannot be read" in rows[0]["error"]
    assert rows[1]["label"] == "glioma"


def test_model_that_does_not_exist():
    result = run("predict", GLIOMA, "--model", "/no/such/model")
    assert result.exit_code == 1
    assert "neither" in result.stderr
    assert "Traceback" not in result.output


def test_csv_into_a_missing_folder_is_refused_before_work(tmp_path):
    result = run("predict", GLIOMA, "--csv", str(tmp_path / "missing" / "out.csv"))
    assert result.exit_code == 2
    assert "Traceback" not in result.output
