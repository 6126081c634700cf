"""The command line `tumor`: thin commands; what needs TensorFlow is imported only when its command runs."""

import importlib.util
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from serving.cli import RevisionOption, fail, predict, serve

app = typer.Typer(help="Brain MRI slices: data, training, evaluation, prediction. A research tool, not a medical device.", no_args_is_help=True)
app.command()(predict)
app.command()(serve)

console = Console()
DataDirOption = Annotated[Path | None, typer.Option(help="Where TFDS keeps datasets; ~/tensorflow_datasets by default.")]


@app.command()
def build(
    manual_dir: Annotated[Path, typer.Option(help="Folder with Kaggle's zip, or with its unzipped Training and Testing.")],
    data_dir: DataDirOption = None,
) -> None:
    """Build the dataset tumor_ds/official."""
    require_training_extra()
    import tensorflow_datasets as tfds

    from tumor_ds import Builder
    from tumor_ds.archive import DatasetError

    builder = Builder(config="official", data_dir=data_dir)
    try:
        builder.download_and_prepare(download_config=tfds.download.DownloadConfig(manual_dir=manual_dir))
    except DatasetError as error:
        fail(error)
    counts = ", ".join(f"{name} {split.num_examples:,}" for name, split in builder.info.splits.items())
    say(f"Built tumor_ds/official in {builder.data_dir}: {counts}")


@app.command()
def train(
    config: Annotated[Path, typer.Argument(help="TOML file with what differs from the defaults.")],
    overrides: Annotated[list[str] | None, typer.Option("--set", help="section.key=value over the config; may be given several times.")] = None,
    run_dir: Annotated[Path | None, typer.Option(help="Run folder; runs/CONFIG by default. The same command resumes there.")] = None,
    data_dir: DataDirOption = None,
) -> None:
    """Train a model and write its artefact."""
    require_training_extra()
    from trainer.artefact import build_artefact
    from trainer.config import ConfigError, load_config
    from trainer.input_pipeline import DatasetMissingError, load_builder
    from trainer.training import RunError
    from trainer.training import train as run_training

    run_dir = run_dir or Path("runs") / config.stem
    try:
        resolved = load_config(config, overrides)
        builder = load_builder(resolved.data.dataset, data_dir)
        run_training(resolved, builder, run_dir)
        folder = build_artefact(run_dir, builder, console)
    except (ConfigError, DatasetMissingError, RunError) as error:
        fail(error)
    say(f"Artefact: {folder}\nTry it:   tumor serve --model {folder}")


@app.command()
def export(
    run: Annotated[Path, typer.Argument(help="Run folder of `tumor train`.")],
    data_dir: DataDirOption = None,
) -> None:
    """Write the artefact of a run again: export, calibration, evaluation, card."""
    require_training_extra()
    from trainer.artefact import build_artefact, load_run_config
    from trainer.input_pipeline import DatasetMissingError, load_builder
    from trainer.training import RunError

    try:
        folder = build_artefact(run, load_builder(load_run_config(run).data.dataset, data_dir), console)
    except (DatasetMissingError, RunError) as error:
        fail(error)
    say(f"Artefact: {folder}")


@app.command()
def evaluate(
    model: Annotated[str | None, typer.Argument(help="Run or artefact folder, or Hub repository user/name; the bundled model by default.")] = None,
    protocol: Annotated[str, typer.Option(help="Config of tumor_ds to evaluate on.")] = "official",
    out: Annotated[Path | None, typer.Option(help="Folder for metrics.json, predictions.csv and figures; evaluation/PROTOCOL by default.")] = None,
    revision: RevisionOption = None,
    data_dir: DataDirOption = None,
) -> None:
    """Score the test split of a protocol; the leaked figure and the unseen one side by side."""
    require_training_extra()
    from serving import ArtefactError, from_pretrained
    from trainer import evaluation
    from trainer.input_pipeline import DatasetMissingError, load_builder

    out = out or Path("evaluation") / protocol
    try:
        classifier = from_pretrained(model, revision)
        result = evaluation.evaluate(classifier, load_builder(f"{evaluation.DATASET}/{protocol}", data_dir))
    except (ArtefactError, DatasetMissingError, ValueError) as error:
        fail(error)
    summary = evaluation.summarise(result)
    evaluation.save_evaluation(result, summary, out)
    evaluation.print_summary(result.protocol, summary, console)
    say(f"Written: {out}/metrics.json, {out}/predictions.csv, {out}/figures")


def require_training_extra() -> None:
    """Stop with the remedy where the package was installed without the extra `train`."""
    if importlib.util.find_spec("tensorflow_datasets") is None or importlib.util.find_spec("keras_cv") is None:
        fail("This command needs the extra `train`: pip install '.[train]'")


def say(text: str) -> None:
    """Print as it is: a path may hold brackets, which rich would take for markup, and must not be broken into lines."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)
