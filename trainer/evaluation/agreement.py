"""Where classes and tumour map contradict each other, and how many of the wrong answers that catches.

Goes in: `Predictions` of a model with a map. Comes out: the section `agreement` of `metrics.json`.
A warning is worth what it catches, against what it costs: right answers that are doubted, too.
"""

from typing import Any

import numpy as np

from trainer.evaluation.bootstrap import GroupBootstrap, compute_interval
from trainer.evaluation.fitted_numbers import FittedNumbers
from trainer.evaluation.predictions import NO_TUMOR_IN_SLICE, OTHER_TUMOR, Predictions


def judge_answers(predictions: Predictions) -> np.ndarray:
    """Say which answers are right, as far as that can be told.

    Returns:
        float64 (n,), 1: right, 0: wrong, NaN: cannot be told. A tumour of none of the kinds is answered
        rightly by any tumour; a slice without tumour, of a patient with one, by "no tumour".
    """
    kinds, right = predictions.kinds, np.full(len(predictions.true), np.nan)
    right[predictions.is_known] = (predictions.predicted == predictions.true)[predictions.is_known]
    if predictions.healthy is not None:
        calls_none = predictions.predicted == predictions.healthy
        for kind, answers in ((OTHER_TUMOR, ~calls_none), (NO_TUMOR_IN_SLICE, calls_none)):
            right[kinds == kind] = answers[kinds == kind]
    return right


def find_disagreements(predictions: Predictions, numbers: FittedNumbers) -> dict[str, np.ndarray] | None:
    """Say where classes and map contradict each other, by the rule that serving applies.

    Source of the rule: `serving.model.combination.explain_disagreements`.

    Returns:
        bool (n,) each: `tumour_without_region`, where the answer is a tumour and the map shows none;
        `region_without_tumour`, where the classes alone say "no tumour" and the map shows one. None where the
        model has no map, or no healthy label.
    """
    healthy = predictions.healthy
    if predictions.tumor_peak is None or numbers.map_threshold is None or healthy is None:
        return None
    shown = predictions.tumor_peak >= numbers.map_threshold
    return {
        "tumour_without_region": (predictions.predicted != healthy) & ~shown,
        "region_without_tumour": (predictions.logits.argmax(axis=1) == healthy) & shown,
    }


def summarise_agreement(predictions: Predictions, numbers: FittedNumbers) -> dict[str, Any] | None:
    """Compute the section `agreement`; None where the model has no map.

    Returns:
        For `all` images and `by_source`: `count` of answers that can be judged, `wrong`, and by signal
        (`disagreement`, the two parts of `find_disagreements`, and `unlike_training`, which is a disagreement
        or a doubt of the guard): `flagged`, the share of images that it marks; `caught`, the share of the
        wrong answers among which it marks; `cost`, the share of the right answers that it marks, too, both
        with 95 % intervals over groups; `caught_by_confidence`, the share of the wrong answers among as many
        images that have the least probable answers: what the probabilities alone would catch.
    """
    parts = find_disagreements(predictions, numbers)
    right = judge_answers(predictions)
    judged = np.isfinite(right)
    if parts is None or not judged.any():
        return None
    signals = {"disagreement": np.logical_or.reduce(list(parts.values())), **parts}
    if predictions.unlike_training is not None:
        signals["unlike_training"] = predictions.unlike_training
    confidence = predictions.probs.max(axis=1)

    def describe(rows: np.ndarray) -> dict[str, Any]:
        some = {name: marked[rows] for name, marked in signals.items()}
        return _describe(some, right[rows] == 1, confidence[rows], predictions.groups[rows])

    sources = predictions.origins.source if predictions.origins else np.full(len(right), "")
    names = [str(name) for name in np.unique(sources[judged]) if name]
    return {
        "all": describe(judged),
        "by_source": {name: describe(judged & (sources == name)) for name in names},
    }


def _describe(
    signals: dict[str, np.ndarray], right: np.ndarray, confidence: np.ndarray, groups: np.ndarray
) -> dict[str, Any]:
    bootstrap, order = GroupBootstrap(groups), np.argsort(confidence, kind="stable")
    figures: dict[str, Any] = {"count": len(right), "wrong": int((~right).sum())}
    for name, marked in signals.items():
        least = order[: int(marked.sum())]
        figures[name] = {
            "flagged": float(marked.mean()),
            "caught": _compute_share(marked, ~right),
            "caught_interval": compute_interval(bootstrap.compute_ratios(marked & ~right, ~right)),
            "cost": _compute_share(marked, right),
            "cost_interval": compute_interval(bootstrap.compute_ratios(marked & right, right)),
            "caught_by_confidence": float((~right)[least].sum() / (~right).sum())
            if not right.all()
            else None,
        }
    return figures


def _compute_share(marked: np.ndarray, among: np.ndarray) -> float | None:
    """Share of some images that are marked; None where there are none."""
    return float(marked[among].mean()) if among.any() else None
