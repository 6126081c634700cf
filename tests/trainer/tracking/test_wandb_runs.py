"""Whole runs as Weights & Biases has them: offline, from the run folder; online, from a local server."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import wandb
from etils import epath
from PIL import Image

from tests.wandb_log import read_run
from tests.wandb_server import WandbServer
from trainer.config import Config
from trainer.evaluation.gallery import SIDE
from trainer.reporting.evaluation_files import CURVES, FIGURES, name_figure
from trainer.tracking.wandb_run import start_wandb
from trainer.training.loop import Preempted

ROOT = Path(__file__).resolve().parents[3]
KEY = "0" * 40
TIMEOUT_SECONDS = 300
CONFIG = """
[data]
image_size = 64
progressive_scales = []
batch_size = 8
[model]
architecture = "reference_vgg"
pretrained = false
[optimization]
epochs = 2
learning_rate = 1e-3
warmup_epochs = 0.5
[tracking]
log_every = 1
"""
ARTEFACT_FILES = {
    "README.md",
    "config.json",
    "metrics.json",
    "model.keras",
    "model.tflite",
    "figures/architecture.png",
    *(f"figures/{name_figure(name, 'official')}" for name in (*FIGURES, *CURVES)),
}
PAGE = "tester/brain-tumor-mri/runs"
# Five steps an epoch; the signal comes in the second.
PREEMPT = """
import os, signal
from trainer.training import learner
inner, count = learner.Learner.train_step, [0]
def train_step(self, *arguments, **named):
    count[0] += 1
    if count[0] == 8:
        os.kill(os.getpid(), signal.SIGTERM)
    return inner(self, *arguments, **named)
learner.Learner.train_step = train_step
"""


# What the program itself waits is the claim of a test of `test_wandb_run.py`.
IMPATIENT = """
import wandb
from trainer.tracking import wandb_run
wandb.apis.public.Api._HTTP_TIMEOUT = 3
wandb_run.PATIENCE_SECONDS = 2
"""


def hash_file(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def list_artefact(run_dir: Path) -> dict[str, str]:
    folder = run_dir / "artefact"
    return {
        path.relative_to(folder).as_posix(): hash_file(path) for path in folder.rglob("*") if path.is_file()
    }


# Offline


@pytest.fixture(scope="module")
def logged(tiny_run):
    [log] = (tiny_run / "wandb").glob("offline-run-*/*.wandb")
    return read_run(log)


def test_offline_the_curves_are_drawn_against_epochs_and_as_a_picture(tiny_run, logged):
    assert logged["axes"]["epoch/*"] == "epoch/epoch"
    [path] = [
        value for row in logged["history"] for name, value in row.items() if name == "learning_curves/path"
    ]
    [picture] = (tiny_run / "wandb").glob(f"offline-run-*/files/{path}")
    with Image.open(picture) as drawn, Image.open(tiny_run / "learning_curves.png") as expected:
        assert drawn.size == expected.size


def test_offline_the_samples_are_pictures_of_validation_with_heat_maps(tiny_run, logged):
    [artifact] = [item for item in logged["artifacts"] if "validation/samples.table.json" in item.files]
    table = artifact.read_json("validation/samples.table.json")
    rows = [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]
    assert [row["true"] for row in rows] == [
        "glioma",
        "meningioma",
        "notumor",
        "pituitary",
    ]  # all that the split has
    tested = (tiny_run / "predictions.csv").read_text()
    for row in rows:
        assert row["filename"] not in tested
        assert 0.25 <= row["probability"] <= 1
        with (
            Image.open(artifact.files[row["picture"]["path"]]) as picture,
            Image.open(artifact.files[row["heat map"]["path"]]) as overlay,
        ):
            assert (picture.mode, picture.size) == ("L", (SIDE, SIDE))
            assert (overlay.mode, overlay.size) == ("RGB", (SIDE, SIDE))
    assert rows[0].keys() == {"filename", "kind", "picture", "heat map", "true", "predicted", "probability"}


def test_offline_the_lineage_goes_from_the_dataset_through_the_run_to_the_model(tiny_run, logged):
    inputs = [item for item in logged["artifacts"] if item.is_input]
    [model] = [item for item in logged["artifacts"] if item.type == "model"]
    config = json.loads((tiny_run / "artefact" / "config.json").read_text())
    assert [(item.name, item.type, item.metadata) for item in inputs] == [
        ("tumor_ds-official", "dataset", config["dataset"])
    ]
    assert inputs[0].read_json("dataset.json") == config["dataset"]
    assert len(config["dataset"]["fingerprint"]) == 64
    assert model.name == f"model-{logged['id']}"
    assert set(model.aliases) == {"best", "latest"}
    assert model.files.keys() == ARTEFACT_FILES
    assert not any("official" in name for name in model.metadata)  # nothing of the test split
    assert model.metadata["validation/accuracy"] == config["validation"]["accuracy"]


def test_offline_nothing_lies_outside_the_run_folder(tiny_run, logged):
    """`tiny_run` has its parent for a home."""
    copies = [path for item in logged["artifacts"] for path in item.files.values()]
    assert all(path.is_file() and path.is_relative_to(tiny_run / "wandb") for path in copies)
    assert not list(tiny_run.parent.glob(".local/share/wandb"))
    assert not list(tiny_run.parent.glob(".cache/wandb"))


# With a server


@pytest.fixture
def server():
    with WandbServer() as server:
        yield server


def set_environment(server: WandbServer, **more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    own = {
        "WANDB_API_KEY": KEY,
        "WANDB_BASE_URL": server.url,
        "CUDA_VISIBLE_DEVICES": "",
        "PYTHONPATH": str(ROOT),
    }
    return {**kept, **own, **more}


@pytest.fixture
def run_tumor(server, dummy_dataset_dir, tmp_path):
    """Function `run(prelude="", **environment)`: `tumor train` after a prelude in Python; code, output."""
    (tmp_path / "small.toml").write_text(CONFIG)
    arguments = [
        "train",
        str(tmp_path / "small.toml"),
        "--data-dir",
        str(dummy_dataset_dir),
        "--run-dir",
        str(tmp_path / "run"),
    ]

    def run(prelude: str = "", **environment: str) -> tuple[int, str]:
        command = [sys.executable, "-c", f"{prelude}\nfrom trainer.cli.main import app\napp()", *arguments]
        merged = set_environment(server, HOME=str(tmp_path), **environment)
        done = subprocess.run(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=merged,
            timeout=TIMEOUT_SECONDS,
        )
        return done.returncode, done.stdout

    return run


def sync(server: WandbServer, folder: Path) -> None:
    command = [sys.executable, "-m", "wandb", "sync", "--include-online", str(folder)]
    # It writes a log into the folder where it is called.
    done = subprocess.run(
        command,
        cwd=folder,
        capture_output=True,
        text=True,
        env=set_environment(server),
        timeout=TIMEOUT_SECONDS,
    )
    assert "Finished syncing" in done.stderr, done.stderr


def check_lineage(server: WandbServer, run_id: str, artefact: dict[str, str]) -> None:
    [dataset] = server.find_artifacts("dataset")
    assert (dataset.name, dataset.made_by, dataset.used_by, dataset.is_committed) == (
        "tumor_ds-official",
        None,
        [run_id],
        True,
    )
    [model] = server.find_artifacts("model")
    assert (model.made_by, model.used_by, model.is_committed) == (run_id, [], True)
    uploaded = {path: hashlib.sha256(content).hexdigest() for path, content in model.files.items()}
    assert {path: uploaded[path] for path in artefact} == artefact


def test_online_a_run_that_was_interrupted_is_one_run_with_model_and_dataset(server, run_tumor, tmp_path):
    code, output = run_tumor(PREEMPT)
    assert code == Preempted.exit_code, output
    [run_id] = server.runs
    run = server.runs[run_id]
    assert [row["_step"] for row in run.history] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert not server.find_artifacts("model")
    code, output = run_tumor()
    assert code == 0, output
    assert [line for line in output.splitlines() if line.startswith("W&B")] == [
        f"W&B: logged online at {server.url}/{PAGE}/{run_id}"
    ]
    assert list(server.runs) == [run_id]
    assert [row["_step"] for row in run.history] == list(range(1, 11))
    assert all(
        row["train/step"] == row["_step"] and row["train/images_per_second"] > 0 for row in run.history
    )
    assert [row["epoch/epoch"] for row in run.history if "epoch/val_loss" in row] == [0, 1]
    assert run.config["optimization"]["value"]["epochs"] == 2
    assert run.summary["best"]["epoch"] in (0, 1)
    assert run.summary["validation/samples"]["nrows"] == 4
    check_lineage(server, run_id, list_artefact(tmp_path / "run"))
    assert not (tmp_path / "run" / "wandb" / "cache").exists()
    assert not list(tmp_path.glob(".cache/wandb"))


def test_a_server_that_dies_costs_no_training_and_the_same_command_logs_the_model_later(
    server, run_tumor, tmp_path
):
    server.on_answer = lambda name: setattr(
        server, "outage", 500 if name == "upsertBucket" else server.outage
    )
    code, output = run_tumor(IMPATIENT, WANDB_FINISH_TIMEOUT="3")
    assert code == 0, output
    lines = [line for line in output.splitlines() if line.startswith(("W&B:", "wandb:"))]
    assert len(lines) == 2, output
    assert "logged online" in lines[0]
    assert server.url in lines[1]
    assert "The run goes on without it" in lines[1]
    assert list_artefact(tmp_path / "run").keys() == ARTEFACT_FILES
    [run_id] = server.runs
    assert server.runs[run_id].history == server.artifacts == []
    server.outage, server.on_answer = None, lambda name: None
    [folder] = (tmp_path / "run" / "wandb").glob("run-*")
    sync(server, folder)
    assert [row["_step"] for row in server.runs[run_id].history] == list(range(1, 11))
    code, output = run_tumor()
    assert code == 0, output
    assert list(server.runs) == [run_id]
    assert server.runs[run_id].summary["validation/samples"]["nrows"] == 4
    check_lineage(server, run_id, list_artefact(tmp_path / "run"))


# A run of W&B alone: eight steps, and then it waits to be killed.
LOG_AND_WAIT = """
import sys, time
from etils import epath
from trainer.config import Config
from trainer.tracking.wandb_run import start_wandb
with start_wandb(Config(), epath.Path(sys.argv[1]), print) as tracker:
    for step in range(1, 9):
        tracker.log({"train/loss": 1 / step}, step)
    time.sleep(60)
"""


@pytest.fixture
def log_steps(server, clean_environment, monkeypatch):
    """Function `log(folder, first, stop)`: one start of a run of W&B alone, which does these steps."""
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("WANDB_BASE_URL", server.url)

    def log(folder: Path, first: int, stop: int) -> None:
        wandb.teardown()  # what a process knows of W&B
        with start_wandb(Config(), epath.Path(folder), print) as tracker:
            for step in range(first, stop):
                tracker.log({"train/loss": 1 / step}, step)

    return log


def test_online_a_killed_run_goes_on_as_the_same_run(server, log_steps, tmp_path):
    command = [sys.executable, "-c", LOG_AND_WAIT, str(tmp_path)]
    killed = subprocess.Popen(command, env=set_environment(server))
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while not any(run.history for run in server.runs.values()):  # W&B sends every 15 s
        assert killed.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.1)
    killed.kill()
    killed.wait()
    [run_id] = server.runs
    sent = len(server.runs[run_id].history)
    log_steps(tmp_path, 5, 13)  # from a checkpoint at step 4
    assert list(server.runs) == [run_id]
    assert sent >= 7
    assert [row["_step"] for row in server.runs[run_id].history] == list(range(1, 13))


def test_a_trial_of_a_sweep_is_the_run_that_the_agent_opened(server, log_steps, tmp_path, monkeypatch):
    """With the variables and the file that `wandb agent` hands over."""
    parameters = tmp_path / "config-trial.yaml"
    parameters.write_text("wandb_version: 1\noptimization.learning_rate:\n  desc: null\n  value: 0.002\n")
    agent = {
        "WANDB_SWEEP_ID": "sweep",
        "WANDB_RUN_ID": "trial",
        "WANDB_SWEEP_PARAM_PATH": str(parameters),
        "WANDB_PROJECT": "brain-tumor-mri",
    }
    for name, value in agent.items():
        monkeypatch.setenv(name, value)
    folder = tmp_path / "run"
    folder.mkdir()
    log_steps(folder, 1, 3)
    assert list(server.runs) == ["trial"]
    assert server.runs["trial"].sweep == "sweep"
    assert server.runs["trial"].config["optimization.learning_rate"]["value"] == 0.002
    assert "optimization" in server.runs["trial"].config
    assert len(server.runs["trial"].history) == 2


def test_an_offline_run_that_was_restarted_is_synced_as_one_run(server, log_steps, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    for first, stop in ((1, 5), (3, 9)):  # from a checkpoint at step 2
        log_steps(tmp_path, first, stop)
    wandb.teardown()  # writes all of it
    assert not server.runs
    folders = sorted((tmp_path / "wandb").glob("offline-run-*"))
    assert len(folders) == 2
    for folder in folders:
        sync(server, folder)
    [run] = server.runs.values()
    steps = [row["_step"] for row in run.history]
    assert len(steps) == 10
    assert steps == sorted(set(steps))  # W&B counts on where steps are done again


def test_an_offline_run_is_synced_with_its_lineage(server, tiny_run, logged, tmp_path):
    [folder] = (tiny_run / "wandb").glob("offline-run-*")
    sync(server, shutil.copytree(folder, tmp_path / folder.name))  # it leaves a file of its own there
    check_lineage(server, logged["id"], list_artefact(tiny_run))
