"""Patients count alike, and hospitals alike, however many slices there are of each."""

import numpy as np
import pytest

from trainer.fitting.weights import FULL_GROUPS, weigh_groups


def test_each_group_counts_once_and_its_pictures_share_it():
    weights = weigh_groups(np.array([3, 3, 3, 7]))
    np.testing.assert_allclose(weights, [1 / 6, 1 / 6, 1 / 6, 1 / 2])


def test_each_source_counts_once_and_its_groups_share_it():
    groups = np.arange(3 * FULL_GROUPS)
    sources = np.array(["large"] * (2 * FULL_GROUPS) + ["small"] * FULL_GROUPS)
    weights = weigh_groups(groups, sources)
    assert weights.sum() == pytest.approx(1)
    assert weights[sources == "large"].sum() == pytest.approx(0.5)
    assert np.ptp(weights[sources == "small"]) == pytest.approx(0)


def test_a_source_with_few_groups_counts_less():
    groups = np.arange(FULL_GROUPS + 2)
    sources = ["many"] * FULL_GROUPS + ["two"] * 2
    weights = weigh_groups(groups, sources)
    share = 2 / FULL_GROUPS
    assert weights[-2:].sum() == pytest.approx(share / (1 + share))


def test_one_source_by_name_is_as_none():
    groups = np.array([0, 0, 1, 2])
    np.testing.assert_allclose(weigh_groups(groups, ["one"] * 4), weigh_groups(groups))
