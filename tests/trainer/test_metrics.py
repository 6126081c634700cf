import numpy as np
import pytest

from trainer.metrics import bootstrap_accuracy, compute_calibration_error, compute_metrics

LABELS = ("a", "b")
# a: three of four found; b: one of two found, and one a called b.
TRUE = np.array([0, 0, 0, 0, 1, 1])
PROBS = np.array([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.4, 0.6], [0.2, 0.8], [0.6, 0.4]])


def test_figures_by_hand():
    figures = compute_metrics(TRUE, PROBS, np.arange(6), LABELS)
    assert figures["accuracy"] == pytest.approx(4 / 6)
    assert (figures["count"], figures["errors"], figures["groups"]) == (6, 2, 6)
    assert figures["confusion_matrix"] == [[3, 1], [1, 1]]
    a, b = figures["per_class"]["a"], figures["per_class"]["b"]
    assert (a["precision"], a["recall"], a["support"]) == (pytest.approx(3 / 4), pytest.approx(3 / 4), 4)
    assert (b["precision"], b["recall"], b["support"]) == (pytest.approx(1 / 2), pytest.approx(1 / 2), 2)
    assert figures["macro"]["recall"] == pytest.approx((3 / 4 + 1 / 2) / 2)
    assert figures["weighted"]["recall"] == pytest.approx((4 * 3 / 4 + 2 * 1 / 2) / 6)
    assert figures["nll"] == pytest.approx(-np.log([0.9, 0.8, 0.7, 0.4, 0.8, 0.4]).mean())


def test_f2_by_hand():
    true, predicted = np.array([0, 0, 0, 1]), np.array([0, 1, 1, 1])
    figures = compute_metrics(true, np.eye(2)[predicted], np.arange(4), LABELS)
    precision, recall = 1.0, 1 / 3
    assert figures["per_class"]["a"]["f2"] == pytest.approx(5 * precision * recall / (4 * precision + recall))
    assert figures["per_class"]["a"]["f1"] == pytest.approx(2 * precision * recall / (precision + recall))


def test_absent_class_counts_as_zero():
    figures = compute_metrics(np.array([0, 0]), np.array([[0.9, 0.1], [0.8, 0.2]]), np.arange(2), LABELS)
    assert figures["per_class"]["b"] == {"precision": 0.0, "recall": 0.0, "f1": 0.0, "f2": 0.0, "support": 0}


def test_calibration_error_by_hand():
    confidence = np.array([0.5] * 15 + [1.0] * 15)
    correct = np.array([True] * 15 + [True] * 15)
    assert compute_calibration_error(correct, confidence) == pytest.approx(0.25)
    assert compute_calibration_error(correct[15:], confidence[15:]) == 0.0


def test_interval_is_wider_when_images_share_groups():
    correct = np.repeat([True, False], 50)
    alone = bootstrap_accuracy(correct, np.arange(100))
    grouped = bootstrap_accuracy(correct, np.arange(100) // 10)
    assert alone[0] < 0.5 < alone[1]
    assert grouped[1] - grouped[0] > 2 * (alone[1] - alone[0])


def test_interval_is_the_same_twice_and_within_binomial_theory():
    correct = np.arange(1000) % 10 > 0
    low, high = bootstrap_accuracy(correct, np.arange(1000))
    assert [low, high] == bootstrap_accuracy(correct, np.arange(1000))
    half_width = 1.96 * np.sqrt(0.9 * 0.1 / 1000)
    assert low == pytest.approx(0.9 - half_width, abs=0.005)
    assert high == pytest.approx(0.9 + half_width, abs=0.005)


def test_nothing_to_score_and_damaged_probabilities():
    with pytest.raises(ValueError, match="at least one image"):
        compute_metrics(np.array([], int), np.zeros((0, 2)), np.array([], int), LABELS)
    with pytest.raises(ValueError, match="finite"):
        compute_metrics(np.array([0]), np.array([[np.nan, 1.0]]), np.array([0]), LABELS)
