"""A run that learns outlines, from two datasets: it goes on after a stop as if there had been none."""

import os
import signal
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from etils import epath
from PIL import Image
from rich.console import Console

from serving import Classifier
from tests.trainer.models.test_decoder import RESNET_V2
from tests.trainer.models.test_keras_cv_presets import save_preset
from trainer.config import Config, build_config
from trainer.data.input_pipeline import RecordFacts, Split, load_builder, load_learning_split
from trainer.fitting.calibration import UnseenMaps, fit_calibration
from trainer.fitting.tumor_map import fit_map_threshold
from trainer.runs.artefact import build_artefact
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


@pytest.fixture(scope="module")
def whole_run(config, builder, tmp_path_factory) -> tuple[Path, list[str]]:
    """The folder of a run that nothing stopped, and what it said."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    return folder, run(config, builder, folder).said


def test_a_stopped_run_goes_on_as_if_it_had_not_been_stopped(config, builder, whole_run, tmp_path):
    folder, told = whole_run
    assert [line for line in told if line.startswith(f"{OTHER}: 40% of an epoch")]
    with pytest.raises(Preempted):
        run(config, builder, tmp_path / "stopped", steps=7)  # in the second epoch
    run(config, builder, tmp_path / "stopped")
    whole, stopped = (load_history(epath.Path(path)) for path in (folder, tmp_path / "stopped"))
    assert len(whole) == 3
    for one, other in zip(whole, stopped, strict=True):
        assert one == pytest.approx(other, rel=1e-4)
    assert 0 < whole[-1]["map_loss"] < whole[0]["map_loss"]
    assert whole[-1]["val_map_loss"] > 0


def test_its_artefact_has_a_map_and_what_is_fitted_to_it(config, builder, whole_run):
    """Export, fitting, evaluation and serving with a map meet here, and nowhere else in the tests."""
    folder = build_artefact(epath.Path(whole_run[0]), builder, Console(quiet=True))
    light, heavy = (Classifier(Path(folder), runtime) for runtime in ("litert", "keras"))
    validation = load_learning_split(builder, "validation", config.data, 64, with_masks=True)
    outputs = light.run(validation.images)
    assert light.config.map.threshold == fit_map_threshold(outputs.tumor_maps, validation)
    fitted = fit_calibration(
        outputs.logits,
        validation.true,
        validation.groups,
        light.config.healthy,
        "validation",
        UnseenMaps(outputs.tumor_peaks, light.config.map.threshold),
    )
    assert light.config.raw["map"] == fitted["map"]
    assert light.config.temperature == fitted["calibration"]["temperature"]
    for ours, theirs in zip(light.score(validation.images), heavy.score(validation.images), strict=True):
        np.testing.assert_allclose(ours.tumor_map, theirs.tumor_map, atol=1e-4)
        assert ours.probabilities == pytest.approx(theirs.probabilities, abs=1e-3)


def test_a_map_without_an_outline_is_refused(config):
    split = Split(np.zeros((1, 64, 64, 1), np.uint8), (RecordFacts("a.png", 0, 0, False),))
    with pytest.raises(RunError, match=r"decoder_channels is 8, but none of the 1 .*folder has the outline"):
        check_outlines(config, split)
    check_outlines(config.replace(model=config.model.replace(decoder_channels=0)), split)
