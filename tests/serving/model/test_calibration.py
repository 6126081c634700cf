import numpy as np
import pytest

from serving.model.calibration import compute_prediction_sets, compute_probabilities


def test_probabilities_by_hand():
    probs = compute_probabilities(np.array([[np.log(3.0), 0.0]], np.float32), temperature=1.0)
    np.testing.assert_allclose(probs, [[0.75, 0.25]], atol=1e-6)


def test_temperature_softens_without_changing_the_order():
    logits = np.array([[2.0, 1.0, -1.0]], np.float32)
    sharp, soft = compute_probabilities(logits, 0.5), compute_probabilities(logits, 4.0)
    assert sharp.max() > soft.max()
    assert sharp.argsort().tolist() == soft.argsort().tolist()
    np.testing.assert_allclose(soft, np.exp(logits / 4) / np.exp(logits / 4).sum(), atol=1e-7)


def test_huge_logits_do_not_overflow():
    np.testing.assert_allclose(compute_probabilities(np.array([[1e4, 0.0]], np.float32), 1.0), [[1.0, 0.0]])


def test_prediction_set_holds_likely_labels_and_never_nothing():
    probs = np.array([[0.6, 0.3, 0.1], [0.4, 0.35, 0.25]])
    assert compute_prediction_sets(probs, 0.3).tolist() == [[True, True, False], [True, True, False]]
    assert compute_prediction_sets(probs, 0.9).tolist() == [[True, False, False], [True, False, False]]
    assert compute_prediction_sets(probs, 0.0).all()


@pytest.mark.parametrize("rows", [1, 5])
def test_rows_sum_to_one(rows):
    logits = np.random.default_rng(0).normal(size=(rows, 4)).astype(np.float32)
    np.testing.assert_allclose(compute_probabilities(logits, 1.3).sum(axis=1), 1.0)
