"""Tumours come into healthy pictures and go out of others; targets and outlines follow."""

import numpy as np
import pytest
import tensorflow as tf

from trainer.data.lesions import LEAST_CONTRAST, LesionBatch, move_lesions

SIZE, KINDS = 96, np.array([True, True, False, True])
GLIOMA, HEALTHY, ANY_TUMOR = ([1, 0, 0, 0], [0, 0, 1, 0], [1, 1, 0, 1])
ROWS, COLUMNS = np.mgrid[:SIZE, :SIZE]
HEAD = np.hypot(ROWS - 48, COLUMNS - 46) < 38
LEFT, MIDDLE = (np.hypot(ROWS - 45, COLUMNS - column) < 9 for column in (28, 46))


def draw_heads(count: int) -> np.ndarray:
    """Symmetric heads with stripes and faint noise: float32 (n, SIZE, SIZE)."""
    stripes = 90 + 25 * np.cos((COLUMNS - 46) / 5) + 15 * np.sin(ROWS / 4)
    noise = np.random.default_rng(0).normal(0, 2, (count, SIZE, SIZE))
    return np.clip(np.where(HEAD, stripes, 0) + noise, 0, 255).astype(np.float32)


def make_batch(tumors: int, healthy: int, place: np.ndarray = LEFT, known: float = 1.0) -> LesionBatch:
    """Heads with a bright tumour, then heads without."""
    images = draw_heads(tumors + healthy)
    masks = np.zeros_like(images)
    images[:tumors, place], masks[:tumors, place] = 220, 1
    mask_weights = np.array([1.0] * tumors + [known] * healthy, np.float32)
    targets = np.array([GLIOMA] * tumors + [HEALTHY] * healthy, np.float32)
    arrays = (
        images[..., None],
        targets,
        np.ones(tumors + healthy, np.float32),
        masks[..., None],
        mask_weights,
    )
    return LesionBatch(*map(tf.constant, arrays))


def move(batch: LesionBatch, transplants: float = 0.0, removals: float = 0.0, seed: int = 1) -> LesionBatch:
    moved = move_lesions(
        batch, tf.constant(KINDS), transplants, removals, 0.5, tf.constant([seed, 7], tf.int64)
    )
    return LesionBatch(*(part.numpy() for part in moved))


def find_changed(before: LesionBatch, after: LesionBatch) -> np.ndarray:
    return (np.abs(before.images - after.images) > 0).any(axis=(1, 2, 3))


def test_a_healthy_picture_gets_a_visible_tumour_inside_its_head_and_teaches_any_kind():
    batch = make_batch(8, 120)
    moved = move(batch, transplants=0.6)
    got = moved.masks[8:].any(axis=(1, 2, 3))
    assert 30 < got.sum() < 110
    for row in 8 + np.flatnonzero(got):
        inside = moved.masks[row, ..., 0] == 1
        assert moved.targets[row].tolist() == ANY_TUMOR
        assert moved.weights[row] == 0.5
        assert HEAD[inside].mean() > 0.8
        change = (moved.images - batch.images).numpy()[row, ..., 0]
        assert abs(change[inside].mean()) > 0.7 * LEAST_CONTRAST
        far = np.asarray(tf.nn.max_pool2d(moved.masks[row][None], 15, 1, "SAME"))[0, ..., 0] == 0
        assert not change[far].any()


def test_pieces_of_healthy_tissue_are_pasted_too_and_teach_no_tumour():
    batch = make_batch(8, 120)
    moved = move(batch, transplants=0.6)
    decoys = find_changed(batch, moved) & ~moved.masks.any(axis=(1, 2, 3))
    assert 5 < decoys.sum() < 70
    assert (moved.targets[decoys] == HEALTHY).all()
    assert (moved.weights[decoys] == 1).all()


def test_sizes_and_contrasts_differ_also_in_sign():
    batch = make_batch(8, 120)
    moved = move(batch, transplants=0.6)
    rows = 8 + np.flatnonzero(moved.masks[8:].any(axis=(1, 2, 3)))
    areas = moved.masks[rows].sum(axis=(1, 2, 3)) / LEFT.sum()
    assert areas.min() < 0.7
    assert areas.max() > 1.4
    difference = (moved.images - batch.images).numpy()
    changes = [difference[row][moved.masks[row] == 1].mean() for row in rows]
    assert 0.1 < np.mean(np.array(changes) < 0) < 0.5


def test_tumours_are_given_to_pictures_that_are_known_to_have_none_alone():
    for batch in (make_batch(8, 60, known=0.0), make_batch(0, 60), make_batch(60, 0)):
        moved = move(batch, transplants=0.6)
        for before, after in zip(batch, moved, strict=True):
            np.testing.assert_array_equal(before, after)


def test_a_tumour_to_one_side_is_covered_by_the_other_side_and_teaches_none_at_less_weight():
    batch = make_batch(20, 20)
    moved = move(batch, removals=1.0)
    healthy = draw_heads(20)
    assert not moved.masks.any()
    assert (moved.targets == HEALTHY).all()
    assert moved.weights.tolist() == [0.5] * 20 + [1.0] * 20
    np.testing.assert_allclose(moved.images[:20, LEFT][..., 0], healthy[:, LEFT], atol=30)
    right = COLUMNS > 50
    np.testing.assert_array_equal(moved.images[:20, right], batch.images[:20].numpy()[:, right])


def test_what_the_other_half_cannot_cover_stays():
    middle = make_batch(20, 4, place=MIDDLE)
    lopsided = make_batch(20, 4)
    noise = np.random.default_rng(1).uniform(0, 200, lopsided.images.shape).astype(np.float32)
    for batch in (middle, lopsided._replace(images=tf.constant(np.where(HEAD[..., None], noise, 0)))):
        moved = move(batch, removals=1.0)
        for before, after in zip(batch, moved, strict=True):
            np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize(("share", "low", "high"), [(0.0, 0, 0), (0.3, 20, 40), (1.0, 100, 100)])
def test_the_share_says_how_many_tumours_go(share, low, high):
    moved = move(make_batch(100, 0), removals=share)
    assert low <= (~moved.masks.any(axis=(1, 2, 3))).sum() <= high


def test_moves_are_a_function_of_the_seed():
    batch = make_batch(10, 20)
    one, again, other = (move(batch, 0.6, 0.5, seed) for seed in (1, 1, 2))
    for first, second in zip(one, again, strict=True):
        np.testing.assert_array_equal(first, second)
    assert (find_changed(batch, one) != find_changed(batch, other)).any()
