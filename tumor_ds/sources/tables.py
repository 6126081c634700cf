"""Tables that describe files: read, and checked as far as every such table is.

Goes in: a CSV file (UTF-8, commas) and the columns that it may have. Comes out: its rows, each with the line
where it stands, so that every message names it.
"""

import csv
from collections.abc import Collection, Sequence
from pathlib import Path, PurePosixPath

from tumor_ds.collection.errors import DatasetError


def read_table(
    table: Path, needed: Sequence[str], optional: Sequence[str]
) -> list[tuple[str, dict[str, str]]]:
    """Read a table.

    Args:
        table: the file.
        needed: columns that must be there, with a value in each row.
        optional: columns that may be there.

    Returns:
        For each row the place, "volumes.csv, line 3", and its values by column, without outer blanks: all
        columns are in it, with "" where there is nothing.

    Raises:
        DatasetError: it cannot be read, or has other columns, cells without a column, or no value where one
            is needed.
    """
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, restkey="", restval="")
            columns = reader.fieldnames or []
            missing, unknown = set(needed) - set(columns), set(columns) - {*needed, *optional}
            if missing or unknown:
                expected = f"expected {', '.join(needed)}, and of others only {', '.join(optional)}"
                remedy = f"Add {min(missing)}" if missing else f"Rename or remove {min(unknown)!r}"
                raise DatasetError(f"{table} has the columns {', '.join(columns)}; {expected}. {remedy}.")
            found = [(f"{table.name}, line {reader.line_num}", row) for row in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{table} is not a CSV file in UTF-8: {error}. Save it again as one.") from error
    rows = []
    for where, row in found:
        if "" in row:
            raise DatasetError(f"{where}: more cells than columns. Put cells with a comma between quotes.")
        values = {column: (row.get(column) or "").strip() for column in (*needed, *optional)}
        for column in needed:
            if not values[column]:
                raise DatasetError(f"{where}: no {column}, expected a value.")
        rows.append((where, values))
    return rows


def check_choice(where: str, column: str, value: str, choices: Collection[str]) -> str:
    """Give a value back that is one of the choices.

    Raises:
        DatasetError: it is none of them.
    """
    if value not in choices:
        raise DatasetError(f"{where}: {column} {value!r}, expected one of {', '.join(choices)}.")
    return value


def check_file(where: str, column: str, value: str, folder: Path) -> str:
    """Give the path of a file back that lies below the folder.

    Raises:
        DatasetError: there is no such file, or the path leads out of the folder.
    """
    path = PurePosixPath(value)
    if "\\" in value or ".." in path.parts or path.is_absolute():
        what = f"{column} {value!r}, expected a path below the table's folder, with forward slashes"
        raise DatasetError(f"{where}: {what}.")
    if not (folder / value).is_file():
        raise DatasetError(f"{where}: {column} {value}, and there is no such file in {folder}.")
    return value
