"""Calibration on unseen patients, by what models of the folds say of pictures that they have not learnt.

Goes in: predictions of the folds of one recipe. Comes out: temperature and thresholds, for each fold from the
other folds, or for another model of the recipe from all of them, without the groups that it is tested on.

Validation is kinder than what a model will meet: slices of its patients may lie in training, in other groups,
and it chose the best epoch. The promise is about models of the recipe, and so a target for any one of them.
Source: held-out predictions of cross-validation as calibration data, Platt 1999 ("Probabilistic outputs for
support vector machines", section 2.1); for prediction sets, Vovk 2015 (arXiv:1208.0806).
"""

import dataclasses
import json
import tempfile
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from etils import epath

from serving.model.artefact import ArtefactConfig, parse_map
from serving.model.combination import compute_answers
from trainer.config import FOLDED_DATASET, Config, ConfigError, build_config
from trainer.evaluation.predictions import (
    OVER_FOLDS_FILE,
    PREDICTIONS_FILE,
    Predictions,
    number_groups,
    pool_predictions,
)
from trainer.evaluation.predictions_file import load_predictions
from trainer.fitting.calibration import UnseenMaps, fit_calibration
from trainer.training.run_folder import RunError

FOLDS_SPLIT = "folds"
COLLECTION = "collection"
EXPECTED_FOLDS = "Expected the folder of a finished `tumor train CONFIG --folds`."
# What may differ between a run and the folds that it is calibrated by: which pictures it learns, chance, and
# what changes no weight.
FREE_SETTINGS = ("seed", "precision", "data.dataset", "data.fold", "data.left_out", "data.cache", "tracking")


def calibrate_folds(
    parts: Sequence[tuple[Predictions, ArtefactConfig]], of_sources: Sequence[Predictions | None] = ()
) -> list[tuple[Predictions, ArtefactConfig]]:
    """Answer for each fold with temperature and thresholds that were fitted on the other folds.

    A group lies in one fold, so no test group of a fold is among the others. A source that a fold leaves out
    takes no part in its numbers: of another hospital nothing is known before its pictures come.

    Args:
        parts: predictions of each fold by the model that had not learnt it, and that model's config.
        of_sources: for each fold, predictions of unseen patients of the sources that it was mixed with; None
            where it was mixed with none.

    Returns:
        The same with other probabilities, and configs with the numbers that give them. Their `raw` has
        none for slices unlike the training slices, of which no figure is made.
    """
    calibrated = []
    for place, (predictions, config) in enumerate(parts):
        others = [number for number in range(len(parts)) if number != place]
        unseen = pool_predictions([parts[number][0] for number in others])
        added = [_leave_out(of_sources[number], config) for number in others] if of_sources else []
        fitted = fit_on_unseen(
            unseen, config.map.threshold if config.map else None, [part for part in added if part is not None]
        )
        section, tumor_map = fitted["calibration"], parse_map(fitted["map"])
        numbers = {name: value for name, value in section.items() if name != "fitted_on"}
        numbers["map"], raw = tumor_map, config.raw | fitted
        changed = dataclasses.replace(config, **numbers, raw=raw)
        calibrated.append((answer_anew(predictions, changed), changed))
    return calibrated


def answer_anew(predictions: Predictions, config: ArtefactConfig) -> Predictions:
    """Give predictions the probabilities that temperature and combination of a config make of them."""
    logits, peaks = predictions.logits, predictions.tumor_peak
    probs = compute_answers(logits, peaks, config.temperature, config.healthy, config.map)
    return dataclasses.replace(predictions, probs=probs)


def fit_on_unseen(
    unseen: Predictions, map_threshold: float | None, of_sources: Sequence[Predictions] = ()
) -> dict[str, Any]:
    """Fit the sections `calibration` and `map`, see `fit_calibration`, by what folds said of unseen patients.

    Args:
        unseen: predictions of folds.
        map_threshold: of the model that is calibrated, since the predictions hold no maps; None where it has
            no map.
        of_sources: predictions of folds about unseen patients of other sources; pictures then count as
            `trainer.fitting.weights` says.

    Raises:
        RunError: the model has a map, and the predictions lack the column of its highest value.
    """
    parts = [unseen, *of_sources]
    if map_threshold is not None and any(part.tumor_peak is None for part in parts):
        raise RunError(
            f"The model has a tumour map, but {PREDICTIONS_FILE} of the folds has no column tumor_peak."
            " Expected folds with a tumour map: tumor train CONFIG --folds"
        )
    known = [part.take_known() for part in parts if part.is_known.any()]
    sources = None
    if of_sources:
        # The collection is one source, whoever made its parts.
        names = [[COLLECTION] * len(known[0].true), *(list(_get_sources(part)) for part in known[1:])]
        sources = [name for of_part in names for name in of_part]
    logits, true = (np.concatenate([getattr(part, name) for part in known]) for name in ("logits", "true"))
    maps = None
    if map_threshold is not None:
        maps = UnseenMaps(np.concatenate([_get_peaks(part) for part in known]), map_threshold)
    groups = number_groups([part.groups for part in known])
    return fit_calibration(logits, true, groups, unseen.healthy, FOLDS_SPLIT, maps, sources)


def _leave_out(predictions: Predictions | None, config: ArtefactConfig) -> Predictions | None:
    """Those about sources that a model learnt from; None where there are none."""
    if predictions is None:
        return None
    left_out = [name.rpartition("/")[2] for name in build_config(config.raw["training"]).data.left_out_here]
    rows = ~np.isin(_get_sources(predictions), left_out)
    return predictions.take(rows) if rows.any() else None


def _get_sources(predictions: Predictions) -> np.ndarray:
    assert predictions.origins is not None  # only then does it hold other sources
    return predictions.origins.source


def _get_peaks(predictions: Predictions) -> np.ndarray:
    assert predictions.tumor_peak is not None  # checked before
    return predictions.tumor_peak


def describe_calibration(
    recipe: Config, parts: Sequence[tuple[Predictions, ArtefactConfig]]
) -> dict[str, Any]:
    """What `over_folds.json` says beside the figures, by the parts that `calibrate_folds` returns."""
    sections = {name: [config.raw[name] for _, config in parts] for name in ("calibration", "map")}
    return {"recipe": recipe.model_dump(), **sections}


def load_unseen(
    folder: epath.Path, config: Config, labels: Sequence[str], tested: Collection[str]
) -> Predictions:
    """Read what the folds of a recipe said of pictures that they had not learnt.

    Whole groups are left out: a picture that shares a patient with a test picture tells of the test split.

    Args:
        folder: of `tumor train --folds`, or a copy of its `predictions.csv` and `over_folds.json`.
        config: of the model to calibrate; of the same recipe.
        labels: of that model.
        tested: file names of the pictures that it is tested on; all pictures of their groups are left out.

    Raises:
        RunError: the folder holds no folds, those of another recipe or of other pictures, or every group is
            tested on.
        PredictionsError: the predictions are damaged.
    """
    _check_recipe(folder, config)
    with tempfile.TemporaryDirectory() as scratch:
        local = Path(scratch, PREDICTIONS_FILE)
        try:
            local.write_bytes((folder / PREDICTIONS_FILE).read_bytes())
        except OSError as error:
            raise RunError(f"{folder} holds no {PREDICTIONS_FILE}. {EXPECTED_FOLDS}") from error
        answers = load_predictions(local, labels, FOLDED_DATASET.rpartition("/")[2])
    missing = sorted(set(tested) - set(answers.filenames))
    if missing:
        raise RunError(
            f"{folder} does not know {missing[0]}. Expected folds of the collection that the model was"
            " trained on."
        )
    is_tested = np.isin(answers.filenames, list(tested))
    unseen = ~np.isin(answers.groups, answers.groups[is_tested])
    if not unseen.any():
        raise RunError(
            f"Every group of {folder} holds test pictures of the model: none is left to calibrate it on."
            " Calibrate it on validation: leave --folds out."
        )
    return answers.take(unseen)


def _check_recipe(folder: epath.Path, config: Config) -> None:
    try:
        recipe = json.loads((folder / OVER_FOLDS_FILE).read_text())["recipe"]
        # What has come since is at its default.
        there = dict(_flatten(build_config(recipe).model_dump(mode="json")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ConfigError) as error:
        raise RunError(f"{folder} holds no {OVER_FOLDS_FILE} with a recipe. {EXPECTED_FOLDS}") from error
    here = dict(_flatten(config.model_dump(mode="json")))
    different = [name for name in sorted(here.keys() | there.keys()) if here.get(name) != there.get(name)]
    if different:
        told = ", ".join(
            f"{name} is {there.get(name)!r} there and {here.get(name)!r} here" for name in different
        )
        raise RunError(
            f"{folder} holds folds of another recipe: {told}. Train those of this one: tumor train CONFIG"
            " --folds"
        )


def _flatten(settings: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted names and values of all settings that make a recipe."""
    for name, value in settings.items():
        full = f"{prefix}{name}"
        if full in FREE_SETTINGS:
            continue
        if isinstance(value, dict):
            yield from _flatten(value, f"{full}.")
        else:
            yield full, value
