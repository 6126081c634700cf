"""Which of several runs is better, and whether by more than chance: paired by image, intervals over groups.

Goes in: the predictions of two or more runs. Comes out: a dictionary, as it stands in `comparison.json`. Runs
that were asked about the same images (other recipes, other seeds) are compared image by image with the first;
runs that were asked about different ones (folds) only have a mean and a deviation.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import binomtest

from serving.files.errors import UserError
from trainer.evaluation.bootstrap import GroupBootstrap, compute_interval, compute_macro_f
from trainer.evaluation.metrics import compute_calibration_error
from trainer.evaluation.predictions import PREDICTIONS_FILE, Predictions
from trainer.evaluation.predictions_file import load_predictions

BETAS = {"macro_f1": 1.0, "macro_f2": 2.0}
# Those whose difference has an interval; calibration error depends on how images fall into bins.
PAIRED_FIGURES = ("accuracy", *BETAS, "nll")
FIGURES = (*PAIRED_FIGURES, "ece")


class ComparisonError(UserError):
    """Runs that cannot be compared; the message says what was expected, what came and what to do."""


@dataclass(frozen=True)
class ComparedRun:
    """One of the runs that are compared.

    Attributes:
        name: tells it from the others.
        predictions: what it said.

    Example:
        >>> path = Path("configs/results/official/predictions.csv")
        >>> ComparedRun("official", load_predictions(path)).name
        'official'
    """

    name: str
    predictions: Predictions


def load_runs(paths: Sequence[Path]) -> list[ComparedRun]:
    """Read the predictions of runs.

    Args:
        paths: folders that hold a `predictions.csv` (of `tumor train` or `tumor evaluate`), or such files.

    Raises:
        ComparisonError: fewer than two, or one of them twice.
        PredictionsError: a file is missing, damaged, or about other labels or another protocol than the
            first.
    """
    if len(paths) < 2:
        raise ComparisonError(f"Expected two runs or more to compare, got {len(paths)}. Name their folders.")
    files = [path / PREDICTIONS_FILE if path.is_dir() else path for path in paths]
    if len({file.resolve() for file in files}) < len(files):
        raise ComparisonError(
            f"Expected different runs, got one of them twice: {', '.join(map(str, paths))}."
        )
    first = load_predictions(files[0])
    others = [load_predictions(file, first.labels, first.protocol) for file in files[1:]]
    # Figures of classes are about images of known kind.
    known = [one.take_known() for one in (first, *others)]
    return list(map(ComparedRun, _name_runs(paths), known))


def compare_runs(runs: Sequence[ComparedRun]) -> dict[str, Any]:
    """Compare runs on all images and, where some have a twin in Training, on the unseen ones.

    Args:
        runs: two or more; the first is what the others are compared with.

    Returns:
        `protocol`; `paired`, whether all were asked about the same images; and for the subset `all` and
        perhaps `unseen`: `runs` (figures of each), `over_runs` (mean, standard deviation, least and greatest
        of each figure), and, where paired, `differences`.

    Raises:
        ComparisonError: some images are the same and some are not, or the same image has another label or
            group.
    """
    paired = _are_paired(runs)
    aligned = [_take(run, np.argsort(np.array(run.predictions.filenames), kind="stable")) for run in runs]
    if paired:
        _check_same_truth(aligned)
    result: dict[str, Any] = {"protocol": runs[0].predictions.protocol, "paired": paired}
    unseen = [~run.predictions.has_train_twin for run in aligned]
    result["all"] = _compare_subset(aligned, paired)
    if any(not rows.all() for rows in unseen) and all(rows.any() for rows in unseen):
        result["unseen"] = _compare_subset(list(map(_take, aligned, unseen)), paired)
    return result


def summarise_runs(figures: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Mean, sample standard deviation, least and greatest of each figure over runs.

    Args:
        figures: of each run, at least two, as of `compute_run_figures`.
    """
    summaries = {}
    for name in FIGURES:
        values = np.array([one[name] for one in figures])
        summary = {"mean": values.mean(), "sd": values.std(ddof=1), "min": values.min(), "max": values.max()}
        summaries[name] = {title: float(value) for title, value in summary.items()}
    return summaries


def compute_run_figures(predictions: Predictions) -> dict[str, Any]:
    """Count, errors, accuracy, macro F1 and F2, negative log-likelihood and calibration error of one run."""
    errors = int((predictions.predicted != predictions.true).sum())
    figures = {name: float(_compute_figure(name, predictions, None)[0]) for name in FIGURES}
    return {"count": len(predictions.true), "errors": errors} | figures


def compute_mcnemar(only_first_right: int, only_second_right: int) -> float:
    """Exact two-sided p-value of McNemar's test, about the images that one of two runs alone gets right.

    It takes images for independent, which slices of one patient are not: the interval over groups is the more
    careful answer.

    Source: McNemar 1947 (doi:10.1007/BF02295996), as the exact conditional test of Fagerland, Lydersen and
    Laake 2013 (doi:10.1186/1471-2288-13-91).

    Args:
        only_first_right: images that the first run alone gets right.
        only_second_right: those that the second alone does.
    """
    discordant = only_first_right + only_second_right
    return float(binomtest(only_first_right, discordant, 0.5).pvalue) if discordant else 1.0


def adjust_by_holm(values: Sequence[float]) -> list[float]:
    """P-values adjusted for their number; Holm 1979 (Scandinavian Journal of Statistics 6, 65 to 70)."""
    order = np.argsort(values, kind="stable")
    raised = np.maximum.accumulate([(len(order) - rank) * values[index] for rank, index in enumerate(order)])
    return np.minimum(raised, 1.0)[np.argsort(order, kind="stable")].tolist()


def _name_runs(paths: Sequence[Path]) -> list[str]:
    """The shortest ends of the paths that differ; `predictions.csv` names nothing."""
    parts = [list((path.parent if path.name == PREDICTIONS_FILE else path).resolve().parts) for path in paths]
    for depth in range(1, max(map(len, parts)) + 1):
        names = ["/".join(part[-depth:]) for part in parts]
        if len(set(names)) == len(names):
            return names
    return [str(path) for path in paths]  # two files of one folder


def _are_paired(runs: Sequence[ComparedRun]) -> bool:
    names = [set(run.predictions.filenames) for run in runs]
    if all(name == names[0] for name in names):
        return True
    if any(one & other for one, other in itertools.combinations(names, 2)):
        raise ComparisonError(
            "Expected runs about the same images, or about different ones as folds are; these share some. "
            + ", ".join(f"{run.name}: {len(run.predictions.filenames):,} images" for run in runs)
            + ". Evaluate them on the same split."
        )
    return False


def _take(run: ComparedRun, rows: np.ndarray) -> ComparedRun:
    return ComparedRun(run.name, run.predictions.take(rows))


def _check_same_truth(runs: Sequence[ComparedRun]) -> None:
    first = runs[0].predictions
    for run in runs[1:]:
        for what, name in (("true", "label"), ("groups", "group"), ("has_train_twin", "has_train_twin")):
            wrong = getattr(first, what) != getattr(run.predictions, what)
            if wrong.any():
                raise ComparisonError(
                    f"{runs[0].name} and {run.name} do not give {first.filenames[int(wrong.argmax())]} the"
                    f" same {name}. They are of different versions of the dataset: evaluate both on one."
                )


def _compare_subset(runs: Sequence[ComparedRun], paired: bool) -> dict[str, Any]:
    figures = [{"name": run.name} | compute_run_figures(run.predictions) for run in runs]
    result: dict[str, Any] = {"runs": figures, "over_runs": summarise_runs(figures)}
    if paired:
        result["differences"] = _compute_differences(runs)
    return result


def _compute_differences(runs: Sequence[ComparedRun]) -> list[dict[str, Any]]:
    """Each run against the first: differences in the same draws of groups, and McNemar's test."""
    first, *others = runs
    bootstrap = GroupBootstrap(first.predictions.groups)
    asked = [run.predictions for run in runs]
    draws = {name: [_compute_figure(name, one, bootstrap) for one in asked] for name in PAIRED_FIGURES}
    right = [one.predicted == one.true for one in asked]
    rows = []
    for number, run in enumerate(others, start=1):
        row: dict[str, Any] = {"run": run.name, "baseline": first.name}
        for name, values in draws.items():
            change = values[number] - values[0]
            row[name] = {"difference": float(change[0]), "interval": compute_interval(change[1:])}
        lost, won = int((right[0] & ~right[number]).sum()), int((right[number] & ~right[0]).sum())
        p = compute_mcnemar(lost, won)
        rows.append(row | {"mcnemar": {"only_baseline_right": lost, "only_run_right": won, "p": p}})
    for row, adjusted in zip(rows, adjust_by_holm([row["mcnemar"]["p"] for row in rows]), strict=True):
        row["mcnemar"]["p_holm"] = adjusted
    return rows


def _compute_figure(name: str, predictions: Predictions, bootstrap: GroupBootstrap | None) -> np.ndarray:
    """One of `FIGURES` of all images and, given a bootstrap, of each sample: float64 (1 + samples,)."""
    true, predicted, probs = predictions.true, predictions.predicted, predictions.probs
    if name == "ece":
        return np.array([compute_calibration_error(predicted == true, probs.max(axis=1))])
    if name in BETAS:
        classes = probs.shape[1]
        counts = np.zeros((1, classes, classes))
        np.add.at(counts[0], (true, predicted), 1)
        if bootstrap is not None:
            counts = np.concatenate([counts, bootstrap.compute_confusion(true, predicted, classes)])
        return compute_macro_f(counts, BETAS[name])
    # Cut off as scikit-learn's log_loss does.
    losses = -np.log(probs[np.arange(len(true)), true].clip(np.finfo(float).eps))
    values = losses if name == "nll" else predicted == true
    return np.append(values.mean(), [] if bootstrap is None else bootstrap.compute_means(values))
