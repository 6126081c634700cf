"""Training as users start it: whole runs, and runs that were killed at every bad moment."""

import json
import re
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from etils import epath
from typer.testing import CliRunner

from tests.trainer.training.processes import SMALL, finish, read_history, run_tumor
from tests.wandb_log import read_run
from trainer.cli.main import app
from trainer.config import Config, DataConfig, build_config
from trainer.data.input_pipeline import load_builder
from trainer.training.listener import Listener
from trainer.training.loop import Preempted, check_batch_size, train
from trainer.training.run_folder import (
    BEST_WEIGHTS_FILE,
    FINISHED_FILE,
    RunError,
    claim_run_dir,
    find_best_epoch,
    load_history,
    load_run_config,
)
from trainer.training.strategies import build_strategy

# A network that is traced in a second, for what does not depend on the network.
SMALL_NETWORK = {
    "precision": "float32",
    "data": {"image_size": 64, "progressive_scales": [], "batch_size": 8},
    "model": {"architecture": "reference_vgg", "pretrained": False},
}


def build_arguments(config: Path, data_dir: Path, run_dir: Path, *more: str) -> list[str]:
    return ["train", str(config), "--data-dir", str(data_dir), "--run-dir", str(run_dir), *more]


@pytest.fixture(scope="module")
def uninterrupted(dummy_dataset_dir, tmp_path_factory) -> Path:
    """Run folder of the whole small run, logged offline; its config lies beside it."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    (folder / "small.toml").write_text(SMALL)
    arguments = build_arguments(folder / "small.toml", dummy_dataset_dir, folder / "run")
    result = CliRunner().invoke(app, arguments, catch_exceptions=False, env={"WANDB_MODE": "offline"})
    assert result.exit_code == 0, result.output
    return folder / "run"


def test_run_folder_is_whole(tiny_run):
    names = {path.name for path in tiny_run.iterdir()}
    assert {
        "config.json",
        "history.csv",
        "checkpoints",
        BEST_WEIGHTS_FILE,
        FINISHED_FILE,
        "artefact",
        "predictions.csv",
        "wandb",
        "learning_curves.png",
        "report.html",
    } <= names
    assert not any("partial" in path.name for path in tiny_run.rglob("*"))
    assert [row["epoch"] for row in load_history(epath.Path(tiny_run))] == [0, 1]


def test_the_end_says_where_everything_lies(tiny_run):
    output = " ".join((tiny_run / "output.txt").read_text().split())
    history = read_history(tiny_run)
    best = min(history, key=lambda row: row["val_loss"])
    assert f"2 epochs; best: epoch {best['epoch'] + 1:.0f}, val_loss {best['val_loss']:.4f}" in output
    for name in ("history.csv", "learning_curves.png", "artefact"):
        assert name in output


@pytest.mark.parametrize(
    ("monitor", "values", "best"),
    [
        ("val_loss", [0.5, 0.4, 0.4], 1),
        ("val_accuracy", [0.5, 0.9, 0.9, 0.8], 1),
        ("val_loss", [float("nan"), 0.7], 1),
    ],
)
def test_the_best_epoch_is_the_first_of_the_best(monitor, values, best):
    assert find_best_epoch([{monitor: value} for value in values], monitor) == best


def test_without_an_artefact_the_test_split_is_not_scored(config, dummy_dataset_dir, tmp_path):
    run_dir, one_epoch = tmp_path / "run", ("--set", "optimization.epochs=1")
    arguments = build_arguments(config, dummy_dataset_dir, run_dir, "--no-artefact", *one_epoch)
    result = CliRunner().invoke(app, arguments, catch_exceptions=False, env={"WANDB_MODE": "disabled"})
    assert result.exit_code == 0, result.output
    assert (run_dir / FINISHED_FILE).exists()
    assert not (run_dir / "artefact").exists()
    assert not (run_dir / "predictions.csv").exists()


def test_without_a_key_wandb_is_offline_and_holds_the_whole_run(tiny_run):
    assert "no key found, so this run is logged offline" in " ".join(
        (tiny_run / "output.txt").read_text().split()
    )
    [folder] = (tiny_run / "wandb").glob("offline-run-*")
    [log] = folder.glob("*.wandb")
    logged = read_run(log)
    assert logged["project"] == "brain-tumor-mri"
    assert logged["config"]["optimization"]["label_smoothing"] == 0.05
    assert logged["config"]["data"]["image_size"] == 64
    losses = [row["train/loss"] for row in logged["history"]]
    assert all(
        row["train/learning_rate"] > 0 and row["train/images_per_second"] > 0 for row in logged["history"]
    )
    assert len(losses) == 2  # five steps an epoch: the last of each
    epochs = [
        {name: row[f"epoch/{name}"] for name in read_history(tiny_run)[0]}
        for row in logged["history"]
        if "epoch/loss" in row
    ]
    assert epochs == [pytest.approx(row) for row in read_history(tiny_run)]
    best = min(read_history(tiny_run), key=lambda row: row["val_loss"])
    assert logged["summary"]["best"] == pytest.approx(
        {name: best[name] for name in ("epoch", "val_loss", "val_accuracy")}
    )
    tables = {
        path.name.split("_")[0]: json.loads(path.read_text())
        for path in (folder / "files" / "media").rglob("*_10_*.table.json")
    }
    assert tables["confusion"]["columns"] == ["true", "glioma", "meningioma", "notumor", "pituitary"]
    assert (
        sum(count for row in tables["confusion"]["data"] for count in row[1:]) == 4
    )  # every validation image once
    assert [row[0] for row in tables["classes"]["data"]] == ["glioma", "meningioma", "notumor", "pituitary"]


def test_a_finished_run_needs_neither_dataset_nor_strategy(tmp_path):
    (tmp_path / FINISHED_FILE).touch()
    train(Config(), None, epath.Path(tmp_path), None, Listener())
    assert [path.name for path in tmp_path.iterdir()] == [FINISHED_FILE]


def test_a_finished_run_is_neither_trained_nor_logged_again(uninterrupted, dummy_dataset_dir, tmp_path):
    run_dir = shutil.copytree(uninterrupted, tmp_path / "run", symlinks=True)
    shutil.rmtree(run_dir / "checkpoints")  # with which there were nothing left to train
    weights = (run_dir / BEST_WEIGHTS_FILE).stat().st_mtime_ns
    logs = sorted(path.name for path in (run_dir / "wandb").iterdir())
    arguments = build_arguments(uninterrupted.parent / "small.toml", dummy_dataset_dir, run_dir)
    environment = {"WANDB_MODE": None, "WANDB_API_KEY": None, "HOME": str(tmp_path)}
    result = CliRunner().invoke(app, arguments, env=environment)
    assert result.exit_code == 0, result.output
    assert (run_dir / BEST_WEIGHTS_FILE).stat().st_mtime_ns == weights
    assert len(read_history(run_dir)) == 3
    assert "Artefact:" in result.output
    assert "W&B" not in result.output
    assert sorted(path.name for path in (run_dir / "wandb").iterdir()) == logs


def test_dry_run_says_what_would_happen_and_writes_nothing(config, dummy_dataset_dir, tmp_path):
    arguments = build_arguments(config, dummy_dataset_dir, tmp_path / "run", "--dry-run")
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    text = " ".join(result.output.split())
    assert '"architecture": "reference_vgg"' in text
    assert "Total params" in text
    assert "36 training images, 5 steps an epoch of 8 images, 3 epochs at most: 15 steps." in text
    assert re.search(
        r"10 steps at 64 pixels took [\d.]+ s, \d+ images/s; all epochs would take about \d+ min", text
    )
    assert not (tmp_path / "run").exists()


def test_folder_of_another_config_is_refused(tmp_path):
    folder = epath.Path(tmp_path)
    claim_run_dir(Config(), folder)
    claim_run_dir(Config(), folder)
    with pytest.raises(RunError, match="another config"):
        claim_run_dir(Config(seed=1), folder)
    assert json.loads((tmp_path / "config.json").read_text())["seed"] == 0


@pytest.mark.parametrize(
    ("content", "message"),
    [("{", "is damaged"), ("3", "table of settings"), ('{"sead": 1}', "this version .* Unknown key sead")],
)
def test_a_damaged_config_of_a_run_is_told(tmp_path, content, message):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(RunError, match=message):
        load_run_config(epath.Path(tmp_path))


def test_a_run_from_before_settings_were_taken_out_goes_on(tmp_path):
    folder, old = epath.Path(tmp_path), Config().model_dump(mode="json")
    old["augmentation"] |= {"mixup": 0.0, "cutmix": 0.0}
    (tmp_path / "config.json").write_text(json.dumps(old))
    claim_run_dir(Config(), folder)
    old["augmentation"]["mixup"] = 0.2
    (tmp_path / "config.json").write_text(json.dumps(old))
    with pytest.raises(RunError, match=r"does not fit this version of the program: Unknown key .*mixup"):
        claim_run_dir(Config(), folder)


def test_missing_dataset_says_how_to_build_it(config, tmp_path):
    result = CliRunner().invoke(
        app, ["train", str(config), "--data-dir", str(tmp_path), "--run-dir", str(tmp_path / "run")]
    )
    assert result.exit_code == 1
    assert "tumor build" in result.stderr


def test_a_batch_that_cannot_be_shared_out_is_refused():
    class Strategy:
        num_replicas_in_sync = 3

    with pytest.raises(RunError, match="a multiple of 3, got 8"):
        check_batch_size(Config(data=DataConfig(batch_size=8)), Strategy())


def test_loss_that_explodes_is_an_error_with_its_place(dummy_dataset_dir, tmp_path):
    explosive = {"epochs": 2, "learning_rate": 1e30, "warmup_epochs": 0}
    exploding = build_config({**SMALL_NETWORK, "optimization": explosive})
    folder = epath.Path(tmp_path / "run")
    claim_run_dir(exploding, folder)
    with pytest.raises(RunError, match=r"The loss became \w+ in epoch 1, step [2-5], at learning rate .*e\+"):
        train(
            exploding,
            load_builder("tumor_ds/official", dummy_dataset_dir),
            folder,
            build_strategy("one"),
            Listener(),
        )
    assert not (folder / FINISHED_FILE).exists()


def test_calm_epochs_see_calmer_pictures(dummy_dataset_dir, tmp_path, monkeypatch):
    """The chain is built anew where the variation changes, and only there."""
    from trainer.training import loop as training

    seen = []

    class Recorded(training.TrainingBatches):
        def start(self, *arguments):
            seen.append((id(self), self.variation.rotation))
            return super().start(*arguments)

    monkeypatch.setattr(training, "TrainingBatches", Recorded)
    calm = build_config(
        {
            **SMALL_NETWORK,
            "augmentation": {"rotation": 0.2, "calm_epochs": 2, "calm_share": 0.1},
            "optimization": {"epochs": 4, "batch_norm_images": 0},
        }
    )
    folder = epath.Path(tmp_path / "run")
    claim_run_dir(calm, folder)
    train(
        calm, load_builder("tumor_ds/official", dummy_dataset_dir), folder, build_strategy("one"), Listener()
    )
    assert [rotation for _, rotation in seen] == pytest.approx([0.2, 0.2, 0.02, 0.02])
    assert len({chain for chain, _ in seen}) == 2


def test_each_input_pipeline_feeds_its_own_share(dummy_dataset_dir, tmp_path, monkeypatch):
    """As two hosts of a TPU: what they get together is one step, each image once."""
    strategy = build_strategy("one")
    inner, steps = strategy.distribute_datasets_from_function, []

    def distribute(make_batches):
        hosts = [list(make_batches(tf.distribute.InputContext(2, host, 2))) for host in (0, 1)]
        together = [np.concatenate([part[0] for part in step]) for step in zip(*hosts, strict=True)]
        alone = [images.numpy() for images, _, _ in make_batches(tf.distribute.InputContext())]
        np.testing.assert_array_equal(together, alone)
        steps.append(len(together))
        return inner(make_batches)

    monkeypatch.setattr(strategy, "distribute_datasets_from_function", distribute)
    still = dict.fromkeys(("rotation", "zoom", "translation", "brightness", "contrast", "gamma"), 0.0)
    config = build_config(
        {
            **SMALL_NETWORK,
            "augmentation": {"flip": "none", **still},
            "optimization": {"epochs": 1, "warmup_epochs": 0, "batch_norm_images": 16},
        }
    )
    folder = epath.Path(tmp_path / "run")
    claim_run_dir(config, folder)
    train(config, load_builder("tumor_ds/official", dummy_dataset_dir), folder, strategy, Listener())
    assert steps == [5, 2, 1]  # training, statistics, validation


# Runs that are interrupted

# Each stops its own process at one bad moment. They come one after the other, each in the process that goes
# on where the last one stopped; an epoch has five steps.
WHILE_A_CHECKPOINT_IS_WRITTEN = """
import os
from trainer.training import checkpoints
inner = checkpoints.write_whole
def write(path, content):
    if path.name == "checkpoint-000000008.npz":
        path.with_name(path.name + ".partial").write_bytes(content[: len(content) // 2])
        os.kill(os.getpid(), 9)
    inner(path, content)
checkpoints.write_whole = write
"""
IN_ITS_SECOND_STEP = """
import os
from trainer.training import learner
inner, count = learner.Learner.train_step, [0]
def train_step(self, *arguments, **named):
    count[0] += 1
    if count[0] == 2:
        os.kill(os.getpid(), 9)
    return inner(self, *arguments, **named)
learner.Learner.train_step = train_step
"""
BETWEEN_A_CHECKPOINT_AND_ITS_MANIFEST = """
import os
from trainer.training import checkpoints
inner = checkpoints.write_json
def write(path, content):
    if path.name == "checkpoint-000000010.json":
        os.kill(os.getpid(), 9)
    inner(path, content)
checkpoints.write_json = write
"""
BETWEEN_EPOCHS = """
import os
from trainer.training import loop as training
inner = training.write_history
def write_history(run_dir, history):
    if len(history) == 2:
        os.kill(os.getpid(), 9)
    inner(run_dir, history)
training.write_history = write_history
"""
# As cloud machines are taken away.
SIGTERM_IN_ITS_SECOND_STEP = IN_ITS_SECOND_STEP.replace("os.kill(os.getpid(), 9)", "os.kill(os.getpid(), 15)")
# `checkpoint_minutes` is in the config and may not differ: a checkpoint after every step is forced.
EVERY_STEP = "from trainer.training import loop\nloop.SECONDS_PER_MINUTE = 0\n"
# What happens, how the process ends, where the next one resumes.
STOPS = [
    (EVERY_STEP + WHILE_A_CHECKPOINT_IS_WRITTEN, -signal.SIGKILL, "Resuming at epoch 2, step 3."),
    (EVERY_STEP + IN_ITS_SECOND_STEP, -signal.SIGKILL, "Resuming at epoch 2, step 4."),
    (EVERY_STEP + BETWEEN_A_CHECKPOINT_AND_ITS_MANIFEST, -signal.SIGKILL, "Resuming at epoch 2, step 5."),
    (EVERY_STEP + BETWEEN_EPOCHS, -signal.SIGKILL, "Resuming at epoch 3, step 1."),
    (SIGTERM_IN_ITS_SECOND_STEP, Preempted.exit_code, "Resuming at epoch 3, step 3."),
]


def test_a_run_that_is_stopped_at_every_bad_moment_ends_as_an_uninterrupted_one(
    config, uninterrupted, dummy_dataset_dir, tmp_path
):
    run_dir = tmp_path / "run"
    arguments = build_arguments(config, dummy_dataset_dir, run_dir)
    resumes = ""
    for prelude, expected_code, resumes_next in STOPS:
        code, output = finish(run_tumor(arguments, prelude, PYTHONUNBUFFERED="1"))
        assert code == expected_code, f"{prelude}{output}"
        assert resumes in output
        assert not (run_dir / FINISHED_FILE).exists()
        resumes = resumes_next
    # SIGTERM saves first; without it the last checkpoint were that of the end of the second epoch.
    assert "the same command goes on from here" in " ".join(output.split())
    assert (run_dir / "checkpoints" / "checkpoint-000000012.json").exists()

    code, output = finish(run_tumor(arguments))
    assert code == 0, output
    assert resumes in output
    expected, got = read_history(uninterrupted), read_history(run_dir)
    assert len(got) == len(expected) == 3
    for one, other in zip(got, expected, strict=True):
        assert one == pytest.approx(other, rel=1e-5)
    assert (run_dir / "artefact" / "metrics.json").read_text() == (
        uninterrupted / "artefact" / "metrics.json"
    ).read_text()
