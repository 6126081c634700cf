"""`tumor train` and `tumor export`: thin commands; TensorFlow is imported only when one runs."""

import enum
from pathlib import Path
from typing import Annotated

import typer

from trainer.cli.options import DataDirOption, console, require_training_extra, say
from trainer.config import ConfigError

_CONFIG = "Recipe of this package by name, or a TOML file with what differs from the defaults."
_OVERRIDES = "section.key=value over the config; may be given several times."
_RUN_DIR = "Run folder, also gs://; runs/CONFIG by default. The same command resumes there."
_STRATEGY = "Where it runs; auto takes all workers in TF_CONFIG, else all GPUs."
_TPU = "Name or address of the TPU; the one attached to this machine by default."
_FOLDS = "Train all five folds of tumor_ds/patient, and pool what they say."
_LEAVE_OUT = "Dataset of data.mix to test on instead of learning from it; may be given several times."
_FROM = "Start from a model: `bundled`, an artefact or run folder, or user/repo[@revision] on the Hub."
_ARTEFACT = "Export, calibrate and score on the test split at the end; a sweep does not."
_DRY_RUN = "Print config, model, steps and an estimate of the time; write nothing."
_EXPORT_FOLDS = (
    "Folder of `tumor train --folds` by the same recipe: calibrate on its unseen patients, not on validation."
)


class StrategyName(enum.StrEnum):
    """Distribution strategies."""

    auto = enum.auto()
    one = enum.auto()
    mirrored = enum.auto()
    multiworker = enum.auto()
    tpu = enum.auto()


def train(
    config: Annotated[str, typer.Argument(help=_CONFIG)] = "default",
    overrides: Annotated[list[str] | None, typer.Option("--set", help=_OVERRIDES)] = None,
    run_dir: Annotated[str | None, typer.Option(help=_RUN_DIR)] = None,
    data_dir: DataDirOption = None,
    strategy: Annotated[StrategyName, typer.Option(help=_STRATEGY)] = StrategyName.auto,
    tpu: Annotated[str, typer.Option(help=_TPU)] = "",
    folds: Annotated[bool, typer.Option("--folds", help=_FOLDS)] = False,
    left_out: Annotated[list[str] | None, typer.Option("--leave-out", help=_LEAVE_OUT)] = None,
    start: Annotated[str | None, typer.Option("--from", help=_FROM)] = None,
    artefact: Annotated[bool, typer.Option(help=_ARTEFACT)] = True,
    dry_run: Annotated[bool, typer.Option("--dry-run", help=_DRY_RUN)] = False,
) -> None:
    """Train a model and write its artefact."""
    require_training_extra()
    from etils import epath

    from trainer.cli.config_file import check_folds, find_config, leave_out, load_config

    # A mistake in the config is told before TensorFlow is loaded, which takes many seconds.
    path = find_config(config)
    resolved, default_name = load_config(path, overrides), path.stem
    if start:
        resolved = resolved.replace(model=resolved.model.replace(start=start))
    check_folds(resolved, folds, artefact)
    if left_out:
        if folds:
            raise ConfigError("--leave-out is for one run; for each of --folds see [data.left_out].")
        resolved = leave_out(resolved, left_out)
        default_name += "_without_" + "_".join(name.rpartition("/")[2] for name in left_out)
    from trainer.data.input_pipeline import load_builder
    from trainer.runs.folds import choose_fold, complete_folds
    from trainer.runs.run import complete_run
    from trainer.training.dry_run import describe_run
    from trainer.training.strategies import build_strategy, resolve_precision

    folder = epath.Path(run_dir or Path("runs") / default_name)
    devices = build_strategy(strategy.value, tpu)  # before any other TensorFlow operation
    resolved = resolved.replace(precision=resolve_precision(resolved.precision, devices))
    builder = load_builder(resolved.data.dataset, data_dir)
    if dry_run:
        return describe_run(choose_fold(resolved, 1) if folds else resolved, builder, devices, console)
    if folds:
        return complete_folds(resolved, builder, folder, devices, console)
    built = complete_run(resolved, builder, folder, devices, console, artefact)
    if built is not None:
        say(f"Artefact: {built}")
        if "://" not in str(built):
            say(f"Try it:   tumor serve --model {built}")


def export(
    run: Annotated[str, typer.Argument(help="Run folder of `tumor train`, also gs://.")],
    data_dir: DataDirOption = None,
    folds: Annotated[str | None, typer.Option(help=_EXPORT_FOLDS)] = None,
) -> None:
    """Write the artefact of a run again: export, calibration, evaluation, card."""
    require_training_extra()
    from etils import epath

    from trainer.data.input_pipeline import load_builder
    from trainer.runs.artefact import build_artefact
    from trainer.training.run_folder import load_run_config

    run_dir = epath.Path(run)
    builder = load_builder(load_run_config(run_dir).data.dataset, data_dir)
    folder = build_artefact(run_dir, builder, console, epath.Path(folds) if folds else None)
    say(f"Artefact: {folder}")
