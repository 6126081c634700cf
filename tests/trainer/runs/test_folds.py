"""Folds of the patient protocol: no pooled answer comes from a model that knew the patient."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from serving import Classifier
from serving.model.calibration import compute_prediction_sets, compute_probabilities
from tests.trainer.make_predictions import make_predictions
from tests.trainer.marked_numbers import check_number, follow, parse
from trainer.cli.config_file import check_folds
from trainer.cli.main import app
from trainer.config import Config, ConfigError, DataConfig
from trainer.data.input_pipeline import FOLD_SHARES, count_images, load_builder, load_split
from trainer.evaluation.predictions import PredictionsError, pool_predictions
from trainer.evaluation.predictions_file import load_predictions
from trainer.evaluation.scoring import evaluate, pool, summarise
from trainer.fitting.calibration import fit_temperature
from tumor_ds import LABELS
from tumor_ds.grouping.facts import load_facts
from tumor_ds.grouping.splits import deal_groups, split_patient

FOLDS = (1, 2, 3, 4, 5)
CONFIG = """
[data]
dataset = "tumor_ds/patient"
image_size = 64
progressive_scales = []
batch_size = 8
[model]
architecture = "reference_vgg"
pretrained = false
[optimization]
epochs = 2
warmup_epochs = 0.5
ema_momentum = 0.5
"""


@pytest.fixture(scope="module")
def patient_dir(dummy_data_dir, build_dataset, tmp_path_factory) -> Path:
    """TFDS data directory with tumor_ds/patient built from the dummy data: 48 pictures."""
    return build_dataset(dummy_data_dir, tmp_path_factory.mktemp("patient"), config="patient")


def run_train(folder: Path, data_dir: Path, *arguments: str):
    config = folder / "small.toml"
    config.write_text(CONFIG)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_MODE", "disabled")
        command = ["train", str(config), "--data-dir", str(data_dir), *arguments]
        return CliRunner().invoke(app, command, catch_exceptions=False, env={"COLUMNS": "120"})


@pytest.fixture(scope="module")
def folds(patient_dir, tmp_path_factory) -> Path:
    """Folder of `tumor train --folds`."""
    folder = tmp_path_factory.mktemp("folds")
    result = run_train(folder, patient_dir, "--folds", "--run-dir", str(folder / "runs"))
    assert result.exit_code == 0, result.output
    (folder / "runs" / "output.txt").write_text(result.output)
    return folder / "runs"


def read_rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


# Splits


def test_each_fold_is_the_test_split_once_and_no_group_is_on_two_sides(patient_dir):
    builder = load_builder("tumor_ds/patient", patient_dir)
    tested: list[str] = []
    for fold in FOLDS:
        parts = {name: load_split(builder, name, 32, fold=fold) for name in ("train", "validation", "test")}
        assert {name: len(part.filenames) for name, part in parts.items()} == count_images(builder, fold)
        names = [name for part in parts.values() for name in part.filenames]
        assert len(names) == len(set(names)) == 48
        groups = [group for part in parts.values() for group in set(part.groups.tolist())]
        assert len(groups) == len(set(groups))
        assert all(set(part.true.tolist()) == {0, 1, 2, 3} for name, part in parts.items() if name != "test")
        tested += parts["test"].filenames
    assert sorted(tested) == sorted(names)


def test_a_tenth_of_the_other_folds_of_the_collection_is_validation():
    by_fold = split_patient(load_facts().values())
    for fold in FOLDS:
        others = [row for name, rows in by_fold.items() if name != f"fold{fold}" for row in rows]
        dealt = deal_groups(others, FOLD_SHARES)
        for label in LABELS:
            of_label = [dealt[row.group] for row in others if row.label == label]
            assert of_label.count("validation") / len(of_label) == pytest.approx(0.1, abs=0.01)


# All folds


def test_every_picture_is_answered_once_by_the_model_that_did_not_know_it(folds, patient_dir):
    rows = {row["filename"]: row for row in read_rows(folds / "predictions.csv")}
    assert len(rows) == len(read_rows(folds / "predictions.csv")) == 48
    builder = load_builder("tumor_ds/patient", patient_dir)
    for fold in FOLDS:
        classifier = Classifier(folds / f"fold{fold}" / "artefact")
        again = evaluate(classifier, builder)
        assert classifier.config.raw["dataset"]["counts"]["test"] == len(again.filenames)
        for name, logits in zip(again.filenames, again.logits, strict=True):
            assert [float(rows[name][f"logit_{label}"]) for label in again.labels] == pytest.approx(
                logits.tolist(), abs=1e-6
            )


def test_figures_are_those_of_the_pooled_predictions(folds):
    predictions = load_predictions(folds / "predictions.csv", protocol="patient")
    metrics = json.loads((folds / "metrics.json").read_text())["patient"]["all"]
    assert metrics["accuracy"] == (predictions.predicted == predictions.true).mean()
    of_folds = [
        json.loads((folds / f"fold{fold}" / "artefact" / "metrics.json").read_text())["patient"]["all"]
        for fold in FOLDS
    ]
    assert metrics["errors"] == sum(figures["errors"] for figures in of_folds)
    over_folds = json.loads((folds / "over_folds.json").read_text())["all"]
    accuracies = [figures["accuracy"] for figures in of_folds]
    assert [run["accuracy"] for run in over_folds["runs"]] == accuracies
    assert over_folds["over_runs"]["accuracy"]["mean"] == pytest.approx(np.mean(accuracies))
    assert over_folds["over_runs"]["accuracy"]["sd"] == pytest.approx(np.std(accuracies, ddof=1))


def test_each_fold_is_calibrated_by_the_others(folds):
    over_folds, metrics = (
        json.loads((folds / name).read_text()) for name in ("over_folds.json", "metrics.json")
    )
    pooled = load_predictions(folds / "predictions.csv")
    own = {fold: load_predictions(folds / f"fold{fold}" / "predictions.csv") for fold in FOLDS}
    held, missed = dict.fromkeys(("0.95", "0.99"), 0), [0, 0, 0]
    for fold, told in zip(FOLDS, over_folds["calibration"], strict=True):
        others = pool_predictions([part for other, part in own.items() if other != fold])
        assert told["temperature"] == pytest.approx(fit_temperature(others.logits, others.true))
        groups = len(set(others.groups.tolist()))
        assert told["fitted_on"] == {
            "split": "folds",
            "count": len(others.true),
            "groups": groups,
            "too_few_groups_for": [
                coverage for coverage, least in {0.95: 19, 0.99: 99}.items() if groups < least
            ],
        }
        part = pooled.take(np.isin(pooled.filenames, own[fold].filenames))
        np.testing.assert_allclose(part.probs, compute_probabilities(part.logits, told["temperature"]))
        for coverage in held:
            sets = compute_prediction_sets(part.probs, told["prediction_set_thresholds"][coverage])
            held[coverage] += sets[np.arange(len(part.true)), part.true].sum()
        notumor = part.labels.index("notumor")
        scores = 1 - part.probs[part.true != notumor, notumor]
        missed = [
            count + (scores < told["any_tumour_thresholds"][share]).sum()
            for count, share in zip(missed, ("0.95", "0.99", "0.995"), strict=True)
        ]
    figures = metrics["patient"]["all"]
    for coverage in held:
        assert figures["prediction_sets"][coverage]["coverage"] == pytest.approx(held[coverage] / 48)
        assert figures["prediction_sets"][coverage]["threshold"] is None
    assert [point["missed_tumours"] for point in figures["any_tumour"]["operating_points"]] == missed
    recipe = json.loads((folds / "fold1" / "config.json").read_text())
    recipe["data"]["fold"] = 0
    assert over_folds["recipe"] == recipe


def test_a_model_of_the_recipe_is_calibrated_by_the_folds(folds, patient_dir, tmp_path):
    """A fold's own model: without its test pictures, the folds are the other folds."""
    copy = tmp_path / "fold2"
    shutil.copytree(folds / "fold2", copy)
    arguments = ["export", str(copy), "--data-dir", str(patient_dir), "--folds"]
    result = CliRunner().invoke(app, [*arguments, str(folds)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    config = Classifier(copy / "artefact").config
    told = json.loads((folds / "over_folds.json").read_text())["calibration"][1]
    assert {name: config.raw["calibration"][name] for name in told} == told
    before = Classifier(folds / "fold2" / "artefact").config
    assert before.raw["calibration"]["fitted_on"]["split"] == "validation"
    assert before.raw["validation"] == config.raw["validation"]
    card = " ".join((copy / "artefact" / "README.md").read_text().split())
    assert f"the temperature ({told['temperature']:.3f}) on unseen patients" in card
    assert "fitted on unseen patients, answered by models of the folds of the same recipe" in " ".join(
        (copy / "report.html").read_text().split()
    )


def test_folds_that_do_not_fit_change_nothing(folds, patient_dir, tmp_path):
    before = (folds / "fold2" / "artefact" / "config.json").read_bytes()
    result = CliRunner().invoke(
        app, ["export", str(folds / "fold2"), "--data-dir", str(patient_dir), "--folds", str(tmp_path)]
    )
    assert result.exit_code == 1
    assert "holds no over_folds.json with a recipe" in " ".join(result.stderr.split())
    assert (folds / "fold2" / "artefact" / "config.json").read_bytes() == before


def test_the_report_tells_of_all_folds(folds):
    parsed = parse(folds / "report.html")
    files = {
        name: json.loads((folds / name).read_text())
        for name in {key.partition("#")[0] for key, _ in parsed.numbers}
    }
    assert set(files) == {
        "metrics.json",
        "over_folds.json",
        *(f"fold{fold}/artefact/config.json" for fold in FOLDS),
    }
    for key, text in parsed.numbers:
        name, _, pointer = key.partition("#")
        check_number(follow(files[name], pointer), text)
    keys = {key for key, _ in parsed.numbers}
    assert {f"over_folds.json#/all/runs/{place}/accuracy" for place in range(5)} <= keys
    assert {f"over_folds.json#/all/over_runs/accuracy/{row}" for row in ("mean", "sd")} <= keys
    alts = {image["alt"] for image in parsed.images}
    assert {"Architecture", "Reliability", *(f"Learning curves, fold {fold}" for fold in FOLDS)} <= alts
    text = " ".join(parsed.rest.split())
    assert "5 times, each time without one fold · asked about the fold it has not seen" in text
    assert "tumor train CONFIG --set data.dataset=tumor_ds/patient --folds" in text
    assert "those of each fold stand in its own foldN/report.html" in text
    assert all((folds / f"fold{fold}" / "report.html").exists() for fold in FOLDS)


def test_the_end_prints_the_pooled_figures_and_the_deviation(folds):
    output = " ".join((folds / "output.txt").read_text().split())
    metrics = json.loads((folds / "metrics.json").read_text())["patient"]["all"]
    assert f"accuracy {metrics['accuracy']:.2%} ({metrics['errors']} errors of 48)" in output
    assert "standard deviation" in output
    assert str(folds / "over_folds.json") in output


def test_finished_folds_are_kept_and_a_lost_one_is_made_again(folds, patient_dir, tmp_path):
    copy = tmp_path / "runs"
    shutil.copytree(folds, copy)
    shutil.rmtree(copy / "fold3" / "artefact")
    (copy / "fold3" / "predictions.csv").unlink()
    (copy / "predictions.csv").unlink()
    # A fold that were trained or exported again would write here.
    for fold in (1, 2, 4, 5):
        shutil.rmtree(copy / f"fold{fold}" / "checkpoints")
        (copy / f"fold{fold}" / "best.weights.h5").unlink()
    result = run_train(tmp_path, patient_dir, "--folds", "--run-dir", str(copy))
    assert result.exit_code == 0, result.output
    assert "fold 3 of 5" in result.output
    assert "fold 2 of 5" not in result.output
    assert (copy / "predictions.csv").read_bytes() == (folds / "predictions.csv").read_bytes()
    assert (copy / "metrics.json").read_bytes() == (folds / "metrics.json").read_bytes()


def test_a_fold_alone_is_the_fold_among_others(folds, patient_dir, tmp_path):
    """What the folds before it leave behind in the process changes nothing."""
    alone = ["--set", "data.fold=2", "--no-artefact", "--run-dir", str(tmp_path / "alone")]
    result = run_train(tmp_path, patient_dir, *alone)
    assert result.exit_code == 0, result.output
    history, among = (read_rows(folder / "history.csv") for folder in (tmp_path / "alone", folds / "fold2"))
    for alone, other in zip(history, among, strict=True):
        assert [float(value) for value in alone.values()] == pytest.approx(
            [float(value) for value in other.values()], rel=1e-4
        )


def test_another_config_is_not_pooled_with_finished_folds(folds, patient_dir, tmp_path):
    result = run_train(tmp_path, patient_dir, "--folds", "--set", "seed=1", "--run-dir", str(folds))
    assert result.exit_code == 1
    assert "holds a run with another config" in " ".join(result.stderr.split())


def test_a_fold_is_evaluated_on_its_own_test_split(folds, patient_dir, tmp_path):
    arguments = ["evaluate", str(folds / "fold4"), "--data-dir", str(patient_dir), "--out", str(tmp_path)]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert (tmp_path / "predictions.csv").read_bytes() == (folds / "fold4" / "predictions.csv").read_bytes()


def test_runs_of_folds_have_a_mean_and_no_test(folds, tmp_path):
    result = CliRunner().invoke(
        app,
        ["compare", *(str(folds / f"fold{fold}") for fold in FOLDS), "--out", str(tmp_path)],
        catch_exceptions=False,
    )
    assert result.exit_code == 0, result.output
    found = json.loads((tmp_path / "comparison.json").read_text())
    told = json.loads((folds / "over_folds.json").read_text())["all"]["over_runs"]
    for name in (
        "accuracy",
        "macro_f1",
    ):  # not what temperature changes: the runs have that of their own validation
        assert found["all"]["over_runs"][name] == told[name]


# What does not fit


@pytest.mark.parametrize(
    ("data", "all_folds", "artefact", "message"),
    [
        (DataConfig(), True, True, "--folds needs data.dataset=tumor_ds/patient"),
        (DataConfig(dataset="tumor_ds/patient", fold=2), True, True, "got data.fold=2"),
        (
            DataConfig(dataset="tumor_ds/patient"),
            False,
            True,
            "Train all with --folds, or one with --set data.fold=1",
        ),
        (DataConfig(dataset="tumor_ds/patient"), True, False, "leave --no-artefact out"),
    ],
)
def test_config_and_options_have_to_fit(data, all_folds, artefact, message):
    with pytest.raises(ConfigError, match=message):
        check_folds(Config(data=data), all_folds, artefact)


@pytest.mark.parametrize(
    ("dataset", "fold"), [("tumor_ds/official", 1), ("tumor_ds/patient", 6), ("tumor_ds/patient", -1)]
)
def test_only_the_five_folds_can_be_named(dataset, fold):
    with pytest.raises(ConfigError, match=r"data\.fold: expected"):
        Config(data=DataConfig(dataset=dataset, fold=fold))


def test_a_picture_in_two_folds_is_refused():
    part = make_predictions([0, 1], np.eye(4)[:2], protocol="patient")
    with pytest.raises(PredictionsError, match="more than once"):
        pool_predictions([part, part])
    with pytest.raises(PredictionsError, match="got grouped"):
        pool_predictions([part, make_predictions([0], np.eye(4)[:1], protocol="grouped")])


def test_a_dry_run_of_folds_describes_the_first(patient_dir, tmp_path):
    result = run_train(tmp_path, patient_dir, "--folds", "--dry-run", "--run-dir", str(tmp_path / "none"))
    assert result.exit_code == 0, result.output
    assert '"fold": 1' in result.output
    assert not (tmp_path / "none").exists()


def test_pooling_one_fold_changes_nothing(folds):
    config = Classifier(folds / "fold1" / "artefact").config
    predictions = load_predictions(folds / "fold1" / "predictions.csv")
    pooled, summary = pool([(predictions, config)])
    alone = summarise(predictions, config)
    for figures in (
        *alone["all"]["prediction_sets"].values(),
        *alone["all"]["any_tumour"]["operating_points"],
    ):
        figures["threshold"] = None
    assert (pooled.filenames, summary) == (predictions.filenames, alone)
