import numpy as np
import pytest

from serving.guard import compute_distances

DIRECTIONS = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]], np.float32)


def test_distance_is_the_sine_of_the_angle_to_the_subspace():
    embeddings = np.array([[5.0, -2.0, 0.0], [1.0, 0.0, 1.0], [0.0, 0.0, -3.0], [3.0, 0.0, 4.0]], np.float32)
    np.testing.assert_allclose(compute_distances(embeddings, DIRECTIONS), [0.0, np.sqrt(0.5), 1.0, 0.8], atol=1e-6)


def test_scale_of_the_embedding_does_not_matter():
    embeddings = np.random.default_rng(0).random((5, 3)).astype(np.float32)
    np.testing.assert_allclose(compute_distances(embeddings, DIRECTIONS), compute_distances(embeddings * 100, DIRECTIONS), atol=1e-6)


def test_dead_embedding_is_far_from_everything():
    assert compute_distances(np.zeros((1, 3), np.float32), DIRECTIONS) == pytest.approx(1.0)
