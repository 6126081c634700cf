"""Floors: what is asked of whom, that copies and patients never stand on both sides, one class."""

import numpy as np
import pytest
from rich.progress import Progress

from tumor_ds.audit import shortcuts
from tumor_ds.audit.inputs import PictureFacts
from tumor_ds.audit.shortcuts import CLASS, OTHER_SOURCES, SOURCE, TUMOUR, Floor, blur, measure_floors


def build_facts(source: str, labels: list[str | None], tumors: list[bool | None]) -> list[PictureFacts]:
    return [
        PictureFacts(source, source, f"{index}.png", label, tumor)
        for index, (label, tumor) in enumerate(zip(labels, tumors, strict=True))
    ]


def measure(
    facts: list[PictureFacts], units: list[int], figures: list[float]
) -> dict[tuple[str, ...], Floor]:
    features = np.array(figures, np.float32)[:, None]
    floors = measure_floors(
        facts, np.array(units), features, features.astype(np.uint8), Progress(disable=True)
    )
    return {(floor.question, floor.source, floor.learnt_from): floor for floor in floors}


def build_two() -> list[PictureFacts]:
    """Ten gliomas and ten healthy slices of a; ten gliomas of b."""
    a = build_facts("a", ["glioma", "notumor"] * 10, [True, False] * 10)
    return a + build_facts("b", ["glioma"] * 10, [True] * 10)


def test_what_is_asked():
    floors = measure(build_two(), list(range(30)), [0, 9] * 10 + [9] * 10)
    assert set(floors) == {
        (SOURCE, "", "unseen patients"),
        (CLASS, "a", "unseen patients"),
        (CLASS, "b", OTHER_SOURCES),
    }
    assert floors[CLASS, "a", "unseen patients"].border.accuracy == 1
    # b looks like the healthy slices of a.
    across = floors[CLASS, "b", OTHER_SOURCES].border
    assert (across.accuracy, across.asked, across.recall) == (0, 10, {"glioma": 0, "notumor": None})


def test_copies_of_the_pictures_asked_about_are_not_learnt_from():
    """b's gliomas are 9. So are ten gliomas of a, which are copies of them, and three healthy slices."""
    kinds = ["glioma"] * 10 + ["notumor"] * 10 + ["notumor"] * 3 + ["glioma"] * 3
    facts = build_facts("a", kinds, [kind == "glioma" for kind in kinds])
    facts += build_facts("b", ["glioma"] * 10, [True] * 10)
    figures = [9.0] * 10 + [0] * 10 + [9] * 3 + [0] * 3 + [9] * 10
    apart = measure(facts, list(range(36)), figures)[CLASS, "b", OTHER_SOURCES]
    joined = measure(facts, [*range(26), *range(10)], figures)[CLASS, "b", OTHER_SOURCES]
    assert (apart.border.accuracy, joined.border.accuracy) == (1, 0)


@pytest.mark.parametrize("question", [CLASS, SOURCE])
def test_units_stay_whole_in_folds(monkeypatch, question):
    seen = []

    def watch(training: np.ndarray, labels: np.ndarray, asked: np.ndarray) -> np.ndarray:
        seen.append((set(training[:, 0].tolist()), set(asked[:, 0].tolist())))
        return np.zeros(len(asked), labels.dtype)

    monkeypatch.setattr(shortcuts, "predict_from_trees", watch)
    units = [index // 2 for index in range(40)]
    other = "glioma" if question == SOURCE else "notumor"
    facts = build_facts("a", ["glioma"] * 20, [True] * 20)
    source = "b" if question == SOURCE else "a"
    facts += build_facts(source, [other] * 20, [other == "glioma"] * 20)
    measure(facts, units, [float(unit) for unit in units])
    assert len(seen) == 10  # five folds, border and thumbnail
    assert all(not training & asked for training, asked in seen)


def test_tumour_or_none_is_asked_where_kinds_are_unknown():
    facts = build_facts("a", ["glioma", None] * 10, [True, False] * 10)
    floors = measure(facts, list(range(20)), [0, 9] * 10)
    assert set(floors) == {(TUMOUR, "a", "unseen patients")}
    assert floors[TUMOUR, "a", "unseen patients"].border.recall == {"none": 1, "tumor": 1}


def test_nothing_is_asked_of_one_class_of_one_source():
    assert measure(build_facts("a", ["glioma"] * 5, [True] * 5), list(range(5)), [0.0] * 5) == {}


def test_one_patient_has_no_folds():
    assert measure(build_facts("a", ["glioma", "notumor"], [True, False]), [0, 0], [0.0, 1]) == {}


def test_blur_averages():
    picture = np.zeros((32, 32), np.uint8)
    picture[:2, :2] = 200
    assert blur(picture).shape == (256,)
    assert blur(picture)[0] == 200
    assert blur(picture)[1:].max() == 0
    assert blur(picture[:5, :40]).shape == (256,)
