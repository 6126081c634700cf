"""`tumor build`: a thin command over the dataset builder."""

import enum
from pathlib import Path
from typing import Annotated, Any

import typer

from serving.files.errors import UserError
from trainer.cli.options import DataDirOption, Protocol, require_training_extra, say

_CONFIG = (
    "Kaggle's collection: official, grouped or patient; another source: figshare, lgg_tcga, ... (an unknown"
    " name lists them); folder: your own CLASS/FILE or SPLIT/CLASS/FILE; gathered: a table sources.csv."
)
_MANUAL_DIR = "Folder with the zip or class folders; without it, it is downloaded."
_KAGGLE_VERSION = "Version of Kaggle's collection; published figures are about 1."
_FILE_FORMAT = "tfrecord, which training reads; array_record: `tfds.data_source`."
_NAME = "Name of own pictures (folder, gathered): the dataset tumor_ds/NAME, beside any others."
_HEALTHY_LABEL = "Class of `folder --name` that shows nothing; by default `notumor`, where there is one."
_IN_FOLDS = "Split `folder --name` into five folds of whole groups, to mix it in beside tumor_ds/patient."
_OVERWRITE = "Delete the dataset where it is built already, and build it anew."


class FileFormat(enum.StrEnum):
    """Record files that TFDS writes without further packages."""

    tfrecord = enum.auto()
    array_record = enum.auto()


def build(
    config: Annotated[str, typer.Argument(help=_CONFIG)] = Protocol.official,
    manual_dir: Annotated[Path | None, typer.Option(help=_MANUAL_DIR)] = None,
    data_dir: DataDirOption = None,
    name: Annotated[str | None, typer.Option(help=_NAME)] = None,
    healthy_label: Annotated[str | None, typer.Option(help=_HEALTHY_LABEL)] = None,
    in_folds: Annotated[bool, typer.Option("--folds", help=_IN_FOLDS)] = False,
    kaggle_version: Annotated[int, typer.Option(min=1, max=2, help=_KAGGLE_VERSION)] = 1,
    file_format: Annotated[FileFormat, typer.Option(help=_FILE_FORMAT)] = FileFormat.tfrecord,
    overwrite: Annotated[bool, typer.Option("--overwrite", help=_OVERWRITE)] = False,
) -> None:
    """Build the dataset tumor_ds/CONFIG, or tumor_ds/NAME, with Croissant metadata beside it."""
    require_training_extra()
    from tumor_ds import Builder
    from tumor_ds.collection.archive import find_source

    if config not in Builder.builder_configs:
        raise UserError(
            f"There is no dataset {config}. Expected one of {', '.join(Builder.builder_configs)}."
        )
    if kaggle_version != 1 and config not in (Protocol.official, Protocol.grouped):
        raise UserError(
            f"Version {kaggle_version} of Kaggle's collection comes as official or grouped, not as {config}:"
            " its patients are not known."
        )
    if set("[]*?") & set(data_dir or ""):
        raise UserError(
            f"--data-dir {data_dir} holds one of [ ] * ?, and TFDS reads them as a pattern of names. Choose"
            " another --data-dir."
        )
    source = find_source(manual_dir) if manual_dir and config in list(Protocol) else None
    chosen = choose_pictures(config, name, healthy_label, in_folds)
    builder = make_builder(chosen, f"{kaggle_version}.*.*", data_dir, file_format, overwrite)
    try:
        is_new = prepare_dataset(builder, manual_dir, source)
    except OSError as error:
        raise UserError(
            f"Building tumor_ds/{name or config} failed: {str(error).rstrip('.')}. If another build of it"
            " runs or ran, wait for its end and run this again."
        ) from error
    say_what_is_built(builder, is_new)


def choose_pictures(config: str, name: str | None, healthy_label: str | None, in_folds: bool) -> Any:
    """The builder's config: its name, or for named pictures of one's own a `PicturesConfig`."""
    from tumor_ds import Builder
    from tumor_ds.sources.own_pictures import FOLDER, PicturesConfig, check_name

    if name is None:
        if healthy_label is not None or in_folds:
            raise UserError("--healthy-label and --folds are for pictures with a name: add --name NAME.")
        return config
    layout = Builder.builder_configs[config].layout
    if config not in (FOLDER, layout):
        raise UserError(f"--name is for own pictures: tumor build folder or gathered, not {config}.")
    if layout != FOLDER and (healthy_label is not None or in_folds):
        raise UserError(f"--healthy-label and --folds are for folder; the table of {config} says both.")
    check_name(name, tuple(Builder.builder_configs))
    return PicturesConfig(name=name, layout=layout, healthy_label=healthy_label, in_folds=in_folds)


def make_builder(
    config: Any, version: str, data_dir: str | None, file_format: FileFormat, overwrite: bool
) -> Any:
    """Make the TFDS builder; one data directory holds a dataset in one file format."""
    import logging

    from etils import epath

    from tumor_ds import Builder
    from tumor_ds.sources.catalogue import SOURCES
    from tumor_ds.sources.own_pictures import PROTOCOLS

    # TFDS warns of each config that its builder does not list; own pictures are such on purpose.
    logging.getLogger("absl").addFilter(lambda record: "custom data configuration" not in record.getMessage())

    built = Builder(config=config, version=version, data_dir=data_dir)
    # As TFDS asks before it builds; `is_prepared` warns where there is nothing.
    exists = epath.Path(built.data_dir).is_dir()
    if overwrite and exists:
        # Before the builder is made, which would keep the old format and the old classes.
        epath.Path(built.data_dir).rmtree()
    elif exists and built.builder_config.name not in (*PROTOCOLS, *SOURCES):
        pictures = sum(split.num_examples for split in built.info.splits.values())
        raise UserError(
            f"{built.name}/{built.builder_config.name} is already built in {built.data_dir} ({pictures:,}"
            " pictures). Add --overwrite to build it anew, or choose another --data-dir."
        )
    try:
        return Builder(config=config, version=version, data_dir=data_dir, file_format=file_format.value)
    except ValueError as error:
        raise UserError(
            f"{error}. A built dataset keeps its format: choose another --data-dir, or add --overwrite to"
            " build it anew."
        ) from error


def prepare_dataset(builder: Any, manual_dir: Path | None, source: Path | None) -> bool:
    """Build a dataset and its Croissant metadata, or what is missing; False where it was there before."""
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
    from tumor_ds.sources.own_pictures import find_healthy_label

    labels = builder.info.features["label"].names
    say(f"{'Built' if is_new else 'Already built'} {builder.info.full_name} in {builder.data_dir}: {counts}")
    healthy = find_healthy_label(builder)
    told = f"; healthy: {healthy}" if healthy else "; none of them is healthy (--healthy-label)"
    say(f"{len(labels):,} classes: {', '.join(labels[:20])}{', ...' if len(labels) > 20 else ''}{told}")
