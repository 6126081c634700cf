"""Skull and background go, the brain stays, and its mask is cut alike."""

import numpy as np
import pytest
import tensorflow as tf

from trainer.data.stripping_layer import RandomStripping, find_brain

SIZE, ROW, COLUMN, RADIUS = 96, 50, 44, 36
# The edge is soft: it is found in squares of 4 pixels.
EDGE = 8
DISTANCE = np.hypot(*(np.mgrid[:SIZE, :SIZE] - np.reshape([ROW, COLUMN], (2, 1, 1))))


def draw_heads(count: int) -> np.ndarray:
    """A bright scalp, a dark skull, a grey brain with a dark ventricle; faint noise around the head."""
    head = np.random.default_rng(0).uniform(0, 12, (SIZE, SIZE))
    for outer, grey in ((RADIUS, 230), (RADIUS - 4, 10), (RADIUS - 7, 110), (6, 20)):
        head[outer > DISTANCE] = grey
    return np.repeat(head.astype(np.float32)[np.newaxis, ..., np.newaxis], count, axis=0)


def test_the_head_is_found_filled_and_shrunk_towards_its_own_middle():
    kept = find_brain(tf.constant(draw_heads(1)), tf.constant([[0.8, 0.8]])).numpy()[0, ..., 0]
    assert kept[DISTANCE < 0.8 * RADIUS - EDGE].min() > 0.99  # the ventricle, too
    assert kept[DISTANCE > 0.8 * RADIUS + EDGE].max() < 0.01


def test_height_and_width_are_shrunk_by_their_own_shares():
    kept = find_brain(tf.constant(draw_heads(1)), tf.constant([[1.0, 0.6]])).numpy()[0, ..., 0] > 0.5
    assert kept[:, COLUMN].sum() == pytest.approx(2 * RADIUS, abs=5)
    assert kept[ROW].sum() == pytest.approx(0.6 * 2 * RADIUS, abs=5)


def test_background_goes_and_the_brain_stays_bit_for_bit():
    images = draw_heads(64)
    varied = RandomStripping(seed=1)(images).numpy()[..., 0]
    assert varied[:, DISTANCE > RADIUS + EDGE].max() == 0
    brain = DISTANCE < 0.78 * RADIUS - EDGE
    np.testing.assert_array_equal(varied[:, brain], images[:, brain, 0])
    scalps = varied[:, np.abs(DISTANCE - RADIUS + 2) < 1].mean(axis=1)
    assert scalps.min() < 10  # of some the skull goes
    assert scalps.max() > 150  # of some hardly more than the background


@pytest.mark.parametrize(("rate", "low", "high"), [(0.0, 0, 0), (0.25, 0.15, 0.35), (1.0, 1, 1)])
def test_the_rate_says_how_many_and_the_others_stay(rate, low, high):
    images = draw_heads(200)
    masks = np.ones_like(images)
    varied = RandomStripping(rate, seed=2)({"images": images, "segmentation_masks": masks})
    changed = (varied["images"].numpy() != images).any(axis=(1, 2, 3))
    assert low <= changed.mean() <= high
    masked = (varied["segmentation_masks"].numpy() != masks).any(axis=(1, 2, 3))
    np.testing.assert_array_equal(masked, changed)  # of the same images


def test_a_mask_loses_what_the_image_loses():
    images = draw_heads(8) + 1
    varied = RandomStripping(seed=3)({"images": images, "segmentation_masks": np.ones_like(images)})
    kept = varied["segmentation_masks"].numpy()
    assert set(np.unique(kept)) == {0, 1}
    np.testing.assert_array_equal(varied["images"].numpy() / images > 0.5, kept == 1)


def test_a_black_picture_stays_black():
    assert not RandomStripping(seed=1)(np.zeros((2, 32, 32, 1), np.float32)).numpy().any()


def test_an_impossible_rate_is_refused():
    with pytest.raises(ValueError, match=r"rate expected in \[0, 1\], got 2"):
        RandomStripping(2)
