"""The input guard: is this a brain MRI slice like those the model was trained on?

Goes in: the embedding of a picture. Comes out: its distance from the training data, to compare with a threshold from validation.
"""

import enum

import numpy as np


class Verdict(enum.StrEnum):
    """What the guard says of a picture."""

    like_training = enum.auto()
    """A brain MRI slice like those the model was trained on: scored."""
    unlike_training = enum.auto()
    """A brain MRI slice unlike them: scored, with a warning and wider prediction sets."""
    not_brain_mri = enum.auto()
    """No brain MRI slice: refused."""


REASONS = {
    Verdict.like_training: "",
    Verdict.unlike_training: "It differs from the pictures that the model was trained on, so the answer is less certain than it looks.",
    Verdict.not_brain_mri: "It does not look like a slice of a brain MRI.",
}


def compute_distances(embeddings: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """Share of the embedding that the principal directions of the training embeddings cannot express.

    Source: the residual of ViM, Wang et al. 2022 (arXiv:2203.10807), section 4.1, divided by the length of the embedding, so that it is
    the sine of the angle to the subspace of the training data and needs no unit.

    Args:
        embeddings: float32 (n, d).
        directions: float32 (k, d), orthonormal rows.

    Returns:
        float32 (n,), [0, 1]: 0 where the training data explain the picture wholly, 1 where not at all.
    """
    lengths = np.linalg.norm(embeddings, axis=1)
    residuals = np.linalg.norm(embeddings - (embeddings @ directions.T) @ directions, axis=1)
    return np.where(lengths > 0, residuals / np.maximum(lengths, 1e-12), 1.0).clip(0.0, 1.0)
