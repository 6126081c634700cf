"""The table of a built dataset, `records.csv`.

Goes in: a built dataset. Comes out: a row a picture, sorted by file name, and their CSV.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import tensorflow_datasets as tfds

from tumor_ds.sources.records import UNKNOWN

RECORDS_FILE = "records.csv"
UNKNOWN_NAME = "unknown"


class TableRow(NamedTuple):
    """A row of `records.csv`; every value as in the TFDS record, classes by their names.

    Example:
        >>> TableRow._fields[:3]
        ('filename', 'split', 'label')
    """

    filename: str
    split: str
    label: str
    group: int
    fold: int
    has_train_twin: bool
    patient: str
    source: str
    sequence: str
    skull: str
    tumor: int
    mask_known: str


def read_records(builder: tfds.core.DatasetBuilder) -> list[TableRow]:
    """Read all records, sorted by file name; no picture is decoded. An unknown label is called `unknown`."""
    undecoded = dict.fromkeys(("image", "mask"), tfds.decode.SkipDecoding())
    records = []
    for split in builder.info.splits:
        if builder.info.file_format == tfds.core.FileFormat.ARRAY_RECORD:  # which tf.data does not read
            rows = builder.as_data_source(split, decoders=undecoded)
        else:
            rows = tfds.as_numpy(builder.as_dataset(split, decoders=undecoded, shuffle_files=False))
        records += [_make_row(builder, split, row) for row in rows]
    return sorted(records)


def _make_row(builder: tfds.core.DatasetBuilder, split: str, row: Mapping[str, Any]) -> TableRow:
    features = builder.info.features

    def name(feature: str) -> str:
        return UNKNOWN_NAME if row[feature] == UNKNOWN else features[feature].int2str(row[feature])

    return TableRow(
        filename=row["filename"].decode(),
        split=split,
        label=name("label"),
        group=int(row["group"]),
        fold=int(row["fold"]),
        has_train_twin=bool(row["has_train_twin"]),
        patient=row["patient"].decode(),
        source=row["source"].decode(),
        sequence=name("sequence"),
        skull=name("skull"),
        tumor=int(row["tumor"]),
        mask_known=name("mask_known"),
    )


def format_table(records: Sequence[TableRow]) -> bytes:
    """Write the rows as CSV, below the names of the columns."""
    buffer = io.StringIO(newline="")
    csv.writer(buffer, lineterminator="\n").writerows([TableRow._fields, *records])
    return buffer.getvalue().encode()
