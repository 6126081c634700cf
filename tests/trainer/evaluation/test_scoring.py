import csv
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from serving import Classifier, from_pretrained
from serving.model.artefact import BUNDLED
from serving.model.calibration import compute_probabilities
from tests.trainer.make_predictions import simulate_predictions
from trainer.cli.main import app
from trainer.data.input_pipeline import load_builder
from trainer.evaluation.labelled_folder import evaluate_folder
from trainer.evaluation.predictions import Predictions, PredictionsError
from trainer.evaluation.scoring import EvaluationError, evaluate, name_dataset, summarise


@pytest.fixture(scope="module")
def evaluated(tiny_run, dummy_dataset_dir, tmp_path_factory):
    out = tmp_path_factory.mktemp("evaluation")
    result = CliRunner().invoke(
        app, ["evaluate", str(tiny_run), "--data-dir", str(dummy_dataset_dir), "--out", str(out)]
    )
    assert result.exit_code == 0, result.output
    return out, result.output


def test_every_image_is_scored_exactly_once(evaluated):
    out, _ = evaluated
    with (out / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len({row["filename"] for row in rows}) == 8
    assert all(row["filename"].startswith(f"Testing/{row['label']}/") for row in rows)


def test_predictions_and_metrics_tell_the_same(evaluated, tiny_run):
    out, _ = evaluated
    with (out / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    metrics = json.loads((out / "metrics.json").read_text())["official"]
    correct = np.array([row["label"] == row["predicted"] for row in rows])
    twin = np.array([row["has_train_twin"] == "1" for row in rows])
    assert metrics["all"]["accuracy"] == pytest.approx(correct.mean())
    assert metrics["unseen"]["accuracy"] == pytest.approx(correct[~twin].mean())
    assert metrics["unseen"]["count"] + metrics["with_train_twin"]["count"] == 8
    labels = ("glioma", "meningioma", "notumor", "pituitary")
    logits = np.array([[float(row[f"logit_{label}"]) for label in labels] for row in rows], np.float32)
    probs = np.array([[float(row[f"prob_{label}"]) for label in labels] for row in rows])
    np.testing.assert_allclose(
        compute_probabilities(logits, Classifier(tiny_run / "artefact").config.temperature), probs, atol=1e-4
    )


def test_worse_pictures_are_scored_where_asked_for(tiny_run, dummy_dataset_dir, tmp_path):
    result = CliRunner().invoke(
        app,
        [
            "evaluate",
            str(tiny_run),
            "--corruptions",
            "--data-dir",
            str(dummy_dataset_dir),
            "--out",
            str(tmp_path),
        ],
        catch_exceptions=False,
    )
    assert result.exit_code == 0, result.output
    found = json.loads((tmp_path / "corruptions.json").read_text())
    assert list(found) == ["all", "unseen"]
    scored = found["all"]
    assert scored["clean"]["count"] == 8
    assert len(scored["corruptions"]) == 10
    assert all(
        [figures["count"] for figures in severities] == [8, 8, 8]
        for severities in scored["corruptions"].values()
    )
    assert (tmp_path / "figures" / "corruptions.png").stat().st_size > 10_000
    assert "corruptions.json" in result.output


@pytest.mark.parametrize("option", ["--images", "--predictions"])
def test_worse_pictures_need_a_dataset(tmp_path, option):
    result = CliRunner().invoke(app, ["evaluate", "--corruptions", option, str(tmp_path)])
    assert result.exit_code == 1
    assert "--corruptions needs the pictures of a built dataset" in " ".join(result.stderr.split())


def test_what_is_printed_is_what_is_written(evaluated):
    out, printed = evaluated
    text = " ".join(printed.split())
    for figures in json.loads((out / "metrics.json").read_text())["official"].values():
        assert f"{figures['accuracy']:.2%} ({figures['errors']} errors" in text
        for values in figures["per_class"].values():
            assert f"{values['f2']:.4f}" in text


def test_artefact_holds_the_same_figures(evaluated, tiny_run):
    out, _ = evaluated
    assert json.loads((out / "metrics.json").read_text()) == json.loads(
        (tiny_run / "artefact" / "metrics.json").read_text()
    )


def test_figures_are_drawn(evaluated):
    out, _ = evaluated
    for name in ("confusion", "per_class", "sets", "roc", "precision_recall", "reliability", "risk_coverage"):
        with Image.open(out / "figures" / f"{name}_official.png") as picture:
            assert (picture.format, picture.width) == ("PNG", 750)


def test_twins_make_the_subsets(tiny_run, dummy_dataset_dir):
    classifier = Classifier(tiny_run / "artefact")
    validation = evaluate(
        classifier, load_builder("tumor_ds/official", dummy_dataset_dir), split="validation"
    )
    assert set(summarise(validation, classifier.config)) == {"all"}
    twins = simulate_predictions(count=8)
    twins = Predictions(**{**vars(twins), "has_train_twin": np.ones(8, bool)})
    assert set(summarise(twins, classifier.config)) == {"all", "with_train_twin"}


@pytest.mark.parametrize("count", [1, 5, 31, 32, 33, 65])
def test_every_picture_of_a_folder_is_scored_once_whatever_the_batch(count, tmp_path):
    """LiteRT takes 32 at a time; every answer belongs to its own picture."""
    generator = np.random.default_rng(count)
    for row in range(count):
        folder = tmp_path / "hospital" / ("glioma" if row % 3 else "notumor")
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(0, 256, (40, 30), np.uint8)).save(folder / f"{row:03}.png")
    classifier = from_pretrained()
    predictions = evaluate_folder(classifier, tmp_path / "hospital")
    assert predictions.protocol == "images-hospital"
    assert len(predictions.filenames) == len(set(predictions.filenames)) == count
    assert set(predictions.filenames) == {
        path.relative_to(tmp_path / "hospital").as_posix() for path in (tmp_path / "hospital").rglob("*.png")
    }
    assert [predictions.labels[index] for index in predictions.true] == [
        name.split("/")[0] for name in predictions.filenames
    ]
    alone = classifier.predict(tmp_path / "hospital" / predictions.filenames[-1]).unguarded_probabilities
    np.testing.assert_allclose(predictions.probs[-1], list(alone.values()), atol=1e-5)


def test_a_dataset_that_does_not_divide_by_the_batch(monkeypatch, tiny_run, dummy_dataset_dir):
    classifier, builder = (
        Classifier(tiny_run / "artefact"),
        load_builder("tumor_ds/official", dummy_dataset_dir),
    )
    whole = evaluate(classifier, builder)
    monkeypatch.setattr("serving.model.runtime.MAX_BATCH", 3)
    parts = evaluate(classifier, builder)
    assert parts.filenames == whole.filenames
    np.testing.assert_allclose(parts.logits, whole.logits, atol=1e-4)


@pytest.fixture
def hospital(tmp_path):
    """Two of the four classes; patients are the letters."""
    for name in ("glioma/a_1.png", "glioma/a_2.png", "glioma/b_1.png", "notumor/c_1.png", "notumor/.hidden"):
        path = tmp_path / "hospital" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(len(name)).integers(0, 256, (40, 40), np.uint8)).save(
            path, format="png"
        )
    return tmp_path / "hospital"


def run_evaluate(*arguments):
    return CliRunner().invoke(app, ["evaluate", *map(str, arguments)])


def test_another_hospital(hospital, tmp_path):
    result = run_evaluate("--images", hospital, "--patient-pattern", "^[a-z]", "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert "too narrow" not in result.output
    figures = json.loads((tmp_path / "out" / "metrics.json").read_text())["images-hospital"]
    assert set(figures) == {"all"}
    assert (figures["all"]["count"], figures["all"]["groups"]) == (4, 3)
    assert figures["all"]["per_class"]["pituitary"]["recall"] is None
    assert "pituitary" in result.output
    again = run_evaluate("--images", hospital, "--out", tmp_path / "again")
    assert "every picture counts as a patient of its own" in " ".join(again.output.lower().split())
    assert (
        json.loads((tmp_path / "again" / "metrics.json").read_text())["images-hospital"]["all"]["groups"] == 4
    )


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda folder: shutil.rmtree(folder),
            "is no folder. Expected DIR/CLASS/FILE, with classes among glioma, meningioma",
        ),
        (lambda folder: (shutil.rmtree(folder), folder.mkdir()), "holds nothing"),
        (lambda folder: (folder / "notumor").rename(folder / "healthy"), "holds healthy. Rename"),
        (lambda folder: (folder / "notes.txt").write_text("read me"), "holds notes.txt"),
        (lambda folder: (folder / "meningioma").mkdir(), "meningioma holds no pictures"),
        (
            lambda folder: (folder / "glioma" / "patient1").mkdir(),
            "patient1 is a folder. Move its pictures up",
        ),
        (lambda folder: (folder / "glioma" / "z.png").write_text("no picture"), "z.png"),
    ],
)
def test_a_wrong_folder_is_one_clear_line(hospital, tmp_path, spoil, message):
    spoil(hospital)
    result = run_evaluate("--images", hospital, "--out", tmp_path / "out")
    assert result.exit_code == 1
    assert message in result.stderr
    assert isinstance(result.exception, SystemExit)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--patient-pattern", "["], "no regular expression"),
        (["--patient-pattern", "patient[0-9]+"], "does not match the file name a_1.png"),
        (["--protocol", "official"], "Choose one"),
        (["--predictions", "predictions.csv"], "Choose one"),
    ],
)
def test_wrong_words_about_a_folder(hospital, arguments, message):
    result = run_evaluate("--images", hospital, *arguments)
    assert result.exit_code == 1
    assert message in result.stderr


def test_a_pattern_without_pictures_and_an_unknown_protocol():
    assert "Name the folder" in run_evaluate("--patient-pattern", "a").stderr
    assert "Expected one of official, grouped" in run_evaluate("--protocol", "offical").stderr


def test_figures_come_from_the_file_alone(evaluated, tiny_run, tmp_path):
    out, printed = evaluated
    result = run_evaluate(tiny_run, "--predictions", out / "predictions.csv", "--out", tmp_path)
    assert result.exit_code == 0, result.output
    assert (tmp_path / "metrics.json").read_bytes() == (out / "metrics.json").read_bytes()
    assert (tmp_path / "predictions.csv").read_bytes() == (out / "predictions.csv").read_bytes()
    assert result.output.split("Written:")[0] == printed.split("Written:")[0]


def test_predictions_of_another_model_dataset_or_cut_short(evaluated, tiny_run, tmp_path):
    out, _ = evaluated
    other_model = run_evaluate("--predictions", out / "predictions.csv")
    assert "Name the model that made it" in other_model.stderr
    other_dataset = run_evaluate(tiny_run, "--predictions", out / "predictions.csv", "--protocol", "grouped")
    assert "is about official, expected grouped" in other_dataset.stderr
    lines = (out / "predictions.csv").read_text().splitlines(keepends=True)
    (tmp_path / "cut.csv").write_text("".join(lines[:-1]))
    assert (
        "has 7 images, expected the 8 of the test split"
        in run_evaluate(tiny_run, "--predictions", tmp_path / "cut.csv").stderr
    )


def test_damaged_weights_are_no_figure(tiny_run, dummy_dataset_dir, monkeypatch):
    classifier = Classifier(tiny_run / "artefact")
    run = classifier.run

    def spoil(images):
        outputs = run(images)
        outputs.logits[3] = np.nan
        return outputs

    monkeypatch.setattr(classifier, "run", spoil)
    with pytest.raises(PredictionsError, match="NaN or infinity for 1 of 8 images, first Testing/"):
        evaluate(classifier, load_builder("tumor_ds/official", dummy_dataset_dir))


def test_a_protocol_whose_test_the_model_has_learnt(tiny_run, dummy_dataset_dir, monkeypatch):
    classifier, builder = (
        Classifier(tiny_run / "artefact"),
        load_builder("tumor_ds/official", dummy_dataset_dir),
    )
    monkeypatch.setitem(classifier.config.raw["dataset"], "name", "tumor_ds/grouped")
    with pytest.raises(
        EvaluationError, match="learnt on tumor_ds/grouped, which shows it test pictures of tumor_ds/official"
    ):
        evaluate(classifier, builder)
    monkeypatch.undo()
    with pytest.raises(EvaluationError, match="has no split fold1, but"):
        evaluate(classifier, builder, split="fold1")


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        (
            "version",
            "2.0.0",
            r"Expected tumor_ds/official 2\.0\.0, .* got version 1\.2\.0: .* Build version 2",
        ),
        ("fingerprint", "0" * 64, r"fingerprint 000000000000, got [0-9a-f]{12} in .* Build it again"),
    ],
)
def test_another_version_than_the_model_has_learnt(
    tiny_run, dummy_dataset_dir, monkeypatch, field, value, told
):
    classifier = Classifier(tiny_run / "artefact")
    monkeypatch.setitem(classifier.config.raw["dataset"], field, value)
    with pytest.raises(EvaluationError, match=told):
        evaluate(classifier, load_builder("tumor_ds/official", dummy_dataset_dir))


def test_the_command_asks_for_the_version_that_the_model_has_learnt(tiny_run, monkeypatch):
    config = Classifier(tiny_run / "artefact").config
    assert name_dataset(config) == name_dataset(config, "official") == "tumor_ds/official:1.*.*"
    monkeypatch.setitem(config.raw["dataset"], "version", "2.0.0")
    assert name_dataset(config) == "tumor_ds/official:2.*.*"
    assert name_dataset(config, "grouped") == "tumor_ds/grouped"


def test_dataset_that_was_not_built(tmp_path):
    result = CliRunner().invoke(
        app, ["evaluate", "--data-dir", str(tmp_path), "--out", str(tmp_path / "out")]
    )
    assert result.exit_code == 1
    assert "tumor build" in result.stderr
    assert not (tmp_path / "out").exists()


def test_folders_and_files_need_no_tensorflow():
    code = (
        "import sys, trainer.cli.main, trainer.evaluation.scoring; sys.exit(' '.join({'tensorflow', 'keras'}"
        " & set(sys.modules)) or 0)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


@pytest.mark.real_data
def test_bundled_model_on_the_official_test_split(real_dataset_dir, tmp_path):
    """The shipped figures and the same ones from the predictions alone, in under two minutes of CPU time."""
    first, again = tmp_path / "first", tmp_path / "again"
    started = time.process_time()
    for out, source in {
        first: ("--data-dir", real_dataset_dir),
        again: ("--predictions", first / "predictions.csv"),
    }.items():
        result = run_evaluate(*source, "--out", out)
        assert result.exit_code == 0, result.output
    assert time.process_time() - started < 120
    written = (first / "metrics.json").read_bytes()
    assert written == (again / "metrics.json").read_bytes()
    metrics, shipped = (
        json.loads(written)["official"],
        json.loads((BUNDLED / "metrics.json").read_text())["official"],
    )
    assert (metrics["all"]["count"], metrics["unseen"]["count"]) == (1311, 319)
    assert metrics["all"]["accuracy"] >= 0.975
    assert metrics["all"]["confusion_matrix"] == shipped["all"]["confusion_matrix"]
    assert metrics["unseen"]["accuracy"] == shipped["unseen"]["accuracy"]
    assert 200_000 < (tmp_path / "first" / "report.html").stat().st_size < 4_000_000
    assert metrics["all"]["prediction_sets"]["0.95"]["size"] == pytest.approx(
        shipped["all"]["prediction_sets"]["0.95"]["size"], abs=0.01
    )


@pytest.mark.real_data
def test_another_hospital_as_the_readme_tells(real_data_dir, tmp_path):
    if not (real_data_dir / "other_hospital").is_dir():
        pytest.skip(f"no pictures of another hospital in {real_data_dir}")
    patients = "PGBM_[0-9]+|studyforrest"
    result = run_evaluate(
        "--images", real_data_dir / "other_hospital", "--patient-pattern", patients, "--out", tmp_path
    )
    assert result.exit_code == 0, result.output
    figures = json.loads((tmp_path / "metrics.json").read_text())["images-other_hospital"]["all"]
    assert (figures["count"], figures["groups"]) == (127, 11)
    low, high = figures["accuracy_interval"]
    readme = " ".join((Path(__file__).resolve().parents[3] / "README.md").read_text().split())
    assert (
        f"accuracy is {figures['accuracy']:.1%} ({low:.1%} to {high:.1%}), glioma recall"
        f" {figures['per_class']['glioma']['recall']:.1%}" in readme
    )
    assert f"sets for 95 % hold the label for {figures['prediction_sets']['0.95']['coverage']:.1%}" in readme
