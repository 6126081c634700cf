"""Which outlined pictures are shown, and how."""

import numpy as np

from tests.trainer.make_predictions import make_predictions, simulate_located
from trainer.evaluation.outline_gallery import (
    BOTH_COLOUR,
    FOUND_COLOUR,
    TRUE_COLOUR,
    choose_outlined,
    draw_outlines,
    list_outlined,
)


def test_best_median_and_worst_are_of_different_groups():
    dice = np.linspace(0, 1, 101)
    dice[50:60] = np.nan
    chosen = choose_outlined(dice, np.arange(101) // 2)
    assert [kind for _, kind in chosen] == ["best"] * 4 + ["median"] * 4 + ["worst"] * 4
    rows = [row for row, _ in chosen]
    assert rows[:4] == [100, 99, 97, 95]
    assert rows[8:] == [0, 2, 4, 6]
    # The middle of the 91 that have a figure.
    assert set(rows[4:8]) <= set(range(40, 50))
    assert len({row // 2 for row in rows}) == 12


def test_few_pictures_are_shown_once():
    chosen = choose_outlined(np.array([0.2, 0.9, np.nan]), np.array([0, 1, 2]))
    assert chosen == [(1, "best"), (0, "best")]
    assert choose_outlined(np.array([np.nan]), np.array([0])) == []


def test_the_list_says_what_is_shown():
    made = simulate_located(200)
    listed = list_outlined(made)
    dice = dict(zip(made.filenames, made.localisation.dice, strict=True))
    assert [one.dice for one in listed] == [dice[one.filename] for one in listed]
    assert listed[0].dice == np.nanmax(made.localisation.dice)
    assert listed[8].dice == np.nanmin(made.localisation.dice)
    assert list_outlined(make_predictions([0], [[1, 0, 0, 0]])) == []


def test_edges_are_drawn_and_the_inside_stays():
    grey, true, found = np.full((40, 40), 90, np.uint8), np.zeros((40, 40), bool), np.zeros((40, 40), bool)
    true[5:25, 5:25], found[5:25, 15:35] = True, True
    drawn = draw_outlines(grey, true, found)
    assert tuple(drawn[15, 5]) == TRUE_COLOUR
    assert tuple(drawn[15, 34]) == FOUND_COLOUR
    assert tuple(drawn[5, 20]) == BOTH_COLOUR
    assert tuple(drawn[15, 11]) == tuple(drawn[35, 35]) == (90, 90, 90)
