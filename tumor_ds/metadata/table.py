"""The table of a built dataset, `records.csv`.

Goes in: a built dataset. Comes out: a row a picture, sorted by file name, and their CSV.
"""

import csv
import io
from collections.abc import Sequence
from typing import NamedTuple

import tensorflow_datasets as tfds

RECORDS_FILE = "records.csv"


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


def read_records(builder: tfds.core.DatasetBuilder) -> list[TableRow]:
    """Read all records, sorted by file name; no picture is decoded."""
    names, records = builder.info.features["label"].names, []
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


def format_table(records: Sequence[TableRow]) -> bytes:
    """Write the rows as CSV, below the names of the columns."""
    buffer = io.StringIO(newline="")
    csv.writer(buffer, lineterminator="\n").writerows([TableRow._fields, *records])
    return buffer.getvalue().encode()
