"""Croissant metadata of a built dataset, for whoever does not use TensorFlow: what it holds, where from, and its known faults.

Goes in: a built dataset, and the zip that it was built from. Comes out, in the folder of the dataset: `records.csv`, a row a picture,
and `croissant.json`, which describes it and joins it with the pictures in the zip. Both files may be moved together.

```python
import mlcroissant as mlc
dataset = mlc.Dataset("croissant.json", mapping={"pictures.zip": "brain-tumor-mri-dataset.zip"})  # without mapping it is downloaded
for record in dataset.records("pictures"):
    print(record["pictures/filename"], record["pictures/label"], record["pictures/image"])
```

mlcroissant keeps what it unpacks in `~/.cache/croissant` by the zip's address alone: after changing a zip of your own, delete that.
Source: Croissant 1.0, https://docs.mlcommons.org/croissant/docs/croissant-spec.html, and its RAI extension.
"""

import csv
import glob
import hashlib
import io
import json
import re
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import mlcroissant as mlc
import tensorflow_datasets as tfds

from tumor_ds.archive import open_collection
from tumor_ds.pictures import DatasetError
from tumor_ds.tumor_ds_dataset_builder import FOLDER
from tumor_ds.versions import build_url

CROISSANT_FILE = "croissant.json"
RECORDS_FILE = "records.csv"
PICTURES_ZIP = "pictures.zip"  # the name to give in `mapping`, whatever the file is called
PICTURE_FILES = "picture-files"

CONFORMS_TO = ["http://mlcommons.org/croissant/1.0", "http://mlcommons.org/croissant/RAI/1.0"]
ENUMERATION = "https://schema.org/Enumeration"
SPLIT_URLS = {"train": "cr:TrainingSplit", "validation": "cr:ValidationSplit", "test": "cr:TestSplit"}
ENCODINGS = {
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".png": "image/png",
    ".bmp": "image/bmp",
    ".tif": "image/tiff",
    ".tiff": "image/tiff",
    ".webp": "image/webp",
}
# By Kaggle's version: the date of the files in its zip; the month since when Kaggle serves it.
DATES_PUBLISHED = {1: "2021-09-24", 2: "2026-02"}

GROUPING = "Pictures that show the same under flips and turns, and neighbouring slices where known, share a `group`."
NO_PROMISE = "A figure from these pictures is no promise for other scanners, sequences or patients."
NO_PATIENT_NUMBER = "A `group` is near enough to a patient to keep copies together; it is not a patient number."
NO_NAMES = "Slices of patients. records.csv holds no name, age or sex, and `group` and `patient_fold` are no patient numbers."
USE_CASES = ["Research on the classification of brain MRI slices, and on splits that leak.", "Not a medical device; not for diagnosis."]
BIASES = [
    "All tumours are contrast-enhanced, most notumor pictures are not: a model can read 'no contrast' as 'no tumour'.",
    "notumor pictures have other sizes and borders than the rest, which a model can read as well.",
]
VERSION_LIMITS = {
    1: "In four pituitary files figshare says meningioma (Te-piTr_0002, Tr-pi_0043, Tr-pi_0515, Tr-pi_0520); Kaggle's label is kept.",
    2: "Among the pictures are augmented ones (`-aug-` in their name).",
}
KAGGLE_ORIGIN = (
    "Merged by its author on Kaggle from figshare 1512427 (Jun Cheng: contrast-enhanced T1 slices of 233 patients with glioma, meningioma "
    "or pituitary tumour), SARTAJ and Br35H; the notumor slices are Br35H's."
)


class Record(NamedTuple):
    """A row of `records.csv`; every value as in the TFDS record, the label by its name."""

    filename: str
    split: str
    label: str
    group: int
    patient_fold: int
    has_train_twin: bool


def write_croissant(builder: tfds.core.DatasetBuilder, source: Path | None) -> Path:
    """Write `records.csv` and `croissant.json` into the folder of a built dataset, both whole or neither.

    Croissant names a file only together with its checksum, so the pictures are described where they come from a zip. Of a folder, or
    of nothing, `croissant.json` says what each picture is, and `filename` where it lies in the collection.

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
    files: list[mlc.FileObject | mlc.FileSet] = [_describe_table(table)]
    if source is not None and source.is_file():
        files += _describe_zip(builder, source, records)
    facts = _describe_own(records) if _is_own(builder) else _describe_kaggle(builder, records)
    metadata = mlc.Metadata(
        name=f"{builder.name}/{builder.builder_config.name}",
        description=_describe(builder, records, has_pictures=len(files) > 1),
        version=str(builder.version),
        conforms_to=CONFORMS_TO,
        distribution=files,
        record_sets=[_list_labels(builder), _list_splits(builder), _join_pictures(builder, records, has_pictures=len(files) > 1)],
        data_annotation_protocol=["The label is the name of the class folder; nobody read the slices anew."],
        data_preprocessing_protocol=[GROUPING, f"TFDS holds each picture as: {_read_doc(builder, 'image')}."],
        personal_sensitive_information=[NO_NAMES],
        **facts,
    )
    document = metadata.to_json() | {"isLiveDataset": False}  # mlcroissant drops a False
    if not _is_own(builder):
        document["datePublished"] = DATES_PUBLISHED[int(builder.version.major)]  # mlcroissant would add a day to a month
    text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    return _write_files(Path(builder.data_dir), {RECORDS_FILE: table, CROISSANT_FILE: text.encode()})


def _is_own(builder: tfds.core.DatasetBuilder) -> bool:
    return builder.builder_config.name == FOLDER


def _read_doc(builder: tfds.core.DatasetBuilder, feature: str) -> str:
    return builder.info.features[feature].doc.desc


def _read_records(builder: tfds.core.DatasetBuilder) -> list[Record]:
    """All records, sorted by file name; no picture is decoded."""
    names = builder.info.features["label"].names
    records = []
    for split in builder.info.splits:
        for row in tfds.as_numpy(builder.as_dataset(split=split, decoders={"image": tfds.decode.SkipDecoding()}, shuffle_files=False)):
            facts = int(row["group"]), int(row["patient_fold"]), bool(row["has_train_twin"])
            records.append(Record(row["filename"].decode(), split, names[row["label"]], *facts))
    return sorted(records)


def _format_table(records: Sequence[Record]) -> bytes:
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(Record._fields)
    writer.writerows(records)
    return buffer.getvalue().encode()


# What the dataset is


def _describe(builder: tfds.core.DatasetBuilder, records: Sequence[Record], has_pictures: bool) -> str:
    labels = builder.info.features["label"].names
    splits = ", ".join(f"{name} {split.num_examples:,}" for name, split in builder.info.splits.items())
    if _is_own(builder):
        what, where = "pictures", "with their owner"
        origin = "as given by their owner, in groups of near-duplicates"
    else:
        version = int(builder.version.major)
        what, where = "slices of brain MRI", f"in {build_url(version)}"
        origin = f"version {version} of {builder.info.homepage}, with the near-duplicates that its own split hides"
    text = (
        f"{len(records):,} {what} in {len(labels)} classes ({', '.join(labels)}): {origin}. "
        f"Config `{builder.builder_config.name}`: {builder.builder_config.description}. Splits: {splits}."
    )
    return text if has_pictures else f"{text} The pictures are not among the files listed here; they lie {where}, by `filename`."


def _describe_kaggle(builder: tfds.core.DatasetBuilder, records: Sequence[Record]) -> dict[str, Any]:
    """Arguments of `mlc.Metadata` for Kaggle's pictures."""
    citation, homepage = builder.info.citation, builder.info.homepage
    authors = re.findall(r"author\s*=\s*\{(.+?), (.+?)\}", citation)
    known = sum(record.patient_fold > 0 for record in records)
    limits = [
        NO_PROMISE,
        f"The patient fold is known for {known:,} of {len(records):,} pictures. {NO_PATIENT_NUMBER}",
        VERSION_LIMITS[int(builder.version.major)],
    ]
    twins = [record.has_train_twin for record in records if record.split == "test"]
    if any(twins):
        leak = f"{sum(twins):,} of {len(twins):,} test pictures are a training picture up to a flip or a turn (`has_train_twin`)."
        limits.insert(0, f"{leak} Publish a figure only together with that of the others.")
    return {
        "url": homepage,
        "cite_as": citation,
        "creators": [mlc.Person(name=f"{given} {family}") for family, given in authors],
        "keywords": ["brain MRI", "brain tumour", "image classification", "near-duplicates", "group-aware split"],
        "license": [
            mlc.CreativeWork(name="Licence stated on Kaggle", description="Check it there before you redistribute pictures.", url=homepage),
            mlc.CreativeWork(
                name="CC BY 4.0", description="Only the slices from figshare 1512427.", url="https://creativecommons.org/licenses/by/4.0/"
            ),
            mlc.CreativeWork(name="Terms of SARTAJ and Br35H", description="The other slices, each as stated on Kaggle."),
        ],
        "data_collection": KAGGLE_ORIGIN,
        "data_biases": BIASES,
        "data_limitations": limits,
        "data_use_cases": USE_CASES,
    }


def _describe_own(records: Sequence[Record]) -> dict[str, Any]:
    """The same for a person's own pictures: of licence, origin and date nothing is known here, and nothing is made up."""
    return {
        "creators": [mlc.Person(name="The owner of the pictures")],
        "license": ["As given by the owner of the pictures."],
        "keywords": ["image classification", "near-duplicates", "group-aware split"],
        "data_collection": "As given by the owner of the pictures.",
        "data_limitations": [NO_PROMISE, NO_PATIENT_NUMBER],
        "data_use_cases": USE_CASES[1:],
    }


# Which files there are


def _describe_table(table: bytes) -> mlc.FileObject:
    return mlc.FileObject(
        id=RECORDS_FILE,
        name=RECORDS_FILE,
        description="A row a picture, sorted by file name.",
        content_url=RECORDS_FILE,
        content_size=f"{len(table)} B",
        encoding_formats=[mlc.EncodingFormat.CSV],
        sha256=hashlib.sha256(table).hexdigest(),
    )


def _describe_zip(builder: tfds.core.DatasetBuilder, source: Path, records: Sequence[Record]) -> list[mlc.FileObject | mlc.FileSet]:
    """The zip, and in it exactly the pictures of the dataset."""
    filenames = [record.filename for record in records]
    with open_collection(source) as collection:
        strangers = set(collection.paths) ^ set(filenames)
    if strangers:
        raise DatasetError(
            f"Expected the zip that {builder.data_dir} was built from; {min(strangers)} is in only one of it and {source} "
            f"({len(strangers)} such). Name the other zip, or delete that folder and build again."
        )
    prefix = _find_prefix(source, filenames[0])
    where = {(str(PurePosixPath(name).parent), PurePosixPath(name).suffix) for name in filenames}
    with source.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    url = source.name if _is_own(builder) else build_url(int(builder.version.major))
    return [
        mlc.FileObject(
            id=PICTURES_ZIP,
            name=source.name,
            description="The zip that the dataset was built from; its checksum is of that very file.",
            content_url=url,
            content_size=f"{source.stat().st_size} B",
            encoding_formats=[mlc.EncodingFormat.ZIP],
            sha256=digest,
        ),
        mlc.FileSet(
            id=PICTURE_FILES,
            name=PICTURE_FILES,
            description="The pictures, without what desktops leave behind.",
            contained_in=[PICTURES_ZIP],
            includes=sorted(f"{glob.escape(prefix + folder)}/[!.]*{suffix}" for folder, suffix in where),
            encoding_formats=sorted({ENCODINGS[suffix.lower()] for _, suffix in where}),
        ),
    ]


def _find_prefix(source: Path, filename: str) -> str:
    """The folders that all pictures of the zip share, `mine/`, or nothing; a copy below `__MACOSX/` has a longer one."""
    with zipfile.ZipFile(source) as zipped:
        names = (PurePosixPath(name).as_posix() for name in zipped.namelist())
        return min((name.removesuffix(filename) for name in names if f"/{name}".endswith(f"/{filename}")), key=len)


# What the records are


def _list_labels(builder: tfds.core.DatasetBuilder) -> mlc.RecordSet:
    return mlc.RecordSet(
        id="labels",
        name="labels",
        description="The classes, in the order of their numbers in TFDS.",
        data_types=[ENUMERATION],
        key=["labels/name"],
        fields=[
            mlc.Field(id="labels/name", name="name", description="class folder", data_types=[mlc.DataType.TEXT]),
            mlc.Field(id="labels/index", name="index", description="number in TFDS", data_types=[mlc.DataType.INT64]),
        ],
        data=[{"labels/name": name, "labels/index": index} for index, name in enumerate(builder.info.features["label"].names)],
    )


def _list_splits(builder: tfds.core.DatasetBuilder) -> mlc.RecordSet:
    """The splits; Croissant knows a meaning of `train`, `validation` and `test`, but of no fold."""
    fields = [mlc.Field(id="splits/name", name="name", description="name in TFDS", data_types=[mlc.DataType.TEXT])]
    data = [{"splits/name": name} for name in builder.info.splits]
    if builder.info.splits.keys() <= SPLIT_URLS.keys():
        fields.append(mlc.Field(id="splits/url", name="url", description="what it is for", data_types=[mlc.DataType.URL]))
        data = [row | {"splits/url": SPLIT_URLS[row["splits/name"]]} for row in data]
    return mlc.RecordSet(
        id="splits",
        name="splits",
        description=builder.builder_config.description,
        data_types=[ENUMERATION, mlc.DataType.SPLIT],
        key=["splits/name"],
        fields=fields,
        data=data,
    )


def _join_pictures(builder: tfds.core.DatasetBuilder, records: Sequence[Record], has_pictures: bool) -> mlc.RecordSet:
    """One record a picture.

    mlcroissant 1.1 carries out the first join alone, and reads `content` from its left side; so the pictures stand first and left.
    """
    doc, types = (lambda name: _read_doc(builder, name)), mlc.DataType
    fields = [_describe_column("filename", types.TEXT, doc("filename"))]
    if has_pictures:
        depth = records[0].filename.count("/")
        below_prefix = mlc.Transform(regex=rf"^(?:.*/)?((?:[^/]+/){{{depth}}}[^/]+)$")
        fullpath, content = (mlc.Extract(file_property=extracted) for extracted in (mlc.FileProperty.fullpath, mlc.FileProperty.content))
        fields[0].references = fields[0].source
        fields[0].source = mlc.Source(file_set=PICTURE_FILES, extract=fullpath, transforms=[below_prefix])
        image = f"The picture as its file stores it, grey or RGB. TFDS holds it as: {doc('image')}."
        stored = mlc.Source(file_set=PICTURE_FILES, extract=content)
        fields.append(mlc.Field(id="pictures/image", name="image", description=image, data_types=[types.IMAGE_OBJECT], source=stored))
    label = _describe_column("label", types.TEXT, "class folder of the picture", refers_to="labels/name")
    # Not from the column: pandas, which reads it for mlcroissant, takes a class `None` for missing and `01` for 1.
    label.source = mlc.Source(
        file_object=RECORDS_FILE, extract=mlc.Extract(column="filename"), transforms=[mlc.Transform(regex=r"^(?:.*/)?([^/]+)/[^/]+$")]
    )
    fields += [
        _describe_column("split", types.TEXT, f"split of config `{builder.builder_config.name}`", refers_to="splits/name"),
        label,
        _describe_column("group", types.INT64, doc("group")),
        _describe_column("patient_fold", types.INT64, doc("patient_fold")),
        _describe_column("has_train_twin", types.BOOL, doc("has_train_twin")),
    ]
    return mlc.RecordSet(id="pictures", name="pictures", description="One record a picture.", key=["pictures/filename"], fields=fields)


def _describe_column(name: str, data_type: Any, description: str, refers_to: str | None = None) -> mlc.Field:
    return mlc.Field(
        id=f"pictures/{name}",
        name=name,
        description=description,
        data_types=[data_type],
        source=mlc.Source(file_object=RECORDS_FILE, extract=mlc.Extract(column=name)),
        references=mlc.Source(field=refers_to),
    )


def _write_files(folder: Path, contents: dict[str, bytes]) -> Path:
    """Write all files, then put them in their places in order; gives the path of the last."""
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        for name, content in contents.items():
            Path(scratch, name).write_bytes(content)
        for name in contents:
            Path(scratch, name).replace(folder / name)
    return folder / name
