"""The input guard: is this a brain MRI slice, and is it like those the model was trained on?

Goes in: the embedding of a picture, the picture as the model sees it, and how much of it had a colour.
Comes out: a verdict and a reason.

Three measures of how unusual a picture is, each 1 where one in fifty varied brain slices (see
`trainer.fitting.guard`) is as unusual:
    1. content: a linear classifier on the embedding, fitted on brain slices against drawn outliers.
    2. shape: a small network on edges and brightness by region, fitted on the same.
    3. distance: how far the embedding lies from what the training embeddings span.
The outlier score is the Euclidean length of the three, where negative measures count as 0; a high score is
refused. A classifier finds what resembles the outliers that it has seen, a distance also what resembles
nothing. The distance alone decides whether a slice is unlike the training slices.
"""

import base64
import enum
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

# From this share of coloured pixels on a picture is no MRI: MRI is grey, but a viewer may have drawn a
# coloured line or letter on it.
COLOURED_LIMIT = 0.05
# Grey levels between the 1st and the 99th percentile below which there is nothing to see.
BLANK_LEVELS = 4
SHAPE_SIDE, SHAPE_CELLS, SHAPE_ANGLES = 96, 8, 8
SHAPE_FEATURES = SHAPE_CELLS**2 * (SHAPE_ANGLES + 2)
_DTYPES = ("<f2", "<f4")


class Verdict(enum.StrEnum):
    """What the guard says of a picture."""

    like_training = enum.auto()
    """A brain MRI slice like those the model was trained on: scored."""
    unlike_training = enum.auto()
    """A brain MRI slice unlike them: scored, with a warning and wider prediction sets."""
    not_brain_mri = enum.auto()
    """No brain MRI slice: refused."""


COLOURED = "It is a colour picture, and MRI slices are grey."
BLANK = "It is empty: nearly all of it has one grey level."
# In the order of the measures.
REFUSALS = (
    "What it shows does not look like a slice of a brain MRI.",
    "Its outline and texture are not those of a head in MRI.",
    "It resembles nothing that the model was trained on.",
)
UNLIKE = (
    "It differs from the pictures that the model was trained on, so the answer is less certain than it looks."
)


@dataclass(frozen=True)
class Guard:
    """The fitted numbers.

    Attributes:
        content_weights: float32 (d,), of the embedding.
        content_bias: added to their product.
        hidden_weights: float32 (SHAPE_FEATURES, h), first layer of the shape network.
        hidden_bias: float32 (h,).
        shape_weights: float32 (h,), its last layer.
        shape_bias: added to their product.
        directions: float32 (k, d), orthonormal rows: principal directions of the training embeddings.
        centres: float32 (3,), of the measures on varied brain slices.
        spreads: float32 (3,), above 0: what one in fifty of them exceeds the centre by.
        unlike_threshold: distance, [0, 1], above which a slice is unlike the training slices.
        refusal_threshold: outlier score, above 0, above which a picture is no brain MRI.

    Example:
        >>> from serving.model.artefact import BUNDLED, load_config
        >>> guard = load_config(BUNDLED).guard
        >>> black, embedding = np.zeros((1, 160, 160, 1), np.uint8), np.ones((1, len(guard.content_weights)))
        >>> [(verdict, reason, score)] = judge(guard, embedding, black, np.zeros(1))
        >>> verdict.value, reason
        ('not_brain_mri', 'It is empty: nearly all of it has one grey level.')
    """

    content_weights: np.ndarray
    content_bias: float
    hidden_weights: np.ndarray
    hidden_bias: np.ndarray
    shape_weights: np.ndarray
    shape_bias: float
    directions: np.ndarray
    centres: np.ndarray
    spreads: np.ndarray
    unlike_threshold: float
    refusal_threshold: float


def compute_distances(embeddings: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """Share of the embedding that the principal directions of the training embeddings cannot express.

    Source: the residual of ViM, Wang et al. 2022 (arXiv:2203.10807), section 4.1, divided by the length of
    the embedding, so that it is the sine of the angle to the subspace of the training data and needs no unit.

    Args:
        embeddings: float32 (n, d).
        directions: float32 (k, d), orthonormal rows.

    Returns:
        float32 (n,), [0, 1]: 0 where the training data explain the picture wholly, 1 where not at all.
    """
    lengths = np.linalg.norm(embeddings, axis=1)
    residuals = np.linalg.norm(embeddings - (embeddings @ directions.T) @ directions, axis=1)
    return np.where(lengths > 0, residuals / np.maximum(lengths, 1e-12), 1.0).clip(0.0, 1.0)


def compute_shape_features(images: np.ndarray) -> np.ndarray:
    """Edges by direction, and mean and deviation of brightness, in 8 x 8 regions.

    Source: histograms of oriented gradients, Dalal and Triggs 2005 (doi:10.1109/CVPR.2005.177), normalised
    over the whole picture.

    Args:
        images: uint8 (n, size, size, 1), [0, 255].

    Returns:
        float32 (n, SHAPE_FEATURES).
    """
    size = (SHAPE_SIDE, SHAPE_SIDE)
    small = [Image.fromarray(image[..., 0]).resize(size, Image.Resampling.BOX) for image in images]
    grey = np.stack([np.asarray(picture, np.float32) for picture in small])
    grey /= np.maximum(np.percentile(grey, 99, axis=(1, 2), keepdims=True), 8)
    vertical, horizontal = np.gradient(grey, axis=(1, 2))
    strengths = np.hypot(horizontal, vertical)
    turns = np.arctan2(vertical, horizontal) % np.pi / np.pi
    angles = np.floor(turns * SHAPE_ANGLES).astype(int) % SHAPE_ANGLES
    by_angle = [_split(strengths * (angles == angle)).sum((2, 4)) for angle in range(SHAPE_ANGLES)]
    edges = np.stack(by_angle, axis=-1)
    edges /= np.sqrt((edges**2).sum((1, 2, 3), keepdims=True) + 1e-6)
    regions = _split(grey)
    features = [edges, regions.mean((2, 4)), regions.std((2, 4))]
    return np.hstack([feature.reshape(len(images), -1) for feature in features]).astype(np.float32)


def compute_measures(guard: Guard, embeddings: np.ndarray, images: np.ndarray) -> np.ndarray:
    """The three measures, before they are centred and scaled.

    Args:
        guard: the fitted numbers; the last four fields are not used.
        embeddings: float32 (n, d).
        images: uint8 (n, size, size, 1), [0, 255].

    Returns:
        float32 (n, 3): content and shape as log-odds of being an outlier, distance in [0, 1].
    """
    hidden = np.maximum(compute_shape_features(images) @ guard.hidden_weights + guard.hidden_bias, 0)
    content = embeddings @ guard.content_weights + guard.content_bias
    shape = hidden @ guard.shape_weights + guard.shape_bias
    return np.stack([content, shape, compute_distances(embeddings, guard.directions)], axis=1)


def compute_outlier_scores(guard: Guard, measures: np.ndarray) -> np.ndarray:
    """Centre and scale measures float32 (n, 3), and give their length float32 (n,), negative ones as 0."""
    return np.linalg.norm(np.maximum((measures - guard.centres) / guard.spreads, 0), axis=1)


def judge(
    guard: Guard, embeddings: np.ndarray, images: np.ndarray, coloured: np.ndarray
) -> list[tuple[Verdict, str, float]]:
    """Say of each picture whether it may be scored.

    Args:
        guard: the fitted numbers.
        embeddings: float32 (n, d).
        images: uint8 (n, size, size, 1), [0, 255].
        coloured: float (n,), [0, 1], share of pixels that had a colour.

    Returns:
        Verdict, the reason (empty where it is like the training slices), and the outlier score as a share of
        the refusal threshold.
    """
    measures = compute_measures(guard, embeddings, images)
    strongest = ((measures - guard.centres) / guard.spreads).argmax(axis=1)
    low, high = np.percentile(images, (1, 99), axis=(1, 2, 3))
    answers = []
    for row, score in enumerate(compute_outlier_scores(guard, measures)):
        verdict, reason = Verdict.not_brain_mri, REFUSALS[strongest[row]]
        if coloured[row] >= COLOURED_LIMIT:
            reason = COLOURED
        elif high[row] - low[row] < BLANK_LEVELS:
            reason = BLANK
        elif score <= guard.refusal_threshold:
            unlike = measures[row, 2] > guard.unlike_threshold
            verdict, reason = (Verdict.unlike_training, UNLIKE) if unlike else (Verdict.like_training, "")
        answers.append((verdict, reason, float(score / guard.refusal_threshold)))
    return answers


def parse_number(value: Any, name: str, low: float = -math.inf, high: float = math.inf) -> float:
    """Check a number of `config.json`.

    Raises:
        ValueError: it is no number, not finite or out of range; the message calls it `name`.
    """
    if not isinstance(value, int | float) or not math.isfinite(value) or not low <= value <= high:
        raise ValueError(f"{name} should be a finite number from {low:g} to {high:g}, got {value!r}")
    return value


def encode_guard(guard: Guard) -> dict[str, Any]:
    """Write the `guard` section of `config.json`: arrays as base64, matrices in half precision."""
    fields = vars(guard).items()
    return {name: _encode(value) if isinstance(value, np.ndarray) else float(value) for name, value in fields}


def parse_guard(stored: dict[str, Any]) -> Guard:
    """Read and check the `guard` section of `config.json`.

    Raises:
        KeyError: a field is missing.
        TypeError: a field is of another kind.
        ValueError: a field has another shape, or a value that cannot be.
    """
    values: dict[str, Any] = {
        name: (_decode if kind is np.ndarray else parse_number)(stored[name], f"guard.{name}")
        for name, kind in Guard.__annotations__.items()
    }
    guard = Guard(**values)
    d, h, k = len(guard.content_weights), len(guard.hidden_bias), len(guard.directions)
    vectors = {"content_weights": d, "hidden_bias": h, "shape_weights": h, "centres": 3, "spreads": 3}
    shapes = {"hidden_weights": (SHAPE_FEATURES, h), "directions": (k, d)}
    for name, expected in (shapes | {name: (length,) for name, length in vectors.items()}).items():
        if values[name].shape != expected:
            raise ValueError(f"guard.{name} should have shape {expected}, got {values[name].shape}")
    if not np.allclose(guard.directions @ guard.directions.T, np.eye(len(guard.directions)), atol=0.01):
        raise ValueError("guard.directions should be orthonormal rows")
    if not (guard.spreads > 0).all() or not guard.refusal_threshold > 0:
        raise ValueError("guard.spreads and guard.refusal_threshold should be above 0")
    parse_number(guard.unlike_threshold, "guard.unlike_threshold", 0, 1)
    return guard


def _split(maps: np.ndarray) -> np.ndarray:
    """Regions of maps (n, SHAPE_SIDE, SHAPE_SIDE): (n, cells, pixels, cells, pixels)."""
    return maps.reshape(len(maps), *(SHAPE_CELLS, SHAPE_SIDE // SHAPE_CELLS) * 2)


def _encode(array: np.ndarray) -> dict[str, Any]:
    dtype = _DTYPES[array.ndim == 1]
    content = base64.b64encode(array.astype(dtype).tobytes()).decode()
    return {"shape": list(array.shape), "dtype": dtype, "base64": content}


def _decode(stored: dict[str, Any], name: str) -> np.ndarray:
    if stored["dtype"] not in _DTYPES:
        raise ValueError(f"{name} should be of dtype {' or '.join(_DTYPES)}, got {stored['dtype']!r}")
    content = np.frombuffer(base64.b64decode(stored["base64"], validate=True), stored["dtype"])
    array = content.reshape(stored["shape"]).astype(np.float32)
    if array.ndim == 0 or not array.size or not np.isfinite(array).all():
        raise ValueError(f"{name} should hold finite numbers, got shape {array.shape}")
    return array
