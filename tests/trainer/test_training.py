import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import wandb
from typer.testing import CliRunner

from trainer.cli import app
from trainer.config import Config, build_config
from trainer.input_pipeline import load_builder
from trainer.training import BEST_WEIGHTS_FILE, FINISHED_FILE, RunError, build_callbacks, claim_run_dir, load_history, train


def test_run_folder_is_whole(tiny_run):
    names = {path.name for path in tiny_run.iterdir()}
    assert {"config.json", "history.csv", BEST_WEIGHTS_FILE, FINISHED_FILE, "artefact", "predictions.csv", "wandb"} <= names
    assert not any("partial" in name for name in names)
    assert [row["epoch"] for row in load_history(tiny_run)] == ["0", "1"]


def test_without_a_key_wandb_is_offline_and_says_so(tiny_run):
    assert "no key found, so this run is logged offline" in " ".join((tiny_run / "output.txt").read_text().split())
    [folder] = (tiny_run / "wandb").glob("offline-run-*")
    [log] = folder.glob("*.wandb")
    content = log.read_bytes()
    for key in (b"epoch/val_accuracy", b"epoch/loss", b"epoch/learning_rate", b"label_smoothing"):
        assert key in content


def test_finished_run_is_not_trained_again(tiny_run, tiny_overrides, dummy_dataset_dir):
    before = (tiny_run / BEST_WEIGHTS_FILE).stat().st_mtime_ns
    config = tiny_run.parent / "tiny.toml"
    arguments = ["train", str(config), *tiny_overrides, "--run-dir", str(tiny_run), "--data-dir", str(dummy_dataset_dir)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert (tiny_run / BEST_WEIGHTS_FILE).stat().st_mtime_ns == before
    assert len(load_history(tiny_run)) == 2


def test_folder_of_another_config_is_refused(tmp_path):
    claim_run_dir(Config(), tmp_path)
    claim_run_dir(Config(), tmp_path)
    with pytest.raises(RunError, match="another config"):
        claim_run_dir(Config(seed=1), tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["seed"] == 0


def test_missing_dataset_says_how_to_build_it(tmp_path):
    config = tmp_path / "run.toml"
    config.write_text("")
    result = CliRunner().invoke(app, ["train", str(config), "--data-dir", str(tmp_path), "--run-dir", str(tmp_path / "run")])
    assert result.exit_code == 1
    assert "tumor build" in result.stderr


def test_resumed_run_keeps_the_best_epoch_of_before(tmp_path):
    (tmp_path / "history.csv").write_text("epoch,val_loss\n0,0.7\n1,0.4\n2,0.5\n")
    with wandb.init(mode="disabled"):
        callbacks = {type(callback).__name__: callback for callback in build_callbacks(Config(), tmp_path)}
    assert callbacks["ModelCheckpoint"].best == 0.4
    assert callbacks["EarlyStopping"].baseline == 0.4


def test_loss_that_explodes_is_an_error_and_not_a_finished_run(dummy_dataset_dir, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    config = build_config({"data": {"image_size": 32}, "model": {"pretrained": False}, "optimization": {"epochs": 2, "learning_rate": 1e30}})
    with pytest.raises(RunError, match="NaN or infinite in epoch"):
        train(config, load_builder("tumor_ds/official", dummy_dataset_dir), tmp_path / "run")
    assert not (tmp_path / "run" / FINISHED_FILE).exists()


def train_and_kill(arguments: list[str], run_dir: Path, epochs: int) -> list[int]:
    """Run `tumor train` until `history.csv` has so many rows, kill it at once, and return the epochs of all rows."""
    command = [sys.executable, "-c", "from trainer.cli import app; app()", "train", *arguments, "--run-dir", str(run_dir)]
    environment = {**os.environ, "WANDB_MODE": "disabled"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True, env=environment)
    deadline = time.monotonic() + 180
    while len(load_history(run_dir)) < epochs:
        assert process.poll() is None, process.stdout.read().decode()
        assert time.monotonic() < deadline
        time.sleep(0.2)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return [int(row["epoch"]) for row in load_history(run_dir)]


def test_killed_run_resumes_after_its_last_epoch(dummy_dataset_dir, tmp_path):
    config = tmp_path / "killed.toml"
    config.write_text("[data]\nimage_size = 32\nbatch_size = 8\n[optimization]\nepochs = 400\n[model]\npretrained = false\n")
    arguments, run_dir = [str(config), "--data-dir", str(dummy_dataset_dir)], tmp_path / "run"
    before = train_and_kill(arguments, run_dir, epochs=2)
    assert before == list(range(len(before)))
    after = train_and_kill(arguments, run_dir, epochs=len(before) + 1)
    assert after[: len(before)] == before
    # The backup of an epoch is written before its row, so a kill between the two loses a row, never an epoch.
    assert after[len(before)] in (before[-1] + 1, before[-1] + 2)
