"""One training step on every way of training: two devices, two workers, other settings; and its memory."""

import json
import signal
import socket
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.trainer.training.processes import SMALL, finish, read_history, run_tumor
from tests.wandb_log import read_run
from trainer.cli.main import app
from trainer.training.run_folder import FINISHED_FILE

TWO_CPUS = """
import tensorflow as tf
[cpu] = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
"""
# Dropout draws its own numbers on every replica, and augmentation is drawn by replica: without both, replicas
# must agree with one device. Ten epochs of five steps, each of whose losses is logged. At a low rate: Adam
# makes steps of a size that rounding can turn round.
ALIKE = [
    "--set",
    "model.dropout=0.0",
    "--set",
    "optimization.epochs=10",
    "--set",
    "optimization.learning_rate=2e-4",
    "--set",
    "tracking.log_every=1",
] + [
    argument
    for name, value in {
        "flip": "'none'",
        "rotation": 0,
        "zoom": 0,
        "translation": 0,
        "brightness": 0,
        "contrast": 0,
        "gamma": 0,
    }.items()
    for argument in ("--set", f"augmentation.{name}={value}")
]


# Dies in the third step of the second epoch.
DIE = """
import os
from trainer.training import learner
inner, count = learner.Learner.train_step, [0]
def train_step(self, *arguments, **named):
    count[0] += 1
    if count[0] == 8:
        os.kill(os.getpid(), 9)
    return inner(self, *arguments, **named)
learner.Learner.train_step = train_step
"""
# Resident memory in KiB at the end of every epoch.
NOTE_MEMORY = """
import re
from trainer.training import loop as training
inner = training.write_history
def write_history(run_dir, history):
    inner(run_dir, history)
    with open(run_dir / "resident.txt", "a") as file:
        print(re.search(r"VmRSS:\\s+(\\d+)", open("/proc/self/status").read())[1], file=file)
training.write_history = write_history
"""


def list_arguments(config: Path, strategy: str, data_dir: Path, run_dir: Path) -> list[str]:
    places = ["--data-dir", str(data_dir), "--run-dir", str(run_dir)]
    return ["train", str(config), *ALIKE, "--strategy", strategy, *places]


@pytest.fixture(scope="module")
def on_one_device(dummy_dataset_dir, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("one")
    (folder / "small.toml").write_text(SMALL)
    arguments = list_arguments(folder / "small.toml", "one", dummy_dataset_dir, folder / "run")
    code, output = finish(run_tumor([*arguments, "--no-artefact"], NOTE_MEMORY, WANDB_MODE="offline"))
    assert code == 0, output
    return folder / "run"


def read_losses(run_dir: Path) -> dict[int, float]:
    """The loss by step, as W&B has it of the last time that the run was started."""
    log = sorted(run_dir.glob("wandb/offline-run-*/*.wandb"))[-1]
    rows = read_run(log)["history"]
    return {row["train/step"]: row["train/loss"] for row in rows if "train/loss" in row}


def read_epoch_losses(run_dir: Path) -> list[float]:
    """Losses of training and validation; one image more or less would be a jump in accuracy."""
    return [row[name] for row in read_history(run_dir) for name in ("loss", "val_loss")]


def test_memory_stays_flat(on_one_device):
    resident = [int(line) for line in (on_one_device / "resident.txt").read_text().split()]
    assert len(resident) == 10
    assert resident[9] <= 1.05 * resident[1]


def test_mirrored_learns_as_one_device(config, on_one_device, dummy_dataset_dir, tmp_path):
    arguments = list_arguments(config, "mirrored", dummy_dataset_dir, tmp_path / "run")
    code, output = finish(run_tumor(arguments, TWO_CPUS))
    assert code == 0, output
    assert read_epoch_losses(tmp_path / "run") == pytest.approx(read_epoch_losses(on_one_device), abs=1e-3)


def find_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for opened in sockets:
        opened.bind(("127.0.0.1", 0))
    ports = [opened.getsockname()[1] for opened in sockets]
    for opened in sockets:
        opened.close()
    return ports


def start_workers(arguments: list[str], preludes: tuple[str, str] = ("", "")) -> list[subprocess.Popen]:
    workers = [f"127.0.0.1:{port}" for port in find_ports(2)]
    clusters = [
        json.dumps({"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}})
        for index in range(2)
    ]
    return [
        run_tumor(arguments, prelude, TF_CONFIG=cluster, WANDB_MODE="offline")
        for prelude, cluster in zip(preludes, clusters, strict=True)
    ]


def test_two_workers_of_whom_one_is_killed_have_the_losses_of_one_process(
    config, on_one_device, dummy_dataset_dir, tmp_path
):
    """The first epoch in one start; the other 45 steps, the learning and the artefact in the next."""
    run_dir = tmp_path / "run"
    arguments = list_arguments(config, "multiworker", dummy_dataset_dir, run_dir)
    chief, killed = start_workers(arguments, ("", DIE))
    code, output = finish(killed)
    chief.kill()  # TensorFlow's own time-out for a lost peer is minutes; a launcher ends the job
    assert code == -signal.SIGKILL, (output, finish(chief))
    finish(chief)
    assert not (run_dir / FINISHED_FILE).exists()
    results = [finish(process) for process in start_workers(arguments)]
    assert [code for code, _ in results] == [0, 0], results
    assert "Resuming at epoch 2, step 1." in results[0][1]
    assert "Artefact:" in results[0][1]
    assert "Artefact:" not in results[1][1]

    expected, losses = read_losses(on_one_device), read_losses(run_dir)
    assert list(expected) == list(range(1, 51))
    assert losses == pytest.approx({step: expected[step] for step in range(6, 51)}, abs=1e-3)
    epochs = read_epoch_losses(run_dir)
    assert len(epochs) == 20
    assert epochs == pytest.approx(read_epoch_losses(on_one_device), abs=1e-3)
    assert epochs[0] - epochs[-2] > 0.05  # they have learnt something


# Settings


def test_adam_with_plateaus_and_patience_without_averages_with_tensorboard(dummy_dataset_dir, tmp_path):
    """What the run that other tests share, with small pictures first, does not set."""
    path = tmp_path / "all.toml"
    path.write_text(
        "[data]\nimage_size = 64\nprogressive_scales = []\nbatch_size = 8\n"
        '[model]\narchitecture = "reference_vgg"\npretrained = false\n'
        '[optimization]\nepochs = 4\noptimizer = "adam"\nschedule = "constant"\nwarmup_epochs = 0\n'
        "learning_rate = 1e-3\nplateau_patience = 1\nplateau_factor = 0.1\nplateau_floor = 1e-4\n"
        'ema_momentum = 0\nmonitor = "val_accuracy"\nearly_stopping_patience = 2\n'
        "[tracking]\ntensorboard = true\n"
    )
    run_dir = tmp_path / "run"
    arguments = ["train", str(path), "--data-dir", str(dummy_dataset_dir), "--run-dir", str(run_dir)]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False, env={"WANDB_MODE": "disabled"})
    assert result.exit_code == 0, result.output
    history = read_history(run_dir)
    accuracies = [row["val_accuracy"] for row in history]
    assert len(history) == 4 or len(history) - 1 - accuracies.index(max(accuracies)) == 2  # out of patience
    rates = {round(row["learning_rate"], 6) for row in history}
    assert rates <= {5e-4, 5e-5}  # a quarter of the reference batch halves the rate
    assert list((run_dir / "tensorboard").glob("events.*"))
    assert (run_dir / "artefact" / "model.tflite").exists()
