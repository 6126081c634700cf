"""A run that learns outlines, from two datasets: it goes on after a stop as if there had been none."""

import os
import signal
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from etils import epath
from PIL import Image

from tests.trainer.models.test_decoder import RESNET_V2
from tests.trainer.models.test_keras_cv_presets import save_preset
from trainer.config import Config, build_config
from trainer.data.input_pipeline import RecordFacts, Split, load_builder
from trainer.training.listener import Listener
from trainer.training.loop import Preempted, check_outlines, train
from trainer.training.run_folder import RunError, claim_run_dir, load_history
from trainer.training.strategies import build_strategy
from tumor_ds import Builder
from tumor_ds.collection.versions import LABELS

OTHER = "tumor_ds/official"


@pytest.fixture(scope="module")
def builder(build_dataset, dummy_data_dir, tmp_path_factory) -> tfds.core.DatasetBuilder:
    """Pictures of noise with a bright square each, which is the tumour, beside the dummy collection."""
    data_dir, pictures = (tmp_path_factory.mktemp(name) for name in ("data", "pictures"))
    generator = np.random.default_rng(0)
    for number in range(32):
        label, row, column = LABELS[number % 4], *generator.integers(8, 40, 2)
        image, mask = generator.integers(0, 120, (64, 64), np.uint8), np.zeros((64, 64), np.uint8)
        mask[row : row + 16, column : column + 16] = 255 * (label != "notumor")
        (pictures / label).mkdir(exist_ok=True)
        Image.fromarray(np.where(mask > 0, 240, image)).save(pictures / label / f"{number}.png")
        Image.fromarray(mask).save(pictures / label / f"{number}_mask.png")
    build_dataset(dummy_data_dir, data_dir)
    own = Builder(config="folder", data_dir=data_dir)
    own.download_and_prepare(download_config=tfds.download.DownloadConfig(manual_dir=pictures))
    return load_builder("tumor_ds/folder", data_dir)


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> Config:
    preset = tmp_path_factory.mktemp("preset")
    save_preset(preset, "ResNetV2Backbone", RESNET_V2)
    return build_config(
        {
            "precision": "float32",
            "data": {
                "dataset": "tumor_ds/folder",
                "image_size": 64,
                "progressive_scales": [],
                "batch_size": 8,
                "mix": {OTHER: 0.4},
                "balance": "cells",
            },
            "augmentation": {"stripping": 0.25, "transplants": 0.5, "removals": 0.5},
            "model": {"architecture": f"keras_cv:{preset}", "decoder_channels": 8},
            "optimization": {"epochs": 3, "warmup_epochs": 0.5, "learning_rate": 3e-3},
            "tracking": {"log_every": 1},
        }
    )


class Stopper(Listener):
    """Sends SIGTERM after so many steps, and keeps what is said."""

    def __init__(self, steps: int) -> None:
        self.left, self.said = steps, []

    def say(self, line: str) -> None:
        self.said.append(line)

    def take_step(self, epoch: int, step: int, loss: float, learning_rate: float) -> None:
        self.left -= 1
        if not self.left:
            os.kill(os.getpid(), signal.SIGTERM)


def run(config: Config, builder: tfds.core.DatasetBuilder, folder: Path, steps: int = 0) -> Stopper:
    listener = Stopper(steps)
    claim_run_dir(config, epath.Path(folder))
    train(config, builder, epath.Path(folder), build_strategy("one"), listener)
    return listener


def test_a_stopped_run_goes_on_as_if_it_had_not_been_stopped(config, builder, tmp_path):
    told = run(config, builder, tmp_path / "whole").said
    assert [line for line in told if line.startswith(f"{OTHER}: 40% of an epoch")]
    with pytest.raises(Preempted):
        run(config, builder, tmp_path / "stopped", steps=7)  # in the second epoch
    run(config, builder, tmp_path / "stopped")
    whole, stopped = (load_history(epath.Path(tmp_path / name)) for name in ("whole", "stopped"))
    assert len(whole) == 3
    for one, other in zip(whole, stopped, strict=True):
        assert one == pytest.approx(other, rel=1e-4)
    assert 0 < whole[-1]["map_loss"] < whole[0]["map_loss"]
    assert whole[-1]["val_map_loss"] > 0


def test_a_map_without_an_outline_is_refused(config):
    split = Split(np.zeros((1, 64, 64, 1), np.uint8), (RecordFacts("a.png", 0, 0, False),))
    with pytest.raises(RunError, match=r"decoder_channels is 8, but none of the 1 .*folder has the outline"):
        check_outlines(config, split)
    check_outlines(config.replace(model=config.model.replace(decoder_channels=0)), split)
