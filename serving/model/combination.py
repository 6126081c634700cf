"""Tumour or none, by the classes and the tumour map together, and where the two contradict each other.

Goes in: logits and the highest value of each map. Comes out: the probabilities of the answer, and what to say
where classes and map disagree. On pictures of hospitals that the model never learnt from, the map tells
tumour from none better than the classes do; so both are heard, and "no tumour" is never the answer over an
outline that is shown.
"""

import numpy as np

from serving.model.artefact import MapConfig
from serving.model.calibration import compute_probabilities

# Nearest that a probability may come to 0 and 1 before its log-odds are taken: float32 ends there.
_SMALLEST = 1e-7
# "No tumour" stays below the most probable kind by this share, so that rounding cannot turn the order.
_MARGIN = 1e-6

TUMOUR_WITHOUT_REGION = (
    "The answer is a tumour, but none was found at any place in the picture, so the answer is less certain"
    " than it looks."
)
REGION_WITHOUT_TUMOUR = (
    "A tumour was found at a place in the picture, but the picture as a whole looks like one without, so the"
    " answer is less certain than it looks."
)


def compute_answers(
    logits: np.ndarray,
    peaks: np.ndarray | None,
    temperature: float,
    healthy: int | None,
    tumor_map: MapConfig | None,
) -> np.ndarray:
    """Probabilities of the answers: calibrated, and where the model has a map, combined with it.

    Args:
        logits: float32 (n, classes).
        peaks: float64 (n,), [0, 1], highest values of the tumour maps; None where the model has no map.
        temperature: divides the logits.
        healthy: index of the healthy label; None where the model has none.
        tumor_map: what was fitted to the map; None where the model has no map.

    Returns:
        float64 (n, classes), rows sum to 1.
    """
    probs = compute_probabilities(logits, temperature)
    if tumor_map is None or peaks is None or healthy is None:
        return probs
    return combine(probs, peaks, healthy, tumor_map)


def combine(probs: np.ndarray, peaks: np.ndarray, healthy: int, config: MapConfig) -> np.ndarray:
    """Let the highest value of the map take part in tumour or none.

    p(tumour) = sigmoid(intercept + class * logit(1 - p(healthy)) + map * logit(peak)); the kinds share it in
    the proportions that they had. Where the map reaches its threshold, "no tumour" comes out just less
    probable than the most probable kind, or less.

    Args:
        probs: float64 (n, classes), by the classes alone, rows sum to 1.
        peaks: float64 (n,), [0, 1], highest values of the maps.
        healthy: index of the healthy label.
        config: threshold and weights.

    Returns:
        float64 (n, classes), rows sum to 1.
    """
    weights = config.combination
    odds = weights.class_weight * compute_class_log_odds(probs, healthy)
    odds += weights.map_weight * compute_log_odds(peaks) + weights.intercept
    none = 1 / (1 + np.exp(np.clip(odds, -700, 700)))
    kinds = np.delete(probs, healthy, axis=1)
    kinds = np.maximum(kinds, np.finfo(np.float64).tiny)
    kinds /= kinds.sum(axis=1, keepdims=True)
    # The most that "no tumour" may have is x = q (1 - x), where the most probable kind has q of the rest.
    highest = kinds.max(axis=1)
    limit = (1 - _MARGIN) * highest / (1 + highest)
    none = np.where(peaks >= config.threshold, np.minimum(none, limit), none)
    return np.insert(kinds * (1 - none)[:, None], healthy, none, axis=1)


def compute_class_log_odds(probs: np.ndarray, healthy: int) -> np.ndarray:
    """Log-odds of a tumour of any kind, float64 (n,), by probabilities (n, classes)."""
    return compute_log_odds(np.delete(probs, healthy, axis=1).sum(axis=1))


def compute_log_odds(probs: np.ndarray) -> np.ndarray:
    """Log-odds of probabilities (n,), float64; those of 0 and 1 stay finite."""
    inside = np.clip(np.asarray(probs, np.float64), _SMALLEST, 1 - _SMALLEST)
    return np.log(inside / (1 - inside))


def explain_disagreements(
    logits: np.ndarray,
    probs: np.ndarray,
    peaks: np.ndarray | None,
    healthy: int | None,
    tumor_map: MapConfig | None,
) -> list[str]:
    """Say of n pictures why classes and map contradict each other; empty where they agree.

    Args:
        logits: float32 (n, classes).
        probs: float64 (n, classes), of `compute_answers`.
        peaks: float64 (n,), [0, 1], highest values of the tumour maps; None where the model has no map.
        healthy: index of the healthy label; None where the model has none.
        tumor_map: what was fitted to the map; None where the model has no map.

    Returns:
        n texts: `TUMOUR_WITHOUT_REGION` where the answer is a tumour and the map shows none,
        `REGION_WITHOUT_TUMOUR` where the classes alone say "no tumour" and the map shows one.
    """
    if tumor_map is None or peaks is None or healthy is None:
        return [""] * len(logits)
    shown = peaks >= tumor_map.threshold
    unseen = ~shown & (probs.argmax(axis=1) != healthy)
    unsaid = shown & (logits.argmax(axis=1) == healthy)
    texts = np.where(unseen, TUMOUR_WITHOUT_REGION, np.where(unsaid, REGION_WITHOUT_TUMOUR, ""))
    return [str(text) for text in texts]
