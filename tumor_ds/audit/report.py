"""The audit for people and for programs: tables in the terminal, `audit.html`, `audit.json`.

Goes in: an `Audit`. Comes out: text, one HTML page that needs nothing but itself, and JSON. File names come
from strangers: the page escapes them and forbids scripts, the terminal gets them as plain text.
"""

import base64
import itertools
import json
from pathlib import Path
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from rich.text import Text

from serving.files.writing import replace_whole
from tumor_ds.audit.audit import Audit
from tumor_ds.audit.baselines import OWN_SPLIT, Score, find_own_split
from tumor_ds.audit.pages import render_page
from tumor_ds.audit.twins import ALL_OTHERS, TwinCount
from tumor_ds.collection.layout import split_and_label
from tumor_ds.grouping.similarity import MIN_CORRELATION, TRANSFORMS

TEMPLATE = Path(__file__).parent / "audit.html.j2"
# Rows of a list of files: in the page, and in the terminal. audit.json has them all.
PAGE_ROWS, CONSOLE_ROWS = 200, 10
# Colours for splits in the template: training, testing, then the others.
_TINTS = 8


def write_audit(audit: Audit, out_dir: Path) -> None:
    """Write `audit.html` and `audit.json` into a folder, which is made if need be.

    Both take the place of those of an earlier audit once both are written.
    """
    out_dir.mkdir(parents=True, exist_ok=True)
    with replace_whole(out_dir / "audit.html") as page, replace_whole(out_dir / "audit.json") as numbers:
        page.write_text(build_page(audit), encoding="utf-8")
        text = json.dumps(audit.to_dict(), indent=1, ensure_ascii=False)
        numbers.write_text(f"{text}\n", encoding="utf-8")


def build_page(audit: Audit) -> str:
    """Build the HTML page: no script, no request, every text escaped."""
    return render_page(
        TEMPLATE,
        {"number": "{:,}".format, "percent": _percent, "count_name": _count_name},
        audit=audit,
        headline=build_headline(audit),
        lead_name=describe_lead(audit),
        labels=list_labels(audit),
        transforms=[name for name in TRANSFORMS if name in audit.lead.total.transforms],
        tints=_pick_tints(audit),
        thumbnails={
            path: f"data:image/jpeg;base64,{base64.b64encode(content).decode()}"
            for path, content in audit.thumbnails.items()
        },
        split_of=lambda path: split_and_label(path)[0],
        label_of=lambda path: split_and_label(path)[1],
        file_of=lambda path: path.rpartition("/")[2],
        share=_share,
        decoded=sum(sum(counts.values()) for counts in audit.files.counts.values()),
        beats_majority=_beats_majority,
        own_split=OWN_SPLIT,
        all_others=ALL_OTHERS,
        min_correlation=MIN_CORRELATION,
        page_rows=PAGE_ROWS,
    )


def build_headline(audit: Audit) -> tuple[str, str]:
    """Say the one number that matters: the number itself, and the rest of the sentence."""
    total = audit.lead.total
    of, among = describe_lead(audit)
    if not total.near:
        return "None", f"of {_count_name(total.pictures, of)} is a copy of {among}"
    verb, share = "is" if total.near == 1 else "are", _share(total.near, total.pictures)
    return f"{total.near:,}", f"of {_count_name(total.pictures, of)} ({share}) {verb} a copy of {among}"


def describe_lead(audit: Audit) -> tuple[str, str]:
    """Name the two sides of the pair of splits that matters most: (`test picture`, `a training picture`)."""
    of, among = audit.lead.of, audit.lead.among
    if (among, of) == find_own_split(audit.files.counts):
        return "test picture", "a training picture"
    if of == among:
        return "picture", "another picture"
    return f"picture in {of}", f"a picture in {'another split' if among == ALL_OTHERS else among}"


def list_labels(audit: Audit) -> list[str]:
    """List the classes of all splits, sorted."""
    return sorted({label for counts in audit.files.counts.values() for label in counts})


def print_audit(audit: Audit, console: Console) -> None:
    """Print the essentials as tables; the rest stands in the page."""
    labels = list_labels(audit)
    number, rest = build_headline(audit)
    version = f", Kaggle's version {audit.kaggle_version}" if audit.kaggle_version else ""
    _say(console, f"{audit.source}{version}: {number} {rest}.", style="bold")
    _print_counts(audit, labels, console)
    _print_twins(audit, labels, console)
    _print_scores(audit, console)
    for note in audit.notes:
        _say(console, note)
    _print_files(audit, console)


def _print_counts(audit: Audit, labels: list[str], console: Console) -> None:
    rows = [
        [split or "all", *(counts.get(label, 0) for label in labels), sum(counts.values())]
        for split, counts in audit.files.counts.items()
    ]
    _print_table(console, "Pictures that can be decoded", ["split", *labels, "all"], rows)
    groups = audit.groups
    text = (
        f"{_count_name(groups.distinct, 'distinct picture')} by pixels, {groups.groups:,} up to flips"
        f" and turns; {_count_name(groups.repeated, 'group')} of copies with"
        f" {_count_name(groups.pictures_in_repeated, 'picture')}."
    )
    _say(console, text)


def _print_twins(audit: Audit, labels: list[str], console: Console) -> None:
    rows = []
    for pair in audit.twins:
        among, total = "itself" if pair.of == pair.among else pair.among, pair.total
        share = _share(total.near, total.pictures)
        rows.append([pair.of or "all", among, total.pictures, total.near, share, total.identical])
    columns = ["of", "in", "pictures", "near", "share", "identical"]
    _print_table(console, "Copies: pictures of one split that another one shows already", columns, rows)
    transforms = [name for name in TRANSFORMS if name in audit.lead.total.transforms]
    if not transforms:
        return

    def row(name: str, count: TwinCount) -> list[Any]:
        turned = [count.transforms.get(transform, 0) for transform in transforms]
        return [name, count.near, count.identical, *turned]

    classes = [row(label, audit.lead.classes[label]) for label in labels if label in audit.lead.classes]
    where = "inside" if audit.lead.of == audit.lead.among else f"of {audit.lead.of} in"
    title = f"Copies {where} {audit.lead.among or 'the collection'}, by class and by flip or turn"
    columns = ["class", "near", "identical", *transforms]
    _print_table(console, title, columns, [*classes, row("all", audit.lead.total)])


def _print_scores(audit: Audit, console: Console) -> None:
    rows: list[list[Any]] = []
    for scores in zip(audit.memorisation, audit.memorisation_standardised, audit.shortcut, strict=True):
        first = scores[0]
        shares = [*(score.accuracy for score in scores), first.majority]
        rows.append([first.protocol, first.asked, *map(_percent, shares)])
        if first.protocol == OWN_SPLIT:
            unseen = [*(score.unseen_accuracy for score in scores), None]
            rows.append(["  without a copy", first.unseen, *map(_percent, unseen)])
    columns = ["tested on", "pictures", "nearest picture", "standardised", "border alone", "largest class"]
    if rows:
        _print_table(console, "Accuracy of baselines that see no disease", columns, rows)


def _print_files(audit: Audit, console: Console) -> None:
    files = audit.files
    pairs = [f"{pair.picture} and {pair.twin} ({pair.transform})" for pair in audit.conflicts.listed]
    unreadable = [f"{path}: {reason}" for path, reason in files.unreadable]
    misnamed = [f"{path} is {format}" for path, format in files.misnamed]
    lists = (
        ("Copies with two labels", audit.conflicts.pairs, pairs),
        ("Files that cannot be decoded", len(unreadable), unreadable),
        ("Files named as another format", len(misnamed), misnamed),
    )
    for name, count, rows in lists:
        _say(console, f"{name}: {count:,}")
        for row in rows[:CONSOLE_ROWS]:
            _say(console, f"  {row}")
        if count > CONSOLE_ROWS:
            _say(console, f"  and {count - CONSOLE_ROWS:,} more; see the written audit")
    if known := audit.agreement:
        _say(
            console,
            f"groups.csv: {known.found:,} of {known.train_twins:,} known twins found;"
            f" {known.spanning_groups} groups reach across its groups, {known.mixing_folds} across patient"
            " folds.",
        )


def _print_table(console: Console, title: str, columns: list[str], rows: list[list[Any]]) -> None:
    table = Table(title=Text(title), title_justify="left", box=SIMPLE)
    for place, column in enumerate(columns):
        table.add_column(Text(column), justify="left" if place == 0 else "right", overflow="fold")
    for row in rows:
        table.add_row(*(Text(f"{cell:,}" if isinstance(cell, int) else str(cell)) for cell in row))
    console.print(table)


def _say(console: Console, text: str, style: str = "") -> None:
    """Print as it is: a file name may hold brackets, which rich would take for markup."""
    console.print(Text(text, style=style), soft_wrap=True)


def _beats_majority(score: Score) -> bool:
    """By two standard errors of a share, so that a coin's luck is no finding."""
    return score.accuracy > score.majority + 2 * (score.majority * (1 - score.majority) / score.asked) ** 0.5


def _pick_tints(audit: Audit) -> dict[str, int]:
    """Number of the colour of each split: 0 for training, 1 for testing, the others in turn."""
    names = list(audit.files.counts)
    own = find_own_split(names) or ()
    ordered = [*own, *(name for name in names if name not in own)]
    tints = itertools.chain((0, 1), itertools.cycle(range(2, _TINTS)))
    return dict(zip(ordered, tints, strict=False))


def _count_name(count: int, name: str) -> str:
    """`1 picture`, `2 pictures`, `2 pictures in Testing`."""
    noun, *place = name.split(" in ", 1)
    return " in ".join([f"{count:,} {noun}{'' if count == 1 else 's'}", *place])


def _percent(share: float | None) -> str:
    return "\N{EN DASH}" if share is None else f"{share:.1%}".replace("%", "\N{NO-BREAK SPACE}%")


def _share(part: int, whole: int) -> str:
    """Whole per cent; not 0 % or 100 % where it is not quite."""
    percent = round(100 * part / whole)
    sign = "<" if percent == 0 < part else ">" if percent == 100 and part < whole else ""
    return f"{sign}{percent + (sign == '<') - (sign == '>')}\N{NO-BREAK SPACE}%"
