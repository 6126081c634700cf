"""What is fitted to the tumour map: where it says tumour, and what it adds to the classes."""

import numpy as np
import pytest

from serving.model.artefact import MapConfig
from serving.model.combination import combine
from trainer.data.input_pipeline import RecordFacts, Split
from trainer.fitting.tumor_map import (
    CLASSES_ALONE,
    DEFAULT_THRESHOLD,
    THRESHOLDS,
    compute_dice,
    compute_shares,
    fit_combination,
    fit_map_threshold,
)
from tumor_ds.sources.slices import MASK_STATES

HEALTHY = 2


def make_split(states, groups=None) -> Split:
    """Grey heads of 32 pixels; an outline is a square of 8 x 8 pixels, 2 x 2 places of the map."""
    groups = range(len(states)) if groups is None else groups
    masks = np.zeros((len(states), 32, 32, 1), np.uint8)
    masks[np.array(states) == "outlined", 12:20, 12:20] = 255
    records = tuple(
        RecordFacts(f"{number}.png", 0, group, False, mask_known=MASK_STATES.index(state))
        for number, (state, group) in enumerate(zip(states, groups, strict=True))
    )
    return Split(np.full_like(masks, 100), records, masks)


def make_map(inside: float, around: float = 0.0, rest: float = 0.0) -> np.ndarray:
    """Float32 (8, 8): a value where the outline is, one on the places around it, one elsewhere."""
    tumor_map = np.full((8, 8), rest, np.float32)
    tumor_map[1:7, 1:7] = around
    tumor_map[3:5, 3:5] = inside
    return tumor_map


def test_dice_by_hand():
    mask = np.zeros((8, 8), bool)
    mask[2:6, 2:6] = True
    found = np.zeros((8, 8), np.float32)
    found[2:6, 2:4] = 0.6
    found[0, :4] = 0.3
    dice = dict(zip(THRESHOLDS, compute_dice(found, mask), strict=True))
    assert dice[0.5] == pytest.approx(2 * 8 / (8 + 16))
    assert dice[0.3] == pytest.approx(2 * 8 / (12 + 16))
    assert dice[0.7] == 0


def test_share_by_hand():
    image = np.zeros((32, 32, 1), np.uint8)
    image[8:24, 8:24] = 100
    found = np.zeros((8, 8), np.float32)
    found[:4] = 0.6  # the upper half; between the places it falls
    shares = dict(zip(THRESHOLDS, compute_shares(found, image), strict=True))
    assert shares[0.3] == pytest.approx(0.5, abs=0.07)
    assert shares[0.7] == 0


def test_the_threshold_with_the_best_outlines_is_chosen():
    """Below .4 the surroundings are called tumour, above .8 the tumour is not."""
    split = make_split(["outlined"] * 4)
    found = fit_map_threshold(np.stack([make_map(0.8, 0.3)] * 4), split)
    assert 0.3 < found <= 0.8


def test_large_groups_do_not_count_more():
    """Nine pictures of one patient are best at a low threshold, two other patients at a high one."""
    split = make_split(["outlined"] * 11, groups=[1] * 9 + [2, 3])
    maps = np.stack([make_map(0.3)] * 9 + [make_map(0.9, 0.5)] * 2)
    assert fit_map_threshold(maps, split) > 0.5
    assert fit_map_threshold(maps, make_split(["outlined"] * 11)) <= 0.3


def test_little_of_healthy_heads_may_be_called_tumour():
    maps = np.stack([make_map(0.5), make_map(0.7)])
    without = fit_map_threshold(maps, make_split(["outlined", "unknown"]))
    assert without <= 0.5
    assert fit_map_threshold(maps, make_split(["outlined", "empty"])) > 0.6


def test_where_every_threshold_calls_too_much_tumour_the_highest_is_taken():
    maps = np.stack([make_map(1), make_map(1, 1, 1)])
    assert fit_map_threshold(maps, make_split(["outlined", "empty"])) == THRESHOLDS[-1]


@pytest.mark.parametrize("states", [["empty", "empty"], ["unknown", "empty"]])
def test_without_outlines_nothing_is_fitted(states):
    assert fit_map_threshold(np.stack([make_map(1)] * 2), make_split(states)) == DEFAULT_THRESHOLD


def test_an_outline_that_vanished_in_the_small_picture_does_not_count():
    split = make_split(["outlined", "outlined"])
    split.masks[0] = 0
    maps = np.stack([make_map(0.9, 0.8), make_map(0.6)])
    assert fit_map_threshold(maps, split) <= 0.6


def simulate(count, class_skill, map_skill, seed=0, shift=0.0):
    """Probabilities, peaks and labels of pictures of which half show a tumour, each its own group."""
    rng = np.random.default_rng(seed)
    is_tumor = rng.random(count) < 0.5
    evidence = 2 * is_tumor - 1
    p_class, peaks = (
        1 / (1 + np.exp(-(skill * evidence + rng.normal(size=count) * abs(skill or 1) + offset)))
        for skill, offset in ((class_skill, 0), (map_skill, shift))
    )
    probs = np.stack([p_class * 0.7, p_class * 0.2, 1 - p_class, p_class * 0.1], axis=1)
    return probs, peaks, np.where(is_tumor, 0, HEALTHY), np.arange(count)


def compute_error(probs, peaks, true, combination) -> float:
    """Mean negative log-likelihood of tumour or none."""
    answers = combine(probs, peaks, HEALTHY, MapConfig(1.0, combination))
    none = answers[:, HEALTHY]
    return float(-np.log(np.where(true == HEALTHY, none, 1 - none)).mean())


def test_both_together_tell_more_than_each_alone():
    """Also where the map is a poor probability: its values are low on all pictures."""
    probs, peaks, true, groups = simulate(4000, 1.0, 2.0, shift=-6.0)
    found = fit_combination(probs, peaks, true, groups, HEALTHY)
    assert min(found.class_weight, found.map_weight) > 0.3
    assert found.intercept > 1
    unseen = simulate(4000, 1.0, 2.0, seed=1, shift=-6.0)[:3]
    alone = [
        fit_combination(probs, np.full_like(peaks, 0.5), true, groups, HEALTHY),
        fit_combination(np.full_like(probs, 0.25), peaks, true, groups, HEALTHY),
    ]
    assert compute_error(*unseen, found) < min(compute_error(*unseen, other) for other in alone) - 0.02


@pytest.mark.parametrize(("skills", "left"), [((1.0, -1.0), "class_weight"), ((-1.0, 1.0), "map_weight")])
def test_what_points_the_wrong_way_is_left_out(skills, left):
    found = fit_combination(*simulate(2000, *skills), HEALTHY)
    weights = {"class_weight": found.class_weight, "map_weight": found.map_weight}
    assert weights.pop(left) > 0.3
    assert list(weights.values()) == [0]


def test_what_points_the_wrong_way_altogether_changes_nothing():
    assert fit_combination(*simulate(2000, -1.0, -1.0), HEALTHY) == CLASSES_ALONE


def test_each_group_counts_once():
    """A patient of 3,000 slices whose map is wrong: as one group it hardly moves the weights."""
    probs, peaks, true, groups = simulate(400, 0.5, 2.0)
    wrong = simulate(3000, 0.5, -2.0, seed=1)
    parts = [np.concatenate(pair) for pair in zip((probs, peaks, true), wrong[:3], strict=True)]
    as_one = fit_combination(*parts, np.concatenate([groups, np.full(3000, 1000)]), HEALTHY)
    as_many = fit_combination(*parts, np.arange(3400), HEALTHY)
    assert as_one.map_weight > 0.3
    assert as_many.map_weight == 0


def test_each_source_counts_once():
    """In a large source the map tells nothing, in a small one it tells all."""
    large, small = simulate(4000, 2.0, 0.0), simulate(200, 0.0, 2.0, seed=1)
    parts = [np.concatenate(pair) for pair in zip(large[:3], small[:3], strict=True)]
    groups, sources = np.arange(4200), ["large"] * 4000 + ["small"] * 200
    evenly = fit_combination(*parts, groups, HEALTHY, sources)
    assert evenly.map_weight > 2 * fit_combination(*parts, groups, HEALTHY).map_weight


def test_perfect_separation_gives_finite_weights():
    probs, peaks, true, groups = simulate(300, 30.0, 30.0)
    found = fit_combination(probs, peaks, true, groups, HEALTHY)
    assert 0 < found.class_weight < 10
    assert 0 < found.map_weight < 10


@pytest.mark.parametrize("true", [np.zeros(50, int), np.full(50, HEALTHY)])
def test_nothing_is_fitted_on_one_side_alone(true):
    probs, peaks, _, groups = simulate(50, 1.0, 1.0)
    assert fit_combination(probs, peaks, true, groups, HEALTHY) == CLASSES_ALONE
    assert fit_combination(probs, peaks, true, groups, None) == CLASSES_ALONE
