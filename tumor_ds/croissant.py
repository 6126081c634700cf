"""Croissant metadata of a built dataset, for whoever does not use TensorFlow: content, origin, known faults.

Goes in: a built dataset, and the zip that it was built from. Comes out, in the folder of the dataset:
`records.csv`, a row a picture, and `croissant.json`, which describes it and joins it with the pictures in the
zip. Both files may be moved together.

    # The mapping to the zip that it was built from is needed.
    dataset = mlcroissant.Dataset("croissant.json", mapping={"pictures.zip": path})
    for record in dataset.records("pictures"):
        print(record["pictures/filename"], record["pictures/label"], record["pictures/image"])

mlcroissant keeps what it unpacks, in `~/.cache/croissant`, by the zip's file name alone: after changing the
zip, delete that.
Source: Croissant 1.0, https://docs.mlcommons.org/croissant/docs/croissant-spec.html, and its RAI extension.
"""

import glob
import hashlib
import io
import json
import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import mlcroissant as mlc
import tensorflow_datasets as tfds
from etils import epath

from serving.files.writing import replace_whole
from tumor_ds.collection.archive import HOMEPAGE, open_collection
from tumor_ds.collection.errors import DatasetError
from tumor_ds.collection.layout import FORMATS
from tumor_ds.collection.versions import build_url
from tumor_ds.metadata import origin
from tumor_ds.metadata.record_sets import PICTURE_FILES, join_pictures, list_labels, list_splits, read_doc
from tumor_ds.metadata.table import RECORDS_FILE, TableRow, format_table, read_records
from tumor_ds.sources.catalogue import SOURCES, Source
from tumor_ds.sources.own_pictures import PROTOCOLS

CROISSANT_FILE = "croissant.json"
PICTURES_ZIP = "pictures.zip"  # the name to give in `mapping`, whatever the file is called
KEYWORDS = ["image classification", "near-duplicates", "group-aware split"]


def write_croissant(builder: tfds.core.DatasetBuilder, source: Path | None) -> epath.Path:
    """Write `records.csv` and `croissant.json` into the folder of a built dataset.

    Both take the places of earlier ones once both are written. Croissant asks for a checksum of every file,
    so it holds the pictures only where they come from a zip; else only their facts.

    Args:
        builder: `tumor_ds` of any config and version, built.
        source: the zip or folder that it was built from; None if unknown.

    Returns:
        Path of `croissant.json`.

    Raises:
        DatasetError: the dataset is not built, or the zip holds other pictures than the dataset.
    """
    if not builder.is_prepared():
        raise DatasetError(f"Expected a built dataset in {builder.data_dir}, found none. Build it first.")
    records = read_records(builder)
    table = format_table(records)
    pictures = _describe_zip(builder, source, records) if source is not None and source.is_file() else []
    document = _describe_dataset(builder, records, table, pictures)
    folder = epath.Path(builder.data_dir)
    # The inner one is put in its place first: where there is a croissant.json, there is its table.
    with replace_whole(folder / CROISSANT_FILE) as metadata, replace_whole(folder / RECORDS_FILE) as rows:
        rows.write_bytes(table)
        metadata.write_bytes(f"{json.dumps(document, indent=2, ensure_ascii=False)}\n".encode())
    return folder / CROISSANT_FILE


def _describe_dataset(
    builder: tfds.core.DatasetBuilder,
    records: Sequence[TableRow],
    table: bytes,
    pictures: list[mlc.FileObject | mlc.FileSet],
) -> dict[str, Any]:
    """What `croissant.json` holds."""
    text = "A row a picture, sorted by file name."
    depth = records[0].filename.count("/") if pictures else None
    rows = _describe_file(RECORDS_FILE, text, RECORDS_FILE, mlc.EncodingFormat.CSV, io.BytesIO(table))
    metadata = mlc.Metadata(
        name=f"{builder.name}/{builder.builder_config.name}",
        description=_describe(builder, records, bool(pictures)),
        version=str(builder.version),
        conforms_to=["http://mlcommons.org/croissant/1.0", "http://mlcommons.org/croissant/RAI/1.0"],
        distribution=[rows, *pictures],
        record_sets=[list_labels(builder), list_splits(builder), join_pictures(builder, depth)],
        data_use_cases=[
            "Research on the classification of pictures, and on splits that leak.",
            "Not a medical device; not for diagnosis.",
        ],
        data_annotation_protocol=["The label is the name of the class folder; nobody read the slices anew."],
        data_preprocessing_protocol=[
            f"`group`: {read_doc(builder, 'group')}.",
            f"TFDS holds a picture as: {read_doc(builder, 'image')}.",
        ],
        **_describe_origin(builder, records),
    )
    document = metadata.to_json() | {"isLiveDataset": False}  # mlcroissant drops a False
    if _is_kaggle(builder):
        # mlcroissant would add a day to a month.
        document["datePublished"] = origin.DATES_PUBLISHED[int(builder.version.major)]
    return document


def _is_kaggle(builder: tfds.core.DatasetBuilder) -> bool:
    return builder.builder_config.name in PROTOCOLS


def _describe(builder: tfds.core.DatasetBuilder, records: Sequence[TableRow], has_pictures: bool) -> str:
    labels = builder.info.features["label"].names
    splits = ", ".join(f"{name} {split.num_examples:,}" for name, split in builder.info.splits.items())
    config = builder.builder_config.name
    if config in SOURCES:
        what, where, source = "slices of brain MRI", f"in {SOURCES[config].homepage}", SOURCES[config].faults
        source = source.rstrip(".") or "no tumour"
    elif not _is_kaggle(builder):
        what, where = "pictures", "with their owner"
        source = "as given by their owner, in groups of near-duplicates"
    else:
        version = int(builder.version.major)
        what, where = "slices of brain MRI", f"in {build_url(version)}"
        hidden = "the near-duplicates that its own split hides"
        source = f"version {version} of {builder.info.homepage}, with {hidden}"
    text = (
        f"{len(records):,} {what} in {len(labels)} classes ({', '.join(labels)}): {source}. "
        f"Config `{config}`: {builder.builder_config.description}. Splits: {splits}."
    )
    absent = f" The pictures are not among the files listed here; they lie {where}, by `filename`."
    return text if has_pictures else text + absent


def _describe_origin(builder: tfds.core.DatasetBuilder, records: Sequence[TableRow]) -> dict[str, Any]:
    """Arguments of `mlc.Metadata` that say where the pictures come from."""
    if _is_kaggle(builder):
        return _describe_kaggle(builder, records)
    name = builder.builder_config.name
    return _describe_source(SOURCES[name]) if name in SOURCES else _describe_own()


def _describe_source(source: Source) -> dict[str, Any]:
    """The same for a public source."""
    return {
        "url": source.homepage.partition(" ")[0],
        "cite_as": source.citation,
        "creators": [mlc.Person(name=source.citation.partition(" (")[0])],
        "keywords": ["brain MRI", "brain tumour", *KEYWORDS],
        "license": [source.licence],
        "data_collection": f"{source.title}, by {source.homepage}",
        "data_limitations": [origin.NO_PROMISE, *filter(None, [source.faults])],
        "personal_sensitive_information": ["Slices of patients, without name, age or sex."],
    }


def _describe_kaggle(builder: tfds.core.DatasetBuilder, records: Sequence[TableRow]) -> dict[str, Any]:
    """Arguments of `mlc.Metadata` for Kaggle's pictures."""
    authors = re.findall(r"author\s*=\s*\{(.+?), (.+?)\}", builder.info.citation)
    licences = [mlc.CreativeWork(name=name, description=text, url=url) for name, text, url in origin.LICENCES]
    return {
        "url": HOMEPAGE,
        "cite_as": builder.info.citation,
        "creators": [mlc.Person(name=f"{given} {family}") for family, given in authors],
        "keywords": ["brain MRI", "brain tumour", *KEYWORDS],
        "license": licences,
        "data_collection": origin.ORIGIN,
        "data_biases": origin.BIASES,
        "data_limitations": _list_limits(records, int(builder.version.major)),
        "personal_sensitive_information": [
            "Slices of patients, without name, age or sex; `group` and `fold` are no patient numbers."
        ],
    }


def _list_limits(records: Sequence[TableRow], version: int) -> list[str]:
    known = sum(record.fold > 0 for record in records)
    folds = f"The patient fold is known for {known:,} of {len(records):,} pictures. {origin.NO_PATIENT}"
    limits = [origin.NO_PROMISE, folds, origin.VERSION_LIMITS[version]]
    twins = [record.has_train_twin for record in records if record.split == "test"]
    if any(twins):
        limits.insert(
            0,
            f"{sum(twins):,} of {len(twins):,} test pictures are a training picture up to a flip or a turn"
            " (`has_train_twin`). Publish a figure only together with that of the others.",
        )
    return limits


def _describe_own() -> dict[str, Any]:
    """The same for a person's own pictures, of whose licence, origin and date nothing is known here."""
    given = "As given by the owner of the pictures."
    return {
        "creators": [mlc.Person(name="The owner of the pictures")],
        "license": [given],
        "keywords": KEYWORDS,
        "data_collection": given,
        "data_limitations": [origin.NO_PROMISE, origin.NO_PATIENT],
        "personal_sensitive_information": [
            "File names stand here as given; look at them before you pass this on."
        ],
    }


def _describe_zip(
    builder: tfds.core.DatasetBuilder, source: Path, records: Sequence[TableRow]
) -> list[mlc.FileObject | mlc.FileSet]:
    """The zip, and in it exactly the pictures of the dataset."""
    filenames = {record.filename for record in records}
    with open_collection(source) as collection:
        strangers, prefix = filenames.symmetric_difference(collection.paths), collection.prefix
        masks = list(collection.masks.values())
    if strangers:
        raise DatasetError(
            f"Expected the zip that {builder.data_dir} was built from; {min(strangers)} is in only one of it"
            f" and {source} ({len(strangers)} such). Name the other zip, or delete that folder and build"
            " again."
        )
    text = "The zip that the dataset was built from."
    if _is_kaggle(builder):
        # Not as the address: a zip may have been packed anew, and the checksum is this one's.
        text += f" Kaggle's: {build_url(int(builder.version.major))}"
    with source.open("rb") as file:
        zipped = _describe_file(PICTURES_ZIP, text, source.name, mlc.EncodingFormat.ZIP, file)
    where = {_locate(name) for name in filenames}
    # A pattern for all PNG files of a folder would take masks for pictures, and mlcroissant excludes nothing.
    mixed = where.intersection(map(_locate, masks))
    patterns = [f"{glob.escape(prefix + folder)}/[!.]*{suffix}" for folder, suffix in where - mixed]
    single = [glob.escape(prefix + name) for name in filenames if _locate(name) in mixed]
    pictures = mlc.FileSet(
        id=PICTURE_FILES,
        name=PICTURE_FILES,
        description="The pictures, without what desktops leave behind.",
        contained_in=[PICTURES_ZIP],
        includes=sorted(patterns + single),
        encoding_formats=sorted({f"image/{FORMATS[suffix.lower()]}" for _, suffix in where}),
    )
    return [zipped, pictures]


def _locate(name: str) -> tuple[str, str]:
    """Folder and suffix."""
    return str(PurePosixPath(name).parent), PurePosixPath(name).suffix


def _describe_file(
    name: str, text: str, url: str, kind: str, file: io.BufferedReader | io.BytesIO
) -> mlc.FileObject:
    return mlc.FileObject(
        id=name,
        name=name,
        description=text,
        content_url=url,
        encoding_formats=[kind],
        sha256=hashlib.file_digest(file, "sha256").hexdigest(),
        content_size=f"{file.seek(0, io.SEEK_END)} B",
    )
