"""One training step on every way of training: two devices, two workers, all at once; and its memory."""

import json
import socket
import subprocess
import time
from pathlib import Path

import pytest

from tests.trainer.training.processes import (
    SMALL,
    TIMEOUT_SECONDS,
    finish,
    read_history,
    run_tumor,
)
from tests.wandb_log import read_run

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
    code, output = finish(run_tumor(arguments, NOTE_MEMORY, WANDB_MODE="offline"))
    assert code == 0, output
    return folder / "run"


def read_losses(run_dir: Path) -> list[float]:
    """The loss of every step, as W&B has it."""
    [log] = run_dir.glob("wandb/offline-run-*/*.wandb")
    return [row["train/loss"] for row in read_run(log)["history"] if "train/loss" in row]


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


def start_workers(arguments: list[str], **environment: str) -> list[subprocess.Popen]:
    workers = [f"127.0.0.1:{port}" for port in find_ports(2)]
    clusters = [
        json.dumps({"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}})
        for index in range(2)
    ]
    return [run_tumor(arguments, TF_CONFIG=cluster, **environment) for cluster in clusters]


def test_two_workers_have_the_losses_of_one_process_for_50_steps(
    config, on_one_device, dummy_dataset_dir, tmp_path
):
    run_dir = tmp_path / "run"
    arguments = list_arguments(config, "multiworker", dummy_dataset_dir, run_dir)
    results = [finish(process) for process in start_workers(arguments, WANDB_MODE="offline")]
    assert [code for code, _ in results] == [0, 0], results
    losses = read_losses(run_dir)
    assert len(losses) == 50
    assert losses == pytest.approx(read_losses(on_one_device), abs=1e-3)
    assert losses[0] - losses[-1] > 0.05  # they have learnt something


def test_two_workers_resume_after_one_is_killed(config, on_one_device, dummy_dataset_dir, tmp_path):
    run_dir = tmp_path / "run"
    arguments = list_arguments(config, "multiworker", dummy_dataset_dir, run_dir)
    first = start_workers(arguments)
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while not list((run_dir / "checkpoints").glob("*.json")) if run_dir.exists() else True:
        assert all(process.poll() is None for process in first), [finish(process) for process in first]
        assert time.monotonic() < deadline
        time.sleep(0.1)
    first[1].kill()
    first[1].wait()
    first[0].kill()  # TensorFlow's own time-out for a lost peer is minutes; a launcher ends the job
    first[0].wait()
    second = start_workers(arguments)
    results = [finish(process) for process in second]
    assert [code for code, _ in results] == [0, 0], results
    assert "Resuming at epoch" in results[0][1]
    assert "Artefact:" in results[0][1]
    assert "Artefact:" not in results[1][1]
    assert read_epoch_losses(run_dir) == pytest.approx(read_epoch_losses(on_one_device), abs=1e-3)


# Settings


def test_every_way_of_training_at_once(dummy_dataset_dir, tmp_path):
    """Small pictures first, plateaus, no averages, TensorBoard."""
    path = tmp_path / "all.toml"
    path.write_text(
        "[data]\nimage_size = 64\nprogressive_scales = [0.5]\nbatch_size = 8\n[model]\npretrained ="
        ' false\n[optimization]\nepochs = 4\noptimizer = "adam"\nschedule = "constant"\nwarmup_epochs ='
        " 0\nlearning_rate = 1e-3\nplateau_patience ="
        " 1\nplateau_factor = 0.1\nplateau_floor = 1e-4\nema_momentum = 0\nmonitor ="
        ' "val_accuracy"\nearly_stopping_patience = 2\n[tracking]\ntensorboard = true\n'
    )
    run_dir = tmp_path / "run"
    code, output = finish(
        run_tumor(["train", str(path), "--data-dir", str(dummy_dataset_dir), "--run-dir", str(run_dir)])
    )
    assert code == 0, output
    history = read_history(run_dir)
    accuracies = [row["val_accuracy"] for row in history]
    assert len(history) == 4 or len(history) - 1 - accuracies.index(max(accuracies)) == 2  # out of patience
    rates = {round(row["learning_rate"], 6) for row in history}
    assert rates <= {5e-4, 5e-5}  # a quarter of the reference batch halves the rate
    assert list((run_dir / "tensorboard").glob("events.*"))
    assert (run_dir / "artefact" / "model.tflite").exists()
