"""Join the groups in `tumor_ds/groups.csv` wherever a picture of one is a near twin of one of the other.

Goes in: Kaggle's version 1 (zip or folder), and `groups.csv` with groups from other sources (neighbouring
slices, patients); where wanted, a table that says which files are mirrored. Comes out: the same file; a
joined group keeps its lowest number. Running it again changes nothing.

    python tests/make_groups.py DIR/brain-tumor-mri-dataset.zip [DIR/figshare_transform.csv]

The table has the columns `path`, `figshare_slice` and `mirrored` (1: the file is the slice mirrored left to
right, 0: it is not), one row for every file of a figshare slice. `tests/tumor_ds/test_outlines.py` compares
its values with the pixels.
"""

import csv
import sys
from pathlib import Path

import numpy as np

from serving.files.writing import replace_whole
from tumor_ds.collection.archive import open_collection
from tumor_ds.grouping.duplicates import find_duplicates
from tumor_ds.grouping.facts import GROUPS_CSV
from tumor_ds.grouping.similarity import join_groups


def find_groups(rows: list[dict[str, str]], source: Path) -> np.ndarray:
    """Groups of near twins among the pictures of the rows, int (n,).

    Args:
        rows: rows of `groups.csv`, of all pictures in the collection.
        source: zip or folder with the collection.
    """
    with open_collection(source) as collection:
        if set(collection.paths) != {row["path"] for row in rows}:
            raise SystemExit(f"{source} does not hold the files of {GROUPS_CSV.name}")
        return find_duplicates(collection.read_grey(row["path"]) for row in rows).groups


def join_rows(rows: list[dict[str, str]], computed: np.ndarray) -> list[dict[str, str]]:
    """Join the groups of the rows of `groups.csv` with those that `find_groups` gives."""
    _, known = np.unique([int(row["group"]) for row in rows], return_inverse=True)
    joined = join_groups(
        np.stack([computed, computed.max() + 1 + known], axis=1), int(computed.max() + known.max() + 2)
    )[computed]
    lowest: dict[int, int] = {}
    for row, group in zip(rows, joined.tolist(), strict=True):
        lowest[group] = min(lowest.get(group, int(row["group"])), int(row["group"]))
    return [row | {"group": str(lowest[group])} for row, group in zip(rows, joined.tolist(), strict=True)]


def add_mirrored(rows: list[dict[str, str]], table: Path) -> list[dict[str, str]]:
    """Put the column `mirrored` behind `figshare_slice`: 0 or 1, empty where there is no slice.

    Args:
        rows: rows of `groups.csv`, with or without that column.
        table: CSV file with the columns `path`, `figshare_slice` and `mirrored`.
    """
    told = {row["path"]: row for row in _read_rows(table)}
    slices = {path: row["figshare_slice"] for path, row in told.items()}
    if slices != {row["path"]: row["figshare_slice"] for row in rows if row["figshare_slice"]}:
        raise SystemExit(f"{table} names other files or slices than {GROUPS_CSV.name}")
    if strange := {row["mirrored"] for row in told.values()} - {"0", "1"}:
        raise SystemExit(f"{table}: expected 0 or 1 in `mirrored`, got {', '.join(sorted(strange))}")
    names = [name for name in rows[0] if name != "mirrored"]
    names.insert(names.index("figshare_slice") + 1, "mirrored")
    rows = [row | {"mirrored": told[row["path"]]["mirrored"] if row["path"] in told else ""} for row in rows]
    return [{name: row[name] for name in names} for row in rows]


def _read_rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def main() -> None:
    """Rewrite `groups.csv` in place."""
    rows = _read_rows(GROUPS_CSV)
    if len(sys.argv) > 2:
        rows = add_mirrored(rows, Path(sys.argv[2]))
    joined = join_rows(rows, find_groups(rows, Path(sys.argv[1])))
    with (
        replace_whole(GROUPS_CSV) as partial,
        partial.open("w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(joined)
    print(f"{len({row['group'] for row in rows})} groups joined into {len({row['group'] for row in joined})}")


if __name__ == "__main__":
    main()
