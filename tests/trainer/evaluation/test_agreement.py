"""What a contradiction of classes and map catches, worked out by hand."""

import dataclasses

import numpy as np
import pytest

from serving.model.artefact import Combination, MapConfig
from serving.model.combination import combine, explain_disagreements
from tests.trainer.make_predictions import LABELS, make_predictions, simulate_located
from trainer.evaluation.agreement import find_disagreements, judge_answers, summarise_agreement
from trainer.evaluation.fitted_numbers import FittedNumbers

NUMBERS = FittedNumbers(1.0, {0.95: 0.3}, {0.95: 0.1}, {}, 0.5)
GLIOMA, NOTUMOR = [0.7, 0.1, 0.1, 0.1], [0.1, 0.1, 0.7, 0.1]


def test_what_is_caught_and_what_it_costs():
    """Four right answers, one of them doubted; three wrong ones, two of them doubted."""
    made = make_predictions(
        [0, 0, 2, 2, 0, 2, 1],
        [GLIOMA, GLIOMA, NOTUMOR, NOTUMOR, NOTUMOR, GLIOMA, GLIOMA],
    )
    peaks = np.array([0.9, 0.2, 0.1, 0.1, 0.8, 0.3, 0.9])
    figures = summarise_agreement(dataclasses.replace(made, tumor_peak=peaks), NUMBERS)["all"]
    assert (figures["count"], figures["wrong"]) == (7, 3)
    both = figures["disagreement"]
    assert both["flagged"] == pytest.approx(3 / 7)
    assert both["caught"] == pytest.approx(2 / 3)
    assert both["cost"] == pytest.approx(1 / 4)
    assert figures["tumour_without_region"]["caught"] == pytest.approx(1 / 3)
    assert figures["region_without_tumour"]["cost"] == 0
    assert "unlike_training" not in figures


def test_confidence_is_asked_for_as_many_pictures():
    """The two least probable answers, of which one is wrong, stand beside two doubts."""
    probs = [[0.4, 0.3, 0.2, 0.1], [0.5, 0.3, 0.1, 0.1], GLIOMA, GLIOMA]
    made = dataclasses.replace(
        make_predictions([0, 1, 1, 0], probs), tumor_peak=np.array([0.9, 0.9, 0.1, 0.1])
    )
    figures = summarise_agreement(made, NUMBERS)["all"]["disagreement"]
    assert (figures["caught"], figures["caught_by_confidence"]) == (0.5, 0.5)
    assert figures["cost"] == 0.5


def test_the_rule_is_that_of_serving():
    made, config = simulate_located(200), MapConfig(0.5, Combination(0.0, 1.0, 1.0))
    combined = combine(made.probs, made.tumor_peak, LABELS.index("notumor"), config)
    made = dataclasses.replace(made, probs=combined)
    assert (made.predicted != made.logits.argmax(axis=1)).any()
    told = explain_disagreements(made.logits, made.probs, made.tumor_peak, made.healthy, config)
    found = np.logical_or.reduce(list(find_disagreements(made, NUMBERS).values()))
    np.testing.assert_array_equal(found, np.array(told) != "")
    assert 20 < found.sum() < 180


def test_pictures_that_cannot_be_judged_do_not_count():
    made = simulate_located(200)
    unknown = dataclasses.replace(made.origins, tumor=np.where(made.is_known, made.origins.tumor, np.nan))
    figures = summarise_agreement(dataclasses.replace(made, origins=unknown), NUMBERS)
    assert figures["all"]["count"] == made.is_known.sum() < 200
    assert set(figures["by_source"]) == {"feltrin44", "lgg_tcga"}
    assert np.isnan(judge_answers(dataclasses.replace(made, origins=unknown))[~made.is_known]).all()


def test_each_fold_has_its_own_threshold():
    made = dataclasses.replace(make_predictions([0, 0], [GLIOMA, GLIOMA]), tumor_peak=np.array([0.5, 0.5]))
    numbers = dataclasses.replace(NUMBERS, map_threshold=np.array([0.4, 0.6]))
    assert find_disagreements(made, numbers)["tumour_without_region"].tolist() == [False, True]


def test_without_a_map_there_is_no_such_section():
    assert summarise_agreement(make_predictions([0], [GLIOMA]), NUMBERS) is None
