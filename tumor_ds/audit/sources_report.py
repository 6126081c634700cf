"""The audit of sources for people and for programs: tables in the terminal, `audit.html`, `audit.json`.

Goes in: a `SourcesAudit`. Comes out: text, one HTML page that needs nothing but itself, and JSON. Names come
from strangers: the page escapes them and forbids scripts, the terminal gets them as plain text.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from tumor_ds.audit.baselines import UNSEEN_PATIENTS
from tumor_ds.audit.between import Copies
from tumor_ds.audit.pages import embed_jpeg, render_page, write_page
from tumor_ds.audit.printing import beats_majority, count_name, format_percent, format_share, print_table, say
from tumor_ds.audit.sheet import MAX_EXAMPLES, Cell
from tumor_ds.audit.shortcuts import BLURRED_SIDE, OTHER_SOURCES, SOURCE, Floor
from tumor_ds.audit.sources import SourcesAudit
from tumor_ds.grouping.similarity import MIN_CORRELATION
from tumor_ds.sources.slices import SEQUENCES

TEMPLATE = Path(__file__).parent / "sources.html.j2"
PAGE_ROWS, CONSOLE_ROWS = 200, 10
# Whom a figure learns from, the title of its table, and what stands below it.
FLOOR_TABLES = (
    (
        UNSEEN_PATIENTS,
        "Which class, inside each source?",
        "Learnt from the other patients of the same source, five folds, copies kept together. A source with"
        " one class has no figure.",
    ),
    (
        OTHER_SOURCES,
        "Which class, learnt from the other sources?",
        "Learnt from all pictures of all other sources, but copies of these; tested on the whole source."
        " Where that has one class only, always naming it would be right, so no share stands there.",
    ),
)

# Names of a row, and a number for each of `SEQUENCES`.
CountRow = tuple[tuple[str, ...], list[int]]


def write_sources_audit(audit: SourcesAudit, out_dir: Path) -> None:
    """Write `audit.html` and `audit.json` into a folder, which is made if need be."""
    write_page(out_dir, build_page(audit), audit.to_dict())


def build_page(audit: SourcesAudit) -> str:
    """Build the HTML page: no script, no request, every text escaped."""
    return render_page(
        TEMPLATE,
        {"number": "{:,}".format, "percent": format_percent, "count_name": count_name},
        audit=audit,
        headline=build_headline(audit),
        sources=list_sources(audit),
        which=find_source_floor(audit),
        floor_tables=FLOOR_TABLES,
        sequences=SEQUENCES,
        count_rows=count_cells(audit.cells, lambda cell, skull: (cell.kind, skull)),
        source_rows=count_cells(audit.cells, lambda cell, skull: (cell.source, cell.kind, skull)),
        thumbnails={key: embed_jpeg(content) for key, content in audit.thumbnails.items()},
        share=format_share,
        beats_majority=beats_majority,
        majority_of=find_majority,
        blurred_side=BLURRED_SIDE,
        max_examples=MAX_EXAMPLES,
        min_correlation=MIN_CORRELATION,
        page_rows=PAGE_ROWS,
    )


def build_headline(audit: SourcesAudit) -> tuple[str, str]:
    """Say the one number that matters: the number itself, and the rest of the sentence."""
    if len(audit.collections) > 1:
        lead = max(audit.between_collections, key=lambda one: one.count.near / one.count.pictures)
        near, pictures = lead.count.near, lead.count.pictures
        if not near:
            return "None", "of these pictures has a copy in another collection"
        verb, of = "has" if near == 1 else "have", count_name(pictures, f"picture in {lead.of}")
        return f"{near:,}", f"of {of} ({format_share(near, pictures)}) {verb} a copy in {lead.among}"
    if which := find_source_floor(audit):
        share = f"{which.border.accuracy:.0%}".replace("%", "\N{NO-BREAK SPACE}%")
        sources = len(list_sources(audit))
        return share, f"of the pictures tell by size and border alone which of {sources} sources they are of"
    total = sum(audit.collections.values())
    return f"{total:,}", f"{'picture' if total == 1 else 'pictures'} of one source"


def list_sources(audit: SourcesAudit) -> list[str]:
    """List the sources, sorted."""
    return sorted({cell.source for cell in audit.cells})


def find_source_floor(audit: SourcesAudit) -> Floor | None:
    """Find how well size, border and blur name the source; None where there is one source."""
    return next((floor for floor in audit.floors if floor.question == SOURCE), None)


def find_majority(floor: Floor) -> float | None:
    """Share of the largest class; None where there is one class only, and naming it is always right."""
    return floor.border.majority if floor.border.majority < 1 else None


def count_cells(cells: Sequence[Cell], name: Callable[[Cell, str], tuple[str, ...]]) -> list[CountRow]:
    """Add up cells by the names that a function gives to a cell and a skull state, sorted."""
    rows: dict[tuple[str, ...], Counter[str]] = defaultdict(Counter)
    for cell in cells:
        for skull, number in cell.skulls.items():
            rows[name(cell, skull)][cell.sequence] += number
    return [(names, [rows[names][sequence] for sequence in SEQUENCES]) for names in sorted(rows)]


def print_sources_audit(audit: SourcesAudit, console: Console) -> None:
    """Print the essentials as tables; the rest stands in the page."""
    number, rest = build_headline(audit)
    say(console, f"{', '.join(audit.collections)}: {number} {rest}.", style="bold")
    counts = count_cells(audit.cells, lambda cell, skull: (cell.source, cell.kind, skull))
    rows: list[list[Any]] = [[*names, *numbers, sum(numbers)] for names, numbers in counts]
    print_table(console, "Pictures", ["source", "class", "skull", *SEQUENCES, "all"], rows, names=3)
    _print_copies(audit, console)
    _print_floors(audit, console)
    say(console, f"What cannot be read: {len(audit.unreadable):,}")
    for name, reason in audit.unreadable[:CONSOLE_ROWS]:
        say(console, f"  {name}: {reason}")
    if len(audit.unreadable) > CONSOLE_ROWS:
        say(console, f"  and {len(audit.unreadable) - CONSOLE_ROWS:,} more; see the written audit")


def _print_copies(audit: SourcesAudit, console: Console) -> None:
    columns = ["of", "in", "pictures", "copies", "share", "identical"]
    for title, copies in (("collections", audit.between_collections), ("sources", audit.between_sources)):
        if copies:
            print_table(console, f"Copies between {title}", columns, list(map(_list_copies, copies)), names=2)
    sources = list_sources(audit)
    if len(sources) > 1:
        other = "other pair" if audit.between_sources else "pair"
        say(console, f"No {other} of the {len(sources)} sources shares a picture.")
    crossings: list[list[Any]] = [
        [row.source, row.groups, row.patients, row.pictures, row.near] for row in audit.crossings
    ]
    columns = ["source", "groups", "patients", "pictures", "with a copy of another patient"]
    if crossings:
        print_table(console, "Groups of alike pictures that hold several patients", columns, crossings)
    else:
        say(console, "No group of alike pictures holds two patients, as far as patients are known.")


def _list_copies(row: Copies) -> list[Any]:
    count = row.count
    share = format_share(count.near, count.pictures)
    return [row.of, row.among, count.pictures, count.near, share, count.identical]


def _print_floors(audit: SourcesAudit, console: Console) -> None:
    rows: list[list[Any]] = []
    for floor in audit.floors:
        shares = (floor.border.accuracy, floor.blurred.accuracy, find_majority(floor))
        asked = [floor.source or "all", floor.question, floor.learnt_from, floor.border.asked]
        rows.append([*asked, *map(format_percent, shares)])
    columns = ["source", "question", "learnt from", "pictures", "border", "16x16", "largest class"]
    if rows:
        print_table(
            console, "Accuracy of what sees no anatomy: border, blurred thumbnail", columns, rows, names=3
        )
