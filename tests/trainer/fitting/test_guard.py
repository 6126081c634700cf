import dataclasses
import json
import shutil

import numpy as np
import pytest
from typer.testing import CliRunner

from serving import Classifier
from serving.model.guard import Verdict, compute_distances, judge
from serving.model.runtime import Outputs
from trainer.cli.main import app
from trainer.fitting.guard import fit_guard, fit_unlike_set_thresholds, vary_slices
from trainer.fitting.outliers import draw_noise


class MeanModel:
    """Embeds a picture as its brightness in 4 x 4 regions, and is sure of the first of two labels."""

    def run(self, images):
        regions = images[..., 0].reshape(len(images), 4, 16, 4, 16).mean(axis=(2, 4)).reshape(len(images), 16)
        return Outputs(
            np.tile(np.float32([3, 0]), (len(images), 1)),
            np.zeros((len(images), 2, 2, 2)),
            regions.astype(np.float32) + 1,
        )


def draw_heads(count, seed):
    """Ellipses with a bright rim and structure inside, uint8 (count, 64, 64, 1)."""
    rng, (rows, columns) = np.random.default_rng(seed), np.mgrid[-1:1:64j, -1:1:64j]
    heads = []
    for _ in range(count):
        radius = np.hypot(rows / rng.uniform(0.8, 0.95), columns / rng.uniform(0.7, 0.85))
        inside = 90 + 25 * np.cos(8 * columns * rng.uniform(0.8, 1.2)) + rng.normal(0, 4, radius.shape)
        heads.append(np.where(radius < 0.85, inside, np.where(radius < 1, 210, 4)))
    return np.stack(heads)[..., None].astype(np.uint8)


@pytest.fixture(scope="module")
def fitted():
    model, training, validation = MeanModel(), draw_heads(120, 0), draw_heads(100, 1)
    varied = vary_slices(validation, 1)
    unusual = model.run(varied)
    return model, validation, unusual, fit_guard(model, training, model.run(validation), varied, unusual)


def judge_all(model, guard, images):
    return [
        verdict for verdict, _, _ in judge(guard, model.run(images).embeddings, images, np.zeros(len(images)))
    ]


def test_guard_accepts_slices_and_refuses_the_rest(fitted):
    model, validation, _, guard = fitted
    verdicts = judge_all(model, guard, validation)
    assert np.mean([verdict is Verdict.not_brain_mri for verdict in verdicts]) <= 0.03
    assert np.mean([verdict is Verdict.unlike_training for verdict in verdicts]) <= 0.05
    rng = np.random.default_rng(7)
    noise = np.stack([draw_noise(rng, validation[0])[::3, ::3, None] for _ in range(40)])
    assert np.mean([verdict is Verdict.not_brain_mri for verdict in judge_all(model, guard, noise)]) >= 0.9


def test_sets_for_unlike_slices_are_fitted_on_those(fitted):
    _, _, unusual, guard = fitted
    distances = compute_distances(unusual.embeddings, guard.directions)
    guard = dataclasses.replace(guard, unlike_threshold=float(np.quantile(distances, 0.6)))
    rows = np.flatnonzero(distances > guard.unlike_threshold)
    true, groups = np.zeros(100, int), np.arange(100)
    sure = 1 / (1 + np.exp(-3))
    assert 19 <= len(rows) < 99
    probs, doubted = np.tile([sure, 1 - sure], (100, 1)), np.zeros(100, bool)
    thresholds = fit_unlike_set_thresholds(guard, unusual, probs, doubted, true, groups)
    assert thresholds[0.95] == pytest.approx(sure)
    assert thresholds[0.99] == 0
    true[rows] = 1
    wrong = fit_unlike_set_thresholds(guard, unusual, probs, doubted, true, groups)
    assert wrong[0.95] == pytest.approx(1 - sure)


def test_sets_for_unlike_slices_are_also_fitted_on_those_in_doubt(fitted):
    """None is too far from training; of 30 that classes and map disagree about all are wrong."""
    _, _, unusual, guard = fitted
    guard = dataclasses.replace(guard, unlike_threshold=1.0)
    true, probs, doubted = np.zeros(100, int), np.tile([0.9, 0.1], (100, 1)), np.arange(100) < 30
    true[doubted] = 1
    true[:5], probs[:5] = -1, [1, 0]  # of unknown kind, which is no kind
    found = fit_unlike_set_thresholds(guard, unusual, probs, doubted, true, np.arange(100))
    assert found[0.95] == pytest.approx(0.1)


def test_varied_slices_are_the_same_again_and_stay_slices():
    heads = draw_heads(30, 2)
    varied = vary_slices(heads, 0)
    assert (varied.shape, varied.dtype) == (heads.shape, np.uint8)
    np.testing.assert_array_equal(varied, vary_slices(heads, 0))
    assert not np.array_equal(varied, vary_slices(heads, 1))
    assert (varied.max(axis=(1, 2, 3)) > 20).all()


def test_refit_changes_the_guard_alone(tiny_run, dummy_dataset_dir, tmp_path):
    folder = shutil.copytree(tiny_run / "artefact", tmp_path / "artefact")
    before = json.loads((folder / "config.json").read_text())
    stale = before | {"guard": before["guard"] | {"refusal_threshold": 0.5}}
    (folder / "config.json").write_text(json.dumps(stale))
    result = CliRunner().invoke(app, ["refit-guard", str(folder), "--data-dir", str(dummy_dataset_dir)])
    assert result.exit_code == 0, result.output
    after = json.loads((folder / "config.json").read_text())
    assert after.keys() == before.keys()
    assert {name: value for name, value in after.items() if name != "guard"} == {
        name: value for name, value in before.items() if name != "guard"
    }
    assert after["guard"].keys() == before["guard"].keys()
    assert after["guard"]["refusal_threshold"] == pytest.approx(
        before["guard"]["refusal_threshold"], rel=1e-3
    )
    Classifier(folder)


def test_refit_of_another_format_version_changes_nothing(tiny_run, tmp_path):
    folder = shutil.copytree(tiny_run / "artefact", tmp_path / "artefact")
    old = json.dumps(json.loads((folder / "config.json").read_text()) | {"format_version": 3})
    (folder / "config.json").write_text(old)
    result = CliRunner().invoke(app, ["refit-guard", str(folder)])
    assert result.exit_code == 1
    assert "has format version 3; this package reads" in " ".join(result.stderr.split())
    assert (folder / "config.json").read_text() == old


def test_refit_of_a_folder_without_artefact(tmp_path):
    result = CliRunner().invoke(app, ["refit-guard", str(tmp_path)])
    assert result.exit_code == 1
    assert "holds no config.json" in " ".join(result.stderr.split())
