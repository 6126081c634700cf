import csv
import json

import numpy as np
import pytest
from typer.testing import CliRunner

from serving import Classifier
from serving.calibration import compute_probabilities
from trainer.cli import app
from trainer.evaluation import evaluate, summarise
from trainer.input_pipeline import load_builder


@pytest.fixture(scope="module")
def evaluated(tiny_run, dummy_dataset_dir, tmp_path_factory):
    out = tmp_path_factory.mktemp("evaluation")
    result = CliRunner().invoke(app, ["evaluate", str(tiny_run), "--data-dir", str(dummy_dataset_dir), "--out", str(out)])
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
    np.testing.assert_allclose(compute_probabilities(logits, Classifier(tiny_run / "artefact").config.temperature), probs, atol=1e-4)


def test_what_is_printed_is_what_is_written(evaluated):
    out, printed = evaluated
    text = " ".join(printed.split())
    for figures in json.loads((out / "metrics.json").read_text())["official"].values():
        assert f"{figures['accuracy']:.2%} ({figures['errors']} errors" in text
        for values in figures["per_class"].values():
            assert f"{values['f2']:.4f}" in text


def test_artefact_holds_the_same_figures(evaluated, tiny_run):
    out, _ = evaluated
    assert json.loads((out / "metrics.json").read_text()) == json.loads((tiny_run / "artefact" / "metrics.json").read_text())


def test_figure_is_drawn(evaluated):
    out, _ = evaluated
    assert (out / "figures" / "confusion_official.png").read_bytes().startswith(b"\x89PNG")


def test_subsets_without_images_are_left_out(tiny_run, dummy_dataset_dir):
    validation = evaluate(Classifier(tiny_run / "artefact"), load_builder("tumor_ds/official", dummy_dataset_dir), split="validation")
    assert set(summarise(validation)) == {"all", "unseen"}


def test_dataset_that_was_not_built(tmp_path):
    result = CliRunner().invoke(app, ["evaluate", "--data-dir", str(tmp_path), "--out", str(tmp_path / "out")])
    assert result.exit_code == 1
    assert "tumor build" in result.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.real_data
def test_bundled_model_on_the_official_test_split(real_dataset_dir, tmp_path):
    from serving.artefact import BUNDLED

    result = CliRunner().invoke(app, ["evaluate", "--data-dir", str(real_dataset_dir), "--out", str(tmp_path)])
    assert result.exit_code == 0, result.output
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["official"]["all"]["count"] == 1311
    assert metrics["official"]["unseen"]["count"] == 319
    assert metrics["official"]["all"]["accuracy"] >= 0.975
    shipped = json.loads((BUNDLED / "metrics.json").read_text())
    assert metrics["official"]["all"]["confusion_matrix"] == shipped["official"]["all"]["confusion_matrix"]
    assert metrics["official"]["unseen"]["accuracy"] == shipped["official"]["unseen"]["accuracy"]
