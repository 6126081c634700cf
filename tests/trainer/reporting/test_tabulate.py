import json

import numpy as np
import pytest
from typer.testing import CliRunner

from tests.conftest import ROOT
from trainer.cli.main import app
from trainer.reporting.tables import ResultsError, build_results

FLOOR = ROOT / "configs" / "results" / "nearest_neighbour_official"
FIGURES = {
    "count": 1200,
    "accuracy": 0.95,
    "accuracy_interval": [0.9, 0.99],
    "macro": {"f1": 0.94},
    "intervals": {"macro_f1": [0.91, 0.98], "ece": [0.0, 0.02]},
    "ece": 0.01,
    "any_tumour": {"most_probable_label": {"sensitivity": 0.999, "sensitivity_interval": [0.99, 1.0]}},
    "prediction_sets": {"0.95": {"size": 1.25, "size_interval": [1.2, 1.3]}},
}


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "large"
    folder.mkdir()
    (folder / "metrics.json").write_text(json.dumps({"patient": {"all": FIGURES}}))
    return folder


def test_every_figure_stands_with_its_interval(run):
    row = build_results([run]).splitlines()[-1]
    told = [
        "95.00% (90.00% to 99.00%)",
        "0.940 (0.910 to 0.980)",
        "99.90% (99.00% to 100.00%)",
        "0.010 (0.000 to 0.020)",
        "1.25 (1.20 to 1.30)",
    ]
    assert row == "| " + " | ".join(["large", "patient, whole test split", "1,200", *told]) + " |"


def test_rows_come_in_the_order_given_and_the_leaked_one_is_called_leaked(run):
    rows = build_results([FLOOR, run]).splitlines()[2:]
    assert [row.split(" | ")[1] for row in rows] == [
        "official, whole test split, leaked",
        "official, without a twin in Training",
        "patient, whole test split",
    ]
    assert [row.split(" | ")[-2:] for row in rows[:2]] == [["-", "- |"]] * 2


def test_without_an_alarm_or_sets_there_is_a_dash(run):
    (run / "metrics.json").write_text(
        json.dumps({"folder": {"all": FIGURES | {"any_tumour": None, "prediction_sets": {}}}})
    )
    assert build_results([run]).splitlines()[-1].split(" | ")[5:] == ["-", "0.010 (0.000 to 0.020)", "- |"]


def test_the_command_writes_what_it_prints(run, tmp_path):
    printed = CliRunner().invoke(app, ["tabulate", str(run)])
    written = CliRunner().invoke(app, ["tabulate", str(run), "--out", str(tmp_path / "table.md")])
    assert (printed.exit_code, written.exit_code) == (0, 0)
    assert (tmp_path / "table.md").read_text() == printed.output == build_results([run]) + "\n"


@pytest.mark.parametrize("content", [None, "[]", "{", '{"official": {"all": {"count": 3}}}'])
def test_a_folder_without_figures_says_what_to_do(tmp_path, content):
    if content is not None:
        (tmp_path / "metrics.json").write_text(content)
    with pytest.raises(ResultsError, match=r"metrics\.json.* tumor evaluate"):
        build_results([tmp_path])
    result = CliRunner().invoke(app, ["tabulate", str(tmp_path)])
    assert result.exit_code == 1
    assert "tumor evaluate" in " ".join(result.stderr.split())


@pytest.mark.parametrize("protocol", ["official", "grouped", "patient"])
def test_the_floor_kept_is_that_of_its_predictions(protocol):
    from trainer.evaluation.baseline import summarise_baseline
    from trainer.evaluation.predictions_file import load_predictions

    folder = ROOT / "configs" / "results" / f"nearest_neighbour_{protocol}"
    kept = json.loads((folder / "metrics.json").read_text())
    computed = {
        protocol: json.loads(json.dumps(summarise_baseline(load_predictions(folder / "predictions.csv"))))
    }
    assert computed == kept


def test_floor_asks_the_nearest_picture_and_never_the_test_split(dummy_data_dir, build_dataset, tmp_path):
    build_dataset(dummy_data_dir, tmp_path / "data")
    result = CliRunner().invoke(
        app, ["floor", "--data-dir", str(tmp_path / "data"), "--out", str(tmp_path / "out")]
    )
    assert result.exit_code == 0, result.output

    from trainer.data.input_pipeline import iterate_examples, load_builder
    from trainer.evaluation.predictions_file import load_predictions
    from tumor_ds.audit.baselines import shrink

    builder = load_builder("tumor_ds/official", str(tmp_path / "data"))
    known = [example for split in ("train", "validation") for example in iterate_examples(builder, split)]
    answers = dict(
        zip(
            (found := load_predictions(tmp_path / "out" / "predictions.csv")).filenames,
            found.predicted,
            strict=True,
        )
    )
    assert len(answers) == 8
    for example in iterate_examples(builder, "test"):
        gaps = [((shrink(one.image).astype(float) - shrink(example.image)) ** 2).sum() for one in known]
        assert answers[example.facts.filename] == known[int(np.argmin(gaps))].facts.label


def test_floor_without_the_dataset_says_how_to_build_it(tmp_path):
    result = CliRunner().invoke(app, ["floor", "grouped", "--data-dir", str(tmp_path)])
    assert result.exit_code == 1
    assert "tumor build grouped" in " ".join(result.stderr.split())
