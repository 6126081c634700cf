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

import csv
import glob
import hashlib
import io
import json
import re
import zipfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import mlcroissant as mlc
import tensorflow_datasets as tfds
from etils import epath

from serving.files.writing import replace_whole
from tumor_ds.collection.archive import HOMEPAGE, open_collection
from tumor_ds.collection.errors import DatasetError
from tumor_ds.collection.layout import FORMATS
from tumor_ds.collection.versions import build_url
from tumor_ds.tumor_ds_dataset_builder import FOLDER

CROISSANT_FILE = "croissant.json"
RECORDS_FILE = "records.csv"
PICTURES_ZIP = "pictures.zip"  # the name to give in `mapping`, whatever the file is called
PICTURE_FILES = "picture-files"

ENUMERATION = "https://schema.org/Enumeration"
SPLIT_URLS = {"train": "cr:TrainingSplit", "validation": "cr:ValidationSplit", "test": "cr:TestSplit"}
# By Kaggle's version: the date of the files in its zip; the month since when Kaggle serves it.
DATES_PUBLISHED = {1: "2021-09-24", 2: "2026-02"}

# What README.md says, in short. The numbers in `_describe_kaggle` are counted.
NO_PROMISE = "A figure from these pictures is no promise for other scanners, sequences or patients."
NO_PATIENT = "A `group` is near enough to a patient to keep copies together; it is not a patient number."
BIASES = [
    "All tumours are contrast-enhanced, most notumor pictures are not: a model can read 'no contrast'"
    " as 'no tumour'.",
    "notumor pictures have other sizes and borders than the rest, which a model can read as well.",
]
VERSION_LIMITS = {
    1: (
        "In four pituitary files figshare says meningioma (Te-piTr_0002, Tr-pi_0043, Tr-pi_0515, Tr-pi_0520);"
        " Kaggle's label is kept."
    ),
    2: (
        "Among the pictures are augmented ones (`-aug-` in their name). Origin and biases are told of version"
        " 1; version 2 was not examined for them."
    ),
}
ORIGIN = (
    "Merged by its author on Kaggle from figshare 1512427 (Jun Cheng: contrast-enhanced T1 slices of 233"
    " patients with glioma, meningioma or pituitary tumour), SARTAJ and Br35H; the notumor slices are"
    " Br35H's."
)
KEYWORDS = ["image classification", "near-duplicates", "group-aware split"]
LICENCES = (
    {
        "name": "Licence stated on Kaggle",
        "description": "Check it there before you redistribute pictures.",
        "url": HOMEPAGE,
    },
    {
        "name": "CC BY 4.0",
        "description": "Only figshare's slices.",
        "url": "https://creativecommons.org/licenses/by/4.0/",
    },
    {
        "name": "Terms of SARTAJ and Br35H",
        "description": "The other slices, each as stated on Kaggle.",
    },
)


class TableRow(NamedTuple):
    """A row of `records.csv`; every value as in the TFDS record, the label by its name.

    Example:
        >>> TableRow("Testing/glioma/Te-glTr_0000.jpg", "test", "glioma", 292, 5, True).group
        292
    """

    filename: str
    split: str
    label: str
    group: int
    patient_fold: int
    has_train_twin: bool


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
    records = _read_records(builder)
    table = _format_table(records)
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
    rows = _describe_file(RECORDS_FILE, text, RECORDS_FILE, mlc.EncodingFormat.CSV, io.BytesIO(table))
    metadata = mlc.Metadata(
        name=f"{builder.name}/{builder.builder_config.name}",
        description=_describe(builder, records, bool(pictures)),
        version=str(builder.version),
        conforms_to=["http://mlcommons.org/croissant/1.0", "http://mlcommons.org/croissant/RAI/1.0"],
        distribution=[rows, *pictures],
        record_sets=[
            _list_labels(builder),
            _list_splits(builder),
            _join_pictures(builder, records, bool(pictures)),
        ],
        data_use_cases=[
            "Research on the classification of pictures, and on splits that leak.",
            "Not a medical device; not for diagnosis.",
        ],
        data_annotation_protocol=["The label is the name of the class folder; nobody read the slices anew."],
        data_preprocessing_protocol=[
            f"`group`: {_read_doc(builder, 'group')}.",
            f"TFDS holds a picture as: {_read_doc(builder, 'image')}.",
        ],
        **(_describe_own() if _is_own(builder) else _describe_kaggle(builder, records)),
    )
    document = metadata.to_json() | {"isLiveDataset": False}  # mlcroissant drops a False
    if not _is_own(builder):
        # mlcroissant would add a day to a month.
        document["datePublished"] = DATES_PUBLISHED[int(builder.version.major)]
    return document


def _is_own(builder: tfds.core.DatasetBuilder) -> bool:
    return builder.builder_config.name == FOLDER


def _read_doc(builder: tfds.core.DatasetBuilder, feature: str) -> str:
    return builder.info.features[feature].doc.desc


def _read_records(builder: tfds.core.DatasetBuilder) -> list[TableRow]:
    """All records, sorted by file name; no picture is decoded."""
    names = builder.info.features["label"].names
    records = []
    undecoded = {"image": tfds.decode.SkipDecoding()}
    for split in builder.info.splits:
        if builder.info.file_format == tfds.core.FileFormat.ARRAY_RECORD:  # which tf.data does not read
            rows = builder.as_data_source(split, decoders=undecoded)
        else:
            rows = tfds.as_numpy(builder.as_dataset(split, decoders=undecoded, shuffle_files=False))
        for row in rows:
            facts = int(row["group"]), int(row["patient_fold"]), bool(row["has_train_twin"])
            records.append(TableRow(row["filename"].decode(), split, names[row["label"]], *facts))
    return sorted(records)


def _format_table(records: Sequence[TableRow]) -> bytes:
    buffer = io.StringIO(newline="")
    csv.writer(buffer, lineterminator="\n").writerows([TableRow._fields, *records])
    return buffer.getvalue().encode()


def _describe(builder: tfds.core.DatasetBuilder, records: Sequence[TableRow], has_pictures: bool) -> str:
    labels = builder.info.features["label"].names
    splits = ", ".join(f"{name} {split.num_examples:,}" for name, split in builder.info.splits.items())
    if _is_own(builder):
        what, where = "pictures", "with their owner"
        origin = "as given by their owner, in groups of near-duplicates"
    else:
        version = int(builder.version.major)
        what, where = "slices of brain MRI", f"in {build_url(version)}"
        hidden = "the near-duplicates that its own split hides"
        origin = f"version {version} of {builder.info.homepage}, with {hidden}"
    text = (
        f"{len(records):,} {what} in {len(labels)} classes ({', '.join(labels)}): {origin}. "
        f"Config `{builder.builder_config.name}`: {builder.builder_config.description}. Splits: {splits}."
    )
    absent = f" The pictures are not among the files listed here; they lie {where}, by `filename`."
    return text if has_pictures else text + absent


def _describe_kaggle(builder: tfds.core.DatasetBuilder, records: Sequence[TableRow]) -> dict[str, Any]:
    """Arguments of `mlc.Metadata` for Kaggle's pictures."""
    authors = re.findall(r"author\s*=\s*\{(.+?), (.+?)\}", builder.info.citation)
    return {
        "url": HOMEPAGE,
        "cite_as": builder.info.citation,
        "creators": [mlc.Person(name=f"{given} {family}") for family, given in authors],
        "keywords": ["brain MRI", "brain tumour", *KEYWORDS],
        "license": [mlc.CreativeWork(**licence) for licence in LICENCES],
        "data_collection": ORIGIN,
        "data_biases": BIASES,
        "data_limitations": _list_limits(records, int(builder.version.major)),
        "personal_sensitive_information": [
            "Slices of patients, without name, age or sex; `group` and `patient_fold` are no patient numbers."
        ],
    }


def _list_limits(records: Sequence[TableRow], version: int) -> list[str]:
    known = sum(record.patient_fold > 0 for record in records)
    folds = f"The patient fold is known for {known:,} of {len(records):,} pictures. {NO_PATIENT}"
    limits = [NO_PROMISE, folds, VERSION_LIMITS[version]]
    twins = [record.has_train_twin for record in records if record.split == "test"]
    if not any(twins):
        return limits
    leak = (
        f"{sum(twins):,} of {len(twins):,} test pictures are a training picture up to a flip or a turn"
        " (`has_train_twin`). Publish a figure only together with that of the others."
    )
    return [leak, *limits]


def _describe_own() -> dict[str, Any]:
    """The same for a person's own pictures, of whose licence, origin and date nothing is known here."""
    return {
        "creators": [mlc.Person(name="The owner of the pictures")],
        "license": ["As given by the owner of the pictures."],
        "keywords": KEYWORDS,
        "data_collection": "As given by the owner of the pictures.",
        "data_limitations": [NO_PROMISE, NO_PATIENT],
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
        strangers = filenames.symmetric_difference(collection.paths)
    if strangers:
        raise DatasetError(
            f"Expected the zip that {builder.data_dir} was built from; {min(strangers)} is in only one of it"
            f" and {source} ({len(strangers)} such). Name the other zip, or delete that folder and build"
            " again."
        )
    text = "The zip that the dataset was built from."
    if not _is_own(builder):
        # Not as the address: a zip may have been packed anew, and the checksum is this one's.
        text += f" Kaggle's: {build_url(int(builder.version.major))}"
    with source.open("rb") as file:
        zipped = _describe_file(PICTURES_ZIP, text, source.name, mlc.EncodingFormat.ZIP, file)
    prefix = _find_prefix(source, records[0].filename)
    where = {(str(PurePosixPath(name).parent), PurePosixPath(name).suffix) for name in filenames}
    pictures = mlc.FileSet(
        id=PICTURE_FILES,
        name=PICTURE_FILES,
        description="The pictures, without what desktops leave behind.",
        contained_in=[PICTURES_ZIP],
        includes=sorted(f"{glob.escape(prefix + folder)}/[!.]*{suffix}" for folder, suffix in where),
        encoding_formats=sorted({f"image/{FORMATS[suffix.lower()]}" for _, suffix in where}),
    )
    return [zipped, pictures]


def _describe_file(
    name: str, text: str, url: str, kind: str, file: io.BufferedReader | io.BytesIO
) -> mlc.FileObject:
    sha256, size = hashlib.file_digest(file, "sha256").hexdigest(), f"{file.seek(0, io.SEEK_END)} B"
    return mlc.FileObject(
        id=name,
        name=name,
        description=text,
        content_url=url,
        content_size=size,
        encoding_formats=[kind],
        sha256=sha256,
    )


def _find_prefix(source: Path, filename: str) -> str:
    """The folders that all pictures of the zip share, `mine/`, or nothing."""
    with zipfile.ZipFile(source) as zipped:
        names = (PurePosixPath(name).as_posix() for name in zipped.namelist())
        found = [name.removesuffix(filename) for name in names if f"/{name}".endswith(f"/{filename}")]
    return min(found, key=len)  # a copy below `__MACOSX/` has a longer one


def _list_labels(builder: tfds.core.DatasetBuilder) -> mlc.RecordSet:
    rows = [{"name": name, "index": index} for index, name in enumerate(builder.info.features["label"].names)]
    columns = {"name": (mlc.DataType.TEXT, "class folder"), "index": (mlc.DataType.INT64, "number in TFDS")}
    return _list_values("labels", "The classes, in the order of their numbers.", [ENUMERATION], columns, rows)


def _list_splits(builder: tfds.core.DatasetBuilder) -> mlc.RecordSet:
    """The splits; Croissant has an address for `train`, `validation` and `test`, but for no fold."""
    rows = [{"name": name, "url": SPLIT_URLS.get(name)} for name in builder.info.splits]
    columns = {"name": (mlc.DataType.TEXT, "name in TFDS"), "url": (mlc.DataType.URL, "what it is for")}
    if not all(row["url"] for row in rows):
        del columns["url"]
    text, kinds = builder.builder_config.description, [ENUMERATION, mlc.DataType.SPLIT]
    return _list_values("splits", text, kinds, columns, rows)


def _list_values(
    name: str,
    description: str,
    kinds: list[Any],
    columns: dict[str, tuple[Any, str]],
    rows: Sequence[dict[str, Any]],
) -> mlc.RecordSet:
    fields = [
        mlc.Field(id=f"{name}/{column}", name=column, description=text, data_types=[kind])
        for column, (kind, text) in columns.items()
    ]
    data = [{f"{name}/{column}": row[column] for column in columns} for row in rows]
    return mlc.RecordSet(
        id=name,
        name=name,
        description=description,
        data_types=kinds,
        key=[f"{name}/name"],
        fields=fields,
        data=data,
    )


def _join_pictures(
    builder: tfds.core.DatasetBuilder, records: Sequence[TableRow], has_pictures: bool
) -> mlc.RecordSet:
    """One record a picture.

    mlcroissant 1.1 carries out the first join alone, and reads `content` from its left side; so the pictures
    stand first and left.
    """
    types, config = mlc.DataType, builder.builder_config.name
    docs = {name: _read_doc(builder, name) for name in TableRow._fields if name not in ("split", "label")}
    split, folds, twins = (_read_column(name) for name in ("split", "patient_fold", "has_train_twin"))
    # Not the column: pandas, which reads it for mlcroissant, takes a class `None` for missing and `01` for 1.
    label = _read_column("filename", mlc.Transform(regex=r"^(?:.*/)?([^/]+)/[^/]+$"))
    in_splits, in_labels = mlc.Source(field="splits/name"), mlc.Source(field="labels/name")
    fields = [
        _describe_field("split", types.TEXT, f"split of config `{config}`", split, in_splits),
        _describe_field("label", types.TEXT, "class folder of the picture", label, in_labels),
        _describe_field("group", types.INT64, docs["group"], _read_column("group")),
        _describe_field("patient_fold", types.INT64, docs["patient_fold"], folds),
        _describe_field("has_train_twin", types.BOOL, docs["has_train_twin"], twins),
    ]
    names = [_read_column("filename")]
    if has_pictures:
        depth = records[0].filename.count("/")
        below_prefix = mlc.Transform(regex=rf"^(?:.*/)?((?:[^/]+/){{{depth}}}[^/]+)$")
        names.insert(0, _read_file(mlc.FileProperty.fullpath, below_prefix))
        stored = f"as its file stores it, grey or RGB; in TFDS: {_read_doc(builder, 'image')}"
        content = _read_file(mlc.FileProperty.content)
        fields.insert(0, _describe_field("image", types.IMAGE_OBJECT, stored, content))
    fields.insert(0, _describe_field("filename", types.TEXT, docs["filename"], *names))
    key, text = ["pictures/filename"], "One record a picture."
    return mlc.RecordSet(id="pictures", name="pictures", description=text, key=key, fields=fields)


def _read_column(column: str, *transforms: mlc.Transform) -> mlc.Source:
    extract = mlc.Extract(column=column)
    return mlc.Source(file_object=RECORDS_FILE, extract=extract, transforms=list(transforms))


def _read_file(file_property: mlc.FileProperty, *transforms: mlc.Transform) -> mlc.Source:
    extract = mlc.Extract(file_property=file_property)
    return mlc.Source(file_set=PICTURE_FILES, extract=extract, transforms=list(transforms))


def _describe_field(
    name: str, data_type: Any, description: str, source: mlc.Source, references: mlc.Source | None = None
) -> mlc.Field:
    return mlc.Field(
        id=f"pictures/{name}",
        name=name,
        description=description,
        data_types=[data_type],
        source=source,
        references=references or mlc.Source(),
    )
