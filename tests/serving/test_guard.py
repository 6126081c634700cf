import numpy as np

from serving.guard import compute_distances, normalise

PROTOTYPES = np.array([[1.0, 0.0], [0.0, 1.0]], np.float32)


def test_distance_is_one_minus_cosine_to_the_nearest_prototype():
    embeddings = np.array([[5.0, 0.0], [1.0, 1.0], [-2.0, 0.0]], np.float32)
    np.testing.assert_allclose(compute_distances(embeddings, PROTOTYPES), [0.0, 1 - np.sqrt(0.5), 1.0], atol=1e-6)


def test_scale_of_the_embedding_does_not_matter():
    embeddings = np.random.default_rng(0).random((5, 2)).astype(np.float32)
    np.testing.assert_allclose(compute_distances(embeddings, PROTOTYPES), compute_distances(embeddings * 100, PROTOTYPES), atol=1e-6)


def test_dead_embedding_is_far_from_everything():
    assert compute_distances(np.zeros((1, 2), np.float32), PROTOTYPES) == 1.0
    assert np.isfinite(normalise(np.zeros((1, 2), np.float32))).all()
