"""The command line `tumor`: thin commands; what needs TensorFlow is imported only when its command runs."""

import dataclasses
import enum
from pathlib import Path
from typing import Annotated, Any

import typer

from serving.cli.commands import fail, predict, serve
from trainer.cli.evaluate import compare, evaluate, floor, tabulate
from trainer.cli.guard import guard, refit_guard
from trainer.cli.hub import pull, push, space
from trainer.cli.options import DataDirOption, Protocol, console, require_training_extra, say

app = typer.Typer(
    help="Brain MRI slices: data, training, evaluation, prediction. A research tool, not a medical device.",
    no_args_is_help=True,
)
app.command()(predict)
app.command()(serve)
app.command()(push)
app.command()(pull)
app.command()(space)


class StrategyName(enum.StrEnum):
    """Distribution strategies."""

    auto = enum.auto()
    one = enum.auto()
    mirrored = enum.auto()
    multiworker = enum.auto()
    tpu = enum.auto()


class FileFormat(enum.StrEnum):
    """Record files that TFDS writes without further packages."""

    tfrecord = enum.auto()
    array_record = enum.auto()


@app.command()
def build(
    config: Annotated[
        Protocol, typer.Argument(help="Which splits; `folder`: your own CLASS/FILE or SPLIT/CLASS/FILE.")
    ] = Protocol.official,
    manual_dir: Annotated[
        Path | None, typer.Option(help="Folder with the zip or class folders; without it, it is downloaded.")
    ] = None,
    data_dir: DataDirOption = None,
    kaggle_version: Annotated[
        int, typer.Option(min=1, max=2, help="Version of Kaggle's collection; published figures are about 1.")
    ] = 1,
    file_format: Annotated[
        FileFormat, typer.Option(help="tfrecord, which training reads; array_record: `tfds.data_source`.")
    ] = FileFormat.tfrecord,
    overwrite: Annotated[
        bool,
        typer.Option("--overwrite", help="Delete the dataset where it is built already, and build it anew."),
    ] = False,
) -> None:
    """Build the dataset tumor_ds/CONFIG, with Croissant metadata beside it."""
    require_training_extra()
    from tumor_ds.collection.archive import find_source
    from tumor_ds.collection.pictures import DatasetError

    if kaggle_version != 1 and config not in (Protocol.official, Protocol.grouped):
        fail(
            f"Version {kaggle_version} of Kaggle's collection comes as official or grouped, not as {config}:"
            " its patients are not known."
        )
    if set("[]*?") & set(data_dir or ""):
        fail(
            f"--data-dir {data_dir} holds one of [ ] * ?, and TFDS reads them as a pattern of names. Choose"
            " another --data-dir."
        )
    try:
        source = find_source(manual_dir) if manual_dir else None
        builder = make_builder(config, f"{kaggle_version}.*.*", data_dir, file_format, overwrite)
        is_new = prepare_dataset(builder, manual_dir, source)
    except DatasetError as error:
        fail(error)
    except OSError as error:
        fail(
            f"Building tumor_ds/{config} failed: {str(error).rstrip('.')}. If another build of it runs or"
            " ran, wait for its end and run this again."
        )
    say_what_is_built(builder, is_new)


@app.command()
def audit(
    dataset: Annotated[
        Path, typer.Argument(help="Zip or folder of pictures: CLASS/FILE or SPLIT/CLASS/FILE.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for audit.html and audit.json.")] = Path("audit"),
) -> None:
    """Show what a collection hides: copies across its splits, conflicting labels, what memory and borders alone can score."""
    require_training_extra()
    from tumor_ds.audit.audit import print_audit, run_audit, write_audit
    from tumor_ds.collection.archive import find_source
    from tumor_ds.collection.pictures import DatasetError

    try:
        source = find_source(dataset) if dataset.is_dir() else dataset
        if source.is_dir() and out.resolve().is_relative_to(source.resolve()):
            fail(
                f"{out} lies inside {dataset}, where its files would count as part of the collection: choose"
                " --out elsewhere."
            )
        result = run_audit(source, console)
    except DatasetError as error:
        fail(error)
    print_audit(result, console)
    try:
        write_audit(result, out)
    except OSError as error:
        fail(f"Cannot write the audit into {out}: {error.strerror or error}. Choose another --out.")
    say(f"Written: {out}/audit.html, {out}/audit.json")


@app.command()
def train(
    config: Annotated[Path, typer.Argument(help="TOML file with what differs from the defaults.")],
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", help="section.key=value over the config; may be given several times."),
    ] = None,
    run_dir: Annotated[
        str | None,
        typer.Option(help="Run folder, also gs://; runs/CONFIG by default. The same command resumes there."),
    ] = None,
    data_dir: DataDirOption = None,
    strategy: Annotated[
        StrategyName, typer.Option(help="Where it runs; auto takes all workers in TF_CONFIG, else all GPUs.")
    ] = StrategyName.auto,
    tpu: Annotated[
        str, typer.Option(help="Name or address of the TPU; the one attached to this machine by default.")
    ] = "",
    folds: Annotated[
        bool,
        typer.Option("--folds", help="Train all five folds of tumor_ds/patient, and pool what they say."),
    ] = False,
    artefact: Annotated[
        bool, typer.Option(help="Export, calibrate and score on the test split at the end; a sweep does not.")
    ] = True,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Print config, model, steps and an estimate of the time; write nothing."
        ),
    ] = False,
) -> None:
    """Train a model and write its artefact."""
    require_training_extra()
    from etils import epath

    from trainer.config import ConfigError, load_config
    from trainer.data.input_pipeline import CacheError, DatasetMissingError, load_builder
    from trainer.runs.folds import check_folds, choose_fold, complete_folds
    from trainer.runs.run import complete_run
    from trainer.training.checkpoints import CheckpointError
    from trainer.training.dry_run import describe_run
    from trainer.training.loop import PREEMPTED_EXIT_CODE, Preempted, resolve_precision
    from trainer.training.run_folder import RunError
    from trainer.training.strategies import StrategyError, build_strategy

    folder = epath.Path(run_dir or Path("runs") / config.stem)
    try:
        resolved = load_config(config, overrides)
        check_folds(resolved, folds, artefact)
        devices = build_strategy(strategy.value, tpu)  # before any other TensorFlow operation
        resolved = dataclasses.replace(resolved, precision=resolve_precision(resolved.precision, devices))
        builder = load_builder(resolved.data.dataset, data_dir)
        if dry_run:
            return describe_run(choose_fold(resolved, 1) if folds else resolved, builder, devices, console)
        if folds:
            return complete_folds(resolved, builder, folder, devices, console)
        built = complete_run(resolved, builder, folder, devices, console, artefact)
    except Preempted as error:
        say(str(error))
        raise typer.Exit(PREEMPTED_EXIT_CODE) from error
    except (ConfigError, DatasetMissingError, CacheError, StrategyError, RunError, CheckpointError) as error:
        fail(error)
    if built is not None:
        say(
            f"Artefact: {built}\nTry it:   tumor serve --model {built}"
            if "://" not in str(built)
            else f"Artefact: {built}"
        )
    return None


@app.command()
def export(
    run: Annotated[str, typer.Argument(help="Run folder of `tumor train`, also gs://.")],
    data_dir: DataDirOption = None,
    folds: Annotated[
        str | None,
        typer.Option(
            help=(
                "Folder of `tumor train --folds` by the same recipe: calibrate on its unseen patients, not on"
                " validation."
            )
        ),
    ] = None,
) -> None:
    """Write the artefact of a run again: export, calibration, evaluation, card."""
    require_training_extra()
    from etils import epath

    from trainer.config import ConfigError
    from trainer.data.input_pipeline import DatasetMissingError, load_builder
    from trainer.evaluation.predictions import PredictionsError
    from trainer.runs.artefact import build_artefact, load_run_config
    from trainer.training.run_folder import RunError

    try:
        run_dir = epath.Path(run)
        builder = load_builder(load_run_config(run_dir).data.dataset, data_dir)
        folder = build_artefact(run_dir, builder, console, epath.Path(folds) if folds else None)
    except (ConfigError, DatasetMissingError, RunError, PredictionsError) as error:
        fail(error)
    say(f"Artefact: {folder}")


app.command()(evaluate)
app.command()(compare)
app.command()(floor)
app.command()(tabulate)
app.command()(guard)
app.command()(refit_guard)


def make_builder(
    config: Protocol, version: str, data_dir: str | None, file_format: FileFormat, overwrite: bool
) -> Any:
    """Make the TFDS builder; one data directory holds a dataset in one file format."""
    from etils import epath

    from tumor_ds import Builder

    built = Builder(config=config.value, version=version, data_dir=data_dir)
    exists = epath.Path(
        built.data_dir
    ).is_dir()  # as TFDS asks before it builds; `is_prepared` warns where there is nothing
    if overwrite and exists:
        epath.Path(
            built.data_dir
        ).rmtree()  # before the builder is made, which would keep the old format and the old classes
    elif config is Protocol.folder and exists:
        pictures = sum(split.num_examples for split in built.info.splits.values())
        fail(
            f"tumor_ds/folder is already built in {built.data_dir} ({pictures:,} pictures). "
            "Add --overwrite to build it anew, or choose another --data-dir."
        )
    try:
        return Builder(config=config.value, version=version, data_dir=data_dir, file_format=file_format.value)
    except ValueError as error:
        fail(
            f"{error}. A built dataset keeps its format: choose another --data-dir, or add --overwrite to"
            " build it anew."
        )


def prepare_dataset(builder: Any, manual_dir: Path | None, source: Path | None) -> bool:
    """Build a dataset and its Croissant metadata; False where it was built before, and then metadata is written only if there is none."""
    import tensorflow_datasets as tfds
    from etils import epath

    from tumor_ds.croissant import CROISSANT_FILE, write_croissant

    folder = epath.Path(builder.data_dir)
    is_new = not folder.is_dir()
    builder.download_and_prepare(download_config=tfds.download.DownloadConfig(manual_dir=manual_dir))
    if is_new or not (folder / CROISSANT_FILE).is_file():
        write_croissant(builder, source)
    return is_new


def say_what_is_built(builder: Any, is_new: bool) -> None:
    """Print counts and classes: with CLASS/PATIENT/FILE the patients would stand as the classes."""
    counts = ", ".join(f"{name} {split.num_examples:,}" for name, split in builder.info.splits.items())
    labels = builder.info.features["label"].names
    say(f"{'Built' if is_new else 'Already built'} {builder.info.full_name} in {builder.data_dir}: {counts}")
    say(f"{len(labels):,} classes: {', '.join(labels[:20])}{', ...' if len(labels) > 20 else ''}")
