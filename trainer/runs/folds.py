"""All folds of the patient protocol: a run a fold, and every picture answered without its patient.

Goes in: a config without a fold, the dataset, a folder. Comes out, in that folder:
    fold1/ ... fold5/   run folders as `tumor train --set data.fold=N` makes them, each with its artefact
    predictions.csv     of all pictures, each once; their temperature was fitted on the other folds
    metrics.json        of those
    over_folds.json     figures of each fold, mean and deviation; the recipe; each fold's thresholds
    sources/            where the recipe mixes sources: of all folds together, see `trainer.runs.sources`
    figures/            the pooled figures, drawn
    report.html         all of these as a page for people, without pictures, which are in each fold's own
The same command goes on after any interruption: finished folds are kept, the one under way resumes.
"""

import tempfile
from pathlib import Path

import keras
import tensorflow as tf
import tensorflow_datasets as tfds
from etils import epath
from rich.console import Console

from serving.files.writing import write_json, write_whole
from serving.model import artefact as layout
from trainer.config import FOLDS, Config
from trainer.evaluation.compare import ComparedRun, compare_runs
from trainer.evaluation.gallery import list_gallery
from trainer.evaluation.predictions import OVER_FOLDS_FILE, PREDICTIONS_FILE, Predictions
from trainer.evaluation.scoring import load_own_predictions, pool
from trainer.fitting.cross_calibration import calibrate_folds, describe_calibration
from trainer.reporting.architecture_figure import ARCHITECTURE_FIGURE
from trainer.reporting.evaluation_files import save_evaluation
from trainer.reporting.figures import load_learning_curves
from trainer.reporting.report import REPORT_FILE, Model, write_report
from trainer.reporting.terminal import print_comparison, print_summary
from trainer.runs.run import complete_run
from trainer.runs.sources import UNSEEN_PATIENTS, load_sources, pool_sources
from trainer.training.run_folder import FINISHED_FILE, claim_run_dir
from trainer.training.strategies import is_chief


def choose_fold(config: Config, fold: int) -> Config:
    """The run of one fold."""
    return config.replace(data=config.data.replace(fold=fold))


def complete_folds(
    config: Config,
    builder: tfds.core.DatasetBuilder,
    folder: epath.Path,
    strategy: tf.distribute.Strategy,
    console: Console,
) -> None:
    """Train what is left of the folds, and pool what they say.

    Args:
        config: of all folds, its precision resolved.
        builder: `tumor_ds/patient`.
        folder: of all folds; local or `gs://`.
        strategy: where it runs.
        console: where progress is shown.

    Raises:
        RunError, Preempted, CheckpointError: see `trainer.training.loop.train`.
    """
    for fold in range(1, FOLDS + 1):
        run_dir, of_fold = folder / f"fold{fold}", choose_fold(config, fold)
        if is_chief(strategy):
            # Also a finished one: another config may not be pooled with these.
            claim_run_dir(of_fold, run_dir)
        # With its artefact, and the predictions that are written after it.
        parts = (FINISHED_FILE, layout.RUN_SUBFOLDER, PREDICTIONS_FILE)
        if all((run_dir / name).exists() for name in parts):
            continue
        if is_chief(strategy):
            console.rule(f"fold {fold} of {FOLDS}")
        keras.backend.clear_session()  # of the fold before; layers are named from the start again
        complete_run(of_fold, builder, run_dir, strategy, console, artefact=True)
    if is_chief(strategy):
        _pool_and_save(folder, config, console)
        written = (PREDICTIONS_FILE, layout.METRICS_FILE, OVER_FOLDS_FILE, layout.FIGURES_FOLDER, REPORT_FILE)
        text = f"Written: {', '.join(str(folder / name) for name in written)}"
        console.print(text, markup=False, highlight=False, soft_wrap=True)


def _pool_and_save(folder: epath.Path, config: Config, console: Console) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        loaded = [
            _load_fold(folder / f"fold{fold}", config.optimization.monitor, Path(scratch, str(fold)))
            for fold in range(1, FOLDS + 1)
        ]
        of_sources = [
            load_sources(folder / f"fold{fold}", UNSEEN_PATIENTS, model.config.labels)
            for fold, (_, model) in enumerate(loaded, start=1)
        ]
        parts = calibrate_folds([(predictions, model.config) for predictions, model in loaded], of_sources)
        pooled, summary = pool(parts)
        runs = [ComparedRun(f"fold {fold}", part) for fold, (part, _) in enumerate(parts, start=1)]
        over_folds = compare_runs(runs) | describe_calibration(config, parts)
        out = Path(scratch, "pooled")
        save_evaluation(pooled, summary, out)
        write_json(out / OVER_FOLDS_FILE, over_folds)
        pool_sources(folder, [config for _, config in parts], out)
        write_report(out, [model for _, model in loaded], list_gallery(pooled))
        for path in sorted(path for path in out.rglob("*") if path.is_file()):
            target = folder / path.relative_to(out).as_posix()
            target.parent.mkdir(parents=True, exist_ok=True)
            write_whole(target, path.read_bytes())
    print_summary(pooled.protocol, summary, console)
    print_comparison(over_folds, console)


def _load_fold(run_dir: epath.Path, monitor: str, scratch: Path) -> tuple[Predictions, Model]:
    """Predictions of a fold on its test images, and what a report tells of the model that made them."""
    for name in (layout.CONFIG_FILE, f"{layout.FIGURES_FOLDER}/{ARCHITECTURE_FIGURE}"):
        target = scratch / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((run_dir / layout.RUN_SUBFOLDER / name).read_bytes())
    local = scratch / PREDICTIONS_FILE
    local.write_bytes((run_dir / PREDICTIONS_FILE).read_bytes())
    config = layout.load_config(scratch)
    return load_own_predictions(local, config), Model(config, scratch, load_learning_curves(run_dir, monitor))
