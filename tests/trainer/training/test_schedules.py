"""The learning rate by hand arithmetic, and what the judge decides."""

import json
import math

import pytest

from trainer.config import Config, OptimizationConfig, build_config
from trainer.training.schedules import Judge, choose_size, compute_learning_rate

CONFIG = OptimizationConfig(epochs=10, learning_rate=1e-3, warmup_epochs=1.0)


def rate(step: int, batch_size: int = 32, factor: float = 1.0, **changes) -> float:
    return compute_learning_rate(CONFIG.replace(**changes), step, 100, batch_size, factor)


def test_warm_up_is_linear_and_never_zero():
    assert rate(0) == pytest.approx(1e-3 / 101)
    assert rate(49) == pytest.approx(1e-3 * 50 / 101)
    assert rate(100) == pytest.approx(1e-3)


def test_cosine_goes_to_zero_at_the_end():
    assert rate(550) == pytest.approx(0.5e-3)  # half of the 900 steps after the warm-up
    assert rate(325) == pytest.approx(1e-3 * 0.5 * (1 + math.cos(math.pi / 4)))
    assert rate(999) == pytest.approx(0, abs=1e-8)
    assert rate(1000) == 0


def test_without_warm_up_it_starts_at_the_peak():
    assert rate(0, warmup_epochs=0.0) == pytest.approx(1e-3)


def test_constant_stays():
    assert {rate(step, schedule="constant") for step in (100, 555, 999)} == {1e-3}


@pytest.mark.parametrize(("rule", "expected"), [("none", 1e-3), ("linear", 4e-3), ("sqrt", 2e-3)])
def test_scaling_with_the_batch(rule, expected):
    assert rate(100, batch_size=128, batch_scaling=rule) == pytest.approx(expected)


def test_plateaus_scale_it():
    assert rate(100, factor=0.25) == pytest.approx(0.25e-3)


def observe(judge: Judge, config: OptimizationConfig, *values: float) -> list[bool]:
    return [
        judge.observe(epoch, value, 0.5, config)
        for epoch, value in enumerate(values, start=judge.best_epoch + judge.since_best + 1)
    ]


def test_only_better_is_best_and_nan_never_is():
    judge = Judge()
    assert observe(judge, CONFIG, 0.5, 0.5, math.nan, 0.4) == [True, False, False, True]
    assert (judge.best, judge.best_epoch, judge.since_best) == (0.4, 3, 0)


def test_patience():
    config = CONFIG.replace(early_stopping_patience=2)
    judge = Judge()
    observe(judge, config, 0.5, 0.6)
    assert not judge.wants_to_stop(config)
    observe(judge, config, 0.6)
    assert judge.wants_to_stop(config)
    assert not judge.wants_to_stop(config.replace(early_stopping_patience=0))


def test_plateaus_lower_the_rate_down_to_the_floor():
    """As Keras's ReduceLROnPlateau with patience 2, factor .5 and min_lr 3e-4, from 1e-3."""
    config = CONFIG.replace(
        plateau_patience=2, plateau_factor=0.5, plateau_floor=3e-4, early_stopping_patience=0
    )
    judge = Judge()
    factors = []
    for epoch, value in enumerate([0.5, 0.6, 0.6, 0.6, 0.6, 0.4, 0.6, 0.6, 0.6, 0.6]):
        judge.observe(epoch, value, 0.5, config)
        factors.append(judge.factor)
    assert factors == pytest.approx([1, 1, 0.5, 0.5, 0.3, 0.3, 0.3, 0.3, 0.3, 0.3])


def test_a_rate_below_the_floor_is_not_raised():
    config = CONFIG.replace(learning_rate=1e-6, plateau_patience=1, plateau_floor=1e-5)
    judge = Judge()
    for epoch in range(4):
        judge.observe(epoch, 0.5, 0.5, config)
    assert judge.factor == 1


def test_accuracy_chooses_the_epoch_while_the_loss_lowers_the_rate():
    config = CONFIG.replace(monitor="val_accuracy", plateau_patience=2, early_stopping_patience=3)
    judge = Judge()
    seen = [
        judge.observe(epoch, loss, accuracy, config)
        for epoch, (loss, accuracy) in enumerate([(0.5, 0.7), (0.6, 0.8), (0.7, 0.9), (0.4, 0.9)])
    ]
    assert seen == [True, True, True, False]
    assert (judge.best, judge.best_epoch, judge.since_best, judge.factor) == (-0.9, 2, 1, 0.5)


def test_state_survives_json():
    judge = Judge()
    assert Judge(**json.loads(json.dumps(judge.to_dict()))) == judge
    observe(judge, CONFIG, 0.5, 0.7)
    assert Judge(**json.loads(json.dumps(judge.to_dict()))) == judge


def test_sizes_take_equal_shares_of_the_epochs():
    config = build_config(
        {"data": {"image_size": 96, "progressive_scales": [0.3, 0.7]}, "optimization": {"epochs": 7}}
    )
    assert [choose_size(config, epoch) for epoch in range(7)] == [32, 32, 64, 64, 96, 96, 96]
    assert [choose_size(Config(), epoch) for epoch in range(12)] == [96] * 4 + [128] * 4 + [192] * 4


@pytest.mark.parametrize(("epochs", "sizes"), [(1, [96]), (2, [64, 96]), (3, [32, 64, 96])])
def test_the_last_epoch_has_full_size(epochs, sizes):
    config = build_config(
        {"data": {"image_size": 96, "progressive_scales": [0.3, 0.7]}, "optimization": {"epochs": epochs}}
    )
    assert [choose_size(config, epoch) for epoch in range(epochs)] == sizes


def test_a_short_run_warms_up_for_half_of_it():
    assert rate(25, epochs=1) == pytest.approx(1e-3 * 26 / 51)
    assert rate(50, epochs=1) == pytest.approx(1e-3)
