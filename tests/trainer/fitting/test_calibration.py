import re

import numpy as np
import pytest

from serving.model.artefact import BUNDLED, LITERT_FILE, MapConfig, load_config, parse_map
from serving.model.calibration import compute_probabilities
from serving.model.combination import combine
from serving.model.runtime import LiteRTModel
from tests.trainer.make_predictions import HEALTHY, simulate_predictions
from trainer.config import build_config
from trainer.data.input_pipeline import load_builder, load_learning_split
from trainer.fitting.calibration import (
    UnseenMaps,
    explain_few_groups,
    fit_any_tumour_thresholds,
    fit_calibration,
    fit_prediction_set_threshold,
    fit_prediction_set_thresholds,
    fit_temperature,
    has_enough_groups,
)
from trainer.fitting.tumor_map import fit_combination
from trainer.fitting.weights import weigh_groups


def sample_labels(probs: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    return (probs.cumsum(axis=1) > generator.random((len(probs), 1))).argmax(axis=1)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_temperature_is_recovered(temperature):
    generator = np.random.default_rng(0)
    logits = generator.normal(scale=3, size=(20_000, 4)).astype(np.float32)
    true = sample_labels(compute_probabilities(logits, temperature), generator)
    assert fit_temperature(logits, true) == pytest.approx(temperature, rel=0.05)


def fit_threshold(p_true: np.ndarray, groups: np.ndarray, coverage: float) -> float:
    probs = np.column_stack([p_true, 1 - p_true])
    return fit_prediction_set_threshold(probs, np.zeros(len(p_true), int), groups, coverage)


def test_threshold_by_hand():
    # Probabilities of the true label .1, .2, ... .9; coverage .5 of n = 9: the fifth smallest score, 1 - .5.
    assert fit_threshold(np.linspace(0.1, 0.9, 9), np.arange(9), coverage=0.5) == 0.5


def test_weighted_threshold_by_hand():
    """Masses, by falling probability: 1/2 (.9), 1 (.8), 1/2 (.7), 1/3 three times (.6, .5, .4); 4 in all."""
    groups = np.array([7, 3, 7, 9, 9, 9])
    p_true = np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.4])
    assert fit_threshold(p_true, groups, coverage=1.5 / 4) == 0.8
    assert fit_threshold(p_true, groups, coverage=2 / 4) == 0.7
    assert fit_threshold(p_true, groups, coverage=2.5 / 4) == 0.5
    assert fit_threshold(p_true, groups, coverage=3 / 4) == 0.4
    assert fit_threshold(p_true, groups, coverage=3.1 / 4) == 0.0


@pytest.mark.parametrize(("count", "coverage"), [(19, 0.95), (99, 0.99)])
def test_so_many_groups_are_needed(count, coverage):
    """With just enough the least probability of all is the threshold; with one less nothing is ruled out."""
    p_true, groups = np.linspace(0.1, 0.9, 3 * count), np.arange(3 * count) // 3
    assert has_enough_groups(count, coverage)
    assert fit_threshold(p_true, groups, coverage) == 0.1
    assert not has_enough_groups(count - 1, coverage)
    assert fit_threshold(p_true[3:], groups[3:], coverage) == 0.0


def test_no_image_rules_nothing_out():
    assert fit_threshold(np.zeros(0), np.zeros(0, int), 0.95) == 0.0


def test_no_draw_decides():
    """The order of the images changes nothing, nor do the numbers of the groups."""
    simulated = simulate_predictions(count=400, group_size=4)
    shuffled = simulated.take(np.random.default_rng(1).permutation(400))
    thresholds = [
        fit_prediction_set_thresholds(one.probs, one.true, groups)
        for one, groups in (
            (simulated, simulated.groups),
            (shuffled, shuffled.groups),
            (simulated, 1000 - simulated.groups),
        )
    ]
    assert thresholds[0] == thresholds[1] == thresholds[2]


def test_images_of_large_groups_do_not_count_more():
    """199 groups of one image with p(true) .8, one of 900 with .1: all images would give .1."""
    groups = np.concatenate([np.arange(199), np.full(900, 199)])
    p_true = np.where(groups < 199, 0.8, 0.1)
    assert fit_threshold(p_true, groups, 0.95) == fit_threshold(p_true, groups, 0.99) == 0.8
    assert fit_threshold(p_true, np.arange(len(groups)), 0.95) == 0.1


def test_alarm_thresholds_by_hand():
    # 200 tumours with p(tumour) .005, .01, ... 1: 190 reach .055, 198 reach .015, 199 reach .01.
    tumour = np.arange(1, 201) / 200
    probs = np.column_stack([tumour, 1 - tumour])
    true = np.zeros(200, int)
    found = fit_any_tumour_thresholds(
        np.concatenate([probs, probs]), np.concatenate([true, true + 1]), healthy=1
    )
    assert found == {0.95: pytest.approx(0.055), 0.99: pytest.approx(0.015), 0.995: pytest.approx(0.01)}
    for sensitivity, threshold in found.items():
        assert (1 - probs[:, 1] >= threshold).mean() == pytest.approx(sensitivity)


def test_no_alarm_where_it_makes_no_sense():
    probs = np.full((2, 2), 0.5)
    assert fit_any_tumour_thresholds(probs, np.array([0, 1]), None) == {}
    assert fit_any_tumour_thresholds(probs, np.array([1, 1]), 1) == {}


def test_all_numbers_are_of_the_calibrated_probabilities():
    simulated = simulate_predictions(temperature=2.0)
    fitted = fit_calibration(simulated.logits, simulated.true, simulated.groups, HEALTHY, "validation")
    probs = compute_probabilities(simulated.logits, fit_temperature(simulated.logits, simulated.true))
    assert fitted["map"] is None
    assert fitted["calibration"] == {
        "temperature": fit_temperature(simulated.logits, simulated.true),
        "prediction_set_thresholds": fit_prediction_set_thresholds(probs, simulated.true, simulated.groups),
        "any_tumour_thresholds": fit_any_tumour_thresholds(probs, simulated.true, HEALTHY),
        "fitted_on": {"split": "validation", "count": 400, "groups": 134, "too_few_groups_for": []},
    }
    assert explain_few_groups(fitted["calibration"]["fitted_on"]) is None


def test_with_a_map_all_thresholds_are_of_the_combined_probabilities():
    simulated = simulate_predictions(temperature=2.0)
    logits, true, groups = (getattr(simulated, name) for name in ("logits", "true", "groups"))
    peaks = np.random.default_rng(0).uniform(0.2, 0.7, len(true)) + 0.2 * (true != 2)
    sources = np.where(groups % 3, "one", "other").tolist()
    weights = weigh_groups(groups, sources)
    fitted = fit_calibration(logits, true, groups, HEALTHY, "folds", UnseenMaps(peaks, 0.6), sources)
    temperature = fit_temperature(logits, true, weights)
    plain = compute_probabilities(logits, temperature)
    tumor_map = MapConfig(0.6, fit_combination(plain, peaks, true, groups, HEALTHY, sources))
    probs = combine(plain, peaks, 2, tumor_map)
    assert np.abs(probs - plain).max() > 0.1
    assert parse_map(fitted["map"]) == tumor_map
    assert fitted["calibration"]["temperature"] == temperature
    assert fitted["calibration"]["prediction_set_thresholds"] == fit_prediction_set_thresholds(
        probs, true, groups, sources
    )
    assert fitted["calibration"]["any_tumour_thresholds"] == fit_any_tumour_thresholds(
        probs, true, HEALTHY, weights
    )


def test_thresholds_for_several_sources_are_those_of_pictures_drawn_by_source():
    """A source with few pictures counts as much as a large one: its scores repeated would give the same."""
    few, many = simulate_predictions(60, 1, seed=1), simulate_predictions(600, 1, skill=4.0, seed=2)
    probs, true = (np.concatenate([getattr(one, name) for one in (few, many)]) for name in ("probs", "true"))
    groups, sources = np.arange(660), ["few"] * 60 + ["many"] * 600
    found = fit_prediction_set_threshold(probs, true, groups, 0.9, sources)
    repeated = np.concatenate([np.tile(np.arange(60), 10), np.arange(60, 660)])
    expected = fit_prediction_set_threshold(probs[repeated], true[repeated], np.arange(1200), 0.9)
    assert found == pytest.approx(expected, abs=0.01)
    assert found < fit_prediction_set_threshold(probs, true, groups, 0.9) - 0.02
    alarms = fit_any_tumour_thresholds(probs, true, HEALTHY, weigh_groups(groups, sources))
    assert alarms == fit_any_tumour_thresholds(probs[repeated], true[repeated], HEALTHY)


@pytest.mark.parametrize(
    ("groups", "shares", "told"), [(98, [0.99], "98 groups .* at 99%"), (18, [0.95, 0.99], "at 95% and 99%")]
)
def test_too_few_groups_are_told(groups, shares, told):
    simulated = simulate_predictions(count=groups * 3)
    fitted = fit_calibration(simulated.logits, simulated.true, simulated.groups, HEALTHY, "validation")[
        "calibration"
    ]
    assert fitted["fitted_on"]["too_few_groups_for"] == shares
    assert [share for share, value in fitted["prediction_set_thresholds"].items() if value == 0] == shares
    assert re.search(told, explain_few_groups(fitted["fitted_on"]))


@pytest.mark.real_data
def test_what_the_bundled_model_says_of_validation(real_dataset_dir):
    config = load_config(BUNDLED)
    data = build_config(config.raw["training"]).data
    validation = load_learning_split(
        load_builder(data.dataset, real_dataset_dir), "validation", data, data.image_size
    )
    right = LiteRTModel(BUNDLED / LITERT_FILE).run(validation.images).logits.argmax(axis=1) == validation.true
    assert config.raw["validation"] == {"count": len(right), "accuracy": pytest.approx(right.mean())}
