"""The record sets of a dataset: its classes, its splits, and the join of the table with the pictures.

Goes in: a built dataset. Comes out: `mlcroissant.RecordSet`.
"""

from collections.abc import Sequence
from typing import Any

import mlcroissant as mlc
import tensorflow_datasets as tfds

from tumor_ds.metadata.table import RECORDS_FILE
from tumor_ds.sources.own_pictures import PROTOCOLS, is_folder

PICTURE_FILES = "picture-files"
ENUMERATION = "https://schema.org/Enumeration"
SPLIT_URLS = {"train": "cr:TrainingSplit", "validation": "cr:ValidationSplit", "test": "cr:TestSplit"}


def read_doc(builder: tfds.core.DatasetBuilder, feature: str) -> str:
    """Read what the builder says of a feature."""
    return builder.info.features[feature].doc.desc


def list_labels(builder: tfds.core.DatasetBuilder) -> mlc.RecordSet:
    """List the classes with their numbers."""
    names = builder.info.features["label"].names
    columns = [
        ("name", mlc.DataType.TEXT, "class folder", names),
        ("index", mlc.DataType.INT64, "number in TFDS", range(len(names))),
    ]
    return _list_values("labels", "The classes, in the order of their numbers.", [ENUMERATION], columns)


def list_splits(builder: tfds.core.DatasetBuilder) -> mlc.RecordSet:
    """List the splits; Croissant has an address for `train`, `validation` and `test`, but for no fold."""
    names = list(builder.info.splits)
    columns = [("name", mlc.DataType.TEXT, "name in TFDS", names)]
    if SPLIT_URLS.keys() >= set(names):
        urls = [SPLIT_URLS[name] for name in names]
        columns.append(("url", mlc.DataType.URL, "what it is for", urls))
    kinds = [ENUMERATION, mlc.DataType.SPLIT]
    return _list_values("splits", builder.builder_config.description, kinds, columns)


def _list_values(
    name: str, description: str, kinds: list[Any], columns: Sequence[tuple[str, Any, str, Sequence[Any]]]
) -> mlc.RecordSet:
    """A record set that holds its values; each column has a name, a type, a description and values."""
    fields = [
        mlc.Field(id=f"{name}/{column}", name=column, description=text, data_types=[kind])
        for column, kind, text, _ in columns
    ]
    rows = zip(*(values for *_, values in columns), strict=True)
    return mlc.RecordSet(
        id=name,
        name=name,
        description=description,
        data_types=kinds,
        key=[f"{name}/name"],
        fields=fields,
        data=[{field.id: value for field, value in zip(fields, row, strict=True)} for row in rows],
    )


def join_pictures(builder: tfds.core.DatasetBuilder, depth: int | None) -> mlc.RecordSet:
    """Describe one record a picture: a row of `records.csv`, and its picture where the zip is listed.

    mlcroissant 1.1 carries out the first join alone, and reads `content` from its left side; so the pictures
    stand first and left.

    Args:
        builder: of the dataset.
        depth: number of folders above a picture; None where the pictures are not listed.
    """
    types, config = mlc.DataType, builder.builder_config.name
    if config not in PROTOCOLS and not is_folder(builder):
        label, label_doc = _read_column("label"), "class; unknown where it is, or is of another kind"
    else:
        # Not the column: pandas, which reads it for mlcroissant, takes a class `None` for missing.
        label = _read_column("filename", mlc.Transform(regex=r"^(?:.*/)?([^/]+)/[^/]+$"))
        label_doc = "class folder of the picture"
    in_splits, in_labels = mlc.Source(field="splits/name"), mlc.Source(field="labels/name")
    split = _read_column("split")
    fields = [
        _describe_field("split", types.TEXT, f"split of config `{config}`", split, in_splits),
        _describe_field("label", types.TEXT, label_doc, label, in_labels),
    ]
    numbers, words = ("group", "fold", "tumor"), ("patient", "source", "sequence", "skull", "mask_known")
    kinds = {"has_train_twin": types.BOOL} | dict.fromkeys(numbers, types.INT64)
    for name, kind in (kinds | dict.fromkeys(words, types.TEXT)).items():
        fields.append(_describe_field(name, kind, read_doc(builder, name), _read_column(name)))
    names = [_read_column("filename")]
    if depth is not None:
        below_prefix = mlc.Transform(regex=rf"^(?:.*/)?((?:[^/]+/){{{depth}}}[^/]+)$")
        names.insert(0, _read_file(mlc.FileProperty.fullpath, below_prefix))
        stored = f"as its file stores it, grey or RGB; in TFDS: {read_doc(builder, 'image')}"
        content = _read_file(mlc.FileProperty.content)
        fields.insert(0, _describe_field("image", types.IMAGE_OBJECT, stored, content))
    fields.insert(0, _describe_field("filename", types.TEXT, read_doc(builder, "filename"), *names))
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
