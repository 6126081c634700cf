"""Predictions for tests, made without a model."""

import numpy as np

from serving.model.calibration import compute_probabilities
from trainer.evaluation.predictions import Predictions

LABELS = ("glioma", "meningioma", "notumor", "pituitary")
HEALTHY = LABELS.index("notumor")


def make_predictions(
    true, probs, groups=None, labels=LABELS, has_train_twin=None, protocol="official"
) -> Predictions:
    """Answers with the given probabilities, (n, classes); every image its own group unless said."""
    true, probs = np.array(true), np.array(probs, float)
    count = len(true)
    return Predictions(
        protocol=protocol,
        labels=tuple(labels),
        filenames=tuple(f"Testing/{row:05}.jpg" for row in range(count)),
        groups=np.arange(count) if groups is None else np.array(groups),
        has_train_twin=np.zeros(count, bool) if has_train_twin is None else np.array(has_train_twin),
        true=true,
        logits=np.log(probs.clip(1e-12)).astype(np.float32),
        probs=probs,
        refused=np.zeros(count, bool),
    )


def simulate_predictions(count=400, group_size=3, skill=2.0, temperature=1.0, seed=0) -> Predictions:
    """Four classes, a share of them told rightly; logits of a group's images resemble each other."""
    generator = np.random.default_rng(seed)
    groups = np.arange(count) // group_size
    label_of, noise_of = (
        generator.integers(0, 4, groups.max() + 1),
        generator.normal(size=(groups.max() + 1, 4)),
    )
    true = label_of[groups]
    logits = (noise_of[groups] + 0.5 * generator.normal(size=(count, 4)) + skill * np.eye(4)[true]).astype(
        np.float32
    )
    probs = compute_probabilities(logits, temperature)
    template = make_predictions(true, probs, groups, has_train_twin=generator.random(count) < 0.5)
    return Predictions(**{**vars(template), "logits": logits})
