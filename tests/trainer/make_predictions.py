"""Predictions for tests, made without a model."""

import dataclasses

import numpy as np

from serving.model.calibration import compute_probabilities
from trainer.evaluation.localisation import EMPTY, OUTLINED, POINTED, UNKNOWN_OUTLINE, Localisation
from trainer.evaluation.origins import Origins
from trainer.evaluation.predictions import UNKNOWN_KIND, Predictions

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


def simulate_located(count=400, skill=2.0, seed=0) -> Predictions:
    """Answers of a model with a map about two sources: other tumours, and slices without one, among them.

    The map tells tumour from none better than the classes do. Of the tumours two thirds have an outline.
    """
    made, generator = simulate_predictions(count, skill=skill, seed=seed), np.random.default_rng(seed)
    healthy = LABELS.index("notumor")
    true = np.where(generator.random(count) < 0.1, UNKNOWN_KIND, made.true)
    tumor = np.where(true == UNKNOWN_KIND, generator.integers(0, 2, count), true != healthy)
    outline = np.where(tumor == 0, EMPTY, np.where(generator.random(count) < 0.67, OUTLINED, UNKNOWN_OUTLINE))
    known = outline == OUTLINED
    dice = np.where(known, generator.beta(4, 2, count), np.nan)
    peaks = np.clip(0.25 + 0.5 * tumor + generator.normal(0, 0.15, count), 0.01, 0.99)
    flags = {
        name: np.where(known, generator.random(count) < share, np.nan)
        for name, share in zip(POINTED, (0.9, 0.95, 0.2, 0.5, 0.3, 0.6), strict=True)
    }
    return dataclasses.replace(
        made,
        true=true,
        has_train_twin=np.zeros(count, bool),
        unlike_training=generator.random(count) < 0.1,
        tumor_peak=peaks,
        origins=Origins(
            tumor=tumor.astype(float),
            source=np.where(made.groups % 2, "feltrin44", "lgg_tcga"),
            sequence=np.array(["T1", "T1C", "T2"])[made.groups % 3],
            skull=np.full(count, "kept"),
        ),
        localisation=Localisation(
            outline=outline,
            tumor_share=np.where(peaks >= 0.5, 0.05 * peaks, 0.0),
            dice=dice,
            iou=dice / (2 - dice),
            **flags,
        ),
    )
