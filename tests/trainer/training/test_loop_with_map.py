"""A run that learns outlines, from two datasets: it goes on after a stop as if there had been none.

Its artefact is what all tests of a model with a map need, and is made once, here.
"""

import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from etils import epath
from PIL import Image
from rich.console import Console
from typer.testing import CliRunner

from serving import Classifier
from serving.model.artefact import CARD_FILE, METRICS_FILE, load_config
from tests.trainer.models.test_decoder import RESNET_V2
from tests.trainer.models.test_keras_cv_presets import save_preset
from trainer.cli.main import app
from trainer.config import Config, build_config
from trainer.data.input_pipeline import (
    DatasetMissingError,
    RecordFacts,
    Split,
    load_builder,
    load_learning_split,
)
from trainer.evaluation.other_sources import SourcePart, open_part, score_sources
from trainer.evaluation.predictions import PREDICTIONS_FILE
from trainer.evaluation.predictions_file import load_predictions
from trainer.evaluation.scoring import EvaluationError
from trainer.fitting.calibration import UnseenMaps, fit_calibration
from trainer.fitting.tumor_map import fit_map_threshold
from trainer.reporting.report import REPORT_FILE
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


@pytest.fixture(scope="module")
def artefact(builder, whole_run) -> Path:
    return Path(build_artefact(epath.Path(whole_run[0]), builder, Console(quiet=True)))


def test_its_artefact_has_a_map_and_what_is_fitted_to_it(config, builder, artefact):
    """Export, fitting, evaluation and serving with a map meet here, and nowhere else in the tests."""
    light, heavy = (Classifier(artefact, runtime) for runtime in ("litert", "keras"))
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
        assert ours.unguarded_probabilities == pytest.approx(theirs.unguarded_probabilities, abs=1e-3)


def test_predictions_hold_where_the_map_points(builder, artefact):
    predictions = load_predictions(artefact.parent / PREDICTIONS_FILE)
    located, kinds = predictions.localisation, predictions.kinds
    healthy = kinds == "notumor"
    assert (located.outline[healthy] == "empty").all()
    assert (located.outline[~healthy] == "outlined").all()
    assert np.isfinite(located.dice[~healthy]).all()
    assert np.isnan(located.dice[healthy]).all()
    # The bright square is learnt within three epochs, better than the middle of the picture does by itself.
    assert located.inside[~healthy].mean() > located.centre_inside[~healthy].mean()
    figures = json.loads((artefact / METRICS_FILE).read_text())["folder"]["all"]
    assert figures["localisation"]["all"]["outlined"]["count"] == (~healthy).sum()
    assert figures["localisation"]["threshold"] == load_config(artefact).map.threshold
    assert figures["agreement"]["all"]["count"] == len(kinds)
    assert "Where it sees the tumour" in (artefact / CARD_FILE).read_text()
    page = (artefact.parent / REPORT_FILE).read_text()
    assert page.count("with true and found outline") == min(12, (~healthy).sum())


@pytest.fixture(scope="module")
def other_source(builder, tmp_path_factory) -> None:
    """Beside the dataset of the run: such pictures of another place, some of no kind, in two folds."""
    folder, generator = tmp_path_factory.mktemp("gathered"), np.random.default_rng(1)
    kinds = ["glioma", "notumor", "other_tumor", "no_tumor_in_slice"] * 5
    rows = ["source,file,class,patient,fold,sequence,skull,mask"]
    for number, kind in enumerate(kinds):
        image, mask = generator.integers(0, 120, (48, 64), np.uint8), np.zeros((48, 64), np.uint8)
        mask[8:24, 2 * number : 2 * number + 16] = 255
        has_tumor = kind in ("glioma", "other_tumor")
        Image.fromarray(np.where((mask > 0) & has_tumor, 240, image)).save(folder / f"{number}.png")
        Image.fromarray(mask).save(folder / f"{number}_mask.png")
        drawn = f"{number}_mask.png" if kind == "glioma" else ""
        rows.append(f"elsewhere,{number}.png,{kind},p{number},{1 + number % 2},T1,kept,{drawn}")
    (folder / "sources.csv").write_text("\n".join(rows) + "\n")
    data_dir = Path(builder.data_dir).parents[2]
    own = Builder(config="gathered", data_dir=data_dir)
    own.download_and_prepare(download_config=tfds.download.DownloadConfig(manual_dir=folder))


def test_another_source_is_scored_with_pictures_of_no_kind(builder, artefact, other_source, tmp_path):
    data_dir = Path(builder.data_dir).parents[2]
    options = ["--data-dir", str(data_dir), "--out", str(tmp_path)]
    result = CliRunner().invoke(app, ["evaluate", str(artefact), "--on", "gathered", *options])
    assert result.exit_code == 0, result.output
    predictions = load_predictions(tmp_path / PREDICTIONS_FILE)
    assert predictions.protocol == "sources-gathered"
    assert len(predictions.filenames) == 20
    assert sorted(set(predictions.kinds)) == ["glioma", "no_tumor_in_slice", "notumor", "other_tumor"]
    # Only the outlines of gliomas are given; slices without tumour have an empty one.
    assert (predictions.localisation.outline == "outlined").sum() == 5
    assert (predictions.localisation.outline == "unknown").sum() == 5
    figures = json.loads((tmp_path / METRICS_FILE).read_text())["sources-gathered"]["all"]
    assert figures["count"] == 10  # of known kind
    assert figures["sources"]["by_source"]["elsewhere"]["count"] == 20
    told = figures["sources"]["pooled"]["tumour_or_none"]["T1"]
    assert (told["tumour"], told["none"]) == (10, 10)
    again = CliRunner().invoke(
        app,
        [
            "evaluate",
            str(artefact),
            "--predictions",
            str(tmp_path / PREDICTIONS_FILE),
            "--out",
            str(tmp_path / "again"),
        ],
    )
    assert again.exit_code == 0, again.output
    assert (tmp_path / "again" / METRICS_FILE).read_bytes() == (tmp_path / METRICS_FILE).read_bytes()


def test_a_fold_of_another_source_is_scored_alone(builder, artefact, other_source):
    config, part = load_config(artefact), SourcePart("gathered", 2)
    data_dir = str(Path(builder.data_dir).parents[2])
    found = score_sources(Classifier(artefact), [part], [open_part(config, part, data_dir)])
    assert {int(Path(name).stem) % 2 for name in found.filenames} == {1}
    assert len(found.filenames) == 10
    with pytest.raises(EvaluationError, match="has no fold5, but fold1, fold2"):
        open_part(config, SourcePart("gathered", 5), data_dir)
    with pytest.raises(DatasetMissingError, match=r"tumor_ds/nowhere is no public dataset .*not built"):
        open_part(config, SourcePart("nowhere"), data_dir)
    with pytest.raises(EvaluationError, match="has learnt from tumor_ds/folder"):
        open_part(config, SourcePart("folder"), data_dir)


@pytest.mark.parametrize("others", [["--protocol", "official"], ["--corruptions"], ["--images", "."]])
def test_other_sources_stand_alone(others):
    result = CliRunner().invoke(app, ["evaluate", "--on", "lgg_tcga", *others])
    assert result.exit_code == 1
    assert "--on takes none of" in " ".join(result.stderr.split())


def test_a_map_without_an_outline_is_refused(config):
    split = Split(np.zeros((1, 64, 64, 1), np.uint8), (RecordFacts("a.png", 0, 0, False),))
    with pytest.raises(RunError, match=r"decoder_channels is 8, but none of the 1 .*folder has the outline"):
        check_outlines(config, split)
    check_outlines(config.replace(model=config.model.replace(decoder_channels=0)), split)
