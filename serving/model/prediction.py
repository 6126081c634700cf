"""The answer for one picture: probabilities, labels not ruled out, outlines, heat maps, or a refusal.

Goes in: what `serving.classifier` found. Comes out: a `Prediction`, whose large parts are made when they are
asked for.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from serving.model.calibration import DEFAULT_COVERAGE
from serving.model.explain import compute_heatmap
from serving.model.geojson import encode_outlines
from serving.model.guard import Verdict
from serving.model.outline import resize_map, trace_outlines


@dataclass(frozen=True)
class FoundTumor:
    """What the tumour map says of one picture, before it is brought to the picture's frame and size.

    Attributes:
        square_map: float32 (m, m), [0, 1], over the square that the model saw.
        threshold: least value inside an outline.
        share: of the head's area inside the outlines, [0, 1].
        height: of the picture, pixels.
        width: of the picture, pixels.
        fit: how it was made square, one of `serving.preprocess.FITS`.

    Example:
        >>> FoundTumor(np.ones((40, 40), np.float32), 0.5, 1.0, 512, 400, "pad").share
        1.0
    """

    square_map: np.ndarray
    threshold: float
    share: float
    height: int
    width: int
    fit: str


@dataclass(frozen=True)
class Prediction:
    """The answer for one picture.

    Attributes:
        label: the most probable label; None exactly where the picture is refused.
        unguarded_probabilities: `probabilities`, but also where the picture is refused and they mean nothing:
            for evaluation, which measures with and without the guard.
        prediction_sets: by the coverage aimed at, .95 and .99: the labels that cannot be ruled out, most
            probable first; wider for a picture unlike the training pictures, empty for a refused one.
        verdict: of the guard; `unlike_training` also where classes and tumour map contradict each other.
        reason: why the verdict is not `like_training`, for the person who sent the picture; else empty.
        domain_distance: outlier score of `serving.model.guard`, as a share of the score from which pictures
            are refused; one that is refused for its colour or because it is empty may have less than 1.
        logits: float32 (classes,), in the order of `unguarded_probabilities`.
        cams: float32 (h, w, classes), class activation maps; `heatmaps` is made of them.
        found: what `tumor_map` and `outlines` are made of; None where the model has no tumour map.
        healthy_label: the label that says that nothing is found; None where the model has none.

    Example:
        >>> from serving.classifier import from_pretrained
        >>> from serving.model.artefact import BUNDLED
        >>> prediction = from_pretrained().predict(BUNDLED.parent / "app/examples/glioma.png")
        >>> prediction.label, prediction.prediction_set, prediction.in_domain
        ('glioma', ('glioma',), True)
        >>> prediction.heatmap.shape, prediction.outlines
        ((5, 5), ())
    """

    label: str | None
    unguarded_probabilities: dict[str, float]
    prediction_sets: dict[float, tuple[str, ...]]
    verdict: Verdict
    reason: str
    domain_distance: float
    logits: np.ndarray
    cams: np.ndarray
    found: FoundTumor | None = None
    healthy_label: str | None = None

    @property
    def in_domain(self) -> bool:
        """False exactly where the picture is refused; a slice unlike the training pictures is scored."""
        return self.verdict is not Verdict.not_brain_mri

    @property
    def probabilities(self) -> dict[str, float] | None:
        """Calibrated, by label, summing to 1; None exactly where the picture is refused.

        Where the model has a tumour map, tumour or none is told by both (`serving.model.combination`).
        """
        return self.unguarded_probabilities if self.in_domain else None

    @property
    def prediction_set(self) -> tuple[str, ...]:
        """The labels that cannot be ruled out at 95 %."""
        return self.prediction_sets[DEFAULT_COVERAGE]

    @cached_property
    def heatmaps(self) -> dict[str, np.ndarray]:
        """By label, float32 (h, w), [0, 1]: where the evidence for it lies, at the resolution of `cams`."""
        return {
            label: compute_heatmap(self.cams, index)
            for index, label in enumerate(self.unguarded_probabilities)
        }

    @property
    def heatmap(self) -> np.ndarray:
        """The heat map of the most probable label, also where the picture is refused."""
        probabilities = self.unguarded_probabilities
        return self.heatmaps[max(probabilities, key=probabilities.__getitem__)]

    @cached_property
    def tumor_map(self) -> np.ndarray | None:
        """Probability that a pixel is tumour, float32 (h, w), [0, 1], in the picture's own frame and size.

        Also where the picture is refused; None where the model has no tumour map. Made when it is asked for:
        of a large picture it takes as much memory as four copies of its grey pixels.
        """
        if self.found is None:
            return None
        return resize_map(self.found.square_map, self.found.height, self.found.width, self.found.fit)

    @property
    def tumor_mask(self) -> np.ndarray | None:
        """The pixels inside the outlines, bool (h, w); none where the picture is refused.

        None where the model has no tumour map.
        """
        if self.found is None:
            return None
        found = self.found
        # Not of `tumor_map`, which stays in memory: a volume has hundreds of slices.
        values = resize_map(found.square_map, found.height, found.width, found.fit)
        return self.in_domain & (values >= found.threshold)

    @cached_property
    def outlines(self) -> tuple[np.ndarray, ...]:
        """Polygons around the tumour, float32 (k, 2), x and y in pixels of the picture, the largest first.

        The last point is joined to the first; the centre of the first pixel is at (.5, .5). Holes are
        polygons of their own (`serving.model.outline.trace_outlines`). Empty where no tumour is found, where
        the picture is refused, and where the model has no tumour map.
        """
        if self.found is None or not self.in_domain:
            return ()
        found = self.found
        return trace_outlines(found.square_map, found.threshold, found.height, found.width, found.fit)

    @property
    def tumor_share(self) -> float | None:
        """Share of the head's area inside the outlines, [0, 1].

        None where the picture is refused, and where the model has no tumour map.
        """
        return self.found.share if self.found and self.in_domain else None

    @property
    def tumor_peak(self) -> float | None:
        """Highest value of the map, [0, 1], also where the picture is refused; None without a map."""
        return float(self.found.square_map.max()) if self.found else None

    def to_dict(self) -> dict[str, Any]:
        """All that is no array as JSON-ready values; the outlines as GeoJSON.

        Probabilities, share and outlines are null where the picture is refused, share and outlines also where
        the model has no tumour map.
        """
        return {
            "label": self.label,
            "verdict": self.verdict.value,
            "reason": self.reason,
            "in_domain": self.in_domain,
            "probabilities": self.probabilities,
            "prediction_set": list(self.prediction_set),
            "prediction_sets": {str(share): list(members) for share, members in self.prediction_sets.items()},
            "domain_distance": self.domain_distance,
            "tumor_share": self.tumor_share,
            "outlines": None if self.tumor_share is None else encode_outlines(self.outlines),
        }
