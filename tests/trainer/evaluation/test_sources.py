"""Figures by source and cell, worked out by hand."""

import dataclasses

import numpy as np
import pytest

from tests.trainer.make_predictions import LABELS, make_predictions, simulate_located
from trainer.evaluation.fitted_numbers import FittedNumbers
from trainer.evaluation.origins import Origins
from trainer.evaluation.predictions import UNKNOWN_KIND, Predictions
from trainer.evaluation.sources import summarise_sources

GLIOMA, MENINGIOMA, NOTUMOR, PITUITARY = range(4)
NUMBERS = FittedNumbers(1.0, {0.95: 0.3}, {0.95: 0.1}, {}, 0.5)
# Probable label of each answer: .6, the next label .2, the others .1.
SURE = np.array([[0.6, 0.2, 0.1, 0.1], [0.1, 0.6, 0.2, 0.1], [0.1, 0.1, 0.6, 0.2], [0.2, 0.1, 0.1, 0.6]])


def answer(true, said, source=None, sequence=None, tumor=None, **more) -> Predictions:
    """Pictures of given kinds, called as given; every picture its own group, all of one source and T1."""
    count, true = len(true), np.array(true)
    tumor = np.where(true == NOTUMOR, 0.0, 1.0) if tumor is None else np.array(tumor, float)
    origins = Origins(
        tumor,
        np.array(source or ["a"] * count),
        np.array(sequence or ["T1"] * count),
        np.array(["kept"] * count),
    )
    made = make_predictions(true.clip(0), SURE[list(said)])
    return dataclasses.replace(made, true=true, origins=origins, **more)


def find_cell(found, kind, sequence, source="a") -> dict:
    [cell] = [
        one
        for one in found["cells"]
        if (one["source"], one["kind"], one["sequence"]) == (source, kind, sequence)
    ]
    return cell


def test_recall_by_kind_and_sequence():
    said = [GLIOMA, GLIOMA, NOTUMOR, MENINGIOMA, NOTUMOR]
    true = [GLIOMA, GLIOMA, GLIOMA, GLIOMA, NOTUMOR]
    found = summarise_sources(answer(true, said, sequence=["T1", "T1", "T2", "T2", "T1"]), NUMBERS)
    assert find_cell(found, "glioma", "T1")["right"] == 1
    assert find_cell(found, "glioma", "T2")["right"] == 0
    whole = find_cell(found, "glioma", "all")
    assert (whole["count"], whole["groups"], whole["right"]) == (4, 4, 0.5)
    assert whole["called"] == {"glioma": 0.5, "meningioma": 0.25, "notumor": 0.25, "pituitary": 0}
    # A kind in one sequence has no row over all.
    assert [cell["sequence"] for cell in found["cells"] if cell["kind"] == "notumor"] == ["T1"]


def test_pictures_of_no_kind_are_judged_by_what_is_known():
    """A tumour of another kind is any tumour; a slice without one is notumor; the rest is not judged."""
    found = summarise_sources(
        answer(
            [UNKNOWN_KIND] * 7 + [GLIOMA],
            [MENINGIOMA, GLIOMA, NOTUMOR, NOTUMOR, NOTUMOR, GLIOMA, NOTUMOR, GLIOMA],
            tumor=[1, 1, 1, 0, 0, 0, np.nan, 1],
        ),
        NUMBERS,
    )
    assert find_cell(found, "other_tumor", "T1")["right"] == pytest.approx(2 / 3)
    assert find_cell(found, "no_tumor_in_slice", "T1")["right"] == pytest.approx(2 / 3)
    assert find_cell(found, "unknown", "T1")["right"] is None
    pooled = found["pooled"]
    assert pooled["other_called_healthy"] == pytest.approx(1 / 3)
    assert (pooled["count"], pooled["accuracy"], pooled["coverage"]) == (8, 1, 1)
    told = pooled["tumour_or_none"]["all"]
    assert (told["tumour"], told["none"]) == (4, 3)
    assert (told["sensitivity"], told["specificity"]) == (0.75, pytest.approx(2 / 3))


def test_sets_are_those_that_are_served():
    """The wider threshold where a picture is unlike training or refused: .2 belongs to the set, too."""
    plain = answer([MENINGIOMA] * 3, [GLIOMA] * 3, unlike_training=np.array([False, True, False]))
    found = summarise_sources(dataclasses.replace(plain, refused=np.array([False, False, True])), NUMBERS)
    assert found["pooled"]["coverage"] == pytest.approx(2 / 3)
    assert found["pooled"]["size"] == pytest.approx((1 + 4 + 4) / 3)
    assert found["pooled"]["unlike_training"] == found["pooled"]["refused"] == pytest.approx(1 / 3)
    assert find_cell(found, "meningioma", "T1")["holds_of_two"] == 0


def test_tumour_or_none_by_classes_map_and_answer():
    """The classes rank one healthy picture too high; the map ranks all rightly; the answer is between."""
    true, said = [GLIOMA, GLIOMA, NOTUMOR, NOTUMOR], [GLIOMA, NOTUMOR, NOTUMOR, MENINGIOMA]
    made = answer(true, said, tumor_peak=np.array([0.9, 0.8, 0.1, 0.2]))
    probs = SURE[[GLIOMA, GLIOMA, NOTUMOR, GLIOMA]]
    told = summarise_sources(dataclasses.replace(made, probs=probs), NUMBERS)["pooled"]["tumour_or_none"][
        "all"
    ]
    # The classes: of four pairs 1 + .5 + .5 + 0 are told; the answer: 1 + .5 + 1 + .5.
    assert [told[name]["auroc"] for name in ("classes", "map", "answer")] == [0.625, 1.0, 0.75]
    assert told["gain"] == -0.25
    low, high = told["gain_interval"]
    assert low <= -0.25 <= high


def test_a_temperature_of_each_image_is_applied():
    made = answer([GLIOMA, NOTUMOR], [GLIOMA, GLIOMA], tumor_peak=np.array([0.5, 0.5]))
    told = []
    for temperature in (np.array([1.0, 9.0]), np.array([9.0, 1.0])):
        numbers = dataclasses.replace(NUMBERS, temperature=temperature)
        told.append(summarise_sources(made, numbers)["pooled"]["tumour_or_none"]["all"]["classes"]["auroc"])
    assert told == [1.0, 0.0]


def test_the_worst_cell_has_enough_pictures():
    kinds = [GLIOMA] * 10 + [MENINGIOMA] * 10 + [PITUITARY] * 9
    said = [GLIOMA] * 9 + [NOTUMOR] + [MENINGIOMA] * 5 + [GLIOMA] * 5 + [GLIOMA] * 9
    sources = ["a"] * 10 + ["b"] * 19
    found = summarise_sources(answer(kinds, said, source=sources), NUMBERS)
    worst = found["worst_cell"]
    assert (worst["source"], worst["kind"], worst["right"], worst["count"]) == ("b", "meningioma", 0.5, 10)
    assert found["by_source"]["a"]["accuracy"] == 0.9
    assert summarise_sources(answer([GLIOMA], [GLIOMA]), NUMBERS)["worst_cell"] is None


def test_the_worst_cell_is_of_one_sequence():
    """Six pictures in each of two sequences, all wrong: together they are enough, but no cell."""
    made = answer([GLIOMA] * 12, [NOTUMOR] * 12, sequence=["T1", "T2"] * 6)
    assert summarise_sources(made, NUMBERS)["worst_cell"] is None


def test_intervals_are_over_groups():
    """Ten pictures of one patient are as uncertain as one."""
    made = answer([GLIOMA] * 20, [GLIOMA] * 10 + [NOTUMOR] * 10)
    clustered = dataclasses.replace(made, groups=np.arange(20) // 10)
    [apart, together] = (summarise_sources(one, NUMBERS)["cells"][0] for one in (made, clustered))
    assert together["right_interval"] == [0, 1]
    assert apart["right_interval"][0] > 0.2
    assert (together["groups"], apart["groups"]) == (2, 20)


def test_a_source_without_known_kinds_has_no_figures_of_classes():
    made = answer([UNKNOWN_KIND] * 2 + [GLIOMA], [GLIOMA] * 3, source=["a", "a", "b"])
    figures = summarise_sources(made, NUMBERS)["by_source"]["a"]
    assert [figures[name] for name in ("accuracy", "coverage", "ece", "ece_interval")] == [None] * 4
    assert figures["kinds"] == {"other_tumor": 2}


def test_labels_without_notumor_have_no_such_question():
    made = simulate_located(40)
    renamed = dataclasses.replace(made, labels=tuple("abcd"))
    assert summarise_sources(renamed, NUMBERS)["pooled"]["tumour_or_none"] == {}
    assert summarise_sources(made, NUMBERS)["pooled"]["tumour_or_none"]["all"]["map"]["auroc"] > 0.9


def test_nothing_is_known_of_pictures_in_folders():
    assert summarise_sources(make_predictions([0], SURE[:1], labels=LABELS), NUMBERS) is None
