"""From logits to calibrated probabilities and to the labels that cannot be ruled out.

Goes in: logits and the numbers of `config.json`. Comes out: probabilities and prediction sets.
"""

import numpy as np

# Of the prediction sets that are shown first.
DEFAULT_COVERAGE = 0.95


def compute_probabilities(logits: np.ndarray, temperature: float) -> np.ndarray:
    """Softmax of temperature-scaled logits.

    Source: Guo et al. 2017, "On Calibration of Modern Neural Networks" (arXiv:1706.04599), section 4.2.

    Args:
        logits: float32 (n, classes).
        temperature: above 0; above 1 it makes the probabilities less certain.

    Returns:
        float64 (n, classes), rows sum to 1.
    """
    scaled = logits.astype(np.float64) / temperature
    exponentials = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def compute_prediction_sets(probs: np.ndarray, threshold: float | np.ndarray) -> np.ndarray:
    """Mark the labels that cannot be ruled out; the most probable label always belongs.

    Source: least ambiguous set-valued classifiers, Sadinle et al. 2019 (arXiv:1609.00451).

    Args:
        probs: (n, classes), rows sum to 1.
        threshold: least probability of a member, one for all rows or (n,), each row's own.

    Returns:
        bool (n, classes), at least one True a row.
    """
    members = probs >= np.reshape(threshold, (-1, 1))
    members[np.arange(len(probs)), probs.argmax(axis=1)] = True
    return members
