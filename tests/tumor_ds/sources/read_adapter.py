"""Reads all slices of an adapter as a build does, for the tests of several adapters."""

import csv
import pickle
from pathlib import Path

import pytest

from tumor_ds.collection.errors import DatasetError
from tumor_ds.sources.slices import Adapter, Slice


def read_all(adapter: Adapter, folder: Path) -> dict[str, Slice]:
    """Slices by file name; units are pickled on the way, as between processes."""
    units = pickle.loads(pickle.dumps(adapter.list_units(folder)))
    slices = [piece for unit in units for piece in adapter.read_unit(folder, unit)]
    found = {piece.filename: piece for piece in slices}
    assert len(found) == len(slices)
    return found


def refuse(adapter: Adapter, folder: Path, *mentions: str) -> None:
    """Listing or reading fails, and the message mentions the file and what is wrong."""
    with pytest.raises(DatasetError) as caught:
        read_all(adapter, folder)
    for mention in mentions:
        assert mention in str(caught.value)


def load_gathered_rows(real_data_dir: Path, source: str) -> list[dict[str, str]]:
    """Rows of one source in the table of gathered pictures; skips where there is none."""
    table = real_data_dir / "sources" / "sources.csv"
    if not table.is_file():
        pytest.skip(f"no {table}")
    with table.open(newline="", encoding="utf-8") as file:
        return [row for row in csv.DictReader(file) if row["source"] == source]
