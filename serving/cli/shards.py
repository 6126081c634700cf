"""Files of an archive's scores: shards in Parquet or CSV, and beside each a report of what it holds.

Goes in: rows. Comes out: files that are whole or not there, local or on whatever Beam reaches, as `gs://`.
"""

import contextlib
import json
import uuid
from collections.abc import Iterator
from typing import IO, Any, Literal

import pyarrow
import pyarrow.parquet
from apache_beam.io.filesystems import CompressionTypes, FileSystems

from serving.cli.answers import Row, build_csv

Format = Literal["parquet", "csv"]
# Rows that Parquet keeps together; a shard is written while it is scored.
_ROW_GROUP = 1000


def read_report(path: str) -> dict[str, Any] | None:
    """Read what lies beside a shard; None where it is not done."""
    try:
        with FileSystems.open(path, compression_type=CompressionTypes.UNCOMPRESSED) as stream:
            report = json.load(stream)
    except (OSError, ValueError):
        return None
    return report if isinstance(report, dict) and "fingerprint" in report else None


def write_report(path: str, report: dict[str, Any]) -> None:
    """Write what `read_report` reads."""
    with replace_remote(path) as stream:
        stream.write(json.dumps(report, indent=2).encode() + b"\n")


@contextlib.contextmanager
def write_shard(path: str, labels: tuple[str, ...]) -> Iterator[Any]:
    """Give a function that writes rows; the file is there once the block ends without an error."""
    with replace_remote(path) as stream:
        if path.endswith(".csv"):
            stream.write(build_csv([], labels))
            yield lambda rows: stream.write(build_csv(rows, labels, with_header=False))
            return
        schema = build_schema(labels)
        with pyarrow.parquet.ParquetWriter(stream, schema) as parquet:
            waiting: list[Row] = []

            def write(rows: list[Row]) -> None:
                waiting.extend(flatten(row, labels) for row in rows)
                if len(waiting) >= _ROW_GROUP:
                    flush()

            def flush() -> None:
                parquet.write_table(pyarrow.Table.from_pylist(waiting, schema))
                waiting.clear()

            yield write
            flush()


def build_schema(labels: tuple[str, ...]) -> Any:
    """Columns of Parquet, as far as they are there those of the CSV."""
    text, number = pyarrow.string(), pyarrow.float64()
    return pyarrow.schema(
        [
            *(("file", text), ("slice", pyarrow.int32()), ("position_mm", number)),
            *(("label", text), ("verdict", text), ("in_domain", pyarrow.bool_())),
            *((f"prob_{label}", number) for label in labels),
            *(("prediction_set", pyarrow.list_(text)), ("domain_distance", number)),
            *(("tumor_share", number), ("area_mm2", number), ("reason", text), ("error", text)),
        ]
    )


def flatten(row: Row, labels: tuple[str, ...]) -> Row:
    """A row as Parquet takes it; a name that is no UTF-8 has its bytes escaped."""
    probs = row.get("probabilities") or {}
    name = row["file"].encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return row | {"file": name} | {f"prob_{label}": probs.get(label) for label in labels}


@contextlib.contextmanager
def replace_remote(path: str) -> Iterator[IO[bytes]]:
    """Give a stream, whose content takes the place of a file once the block ends without an error.

    By Beam's file systems, which reach what the workers reach; `serving.files.writing` does not.
    """
    partial = f"{path}.{uuid.uuid4().hex}.partial"  # two workers may try the same shard
    try:
        # Not by the ending: Beam would compress what is named .gz.
        with FileSystems.create(partial, compression_type=CompressionTypes.UNCOMPRESSED) as stream:
            yield stream
        FileSystems.rename([partial], [path])
    except BaseException:
        with contextlib.suppress(Exception):
            FileSystems.delete([partial])
        raise
