import csv
import dataclasses
import io
import json
import os
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from typer.testing import CliRunner

from serving import from_pretrained
from serving.app.views import EXAMPLES
from serving.cli.answers import build_row
from serving.cli.lines import LinePrinter
from tests.bad_volumes import PATIENT, make_dicom, make_nifti, save_dicom
from trainer.cli.main import app

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


def test_pipe_gets_a_header_and_a_line_a_file_all_tab_separated(tmp_path):
    bad = tmp_path / "a\tb.png"
    bad.write_text("no picture")
    result = run("predict", GLIOMA, str(bad), str(EXAMPLES / "notumor.png"))
    assert result.exit_code == 2
    header, *lines = [line.split("\t") for line in result.stdout.splitlines()]
    assert [len(line) for line in lines] == [len(header)] * 3
    first, failed, last = (dict(zip(header, line, strict=True)) for line in lines)
    prediction = from_pretrained().predict(GLIOMA)
    assert (first["file"], first["label"], first["verdict"]) == (GLIOMA, "glioma", "like_training")
    assert float(first["probability"]) == pytest.approx(prediction.probabilities["glioma"])
    assert failed["label"] == ""
    assert "not a picture" in failed["error"]
    assert last["label"] == "notumor"
    assert "not a medical" in result.stderr


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


def test_parents_of_outputs_are_made(tmp_path):
    result = run("predict", GLIOMA, "--csv", str(tmp_path / "new" / "deep" / "out.csv"))
    assert result.exit_code == 0, result.output
    assert "glioma" in (tmp_path / "new" / "deep" / "out.csv").read_text()


@pytest.fixture
def series(tmp_path):
    """A folder with three DICOM slices, a picture, and a hidden file."""
    folder = tmp_path / "study" / "series"
    folder.mkdir(parents=True)
    grey = np.asarray(Image.open(GLIOMA).convert("L")).astype(np.uint16)
    for number in range(3):
        dataset = make_dicom(
            grey, ImageOrientationPatient=[1, 0, 0, 0, 1, 0], ImagePositionPatient=[0, 0, number * 5]
        )
        (folder / f"IM{number}").write_bytes(save_dicom(dataset))
    shutil.copy(EXAMPLES / "notumor.png", folder.parent / "notumor.png")
    (folder / ".hidden").write_text("nothing")
    return folder


def test_folder_holds_pictures_and_a_series(series, tmp_path):
    out = tmp_path / "out.csv"
    result = run("predict", str(series.parent), "--json", "--csv", str(out))
    assert result.exit_code == 0, result.output
    picture, volume = json.loads(result.stdout)
    assert picture["label"] == "notumor"
    assert volume["file"] == str(series)
    assert (volume["format"], volume["plane"], volume["skipped"]) == ("DICOM", "axial", [])
    assert [(one["slice"], one["position_mm"], one["label"]) for one in volume["slices"]] == [
        (number, number * 5, "glioma") for number in range(3)
    ]
    assert volume["summary"]["counts"]["glioma"] == 3
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["slice"], row["label"]) for row in rows] == [
        ("", "notumor"),
        ("0", "glioma"),
        ("1", "glioma"),
        ("2", "glioma"),
    ]
    assert PATIENT not in result.output + out.read_text()


def test_table_sums_a_volume_up(series):
    result = run("predict", str(series))
    assert result.exit_code == 0
    assert [line.split("\t")[1:3] for line in result.stdout.splitlines()[1:]] == [
        [str(number), "glioma"] for number in range(3)
    ]
    assert "DICOM, axial, 3 slices" in result.stderr
    assert "glioma 3" in result.stderr


def test_one_slice_of_dicom_is_answered_as_a_picture(series):
    [row] = json.loads(run("predict", str(series / "IM0"), "--json").stdout)
    assert row["label"] == "glioma"
    assert row["format"] == "DICOM"
    assert "slices" not in row


def test_quoted_patterns(series):
    result = run("predict", f"{series.parent}/**/*.png", f"{series.parent}/*.gif", "--json")
    found, nothing = json.loads(result.stdout)
    assert found["label"] == "notumor"
    assert "matches no file" in nothing["error"]
    assert result.exit_code == 2


def test_a_file_whose_name_looks_like_a_pattern(tmp_path):
    shutil.copy(GLIOMA, tmp_path / "a[1].png")
    [row] = json.loads(run("predict", str(tmp_path / "a[1].png"), "--json").stdout)
    assert row["label"] == "glioma"


@pytest.mark.parametrize("content", ["picture", "zip"])
def test_standard_input(series, content):
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as packed:
        for path in series.glob("IM*"):
            packed.write(path, path.name)
    sent = Path(GLIOMA).read_bytes() if content == "picture" else archive.getvalue()
    result = CliRunner().invoke(app, ["predict", "-", "--json"], input=sent)
    [row] = json.loads(result.stdout)
    assert row["file"] == "stdin"
    assert [one["label"] for one in row.get("slices", [row])] == ["glioma"] * (
        1 if content == "picture" else 3
    )


def test_heatmaps_of_scored_pictures(series, tmp_path):
    noise = tmp_path / "noise.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (99, 99), np.uint8)).save(noise)
    folder = tmp_path / "maps"
    rows = json.loads(
        run("predict", GLIOMA, GLIOMA, str(noise), str(series), "--heatmaps", str(folder), "--json").stdout
    )
    named = [rows[0]["heatmap"], rows[1]["heatmap"], *(one["heatmap"] for one in rows[3]["slices"])]
    assert "heatmap" not in rows[2]
    assert sorted(named) == sorted(str(path) for path in folder.iterdir())
    assert len(set(named)) == 5
    assert Image.open(named[0]).size == (448, 448)


def test_output_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("in the way")
    result = run("predict", GLIOMA, "--heatmaps", str(tmp_path / "file"))
    assert result.exit_code == 1
    assert "file cannot be used: File exists" in result.stderr
    assert "Traceback" not in result.output


def test_csv_that_cannot_be_written(tmp_path):
    (tmp_path / "out.csv").mkdir()
    result = run("predict", GLIOMA, "--csv", str(tmp_path / "out.csv"))
    assert result.exit_code == 1
    assert "out.csv cannot be used: Is a directory" in result.stderr
    assert "Traceback" not in result.output
    assert [path.name for path in tmp_path.iterdir()] == ["out.csv"]


def test_certain_answer_is_shown_as_not_quite_certain(capsys):
    prediction = from_pretrained().predict(GLIOMA)
    certain = {label: float(label == "glioma") for label in prediction.probabilities}
    printer = LinePrinter(Console(width=80), tuple(certain), has_map=False)
    printer.print_row(build_row("a.png", dataclasses.replace(prediction, unguarded_probabilities=certain)))
    shown = capsys.readouterr().out
    assert "> 99.9 %" in shown
    assert "100.0" not in shown


@pytest.mark.parametrize("width", [40, 80, 200])
@pytest.mark.parametrize("has_map", [True, False])
def test_lines_fit_the_terminal(capsys, width, has_map):
    """A line a file, with reasons, errors and a long set beneath it."""
    prediction = from_pretrained().predict(GLIOMA)
    sets = {0.95: ("glioma", "meningioma", "pituitary"), 0.99: tuple(prediction.probabilities)}
    found = dataclasses.replace(prediction, prediction_sets=sets, reason="It is unlike the others. " * 5)
    row = build_row("folder/" * 30 + "été[1].png", found) | {"tumor_share": 0.042 if has_map else None}
    printer = LinePrinter(Console(width=width), tuple(prediction.probabilities), has_map)
    printer.print_header()
    printer.print_row(row)
    printer.print_row(build_row("b.png", "b.png is damaged or cut short (PNG). Export it again as PNG."))
    lines = capsys.readouterr().out.splitlines()
    assert all(len(line) <= width for line in lines if width >= 80), lines
    if width == 40:
        return
    files = [line for line in lines if not line.startswith("  ")]
    assert len(files) == 3
    assert "[1].png " in files[1]
    assert ("4 %" in files[1]) == has_map
    beneath = " ".join(" ".join(lines).split())
    assert "Also possible at 95 %: meningioma, pituitary." in beneath
    assert "not read" in files[2]
    assert "b.png is damaged or cut short (PNG)." in beneath


def test_plane_of_nifti(tmp_path):
    (tmp_path / "a.nii").write_bytes(make_nifti(np.ones((6, 7, 8), np.uint8)))
    [row] = json.loads(run("predict", str(tmp_path / "a.nii"), "--plane", "sagittal", "--json").stdout)
    assert (row["plane"], len(row["slices"])) == ("sagittal", 6)
    assert run("predict", str(tmp_path / "a.nii"), "--plane", "oblique").exit_code == 2


@pytest.mark.parametrize(
    "name", ["a\nb\x1b[31m.png", "[bold].png", "-.png", "é" * 120 + ".png", os.fsdecode(b"\xff.png")]
)
def test_weird_file_names(tmp_path, name):
    path, out = tmp_path / name, tmp_path / "out.csv"
    shutil.copy(GLIOMA, path)
    [row] = json.loads(run("predict", str(path), "--json", "--csv", str(out)).stdout)
    assert (row["file"], row["label"]) == (str(path), "glioma")
    printed = run("predict", str(path)).stdout
    assert "\x1b" not in printed
    assert len(printed.splitlines()) == 2
    assert "glioma" in printed
    path.write_text("no picture")
    assert run("predict", str(path)).exit_code == 2


def test_what_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "nowhere").symlink_to("gone")
    (tmp_path / "empty").mkdir()
    names = ("pipe", "loop", "nowhere", "empty", "x" * 300)
    result = run("predict", *(str(tmp_path / name) for name in names), "--json")
    errors = [row["error"] for row in json.loads(result.stdout)]
    assert result.exit_code == 2
    for error, expected in zip(
        errors,
        ("no regular file", "cannot be read", "cannot be read", "holds no file", "cannot be read"),
        strict=True,
    ):
        assert expected in error
        assert str(tmp_path) not in error
