"""The input guard: is this a brain MRI slice like those the model was trained on?

Goes in: the embedding of a picture. Comes out: its distance from the training data, to compare with a threshold from validation.
"""

import numpy as np


def compute_distances(embeddings: np.ndarray, prototypes: np.ndarray) -> np.ndarray:
    """Cosine distance to the nearest prototype.

    Source: nearest neighbours in feature space for out-of-distribution detection, Sun et al. 2022 (arXiv:2204.06507); prototypes
    (k-means centres of the training embeddings) stand in for the training set, which is too large to ship.

    Args:
        embeddings: float32 (n, d).
        prototypes: float32 (k, d), unit rows.

    Returns:
        float32 (n,), [0, 2]; 0 where the picture looks exactly like a prototype.
    """
    return 1.0 - (normalise(embeddings) @ prototypes.T).max(axis=1)


def normalise(embeddings: np.ndarray) -> np.ndarray:
    """Scale rows to unit length; a zero row stays zero."""
    return embeddings / np.maximum(np.linalg.norm(embeddings, axis=1, keepdims=True), 1e-12)
