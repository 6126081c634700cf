"""Calibration by pictures that no model had learnt: what may be fitted on what, and for whom."""

import dataclasses
import json

import numpy as np
import pytest

from serving.model.artefact import BUNDLED, MapConfig, load_config, parse_map
from serving.model.calibration import compute_probabilities
from serving.model.combination import combine
from tests.trainer.make_predictions import HEALTHY, LABELS, simulate_predictions
from trainer.config import Config, DataConfig, OptimizationConfig, TrackingConfig
from trainer.evaluation.origins import Origins
from trainer.evaluation.predictions import Predictions, PredictionsError, number_groups, pool_predictions
from trainer.evaluation.predictions_file import save_predictions
from trainer.fitting.calibration import fit_calibration, fit_temperature
from trainer.fitting.cross_calibration import (
    answer_anew,
    calibrate_folds,
    describe_calibration,
    fit_on_unseen,
    load_unseen,
)
from trainer.fitting.tumor_map import CLASSES_ALONE, fit_combination
from trainer.training.run_folder import RunError


def make_fold(number: int, sureness: float) -> Predictions:
    """Answers about pictures of its own, with logits that are too sure by a factor."""
    part = simulate_predictions(seed=number)
    logits = part.logits * np.float32(sureness)
    return dataclasses.replace(
        part,
        protocol="patient",
        filenames=tuple(f"fold{number}/{name}" for name in part.filenames),
        groups=part.groups + 1000 * number,
        has_train_twin=np.zeros_like(part.has_train_twin),
        logits=logits,
        probs=compute_probabilities(logits, 1.0),
    )


@pytest.fixture
def parts():
    return [
        (make_fold(number, sureness), load_config(BUNDLED))
        for number, sureness in ((1, 1.0), (2, 1.0), (3, 4.0))
    ]


def test_each_fold_has_the_numbers_of_the_others(parts):
    for place, (before, (after, config)) in enumerate(zip(parts, calibrate_folds(parts), strict=True)):
        others = pool_predictions(
            [predictions for other, (predictions, _) in enumerate(parts) if other != place]
        )
        fitted = fit_calibration(others.logits, others.true, others.groups, HEALTHY, "folds")["calibration"]
        assert config.temperature == fitted["temperature"] == fit_temperature(others.logits, others.true)
        assert config.prediction_set_thresholds == fitted["prediction_set_thresholds"]
        assert config.any_tumour_thresholds == fitted["any_tumour_thresholds"]
        assert config.raw["calibration"]["fitted_on"] == {
            "split": "folds",
            "count": 800,
            "groups": 268,
            "too_few_groups_for": [],
        }
        np.testing.assert_array_equal(
            after.probs, compute_probabilities(before[0].logits, config.temperature)
        )
        assert (after.filenames, after.groups.tolist()) == (before[0].filenames, before[0].groups.tolist())


def add_peaks(part: Predictions, seed: int) -> Predictions:
    """Peaks that tell tumour from none."""
    noise = np.random.default_rng(seed).uniform(0, 0.5, len(part.true))
    return dataclasses.replace(part, tumor_peak=noise + 0.4 * (part.true != LABELS.index("notumor")))


def test_folds_with_a_map_are_answered_by_classes_and_map(parts):
    """Each with its own threshold, and with weights that were fitted on the others."""
    mapped = [
        (
            add_peaks(part, place),
            dataclasses.replace(config, map=MapConfig(0.5 + 0.05 * place, CLASSES_ALONE)),
        )
        for place, (part, config) in enumerate(parts)
    ]
    for place, (after, config) in enumerate(calibrate_folds(mapped)):
        others = pool_predictions([part for other, (part, _) in enumerate(mapped) if other != place])
        assert len(others.tumor_peak) == len(others.true)
        plain = compute_probabilities(others.logits, config.temperature)
        assert config.map == MapConfig(
            0.5 + 0.05 * place, fit_combination(plain, others.tumor_peak, others.true, others.groups, HEALTHY)
        )
        assert config.map.combination.map_weight > 0.3
        expected = combine(
            compute_probabilities(after.logits, config.temperature), after.tumor_peak, 2, config.map
        )
        np.testing.assert_array_equal(after.probs, expected)
        assert parse_map(config.raw["map"]) == config.map
    assert describe_calibration(Config(), calibrate_folds(mapped))["map"][2] == config.raw["map"]


def test_folds_without_peaks_cannot_calibrate_a_model_with_a_map(parts):
    with pytest.raises(RunError, match="has no column tumor_peak"):
        fit_on_unseen(parts[0][0], 0.5)


def test_a_folds_own_pictures_do_not_tell_its_temperature(parts):
    """The third is four times too sure, the others are not: it stays so, and they come out too modest."""
    first, second, third = (config.temperature for _, config in calibrate_folds(parts))
    assert third < first
    assert first == pytest.approx(second, rel=0.2)
    changed = [*parts[:2], (make_fold(3, 1.0), parts[2][1])]
    assert calibrate_folds(changed)[2][1].temperature == third


def test_what_is_told_beside_the_figures(parts):
    told = json.loads(json.dumps(describe_calibration(Config(seed=3), calibrate_folds(parts))))
    assert told["recipe"] == Config(seed=3).model_dump(mode="json")
    assert [section["temperature"] for section in told["calibration"]] == [
        config.temperature for _, config in calibrate_folds(parts)
    ]
    assert set(told["calibration"][0]) == {
        "temperature",
        "prediction_set_thresholds",
        "any_tumour_thresholds",
        "fitted_on",
    }


@pytest.fixture
def folder(tmp_path, parts):
    """Folder of folds, as `tumor train --folds` leaves it."""
    recipe = Config(data=DataConfig(dataset="tumor_ds/patient"))
    calibrated = calibrate_folds(parts)
    save_predictions(
        pool_predictions([predictions for predictions, _ in calibrated]), tmp_path / "predictions.csv"
    )
    (tmp_path / "over_folds.json").write_text(json.dumps(describe_calibration(recipe, calibrated)))
    return tmp_path


def test_groups_that_the_model_is_tested_on_are_left_out(folder):
    """One picture of each of fold 2's first 100 groups of three is tested: the other two are out as well."""
    tested = {f"fold2/Testing/{row:05}.jpg" for row in range(0, 300, 3)}
    whole = load_unseen(folder, Config(), LABELS, ())
    unseen = load_unseen(folder, Config(), LABELS, tested)
    assert len(unseen.filenames) == len(whole.filenames) - 300
    is_tested = [name in tested for name in whole.filenames]
    assert not set(whole.groups[is_tested]) & set(unseen.groups)


def test_a_model_that_is_tested_on_every_group_is_refused(folder):
    tested = [f"fold{fold}/Testing/{row:05}.jpg" for fold in (1, 2, 3) for row in range(0, 400, 3)]
    with pytest.raises(RunError, match="none is left to calibrate it on"):
        load_unseen(folder, Config(), LABELS, tested)


@pytest.mark.parametrize(
    "config",
    [
        Config(seed=7, precision="mixed_bfloat16"),
        Config(data=DataConfig(cache="file")),
        Config(tracking=TrackingConfig(log_every=7)),
    ],
)
def test_chance_and_what_changes_no_weight_may_differ(folder, config):
    assert len(load_unseen(folder, config, LABELS, ()).filenames) == 1200


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (Config(data=DataConfig(image_size=96)), "data.image_size is 192 there and 96 here"),
        (Config(optimization=OptimizationConfig(epochs=3)), "optimization.epochs is 12 there and 3 here"),
    ],
)
def test_folds_of_another_recipe_are_refused(folder, config, message):
    with pytest.raises(RunError, match=message):
        load_unseen(folder, config, LABELS, ())


def test_folds_of_other_pictures_are_refused(folder):
    with pytest.raises(RunError, match=r"does not know Testing/0\.jpg"):
        load_unseen(folder, Config(), LABELS, ["Testing/0.jpg"])
    with pytest.raises(PredictionsError, match="labels"):
        load_unseen(folder, Config(), ("cat", "dog"), ())


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.unlink(),
        lambda path: path.write_text("{}"),
        lambda path: path.write_text('{"recipe": 3}'),
    ],
)
def test_a_folder_without_a_recipe_is_refused(folder, damage):
    damage(folder / "over_folds.json")
    with pytest.raises(RunError, match="Expected the folder of a finished `tumor train CONFIG --folds`"):
        load_unseen(folder, Config(), LABELS, ())


def test_a_folder_without_predictions_is_refused(folder):
    (folder / "predictions.csv").unlink()
    with pytest.raises(RunError, match=r"holds no predictions\.csv"):
        load_unseen(folder, Config(), LABELS, ())


def make_source(number: int, source: str, sureness: float, fold: int) -> Predictions:
    """Answers about pictures of another source, some of unknown kind."""
    part = make_fold(number, sureness)
    count = len(part.true)
    true = np.where(np.arange(count) % 5, part.true, -1)
    tumor = np.where(true < 0, 1.0, true != LABELS.index("notumor"))
    origins = Origins(tumor, *(np.array([word] * count) for word in (source, "T1", "kept")))
    names = tuple(f"{source}/{fold}/{name}" for name in part.filenames)
    return dataclasses.replace(part, protocol="sources-x", filenames=names, true=true, origins=origins)


def test_unseen_patients_of_other_sources_count_as_much_as_those_of_the_collection(parts):
    collection = pool_predictions([predictions for predictions, _ in parts[:2]])
    source = make_source(9, "elsewhere", 4.0, 1)
    known = source.take_known()
    fitted = fit_on_unseen(collection, None, [source])["calibration"]
    sources = ["collection"] * len(collection.true) + ["elsewhere"] * len(known.true)
    groups = number_groups([collection.groups, known.groups])
    logits, true = (
        np.concatenate(pair) for pair in ((collection.logits, known.logits), (collection.true, known.true))
    )
    expected = fit_calibration(logits, true, groups, HEALTHY, "folds", sources=sources)["calibration"]
    assert fitted == expected
    assert fitted["fitted_on"]["sources"] == ["collection", "elsewhere"]
    alone = [fit_temperature(one.logits, one.true) for one in (collection, known)]
    assert alone[0] < fitted["temperature"] < alone[1]


def test_a_source_that_a_fold_leaves_out_has_no_say_in_its_numbers(parts):
    def leave_out(config, fold):
        data = {"dataset": "tumor_ds/patient", "fold": fold, "mix": {"tumor_ds/elsewhere": 0.2}}
        left_out = {"left_out": {"1": ["tumor_ds/elsewhere"]}}
        training = config.raw["training"] | {"data": config.raw["training"]["data"] | data | left_out}
        return dataclasses.replace(config, raw=config.raw | {"training": training})

    folds = [(answers, leave_out(config, fold)) for fold, (answers, config) in enumerate(parts, start=1)]
    of_sources = [None, make_source(8, "elsewhere", 4.0, 2), make_source(9, "elsewhere", 4.0, 3)]
    without = [config.temperature for _, config in calibrate_folds(folds)]
    with_them = [config.temperature for _, config in calibrate_folds(folds, of_sources)]
    assert with_them[0] == without[0]
    assert with_them[1] != without[1]
    for (answers, config), _ in zip(calibrate_folds(folds, of_sources), folds, strict=True):
        np.testing.assert_array_equal(answer_anew(answers, config).probs, answers.probs)
