"""Figures source by source and cell by cell: how a model holds where pictures are others than it learnt from.

Goes in: `Predictions` about pictures of built datasets. Comes out: the section `sources` of `metrics.json`.
A cell is what kind, sequence and source have in common. The judge is the worst cell and not the mean, which
hides that one kind is never named in one sequence.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from serving.model.calibration import DEFAULT_COVERAGE, compute_prediction_sets, compute_probabilities
from trainer.evaluation.agreement import judge_answers
from trainer.evaluation.bootstrap import GroupBootstrap, compute_basic_interval, compute_interval
from trainer.evaluation.fitted_numbers import FittedNumbers
from trainer.evaluation.metrics import CALIBRATION_BINS, compute_auroc, compute_calibration_error
from trainer.evaluation.predictions import OTHER_TUMOR, Predictions

# A cell with fewer pictures says too little to be named the worst one.
LEAST_PICTURES = 10
ALL = "all"


def summarise_sources(predictions: Predictions, numbers: FittedNumbers) -> dict[str, Any] | None:
    """Compute the section `sources`; None where nothing is known of the pictures but their kind.

    Sets are those that serving gives: wider ones where an image is unlike those that the model learnt from,
    or refused. Refused images are scored all the same.

    Returns:
        `pooled` and `by_source`: figures as `_describe_source` gives them; `cells`: a row for each
        combination of source, kind and sequence, and one over all sequences (`all`) where a kind has several;
        `worst_cell`: of the cells of one sequence with at least `least_pictures` pictures whose answers can
        be judged, the one with the smallest share of right answers.
    """
    if predictions.origins is None:
        return None
    members = _find_sets(predictions, numbers)
    names = [str(name) for name in np.unique(predictions.origins.source)]
    cells = [cell for name in names for cell in _describe_cells(predictions, members, name)]
    judged = [
        cell
        for cell in cells
        if cell["sequence"] != ALL and cell["right"] is not None and cell["count"] >= LEAST_PICTURES
    ]

    def describe(rows: np.ndarray) -> dict[str, Any]:
        return _describe_source(predictions.take(rows), members[rows], numbers.take(rows))

    return {
        "pooled": describe(np.ones(len(predictions.true), bool)),
        "by_source": {name: describe(predictions.origins.source == name) for name in names},
        "cells": cells,
        "worst_cell": min(judged, key=lambda cell: cell["right"], default=None),
        "least_pictures": LEAST_PICTURES,
    }


def _find_sets(predictions: Predictions, numbers: FittedNumbers) -> np.ndarray:
    """Members of the 95 % sets as served, bool (n, classes)."""
    usual, wide = (
        np.broadcast_to(thresholds[DEFAULT_COVERAGE], len(predictions.true))
        for thresholds in (numbers.set_thresholds, numbers.unlike_set_thresholds)
    )
    unlike = predictions.refused
    if predictions.unlike_training is not None:
        unlike = unlike | predictions.unlike_training
    return compute_prediction_sets(predictions.probs, np.where(unlike, wide, usual))


def _describe_source(predictions: Predictions, members: np.ndarray, numbers: FittedNumbers) -> dict[str, Any]:
    """Figures of one source.

    Returns:
        `count`, `groups`, `kinds` (count of each); `accuracy`, `ece` and, of the 95 % sets, `coverage` and
        `size`, over images of known kind, None without any; `refused`, `unlike_training` and, of tumours of
        other kinds, `other_called_healthy`: shares, each with its 95 % interval over groups;
        `tumour_or_none`: of all images and by sequence, `_tell_tumours`.
    """
    known, bootstrap = predictions.is_known, GroupBootstrap(predictions.groups)
    everything, other = np.ones(len(known), bool), predictions.kinds == OTHER_TUMOR
    kinds, counts = np.unique(predictions.kinds, return_counts=True)
    holds, calls_none = _find_holds(predictions, members), _find_calls_of_none(predictions)
    shares = {
        "accuracy": (predictions.predicted == predictions.true, known),
        "coverage": (holds, known),
        "size": (members.sum(axis=1), known),
        "other_called_healthy": (calls_none, other),
        "refused": (predictions.refused, everything),
    }
    if predictions.unlike_training is not None:
        shares["unlike_training"] = (predictions.unlike_training, everything)
    figures: dict[str, Any] = {
        "count": len(known),
        "groups": len(np.unique(predictions.groups)),
        "kinds": dict(zip(kinds.tolist(), counts.tolist(), strict=True)),
    }
    for name, (values, rows) in shares.items():
        figures |= _average(name, values, rows, bootstrap)
    return (
        figures
        | _describe_calibration(predictions)
        | {"tumour_or_none": _tell_by_sequence(predictions, numbers)}
    )


def _describe_cells(predictions: Predictions, members: np.ndarray, source: str) -> Iterator[dict[str, Any]]:
    assert predictions.origins is not None
    sequences, kinds = predictions.origins.sequence, predictions.kinds
    of_source = predictions.origins.source == source
    for kind in np.unique(kinds[of_source]):
        of_kind = of_source & (kinds == kind)
        found = [str(sequence) for sequence in np.unique(sequences[of_kind])]
        cells = {sequence: of_kind & (sequences == sequence) for sequence in found}
        for sequence, rows in (({ALL: of_kind} if len(found) > 1 else {}) | cells).items():
            figures = _describe_cell(predictions.take(rows), members[rows])
            yield {"source": source, "kind": str(kind), "sequence": sequence, **figures}


def _describe_cell(predictions: Predictions, members: np.ndarray) -> dict[str, Any]:
    """Figures of one cell.

    Returns:
        `count`, `groups`; `right`: share of right answers (`judge_answers`), None where it cannot be told;
        `called`: by label, the share called so; of the 95 % sets `coverage`, `size`, and `holds_of_two`: how
        often they hold the kind and at most one other label.
    """
    everything, bootstrap = np.ones(len(members), bool), GroupBootstrap(predictions.groups)
    right, known = judge_answers(predictions), predictions.is_known
    called = np.bincount(predictions.predicted, minlength=len(predictions.labels)) / len(members)
    holds = _find_holds(predictions, members)
    return {
        "count": len(members),
        "groups": len(np.unique(predictions.groups)),
        **_average("right", right == 1, np.isfinite(right), bootstrap),
        "called": dict(zip(predictions.labels, called.tolist(), strict=True)),
        **_average("coverage", holds, known, bootstrap),
        **_average("size", members.sum(axis=1), everything, bootstrap),
        **_average("holds_of_two", holds & (members.sum(axis=1) <= 2), known, bootstrap),
    }


def _tell_by_sequence(predictions: Predictions, numbers: FittedNumbers) -> dict[str, Any]:
    """`_tell_tumours` of all images and of each sequence; only where there are both."""
    assert predictions.origins is not None
    sequences = predictions.origins.sequence
    parts = {ALL: np.ones(len(sequences), bool)}
    parts |= {str(name): sequences == name for name in np.unique(sequences)}
    found = (
        (name, _tell_tumours(predictions.take(rows), numbers.take(rows))) for name, rows in parts.items()
    )
    return {name: figures for name, figures in found if figures}


def _tell_tumours(predictions: Predictions, numbers: FittedNumbers) -> dict[str, Any] | None:
    """How well tumour is told from none; tumours of other kinds count as tumours.

    Returns:
        Counts; AUROC of `classes` (1 - p(healthy) by the classes alone), of the `map` (its highest value) and
        of the `answer` (both together), each with its 95 % interval over groups; `gain`: of the answer over
        the better of the two, in the same draws; share of tumours called a tumour (`sensitivity`) and of
        others called healthy (`specificity`). None without both, or without a healthy label.
    """
    assert predictions.origins is not None
    healthy = predictions.healthy
    if healthy is None:
        return None
    truth = np.where(predictions.is_known, predictions.true != healthy, predictions.origins.tumor)
    rows = np.isfinite(truth)
    tumour = truth[rows] == 1
    if not tumour.any() or tumour.all():
        return None
    some, temperature = predictions.take(rows), np.reshape(numbers.take(rows).temperature, (-1, 1))
    alone = compute_probabilities(some.logits / temperature, 1.0)
    scores = {"classes": 1 - alone[:, healthy], "answer": 1 - some.probs[:, healthy]}
    if some.tumor_peak is not None:
        scores["map"] = some.tumor_peak
    bootstrap = GroupBootstrap(some.groups)
    draws = {name: bootstrap.compute_auroc(tumour, values) for name, values in scores.items()}
    areas = {name: compute_auroc(tumour, values) for name, values in scores.items()}
    best = max((name for name in scores if name != "answer"), key=lambda name: areas[name])
    calls_none = _find_calls_of_none(some)
    return {
        "tumour": int(tumour.sum()),
        "none": int((~tumour).sum()),
        **{name: {"auroc": areas[name], "interval": compute_interval(draws[name])} for name in scores},
        "gain": areas["answer"] - areas[best],
        "gain_interval": compute_interval(draws["answer"] - draws[best]),
        **_average("sensitivity", ~calls_none, tumour, bootstrap),
        **_average("specificity", calls_none, ~tumour, bootstrap),
    }


def _describe_calibration(predictions: Predictions) -> dict[str, Any]:
    """Expected calibration error over images of known kind, with its interval; None without any."""
    if not predictions.is_known.any():
        return {"ece": None, "ece_interval": None}
    known = predictions.take_known()
    correct, confidence = known.predicted == known.true, known.probs.max(axis=1)
    error = compute_calibration_error(correct, confidence)
    bootstrap = GroupBootstrap(known.groups)
    samples = bootstrap.compute_calibration_errors(correct, confidence, CALIBRATION_BINS)
    return {"ece": error, "ece_interval": compute_basic_interval(error, samples)}


def _find_holds(predictions: Predictions, members: np.ndarray) -> np.ndarray:
    """Whether each set holds the true label, bool (n,); means nothing where the kind is unknown."""
    return members[np.arange(len(members)), predictions.true]


def _find_calls_of_none(predictions: Predictions) -> np.ndarray:
    """Which images are called healthy, bool (n,)."""
    if predictions.healthy is None:
        return np.zeros(len(predictions.true), bool)
    return predictions.predicted == predictions.healthy


def _average(name: str, values: np.ndarray, rows: np.ndarray, bootstrap: GroupBootstrap) -> dict[str, Any]:
    """Mean of (n,) values over some rows, bool (n,), with its interval; both None without any."""
    mean = float(values[rows].mean()) if rows.any() else None
    return {name: mean, f"{name}_interval": compute_interval(bootstrap.compute_ratios(values * rows, rows))}
