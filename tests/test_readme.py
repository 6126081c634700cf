"""What the README promises: figures as the bundled artefact holds them, commands and files that exist."""

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from serving.artefact import BUNDLED
from trainer.cli import app
from trainer.predictions import load_predictions
from trainer.tables import build_comparison
from trainer.uncertainty import measure_split_coverage

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
METRICS = json.loads((BUNDLED / "metrics.json").read_text())["official"]


@pytest.mark.parametrize("subset", ["all", "unseen"])
def test_protocol_figures_are_the_artefacts(subset):
    figures = METRICS[subset]
    low, high = figures["accuracy_interval"]
    averages = f"{figures['macro']['f1']:.4f} | {figures['macro']['f2']:.4f} | {figures['ece']:.4f}"
    assert f"| {figures['count']:,} | {figures['accuracy']:.2%} | {low:.2%} to {high:.2%} | {averages} |" in README


@pytest.mark.parametrize("label", METRICS["all"]["per_class"])
def test_class_figures_are_the_artefacts(label):
    figures = METRICS["all"]["per_class"][label]
    columns = " | ".join(f"{figures[name]:.4f}" for name in ("precision", "recall", "f1", "f2"))
    assert f"| {label} | {figures['support']} | {columns} |" in README


def test_comparison_is_the_commands():
    for row in build_comparison(METRICS)[1:]:
        assert f"| {' | '.join(row[1:])} |" in README


def test_figures_on_the_rest_of_validation():
    predictions = load_predictions(ROOT / "configs" / "results" / "official" / "validation_predictions.csv")
    correct = predictions.predicted == predictions.true
    assert f"on the {len(correct)} of them that share no group of today's dataset with a training picture it is {correct.mean():.2%}" in README


def test_coverage_over_random_splits():
    predictions = load_predictions(ROOT / "configs" / "results" / "official" / "predictions.csv")
    found = [measure_split_coverage(predictions, coverage) for coverage in (0.95, 0.99)]
    text = " ".join((ROOT / "CONTRIBUTING.md").read_text().split())
    assert f"for {found[0].sets.mean() * 100:.2f} % (target 95) and {found[1].sets.mean() * 100:.2f} % (target 99)" in text
    assert f"they do for {found[0].served.mean() * 100:.2f} % and {found[1].served.mean() * 100:.2f} %" in text


def test_validation_figure_is_the_artefacts():
    accuracy = json.loads((BUNDLED / "config.json").read_text())["calibration"]["fitted_on"]["accuracy"]
    assert f"accuracy is {accuracy:.2%}" in README
    assert f"validation {accuracy * 100:.2f} %" in (ROOT / "configs" / "official.toml").read_text()


def test_official_figure_never_stands_alone():
    for text in (README, (BUNDLED / "README.md").read_text(), (ROOT / "configs" / "official.toml").read_text()):
        leaked, unseen = (f"{METRICS[subset]['accuracy'] * 100:.2f}" for subset in ("all", "unseen"))
        assert leaked in text
        assert unseen in text
        assert "leaked" in text


def test_linked_files_exist():
    links = re.findall(r"\]\(((?!http)[^)#]+)\)", README)
    assert links
    for link in links:
        assert (ROOT / link).exists(), link


def test_commands_exist():
    commands = set(re.findall(r"\btumor ([a-z]+)", README))
    assert {"build", "train", "serve", "predict", "evaluate"} <= commands
    for command in commands:
        assert CliRunner().invoke(app, [command, "--help"]).exit_code == 0, command
