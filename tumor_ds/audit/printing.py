"""Numbers and tables in words, for the terminal and for the pages.

Goes in: counts, shares, rows. Comes out: text that is the same wherever it stands.
"""

from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tumor_ds.audit.baselines import Score


def print_table(
    console: Console, title: str, columns: list[str], rows: list[list[Any]], names: int = 1
) -> None:
    """Print a table: the first columns, which are names, to the left, the others to the right; plain text."""
    table = Table(title=Text(title), title_justify="left", box=SIMPLE)
    for place, column in enumerate(columns):
        table.add_column(Text(column), justify="left" if place < names else "right", overflow="fold")
    for row in rows:
        table.add_row(*(Text(f"{cell:,}" if isinstance(cell, int) else str(cell)) for cell in row))
    console.print(table)


def say(console: Console, text: str, style: str = "") -> None:
    """Print as it is: a file name may hold brackets, which rich would take for markup."""
    console.print(Text(text, style=style), soft_wrap=True)


def beats_majority(score: Score) -> bool:
    """By two standard errors of a share, so that a coin's luck is no finding."""
    return score.accuracy > score.majority + 2 * (score.majority * (1 - score.majority) / score.asked) ** 0.5


def count_name(count: int, name: str) -> str:
    """`1 picture`, `2 pictures`, `2 pictures in Testing`."""
    noun, *place = name.split(" in ", 1)
    return " in ".join([f"{count:,} {noun}{'' if count == 1 else 's'}", *place])


def format_percent(share: float | None) -> str:
    """Per cent with one digit; a dash where there is none."""
    return "\N{EN DASH}" if share is None else f"{share:.1%}".replace("%", "\N{NO-BREAK SPACE}%")


def format_share(part: int, whole: int) -> str:
    """Whole per cent; not 0 % or 100 % where it is not quite."""
    percent = round(100 * part / whole)
    sign = "<" if percent == 0 < part else ">" if percent == 100 and part < whole else ""
    return f"{sign}{percent + (sign == '<') - (sign == '>')}\N{NO-BREAK SPACE}%"
