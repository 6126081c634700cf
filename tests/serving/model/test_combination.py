"""Tumour or none by classes and map together, and where they contradict each other."""

import numpy as np
import pytest

from serving.model.artefact import Combination, MapConfig
from serving.model.calibration import compute_probabilities
from serving.model.combination import (
    REGION_WITHOUT_TUMOUR,
    TUMOUR_WITHOUT_REGION,
    combine,
    compute_answers,
    compute_log_odds,
    explain_disagreements,
)

LABELS = ("glioma", "meningioma", "notumor", "pituitary")
HEALTHY = 2


def make_config(intercept=0.0, classes=1.0, tumor_map=0.0, threshold=0.5) -> MapConfig:
    return MapConfig(threshold, Combination(intercept, classes, tumor_map))


def sigmoid(value: float) -> float:
    return 1 / (1 + np.exp(-value))


def test_by_hand():
    probs = np.array([[0.1, 0.05, 0.8, 0.05]])
    [answer] = combine(probs, np.array([0.3]), HEALTHY, make_config(-0.5, 0.8, 1.2))
    tumour = sigmoid(-0.5 + 0.8 * np.log(0.2 / 0.8) + 1.2 * np.log(0.3 / 0.7))
    np.testing.assert_allclose(answer, [tumour / 2, tumour / 4, 1 - tumour, tumour / 4])


def test_the_classes_alone_stay_as_they_are():
    probs = np.random.default_rng(0).dirichlet(np.ones(4), 50)
    np.testing.assert_allclose(combine(probs, np.full(50, 0.4), HEALTHY, make_config()), probs, atol=1e-6)


def test_no_tumour_is_never_the_answer_where_the_map_shows_one():
    """Also where the most probable kind comes after "no tumour", and would lose a draw."""
    rng = np.random.default_rng(1)
    logits = rng.normal(size=(2000, 4)) * 4 + np.array([0, 0, 6, 0])
    logits[:200, 3] += 4
    peaks = rng.uniform(0, 1, 2000)
    config = make_config(-2, 1, 0.3)
    answers = combine(compute_probabilities(logits, 1.0), peaks, HEALTHY, config)
    shown, healthy = peaks >= 0.5, answers.argmax(axis=1) == HEALTHY
    assert not healthy[shown].any()
    assert healthy[~shown].mean() > 0.5
    np.testing.assert_allclose(answers.sum(axis=1), 1)
    kinds = np.delete(answers, HEALTHY, axis=1)
    assert (answers[shown, HEALTHY] < kinds[shown].max(axis=1)).all()


def test_the_limit_changes_only_what_is_above_it():
    probs = np.array([[0.6, 0.1, 0.2, 0.1]])
    np.testing.assert_allclose(combine(probs, np.array([0.9]), HEALTHY, make_config()), probs)


def test_kinds_keep_their_proportions():
    probs = np.array([[0.02, 0.06, 0.9, 0.02]])
    [answer] = combine(probs, np.array([0.95]), HEALTHY, make_config(0, 1, 1))
    np.testing.assert_allclose(answer[[0, 1, 3]] / answer[1], [1 / 3, 1, 1 / 3])


@pytest.mark.parametrize("peak", [0.0, 1.0])
@pytest.mark.parametrize("place", [0, HEALTHY])
def test_certainty_gives_numbers(place, peak):
    probs = np.zeros((1, 4))
    probs[0, place] = 1
    answer = combine(probs, np.array([peak]), HEALTHY, make_config(0, 2, 2))
    assert np.isfinite(answer).all()
    assert (answer >= 0).all()
    assert answer.sum() == pytest.approx(1)


def test_log_odds_are_finite():
    np.testing.assert_allclose(compute_log_odds(np.array([0.0, 0.5, 1.0])), [-16.118, 0, 16.118], atol=1e-3)


@pytest.mark.parametrize(("tumor_map", "healthy"), [(None, HEALTHY), (make_config(0, 1, 1), None)])
def test_without_a_map_or_a_healthy_label_the_classes_answer(tumor_map, healthy):
    logits = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    peaks = np.full(5, 0.9) if tumor_map else None
    answers = compute_answers(logits, peaks, 2.0, healthy, tumor_map)
    np.testing.assert_array_equal(answers, compute_probabilities(logits, 2.0))
    assert explain_disagreements(logits, answers, peaks, healthy, tumor_map) == [""] * 5


def test_where_classes_and_map_contradict_each_other():
    """Tumour with and without a region, healthy with and without, and a tumour because of the map alone."""
    logits = np.float32([[3, 0, 0, 0], [3, 0, 0, 0], [0, 0, 3, 0], [0, 0, 3, 0], [0, 0, 0.1, 0]])
    peaks = np.array([0.5, 0.1, 0.9, 0.1, 0.45])
    config = make_config(1, 1, 1)
    answers = compute_answers(logits, peaks, 1.0, HEALTHY, config)
    assert (answers.argmax(axis=1) != HEALTHY).tolist() == [True, True, True, False, True]
    assert explain_disagreements(logits, answers, peaks, HEALTHY, config) == [
        "",
        TUMOUR_WITHOUT_REGION,
        REGION_WITHOUT_TUMOUR,
        "",
        TUMOUR_WITHOUT_REGION,
    ]
