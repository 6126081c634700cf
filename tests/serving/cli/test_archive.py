"""An archive by Beam: every file a row, shards that are done not again, and one model a process."""

import csv
import io
import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

beam = pytest.importorskip("apache_beam")

import pyarrow.parquet  # noqa: E402

from serving import from_pretrained  # noqa: E402
from serving.app.views import EXAMPLES  # noqa: E402
from serving.cli.archive import Found, ScoreArchive, _ScoreShard, score_files  # noqa: E402
from serving.cli.shards import write_shard  # noqa: E402
from tests.draw_dicom import write_series  # noqa: E402

LABELS = ("glioma", "meningioma", "notumor", "pituitary")


@pytest.fixture
def scans(tmp_path) -> Path:
    """Four examples, a DICOM slice, a file that is no picture, and one that is empty."""
    folder = tmp_path / "scans"
    shutil.copytree(
        EXAMPLES, folder / "examples", ignore=lambda _, names: set(names) - {f"{n}.png" for n in LABELS}
    )
    write_series(folder / "series", np.tile(np.arange(64, dtype=np.uint8), (64, 1)), slices=1)
    (folder / "notes.txt").write_text("no picture")
    (folder / "empty.png").touch()
    return folder


def run(scans: Path, output: Path, **options: object) -> list[dict]:
    """Run in this process; the reports, by shard."""
    told = output.with_name("reports.jsonl")
    told.unlink(missing_ok=True)
    with beam.Pipeline(runner="BundleBasedDirectRunner") as pipeline:
        patterns = pipeline | beam.Create([f"{scans}/**", f"{scans}/examples/*.png"])
        patterns | ScoreArchive(str(output), **options) | beam.Map(_note, str(told))
    reports = [json.loads(line) for line in told.read_text().splitlines()]
    return sorted(reports, key=lambda report: report["shard"])


def _note(report: dict, told: str) -> None:
    with open(told, "a") as file:
        file.write(json.dumps(report) + "\n")


def read_rows(output: Path) -> dict[str, dict]:
    tables = [pyarrow.parquet.read_table(path) for path in sorted(output.parent.glob("*.parquet"))]
    rows = [row for table in tables for row in table.to_pylist()]
    assert len({row["file"] for row in rows}) == len(rows), "a file has two rows"
    return {row["file"]: row for row in rows}


def test_every_file_is_a_row_and_a_restart_does_only_what_is_left(scans, tmp_path):
    output = tmp_path / "scores" / "run"
    reports = run(scans, output, shards=4)
    rows = read_rows(output)
    assert sum(report["files"] for report in reports) == len(rows) == 7
    assert sum(report["errors"] for report in reports) == 2
    classifier = from_pretrained()
    for label in LABELS:
        path = scans / "examples" / f"{label}.png"
        expected, row = classifier.predict(path), rows[str(path)]
        assert row["label"] == label
        found = [row[f"prob_{name}"] for name in LABELS]
        assert found == pytest.approx(list(expected.probabilities.values()), abs=1e-5)
        assert row["prediction_set"] == list(expected.prediction_set)
    assert "not a picture" in rows[str(scans / "notes.txt")]["error"]
    assert "empty" in rows[str(scans / "empty.png")]["error"]

    assert all(report["skipped"] for report in run(scans, output, shards=4))
    # Stopped before one shard was done; a file of another one has changed.
    lost, changed = (Found(str(scans / name), 0, 0.0).find_shard(4) for name in ("notes.txt", "empty.png"))
    output.with_name(f"run-{lost:05d}-of-00004.json").unlink()
    shutil.copy(scans / "examples" / "glioma.png", scans / "empty.png")
    again = run(scans, output, shards=4)
    assert {report["shard"] for report in again if not report["skipped"]} == {lost, changed}
    assert read_rows(output)[str(scans / "empty.png")]["label"] == "glioma"
    assert not list(output.parent.glob("*.partial"))


def test_csv_is_that_of_the_terminal(scans, tmp_path):
    [report] = run(scans, tmp_path / "scores", shards=1, file_format="csv")
    rows = list(csv.DictReader(io.StringIO((tmp_path / "scores-00000-of-00001.csv").read_text())))
    assert len(rows) == report["rows"] == 7
    assert {row["label"] for row in rows} >= set(LABELS)
    assert sum(bool(row["error"]) for row in rows) == report["errors"] == 2


# Python imports it when it starts: it notes in which process a model is loaded.
SITE = """
import os
import sys

def note(event, arguments):
    if event == "open" and str(arguments[0]).endswith("model.tflite"):
        with open(os.environ["LOADS"], "a") as log:
            log.write(f"{os.getpid()}\\n")

sys.addaudithook(note)
"""


def test_two_processes_load_one_model_each(scans, tmp_path):
    for number in range(30):
        shutil.copy(scans / "examples" / "glioma.png", scans / f"more{number}.png")
    (tmp_path / "sitecustomize.py").write_text(SITE)
    environment = {**os.environ, "LOADS": str(tmp_path / "loads")}
    environment["PYTHONPATH"] = os.pathsep.join([str(tmp_path), str(Path(__file__).parents[3])])
    command = [sys.executable, "-m", "serving.cli.archive", "--input", f"{scans}/**"]
    command += ["--output", str(tmp_path / "out" / "run"), "--shards", "8", "--runner", "DirectRunner"]
    command += ["--direct_num_workers", "2", "--direct_running_mode", "multi_processing"]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200)
    assert result.returncode == 0, result.stderr
    assert len(read_rows(tmp_path / "out" / "run")) == 37
    loads = (tmp_path / "loads").read_text().split()
    # The command itself looks whether the model can be had.
    assert len(loads) == len(set(loads)) == 3


def test_threads_of_a_process_share_the_model():
    """Beam makes an object for each of them."""
    scorer = _ScoreShard(ScoreArchive("scores"))
    first, second = (pickle.loads(pickle.dumps(scorer)) for _ in range(2))
    first.setup()
    second.setup()
    assert first._classifier is second._classifier


def test_a_pattern_without_a_file_is_an_error(tmp_path):
    with pytest.raises(Exception, match="nothing"):
        run(tmp_path / "nothing", tmp_path / "scores")


def test_a_fault_costs_one_row(scans, monkeypatch):
    """Not the files that are scored with it."""
    classifier, files = (
        from_pretrained(),
        [Found(str(path), 9, 0.0) for path in sorted(EXAMPLES.glob("*.png"))],
    )
    decode = sys.modules["serving.cli.batch"].decode
    contents = {(EXAMPLES / "notumor.png").read_bytes()}

    def fail(source):
        if source in contents:
            raise RecursionError("too deep")
        return decode(source)

    monkeypatch.setattr("serving.cli.batch.decode", fail)
    [rows] = score_files(classifier, files)
    assert len(rows) == len(files)
    assert [row["error"] for row in rows if "error" in row] == ["Fault: RecursionError: too deep"]


def test_a_shard_that_fails_leaves_nothing(tmp_path):
    path = tmp_path / "shard.parquet"
    with pytest.raises(OSError, match="gone"), write_shard(str(path), LABELS):
        raise OSError("gone")
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_is_no_utf8_is_a_row(tmp_path):
    path = tmp_path / "shard.parquet"
    with write_shard(str(path), LABELS) as write:
        write([{"file": os.fsdecode(b"a\xff.png"), "error": "It is empty."}])
    assert pyarrow.parquet.read_table(path).to_pylist()[0]["file"] == "a\\xff.png"
