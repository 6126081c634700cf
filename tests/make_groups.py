"""Join the groups in `tumor_ds/groups.csv` wherever a picture of one is a near twin of one of the other.

Goes in: Kaggle's version 1 (zip or folder), and `groups.csv` with groups from other sources (neighbouring
slices, patients). Comes out: the same file; a joined group keeps its lowest number. Running it again changes
nothing.

    python tests/make_groups.py DIR/brain-tumor-mri-dataset.zip
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


def join_rows(rows: list[dict[str, str]], source: Path) -> list[dict[str, str]]:
    """Join the groups of the rows of `groups.csv`.

    Args:
        rows: rows of `groups.csv`, of all pictures in the collection.
        source: zip or folder with the collection.
    """
    with open_collection(source) as collection:
        if set(collection.paths) != {row["path"] for row in rows}:
            raise SystemExit(f"{source} does not hold the files of {GROUPS_CSV.name}")
        computed = find_duplicates(collection.read_grey(row["path"]) for row in rows).groups
    _, known = np.unique([int(row["group"]) for row in rows], return_inverse=True)
    joined = join_groups(
        np.stack([computed, computed.max() + 1 + known], axis=1), int(computed.max() + known.max() + 2)
    )[computed]
    lowest: dict[int, int] = {}
    for row, group in zip(rows, joined.tolist(), strict=True):
        lowest[group] = min(lowest.get(group, int(row["group"])), int(row["group"]))
    return [row | {"group": str(lowest[group])} for row, group in zip(rows, joined.tolist(), strict=True)]


def main() -> None:
    """Rewrite `groups.csv` in place."""
    with GROUPS_CSV.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    joined = join_rows(rows, Path(sys.argv[1]))
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
