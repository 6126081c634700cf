"""Answers appear as they come, and wherever they are sent."""

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from serving import classifier as classifiers
from serving.app.views import EXAMPLES
from serving.cli import pictures as writers
from serving.model.runtime import MAX_BATCH
from trainer.cli.main import app

GLIOMA = EXAMPLES / "glioma.png"
TUMOR = [sys.executable, "-c", "from trainer.cli.main import app; app()", "predict"]


def run(*arguments: object):
    return CliRunner().invoke(app, ["predict", *map(str, arguments)])


@pytest.fixture
def pictures(tmp_path) -> list[Path]:
    """One picture more than a batch."""
    paths = [tmp_path / f"{number}.png" for number in range(MAX_BATCH + 1)]
    for path in paths:
        shutil.copy(GLIOMA, path)
    return paths


@pytest.fixture
def crash_in_the_second_batch(monkeypatch):
    score = classifiers.Classifier.predict_batch
    calls = []

    def crash(self, sources):
        calls.append(sources)
        if len(calls) == 2:
            raise RuntimeError("a fault")
        return score(self, sources)

    monkeypatch.setattr(classifiers.Classifier, "predict_batch", crash)


@pytest.mark.usefixtures("crash_in_the_second_batch")
@pytest.mark.parametrize("form", [["--json"], []])
def test_a_crash_loses_no_answer(tmp_path, pictures, form):
    out = tmp_path / "out.csv"
    result = run(*pictures, "--csv", out, *form)
    assert isinstance(result.exception, RuntimeError)
    with out.open(newline="") as file:
        assert [row["file"] for row in csv.DictReader(file)] == [str(path) for path in pictures[:-1]]
    if form:
        assert len(json.loads(result.stdout + "]")) == MAX_BATCH
    else:
        # Long paths are folded.
        assert result.stdout.replace("\n", "").count("glioma") >= MAX_BATCH


def test_json_is_one_array(pictures):
    result = run(*pictures, "--json")
    rows = json.loads(result.stdout)
    assert len(rows) == len(pictures)
    assert result.stdout == json.dumps(rows, indent=2) + "\n"


def test_csv_follows_a_link(tmp_path):
    (tmp_path / "link.csv").symlink_to("out.csv")
    assert run(GLIOMA, "--csv", tmp_path / "link.csv").exit_code == 0
    assert (tmp_path / "link.csv").is_symlink()
    assert (tmp_path / "out.csv").read_text().count("glioma") > 1


def test_csv_into_standard_output_and_a_pipe(tmp_path):
    printed = subprocess.run(
        [*TUMOR, str(GLIOMA), "--csv", "/dev/stdout"], capture_output=True, text=True, check=True
    ).stdout
    header, row = printed.splitlines()
    assert header.startswith("file,slice,")
    assert row.startswith(str(GLIOMA))
    os.mkfifo(tmp_path / "pipe")
    with subprocess.Popen([*TUMOR, str(GLIOMA), "--csv", str(tmp_path / "pipe")], stdout=subprocess.DEVNULL):
        assert (tmp_path / "pipe").read_text().splitlines() == [header, row]


def test_a_heat_map_that_cannot_be_written_costs_one_answer(tmp_path, monkeypatch, pictures):
    write = writers.write_whole

    def refuse_one(path, content):
        if "_3.png_" in path.name:
            raise PermissionError(13, "Permission denied", str(path))
        write(path, content)

    monkeypatch.setattr(writers, "write_whole", refuse_one)
    result = run(*pictures, "--heatmaps", tmp_path / "maps", "--json")
    rows = json.loads(result.stdout)
    assert result.exit_code == 2
    assert [number for number, row in enumerate(rows) if "error" in row] == [3]
    assert "heat map cannot be written" in rows[3]["error"]
    assert "Permission denied" in rows[3]["error"]
    assert len(list((tmp_path / "maps").iterdir())) == len(pictures) - 1


@pytest.mark.parametrize("stem", ["é" * 120, "脳" * 80, "a" * 250])
def test_names_of_heat_maps_are_cut_by_bytes(tmp_path, stem):
    shutil.copy(GLIOMA, tmp_path / f"{stem}.png")
    result = run(tmp_path / f"{stem}.png", "--heatmaps", tmp_path / "maps", "--json")
    [row] = json.loads(result.stdout)
    assert result.exit_code == 0
    assert Image.open(row["heatmap"]).size == (448, 448)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_a_terminal_shows_escaped_what_it_cannot_encode(tmp_path, encoding):
    name = "脳é.png"
    shutil.copy(GLIOMA, tmp_path / name)
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "COLUMNS": "300"}
    finished = subprocess.run([*TUMOR, name], cwd=tmp_path, env=environment, capture_output=True, check=True)
    shown = name.encode(encoding, "backslashreplace")
    assert shown in finished.stdout
    assert b"Traceback" not in finished.stderr


def test_tilde_in_every_place(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    shutil.copy(GLIOMA, tmp_path / "a.png")
    shutil.copytree(EXAMPLES.parents[1] / "pretrained", tmp_path / "model")
    result = run("~/a.png", "--csv=~/out.csv", "--heatmaps", "~/maps", "--model=~/model", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)[0]["file"] == str(tmp_path / "a.png")
    assert (tmp_path / "out.csv").is_file()
    assert np.asarray(Image.open(next((tmp_path / "maps").iterdir()))).any()
