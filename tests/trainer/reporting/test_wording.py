"""Words and numbers are written one way everywhere."""

import pytest

from trainer.reporting.wording import (
    format_duration,
    format_figure,
    format_interval,
    format_probability,
    name_subset,
    title_subset,
)


@pytest.mark.parametrize(
    ("probability", "digits", "text"),
    [
        (0.98765, 2, "98.77%"),
        (0.99994, 2, "99.99%"),
        (0.99996, 2, ">99.99%"),
        (1.0, 2, ">99.99%"),
        (0.994, 0, "99%"),
        (0.996, 0, ">99%"),
        (0.0, 2, "<0.01%"),
        (0.00002, 2, "<0.01%"),
    ],
)
def test_no_probability_is_certain(probability, digits, text):
    assert format_probability(probability, digits) == text


def test_what_is_counted_may_be_all_of_it_and_what_is_unknown_is_a_dash():
    assert format_figure(1.0) == "100.00%"
    assert format_figure(0.5, ".4f") == "0.5000"
    assert format_figure(None) == format_interval(None) == "-"
    assert format_interval([0.25, 0.5], ".1%") == "25.0% to 50.0%"


def test_a_subset_is_called_leaked_only_beside_twins():
    assert name_subset("all", ["all", "unseen", "with_train_twin"]) == "whole test split, leaked"
    assert name_subset("all", ["all"]) == "whole test split"
    assert name_subset("unseen", ["all", "unseen", "with_train_twin"]) == "without a twin in Training"


def test_a_subset_that_stands_alone_is_all_images():
    assert title_subset("all", ["all"]) == "all images"
    assert title_subset("all", ["all", "unseen"]) == "all test images"


@pytest.mark.parametrize(
    ("seconds", "text"), [(5, "1 min"), (90, "2 min"), (3600, "1 h 0 min"), (5400, "1 h 30 min")]
)
def test_durations(seconds, text):
    assert format_duration(seconds) == text
