"""What a run says of sources: of those left out all pictures, of the others the patients held out."""

import dataclasses
import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow_datasets as tfds
from etils import epath
from PIL import Image
from rich.console import Console

from serving.model.artefact import BUNDLED, load_config
from tests.trainer.make_predictions import LABELS, simulate_located
from trainer.config import DataConfig
from trainer.data.input_pipeline import load_builder
from trainer.evaluation.other_sources import SourcePart
from trainer.evaluation.predictions_file import load_predictions
from trainer.runs.sources import (
    LEFT_OUT,
    UNSEEN_PATIENTS,
    _list_held_out,
    evaluate_sources,
    load_sources,
    pool_sources,
    save_sources,
)
from tumor_ds import Builder


@pytest.fixture(scope="module")
def builder(build_dataset, dummy_data_dir, tmp_path_factory):
    """The dummy collection, and beside it forty pictures of somebody else."""
    data_dir, pictures = (tmp_path_factory.mktemp(name) for name in ("data", "pictures"))
    for number in range(40):
        folder = pictures / LABELS[number % 4]
        folder.mkdir(exist_ok=True)
        grey = np.random.default_rng(number).integers(0, 255, (40, 40), np.uint8)
        Image.fromarray(grey).save(folder / f"{number}.png")
    build_dataset(dummy_data_dir, data_dir)
    own = Builder(config="folder", data_dir=data_dir)
    own.download_and_prepare(download_config=tfds.download.DownloadConfig(manual_dir=pictures))
    return load_builder("tumor_ds/official", data_dir)


def test_a_source_that_was_left_out_is_scored_whole(tiny_run, builder, tmp_path):
    folder, run_dir = tmp_path / "artefact", epath.Path(tmp_path / "run")
    shutil.copytree(tiny_run / "artefact", folder)
    content = json.loads((folder / "config.json").read_text())
    mixed = {"mix": {"tumor_ds/folder": 0.2}, "left_out": {"0": ["tumor_ds/folder"]}}
    content["training"]["data"] |= mixed
    (folder / "config.json").write_text(json.dumps(content))
    evaluate_sources(folder, builder, run_dir, Console(quiet=True))
    answers = load_sources(run_dir, LEFT_OUT, LABELS)
    assert len(answers.filenames) == 40
    assert answers.protocol == "sources-left_out"
    figures = json.loads((run_dir / "sources" / LEFT_OUT / "metrics.json").read_text())
    assert figures["sources-left_out"]["all"]["sources"]["pooled"]["count"] == 40
    assert load_sources(run_dir, UNSEEN_PATIENTS, LABELS) is None


def test_a_run_without_a_mix_writes_nothing(tiny_run, builder, tmp_path):
    evaluate_sources(tiny_run / "artefact", builder, epath.Path(tmp_path), Console(quiet=True))
    assert not list(tmp_path.iterdir())


def test_of_a_source_that_was_learnt_from_the_fold_of_the_run_is_scored():
    data = DataConfig(
        dataset="tumor_ds/patient",
        fold=2,
        mix={"tumor_ds/one": 0.1, "tumor_ds/two": 0.1, "tumor_ds/three": 0.1},
        left_out={"2": ("tumor_ds/three",), "1": ("tumor_ds/one",)},
    )
    builders = {
        f"tumor_ds/{name}": SimpleNamespace(info=SimpleNamespace(splits=splits))
        for name, splits in (("one", ["fold1", "fold2"]), ("two", ["fold1"]), ("three", ["fold2"]))
    }
    assert list(_list_held_out(data, builders)) == [SourcePart("one", 2)]
    assert not list(_list_held_out(data.replace(fold=0), builders))


def test_folds_are_pooled_each_with_its_own_numbers_and_groups_of_its_own(tmp_path):
    configs = [
        dataclasses.replace(load_config(BUNDLED), map=None, temperature=temperature)
        for temperature in (1.0, 3.0)
    ]
    parts = []
    for fold, config in enumerate(configs, start=1):
        part = simulate_located(count=60, seed=fold)
        names = tuple(f"{fold}/{name}" for name in part.filenames)
        protocol = f"sources-{LEFT_OUT}"
        part = dataclasses.replace(
            part, filenames=names, protocol=protocol, localisation=None, tumor_peak=None
        )
        save_sources(part, config, epath.Path(tmp_path / f"fold{fold}" / "sources" / LEFT_OUT))
        parts.append(part)
    pool_sources(epath.Path(tmp_path), configs, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out" / "sources").iterdir()] == [LEFT_OUT]
    pooled = load_predictions(tmp_path / "out" / "sources" / LEFT_OUT / "predictions.csv", LABELS)
    assert len(np.unique(pooled.groups)) == sum(len(np.unique(part.groups)) for part in parts)
    for temperature, part, rows in zip((1.0, 3.0), parts, (slice(60), slice(60, 120)), strict=True):
        exact = np.exp(part.logits.astype(float) / temperature)
        expected = exact / exact.sum(axis=1, keepdims=True)
        np.testing.assert_allclose(pooled.probs[rows], expected, atol=1e-5)
