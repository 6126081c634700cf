import numpy as np
import pytest

from serving.calibration import compute_prediction_sets, compute_probabilities
from serving.guard import compute_distances
from trainer.calibration import fit_guard, fit_prediction_set_threshold, fit_temperature


def sample_labels(probs: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    return (probs.cumsum(axis=1) > generator.random((len(probs), 1))).argmax(axis=1)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_temperature_is_recovered(temperature):
    generator = np.random.default_rng(0)
    logits = generator.normal(scale=3, size=(20_000, 4)).astype(np.float32)
    true = sample_labels(compute_probabilities(logits, temperature), generator)
    assert fit_temperature(logits, true) == pytest.approx(temperature, rel=0.05)


def test_threshold_by_hand():
    # Probabilities of the true label .1, .2, ... .9, 19 of them with ties; coverage .5 of n = 9: the fifth smallest score.
    p_true = np.linspace(0.1, 0.9, 9)
    probs = np.column_stack([p_true, 1 - p_true])
    assert fit_prediction_set_threshold(probs, np.zeros(9, int), coverage=0.5) == pytest.approx(0.5)


def test_too_few_images_rule_nothing_out():
    assert fit_prediction_set_threshold(np.array([[0.9, 0.1]]), np.array([0]), coverage=0.95) == 0.0


def test_coverage_on_new_images():
    generator = np.random.default_rng(1)
    held = []
    for _ in range(100):
        probs = compute_probabilities(generator.normal(scale=1.5, size=(600, 4)).astype(np.float32), 1.0)
        true = sample_labels(probs, generator)
        members = compute_prediction_sets(probs[300:], fit_prediction_set_threshold(probs[:300], true[:300], coverage=0.9))
        held.append(members[np.arange(300), true[300:]].mean())
    assert np.mean(held) == pytest.approx(0.9, abs=0.01)


def test_guard_accepts_what_it_knows_and_refuses_the_rest():
    generator = np.random.default_rng(0)
    basis = generator.normal(size=(3, 200)).astype(np.float32)
    known = generator.normal(size=(1000, 3)).astype(np.float32) @ basis
    known += generator.normal(scale=0.01, size=known.shape).astype(np.float32)
    directions, threshold = fit_guard(known[:600], known[600:])
    np.testing.assert_allclose(directions @ directions.T, np.eye(len(directions)), atol=0.01)
    np.testing.assert_array_equal(directions, directions.astype(np.float16).astype(np.float32))
    assert (compute_distances(known[600:], directions) > threshold).mean() <= 0.01
    strangers = generator.normal(size=(100, 200)).astype(np.float32)
    assert (compute_distances(strangers, directions) > threshold).all()
