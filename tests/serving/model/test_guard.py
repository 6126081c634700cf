import dataclasses

import numpy as np
import pytest

from serving.model.guard import (
    SHAPE_FEATURES,
    Guard,
    Verdict,
    compute_distances,
    compute_outlier_scores,
    compute_shape_features,
    encode_guard,
    judge,
    parse_guard,
)

DIRECTIONS = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]], np.float32)


def test_distance_is_the_sine_of_the_angle_to_the_subspace():
    embeddings = np.array([[5.0, -2.0, 0.0], [1.0, 0.0, 1.0], [0.0, 0.0, -3.0], [3.0, 0.0, 4.0]], np.float32)
    np.testing.assert_allclose(
        compute_distances(embeddings, DIRECTIONS), [0.0, np.sqrt(0.5), 1.0, 0.8], atol=1e-6
    )


def test_scale_of_the_embedding_does_not_matter():
    embeddings = np.random.default_rng(0).random((5, 3)).astype(np.float32)
    np.testing.assert_allclose(
        compute_distances(embeddings, DIRECTIONS), compute_distances(embeddings * 100, DIRECTIONS), atol=1e-6
    )


def test_dead_embedding_is_far_from_everything():
    assert compute_distances(np.zeros((1, 3), np.float32), DIRECTIONS) == pytest.approx(1.0)


@pytest.fixture
def guard() -> Guard:
    """Content is the first number of the embedding, shape always 0, distance the share of the third."""
    return Guard(
        content_weights=np.array([1, 0, 0], np.float32),
        content_bias=0.0,
        hidden_weights=np.zeros((SHAPE_FEATURES, 2), np.float32),
        hidden_bias=np.zeros(2, np.float32),
        shape_weights=np.ones(2, np.float32),
        shape_bias=0.0,
        directions=DIRECTIONS,
        centres=np.zeros(3, np.float32),
        spreads=np.ones(3, np.float32),
        unlike_threshold=0.5,
        refusal_threshold=4.0,
    )


def judge_one(guard, embedding, coloured=0.0, image=None):
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 1), np.uint8) if image is None else image
    return judge(guard, np.array([embedding], np.float32), image[None], np.array([coloured]))[0]


def test_three_verdicts(guard):
    assert judge_one(guard, [2, 0, 0]) == (Verdict.like_training, "", 0.5)
    verdict, reason, strangeness = judge_one(guard, [0, 1, 1])
    assert verdict is Verdict.unlike_training
    assert "differs" in reason
    assert strangeness == pytest.approx(np.sqrt(0.5) / 4)
    verdict, reason, strangeness = judge_one(guard, [5, 0, 0])
    assert verdict is Verdict.not_brain_mri
    assert "does not look like" in reason
    assert strangeness == 1.25


def test_reason_names_the_strongest_measure(guard):
    strange = dataclasses.replace(guard, spreads=np.array([1, 1, 0.1], np.float32))
    assert judge_one(strange, [0, 0, 1])[:2] == (
        Verdict.not_brain_mri,
        "It resembles nothing that the model was trained on.",
    )


def test_colour_and_one_grey_level_refuse(guard):
    assert judge_one(guard, [0, 1, 0], coloured=0.04)[0] is Verdict.like_training
    assert judge_one(guard, [0, 1, 0], coloured=0.06)[0] is Verdict.not_brain_mri
    assert judge_one(guard, [0, 1, 0], image=np.full((64, 64, 1), 9, np.uint8))[0] is Verdict.not_brain_mri


def test_strangeness_adds_up_what_exceeds_the_centre(guard):
    shifted = dataclasses.replace(
        guard, centres=np.array([1, 1, 0], np.float32), spreads=np.array([1, 2, 1], np.float32)
    )
    np.testing.assert_allclose(
        compute_outlier_scores(shifted, np.array([[4, 9, 0], [-9, 1, 0.5]], np.float32)), [5, 0.5]
    )


def test_shape_features_know_directions_and_places_not_brightness():
    stripes = np.zeros((96, 96, 1), np.uint8)
    stripes[:48, ::6] = 200
    features = compute_shape_features(np.stack([stripes, stripes // 2, stripes.swapaxes(0, 1)]))
    assert features.shape == (3, SHAPE_FEATURES)
    edges = features[0, :512].reshape(8, 8, 8)
    assert edges[:3, :, 0].sum() == pytest.approx(edges[:3].sum()) != 0
    assert (edges[5:] == 0).all()
    np.testing.assert_allclose(features[0], features[1], atol=0.02)
    np.testing.assert_allclose(features[2, :512].reshape(8, 8, 8)[:, :3, 4], edges[:3, :, 0].T, atol=1e-5)


def test_guard_survives_storage(guard):
    found = parse_guard(encode_guard(guard))
    for name, value in vars(guard).items():
        np.testing.assert_allclose(getattr(found, name), value, atol=1e-3)
