"""Pointing and overlap worked out by hand, and the figures over pictures of several sources."""

import numpy as np
import pytest

from trainer.evaluation.localisation import (
    Localisation,
    compute_overlap,
    find_peaks,
    measure_localisation,
    point_at,
    summarise_localisation,
)
from trainer.evaluation.origins import Origins

SIDE = 56  # 15 pixels of 224 are 3.75 of these


def draw(*corners) -> np.ndarray:
    """A square of 4 pixels with its upper left corner at each (row, column); None: an empty picture."""
    masks = np.zeros((len(corners), SIDE, SIDE), bool)
    for mask, corner in zip(masks, corners, strict=True):
        if corner is not None:
            mask[corner[0] : corner[0] + 4, corner[1] : corner[1] + 4] = True
    return masks


def measure(found, true, outline) -> Localisation:
    """The map is highest where the region that was found lies."""
    count, regions = len(found), draw(*found)
    return measure_localisation(
        regions[:, ::4, ::4] * 0.9,
        regions,
        draw(*true),
        np.array(outline),
        np.full(count, 0.25),
        np.zeros((count, 7, 7)),
    )


def test_overlap_of_regions():
    found = draw((0, 0), (0, 0), (0, 0), None, None)
    true = draw((0, 0), (0, 2), (20, 20), (0, 0), None)
    dice, iou = compute_overlap(found, true)
    np.testing.assert_allclose(dice, [1, 0.5, 0, 0, np.nan])
    np.testing.assert_allclose(iou, [1, 1 / 3, 0, 0, np.nan])


def test_the_peak_is_the_middle_of_the_highest_cell():
    maps = np.zeros((2, 2, 4))
    maps[0, 1, 2] = maps[1, 0, 0] = 1
    np.testing.assert_allclose(find_peaks(maps), [[0.625, 0.75], [0.125, 0.25]])
    np.testing.assert_allclose(find_peaks(np.ones((1, 2, 2))), [[0.25, 0.25]])


@pytest.mark.parametrize(
    ("column", "inside", "near"), [(10, True, True), (13, True, True), (16, False, True), (17, False, False)]
)
def test_inside_and_near(column, inside, near):
    """The outline ends at column 13; 3.75 pixels further is near."""
    points = np.array([[(column + 0.5) / SIDE, 11.5 / SIDE]])
    found = point_at(points, draw((10, 10)))
    assert [bool(one[0]) for one in found] == [inside, near]
    assert [bool(one[0]) for one in point_at(points, draw(None))] == [False, False]


def test_a_picture_is_measured_by_what_is_known_of_it():
    found = measure(
        [(4, 4), (26, 26), (4, 4), (4, 4)],
        [(4, 4), (4, 4), None, (4, 4)],
        ["outlined", "outlined", "empty", "unknown"],
    )
    np.testing.assert_array_equal(found.inside, [1, 0, np.nan, np.nan])
    np.testing.assert_array_equal(found.dice, [1, 0, np.nan, np.nan])
    # The first of equal cells of a class activation map is the upper left one, and the outline begins at 4.
    np.testing.assert_array_equal(found.cam_inside, [1, 1, np.nan, np.nan])
    np.testing.assert_array_equal(found.centre_near, [0, 0, np.nan, np.nan])
    np.testing.assert_array_equal(found.tumor_share, 0.25)
    assert found.outline.tolist() == ["outlined", "outlined", "empty", "unknown"]


def test_an_outline_that_vanished_at_the_models_size_is_unknown():
    found = measure([(4, 4)], [None], ["outlined"])
    assert found.outline.tolist() == ["unknown"]
    assert np.isnan([found.dice[0], found.inside[0]]).all()


def make_columns(outline, **values) -> Localisation:
    count = len(outline)
    columns = {name: np.full(count, np.nan) for name in Localisation.list_names()[1:]}
    return Localisation(
        np.array(outline), **columns | {name: np.array(one, float) for name, one in values.items()}
    )


def test_figures_by_class_source_and_cell():
    columns = make_columns(
        ["outlined", "outlined", "outlined", "empty", "empty", "unknown"],
        dice=[1, 0.5, 0, np.nan, np.nan, np.nan],
        inside=[1, 1, 0, np.nan, np.nan, np.nan],
        centre_inside=[0, 0, 1, np.nan, np.nan, np.nan],
        tumor_share=[0.1, 0.1, 0.1, 0.02, 0, 0.5],
    )
    origins = Origins(
        np.array([1, 1, 1, 0, 0, 1.0]),
        np.array(["a", "a", "b", "a", "b", "b"]),
        np.array(["T1", "T2", "T1", "T1", "T1", "T1"]),
        np.array(["kept"] * 6),
    )
    kinds = np.array(["glioma", "glioma", "pituitary", "notumor", "no_tumor_in_slice", "glioma"])
    found = summarise_localisation(columns, kinds, np.array([0, 0, 1, 2, 3, 4]), origins, 0.4)
    assert found["threshold"] == 0.4
    outlined, empty = found["all"]["outlined"], found["all"]["empty"]
    assert (outlined["count"], outlined["groups"], outlined["dice"]) == (3, 2, 0.5)
    assert outlined["inside"] == pytest.approx(2 / 3)
    assert outlined["centre_inside"] == pytest.approx(1 / 3)
    low, high = outlined["inside_interval"]
    assert 0 <= low < 2 / 3 < high <= 1
    assert (empty["count"], empty["false_area"], empty["false_outlines"]) == (2, 0.01, 0.5)
    assert found["by_class"]["glioma"]["outlined"]["dice"] == 0.75
    assert "outlined" not in found["by_class"]["notumor"]
    assert found["by_source"]["b"]["outlined"]["dice"] == 0
    cells = {(one["source"], one["class"], one["sequence"]) for one in found["cells"]}
    assert cells == {
        ("a", "glioma", "T1"),
        ("a", "glioma", "T2"),
        ("b", "pituitary", "T1"),
        ("a", "notumor", "T1"),
        ("b", "no_tumor_in_slice", "T1"),
    }


def test_where_no_outline_is_known_there_are_no_figures():
    found = summarise_localisation(make_columns(["unknown"]), np.array(["glioma"]), np.array([0]), None, None)
    assert found == {"threshold": None, "all": {}, "by_class": {}, "by_source": {}, "cells": []}
