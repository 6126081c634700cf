"""Every figure against hand arithmetic, a published worked example or scikit-learn."""

import json

import numpy as np
import pytest
from sklearn import metrics as sk

from tests.trainer.make_predictions import make_predictions, simulate_predictions
from trainer.evaluation.metrics import (
    compute_any_tumour,
    compute_auroc,
    compute_average_precision,
    compute_calibration_error,
    compute_kappa,
    compute_mcc,
    compute_metrics,
    compute_probability_figures,
)

TWO = ("a", "b")
# a: three of four found; b: one of two found, and one a called b.
TRUE = [0, 0, 0, 0, 1, 1]
PROBS = [[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.4, 0.6], [0.2, 0.8], [0.6, 0.4]]


def test_figures_by_hand():
    figures = compute_metrics(make_predictions(TRUE, PROBS, labels=TWO))
    assert figures["accuracy"] == pytest.approx(4 / 6)
    assert (figures["count"], figures["errors"], figures["groups"]) == (6, 2, 6)
    assert figures["confusion_matrix"] == [[3, 1], [1, 1]]
    a, b = figures["per_class"]["a"], figures["per_class"]["b"]
    assert (a["precision"], a["recall"], a["specificity"], a["support"]) == (3 / 4, 3 / 4, 1 / 2, 4)
    assert (b["precision"], b["recall"], b["specificity"], b["support"]) == (1 / 2, 1 / 2, 3 / 4, 2)
    assert figures["macro"]["recall"] == pytest.approx((3 / 4 + 1 / 2) / 2)
    assert figures["weighted"]["recall"] == pytest.approx((4 * 3 / 4 + 2 * 1 / 2) / 6)
    assert figures["nll"] == pytest.approx(-np.log([0.9, 0.8, 0.7, 0.4, 0.8, 0.4]).mean())
    assert figures["brier"] == pytest.approx(2 * np.mean(np.square([0.1, 0.2, 0.3, 0.6, 0.2, 0.6])))
    # Of the 4 x 2 pairs of an a and a b, a's probability of a is higher in all but (.4, .6).
    assert a["auroc"] == b["auroc"] == pytest.approx(7 / 8)


def test_f2_by_hand():
    figures = compute_metrics(make_predictions([0, 0, 0, 1], np.eye(2)[[0, 1, 1, 1]], labels=TWO))
    precision, recall = 1.0, 1 / 3
    assert figures["per_class"]["a"]["f2"] == pytest.approx(5 * precision * recall / (4 * precision + recall))
    assert figures["per_class"]["a"]["f1"] == pytest.approx(2 * precision * recall / (precision + recall))


def test_auroc_of_hanley_and_mcneil_1982():
    """Table I: 109 CT images rated 1 to 5; the paper gives an area of 0.893."""
    normal, abnormal = (33, 6, 6, 11, 2), (3, 2, 2, 11, 33)
    ratings = np.repeat(np.tile(np.arange(1, 6), 2), [*normal, *abnormal])
    assert compute_auroc(np.arange(109) >= 58, ratings.astype(float)) == pytest.approx(0.893, abs=0.0005)


def test_average_precision_by_hand():
    # Ranked: right, wrong, right, wrong; precision 1 and 2/3 at the two that are right.
    assert compute_average_precision(
        np.array([True, False, True, False]), np.array([0.8, 0.4, 0.35, 0.1])
    ) == pytest.approx((1 + 2 / 3) / 2)


def test_kappa_by_hand():
    """Of 50 both say yes to 20 and no to 15: .7 agree, .5 by chance, kappa .4."""
    first, second = np.repeat([0, 0, 1, 1], [20, 5, 10, 15]), np.repeat([0, 1, 0, 1], [20, 5, 10, 15])
    assert compute_kappa(first, second) == pytest.approx(0.4)
    assert compute_kappa(np.zeros(3), np.zeros(3)) is None


def test_mcc_by_hand():
    """Six hits, two misses, one false alarm, three rightly left alone."""
    true, predicted = np.repeat([1, 1, 0, 0], [6, 2, 1, 3]), np.repeat([1, 0, 1, 0], [6, 2, 1, 3])
    assert compute_mcc(true, predicted) == pytest.approx((6 * 3 - 1 * 2) / np.sqrt(7 * 8 * 4 * 5))
    assert compute_mcc(true, np.ones(12)) is None


def test_four_classes_as_scikit_learn_has_them():
    predictions = simulate_predictions()
    true, predicted, probs = predictions.true, predictions.predicted, predictions.probs
    figures = compute_metrics(predictions)
    for average in ("macro", "weighted"):
        found = figures[average]
        assert found["precision"] == pytest.approx(sk.precision_score(true, predicted, average=average))
        assert found["recall"] == pytest.approx(sk.recall_score(true, predicted, average=average))
        assert found["f1"] == pytest.approx(sk.f1_score(true, predicted, average=average))
        assert found["f2"] == pytest.approx(sk.fbeta_score(true, predicted, beta=2, average=average))
        assert found["auroc"] == pytest.approx(
            sk.roc_auc_score(true, probs, average=average, multi_class="ovr")
        )
        assert found["average_precision"] == pytest.approx(
            sk.average_precision_score(np.eye(4)[true], probs, average=average)
        )
    for index, label in enumerate(predictions.labels):
        assert figures["per_class"][label]["specificity"] == pytest.approx(
            sk.recall_score(true != index, predicted != index)
        )
    assert figures["kappa"] == pytest.approx(sk.cohen_kappa_score(true, predicted))
    assert figures["mcc"] == pytest.approx(sk.matthews_corrcoef(true, predicted))
    assert figures["brier"] == pytest.approx(np.square(probs - np.eye(4)[true]).sum(axis=1).mean())
    low, high = figures["accuracy_interval"]
    assert low < figures["accuracy"] < high
    for label, values in figures["per_class"].items():
        for name in ("recall", "auroc"):
            low, high = figures["intervals"][name][label]
            assert low < values[name] < high


def test_before_and_after_temperature():
    predictions = simulate_predictions(temperature=0.5)
    raw = simulate_predictions(temperature=1.0)
    figures = compute_metrics(predictions)
    assert figures["uncalibrated"] == compute_probability_figures(raw.true, raw.probs)
    assert figures["uncalibrated"]["ece"] != figures["ece"]


def test_a_class_without_images_has_no_figures_and_is_left_out_of_means():
    figures = compute_metrics(
        make_predictions(
            [0, 0, 1], [[0.9, 0.1, 0.0], [0.2, 0.3, 0.5], [0.1, 0.9, 0.0]], labels=("a", "b", "c")
        )
    )
    absent = figures["per_class"]["c"]
    assert [absent[name] for name in ("precision", "recall", "f1", "f2", "auroc", "average_precision")] == [
        None
    ] * 6
    assert (absent["support"], absent["specificity"]) == (0, 2 / 3)
    assert figures["macro"]["recall"] == pytest.approx((1 / 2 + 1) / 2)
    assert figures["macro"]["specificity"] == 1.0  # of a and b, whose images no other class was taken for
    assert figures["intervals"]["recall"]["c"] is None
    json.dumps(figures, allow_nan=False)


def test_one_class_only():
    figures = compute_metrics(make_predictions([0, 0], [[0.9, 0.1], [0.8, 0.2]], labels=TWO))
    assert figures["per_class"]["a"]["recall"] == 1.0
    assert [figures["per_class"]["a"][name] for name in ("specificity", "auroc", "average_precision")] == [
        None
    ] * 3
    assert (figures["kappa"], figures["mcc"], figures["macro"]["auroc"]) == (None, None, None)
    json.dumps(figures, allow_nan=False)


def test_a_class_that_is_never_predicted_has_precision_zero():
    figures = compute_metrics(make_predictions([0, 1], [[0.9, 0.1], [0.8, 0.2]], labels=TWO))
    assert (figures["per_class"]["b"]["precision"], figures["per_class"]["b"]["f1"]) == (0.0, 0.0)


def test_calibration_error_by_hand():
    confidence = np.array([0.5] * 15 + [1.0] * 15)
    correct = np.array([True] * 30)
    assert compute_calibration_error(correct, confidence) == pytest.approx(0.25)
    assert compute_calibration_error(correct[15:], confidence[15:]) == 0.0


def test_any_tumour_by_hand():
    # Probability of a tumour .9, .7, .4 where there is one, .6 and .1 where there is none.
    tumour = np.array([0.9, 0.7, 0.4, 0.6, 0.1])
    probs = np.stack([tumour, 0 * tumour, 1 - tumour, 0 * tumour], axis=1)
    figures = compute_any_tumour(make_predictions([0, 1, 3, 2, 2], probs), {0.99: 0.4, 0.5: 0.65})
    assert (figures["tumour"], figures["no_tumour"], round(figures["auroc"], 9)) == (3, 2, round(5 / 6, 9))
    decided = figures["most_probable_label"]
    assert (decided["sensitivity"], decided["specificity"]) == (2 / 3, 1 / 2)
    assert (decided["missed_tumours"], decided["false_alarms"]) == (1, 1)
    half, most = figures["operating_points"]
    assert (half["target_sensitivity"], half["threshold"], half["sensitivity"], half["specificity"]) == (
        0.5,
        0.65,
        2 / 3,
        1.0,
    )
    assert (most["sensitivity"], most["specificity"], most["missed_tumours"], most["false_alarms"]) == (
        1.0,
        1 / 2,
        0,
        1,
    )


def test_any_tumour_where_the_question_makes_no_sense():
    assert compute_any_tumour(make_predictions(TRUE, PROBS, labels=TWO), {}) is None
    assert compute_any_tumour(make_predictions([2, 2], np.eye(4)[[2, 0]]), {}) is None
    tumours_only = compute_any_tumour(make_predictions([0, 0], np.eye(4)[[2, 0]]), {0.95: 0.5})
    assert tumours_only["most_probable_label"]["sensitivity"] == 0.5
    assert (tumours_only["auroc"], tumours_only["operating_points"][0]["specificity"]) == (None, None)
    json.dumps(tumours_only, allow_nan=False)
