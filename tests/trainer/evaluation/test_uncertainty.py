"""Prediction sets hold what they promise for new groups; abstention is measured by hand."""

from pathlib import Path

import numpy as np
import pytest

from tests.trainer.make_predictions import make_predictions, simulate_predictions
from tests.trainer.split_coverage import measure_split_coverage
from trainer.evaluation.predictions_file import load_predictions
from trainer.evaluation.uncertainty import (
    compute_abstention,
    compute_risk_coverage,
    compute_set_figures,
)

RESULTS = Path(__file__).resolve().parents[3] / "configs" / "results" / "release_official"


@pytest.mark.parametrize("coverage", [0.95, 0.99])
def test_coverage_of_held_out_groups_on_simulated_images(coverage):
    """400 groups of one to eight images that resemble each other, told rightly for three of four."""
    predictions = simulate_predictions(count=1600, group_size=4)
    found = measure_split_coverage(predictions, coverage)
    assert len(found.sets) == 200
    assert (predictions.predicted == predictions.true).mean() < 0.9
    assert found.sets.mean() == pytest.approx(coverage, abs=0.01)
    assert found.served.mean() == pytest.approx(coverage, abs=0.01)


@pytest.mark.parametrize("coverage", [0.95, 0.99])
def test_coverage_of_held_out_groups_on_the_real_predictions(coverage):
    """Of the official test split; right for more than 95 %, the model cannot serve sets that miss so."""
    predictions = load_predictions(RESULTS / "predictions.csv")
    found = measure_split_coverage(predictions, coverage)
    assert found.sets.mean() == pytest.approx(coverage, abs=0.01)
    assert (found.served >= found.sets).all()


def test_sets_by_hand():
    probs = [[0.6, 0.3, 0.1], [0.5, 0.4, 0.1], [0.9, 0.05, 0.05], [0.34, 0.33, 0.33]]
    figures = compute_set_figures(
        make_predictions([0, 1, 1, 2], probs, groups=[0, 0, 0, 1], labels=("a", "b", "c")),
        {0.95: 0.35, 0.99: 0.0},
    )
    sets = figures["0.95"]  # {a}, {a, b}, {a}, {a}, the last by its most probable label alone
    assert (sets["coverage"], sets["size"], sets["threshold"]) == (2 / 4, 5 / 4, 0.35)
    assert sets["group_coverage"] == pytest.approx((2 / 3 + 0) / 2)
    assert sets["by_class"] == {
        "a": {"count": 1, "coverage": 1.0, "size": 1.0},
        "b": {"count": 2, "coverage": 0.5, "size": 1.5},
        "c": {"count": 1, "coverage": 0.0, "size": 1.0},
    }
    assert sets["by_size"] == {
        "1": {"count": 3, "coverage": 1 / 3, "size": 1.0},
        "2": {"count": 1, "coverage": 1.0, "size": 2.0},
        "3": {"count": 0, "coverage": None, "size": None},
    }
    assert (figures["0.99"]["coverage"], figures["0.99"]["size"]) == (1.0, 3.0)


def test_risk_coverage_by_hand():
    # From the most certain: right, wrong, right, right.
    correct, confidence = np.array([True, True, False, True]), np.array([0.6, 0.9, 0.8, 0.7])
    share, error = compute_risk_coverage(correct, confidence)
    np.testing.assert_allclose(share, [0.25, 0.5, 0.75, 1.0])
    np.testing.assert_allclose(error, [0, 1 / 2, 1 / 3, 1 / 4])


def test_order_of_ties_does_not_matter():
    confidence = np.array([0.9, 0.5, 0.5, 0.5])
    curves = [
        compute_risk_coverage(np.array(correct), confidence)[1]
        for correct in ([True, False, True, True], [True, True, True, False])
    ]
    np.testing.assert_allclose(*curves)
    np.testing.assert_allclose(curves[0], [0, 1 / 6, 2 / 9, 1 / 4])


def test_abstention_by_hand():
    probs = [[0.6, 0.4], [0.9, 0.1], [0.8, 0.2], [0.7, 0.3]]
    figures = compute_abstention(make_predictions([0, 0, 1, 0], probs, labels=("a", "b")))
    assert figures["aurc"] == pytest.approx((0 + 1 / 2 + 1 / 3 + 1 / 4) / 4)
    assert figures["aurc_best"] == pytest.approx((0 + 0 + 0 + 1 / 4) / 4)
    assert figures["curve"][0] == {"answered": 0.5, "least_confidence": 0.8, "error": 0.5}
    assert figures["curve"][-1] == {"answered": 1.0, "least_confidence": 0.6, "error": 0.25}
