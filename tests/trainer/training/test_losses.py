"""The losses against numbers worked out by hand, and their means over replicas."""

import numpy as np
import pytest
import tensorflow as tf

from trainer.training.losses import average_known, compute_class_losses, compute_map_losses

PROBS = np.array([[0.5, 0.2, 0.1, 0.2]], np.float32)


def class_loss(targets: list[float], smoothing: float = 0.0) -> float:
    targets, logits = tf.constant([targets], tf.float32), tf.constant(np.log(PROBS) + 3)
    return float(compute_class_losses(targets, logits, smoothing)[0])


def test_one_kind_is_the_cross_entropy():
    assert class_loss([0, 1, 0, 0]) == pytest.approx(-np.log(0.2), rel=1e-5)
    expected = -(0.9 * np.log(0.2) + 0.025 * np.log(PROBS).sum())
    assert class_loss([0, 1, 0, 0], 0.1) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_a_tumour_of_some_kind_is_the_log_of_the_summed_probability(smoothing):
    assert class_loss([1, 1, 0, 1], smoothing) == pytest.approx(-np.log(0.9), rel=1e-5)
    assert class_loss([1, 1, 1, 1], smoothing) == pytest.approx(0, abs=1e-6)


def test_some_kind_pulls_at_the_other_kinds_alone():
    """The gradient leaves the proportions of the possible kinds as they are."""
    logits = tf.Variable(np.log(PROBS))
    with tf.GradientTape() as tape:
        loss = compute_class_losses(tf.constant([[1.0, 1, 0, 1]]), logits, 0.0)
    gradient = tape.gradient(loss, logits).numpy()[0]
    np.testing.assert_allclose(gradient[[0, 1, 3]] / PROBS[0, [0, 1, 3]], 1 - 1 / 0.9, rtol=1e-4)
    assert gradient[2] == pytest.approx(0.1, rel=1e-4)


@pytest.mark.parametrize("scale", [1e4, -1e4])
def test_extreme_logits_have_finite_losses_and_gradients(scale):
    logits, maps = tf.Variable([[scale, 0.0, 0.0, 0.0]]), tf.Variable(tf.fill((1, 2, 2, 1), scale))
    with tf.GradientTape(persistent=True) as tape:
        losses = [
            compute_class_losses(tf.constant([[0.0, 1, 1, 0]]), logits, 0.1),
            compute_map_losses(tf.ones((1, 8, 8, 1)), maps, 4.0, 0.5),
        ]
    for loss, variable in zip(losses, (logits, maps), strict=True):
        assert np.isfinite(loss).all()
        assert np.isfinite(tape.gradient(loss, variable)).all()


def map_loss(masks: np.ndarray, probs: np.ndarray, bce: float, dice: float) -> float:
    logits = np.log(probs / (1 - probs)).astype(np.float32)
    return float(compute_map_losses(tf.constant(masks), tf.constant(logits), bce, dice)[0])


def test_the_map_is_compared_with_the_share_of_each_place_that_is_inside():
    masks, probs = np.zeros((1, 8, 8, 1), np.float32), np.full((1, 2, 2, 1), 0.25)
    masks[0, :4, :4], masks[0, :2, 4:] = 1, 1  # one place wholly, one by half
    shares = np.array([1, 0.5, 0, 0])
    bce = -(shares * np.log(0.25) + (1 - shares) * np.log(0.75)).mean()
    dice = (2 * 0.25 * 1.5 + 1) / (1.5 + 1 + 1)
    assert map_loss(masks, probs, 4.0, 0.0) == pytest.approx(4 * bce, rel=1e-5)
    assert map_loss(masks, probs, 0.0, 0.5) == pytest.approx(0.5 * (1 - dice), rel=1e-5)
    assert map_loss(masks, probs, 4.0, 0.5) == pytest.approx(4 * bce + 0.5 * (1 - dice), rel=1e-5)


def test_without_a_tumour_there_is_no_overlap_to_learn():
    masks, probs = np.zeros((1, 8, 8, 1), np.float32), np.full((1, 2, 2, 1), 0.25)
    assert map_loss(masks, probs, 0.0, 0.5) == 0
    assert map_loss(masks, probs, 4.0, 0.5) == pytest.approx(-4 * np.log(0.75), rel=1e-5)


@pytest.mark.parametrize(
    ("weights", "mean"),
    [([1, 0, 1, 0], 2.0), ([0, 0, 0, 0], 0.0), ([0.5, 0, 0, 0], 0.5), ([1, 1, 1, 1], 2.5)],
)
def test_a_mean_counts_the_images_that_have_a_weight(weights, mean):
    values = tf.constant([1.0, 2, 3, 4])
    assert float(average_known(values, tf.constant(weights, tf.float32))) == pytest.approx(mean)
