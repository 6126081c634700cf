"""What is fitted on validation after training: temperature, prediction-set threshold, guard.

Goes in: logits and embeddings of the exported graph. Comes out: the numbers of `config.json`. The test split is never seen here.
"""

import math

import numpy as np
from scipy.optimize import minimize_scalar
from sklearn.metrics import log_loss

from serving.calibration import compute_probabilities
from serving.guard import compute_distances

COVERAGE = 0.95
# This and the share below were picked from a sweep (16 to 128 directions, 0.5 % and 1 %) on the bundled model, by pictures that are no
# brain MRI and slices of another hospital; so what the guard does on those two sets is a development figure. Cluster centres and nearest
# neighbours were tried on earlier weights only.
GUARD_DIRECTIONS = 48
# Share of validation slices that the guard may refuse.
GUARD_REFUSALS = 0.01


def fit_temperature(logits: np.ndarray, true: np.ndarray) -> float:
    """Temperature with the lowest negative log-likelihood, between 1/20 and 20.

    Source: Guo et al. 2017 (arXiv:1706.04599), section 4.2.

    Args:
        logits: float32 (n, classes), validation.
        true: int (n,).
    """
    labels = list(range(logits.shape[1]))

    def loss(log_temperature: float) -> float:
        return log_loss(true, compute_probabilities(logits, math.exp(log_temperature)), labels=labels)

    bound = math.log(20.0)
    return math.exp(minimize_scalar(loss, bounds=(-bound, bound), method="bounded").x)


def fit_prediction_set_threshold(probs: np.ndarray, true: np.ndarray, coverage: float = COVERAGE) -> float:
    """Least probability of a label that cannot be ruled out, so that sets hold the true label as often as asked.

    Source: split conformal prediction with the score 1 - p(true), Sadinle et al. 2019 (arXiv:1609.00451): the ceil((n + 1) coverage)-th
    smallest score of the calibration images is the threshold. Slices of one patient are not exchangeable, so for new patients the
    coverage is a target, not a guarantee.

    Args:
        probs: (n, classes), calibrated, validation.
        true: int (n,).
        coverage: share of images whose set shall hold the true label.

    Returns:
        Threshold in [0, 1]; 0 (no label is ever ruled out) where n is too small for the coverage.
    """
    scores = np.sort(1.0 - probs[np.arange(len(true)), true])
    rank = math.ceil((len(scores) + 1) * coverage)
    return float(1.0 - scores[rank - 1]) if rank <= len(scores) else 0.0


def fit_guard(training_embeddings: np.ndarray, validation_embeddings: np.ndarray) -> tuple[np.ndarray, float]:
    """Principal directions of the training embeddings, and the distance from them that few validation slices exceed.

    Args:
        training_embeddings: float32 (n, d).
        validation_embeddings: float32 (m, d), of groups not in training.

    Returns:
        Directions float32 (k, d), orthonormal rows, as they read back after storage in half precision; and the threshold, [0, 1].
    """
    # Eigenvectors of the Gram matrix: the right singular vectors, without decomposing all n rows.
    _, vectors = np.linalg.eigh(training_embeddings.T.astype(np.float64) @ training_embeddings)
    directions = vectors[:, ::-1][:, :GUARD_DIRECTIONS].T
    stored = directions.astype(np.float16).astype(np.float32)
    threshold = np.quantile(compute_distances(validation_embeddings, stored), 1 - GUARD_REFUSALS, method="higher")
    return stored, float(threshold)
