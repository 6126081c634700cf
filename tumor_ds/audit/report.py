"""The audit for people and for programs: tables in the terminal, `audit.html`, `audit.json`.

Goes in: an `Audit`. Comes out: text, one HTML page that needs nothing but itself, and JSON. File names come
from strangers: the page escapes them and forbids scripts, the terminal gets them as plain text.
"""

import itertools
from pathlib import Path
from typing import Any

from rich.console import Console

from tumor_ds.audit.audit import Audit
from tumor_ds.audit.baselines import OWN_SPLIT, find_own_split
from tumor_ds.audit.pages import embed_jpeg, render_page, write_page
from tumor_ds.audit.printing import beats_majority, count_name, format_percent, format_share, print_table, say
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
    write_page(out_dir, build_page(audit), audit.to_dict())


def build_page(audit: Audit) -> str:
    """Build the HTML page: no script, no request, every text escaped."""
    return render_page(
        TEMPLATE,
        {"number": "{:,}".format, "percent": format_percent, "count_name": count_name},
        audit=audit,
        headline=build_headline(audit),
        lead_name=describe_lead(audit),
        labels=list_labels(audit),
        transforms=[name for name in TRANSFORMS if name in audit.lead.total.transforms],
        tints=_pick_tints(audit),
        thumbnails={path: embed_jpeg(content) for path, content in audit.thumbnails.items()},
        split_of=lambda path: split_and_label(path)[0],
        label_of=lambda path: split_and_label(path)[1],
        file_of=lambda path: path.rpartition("/")[2],
        share=format_share,
        decoded=sum(sum(counts.values()) for counts in audit.files.counts.values()),
        beats_majority=beats_majority,
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
        return "None", f"of {count_name(total.pictures, of)} is a copy of {among}"
    verb, share = "is" if total.near == 1 else "are", format_share(total.near, total.pictures)
    return f"{total.near:,}", f"of {count_name(total.pictures, of)} ({share}) {verb} a copy of {among}"


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
    say(console, f"{audit.source}{version}: {number} {rest}.", style="bold")
    _print_counts(audit, labels, console)
    _print_twins(audit, labels, console)
    _print_scores(audit, console)
    for note in audit.notes:
        say(console, note)
    _print_files(audit, console)


def _print_counts(audit: Audit, labels: list[str], console: Console) -> None:
    rows = [
        [split or "all", *(counts.get(label, 0) for label in labels), sum(counts.values())]
        for split, counts in audit.files.counts.items()
    ]
    print_table(console, "Pictures that can be decoded", ["split", *labels, "all"], rows)
    groups = audit.groups
    text = (
        f"{count_name(groups.distinct, 'distinct picture')} by pixels, {groups.groups:,} up to flips"
        f" and turns; {count_name(groups.repeated, 'group')} of copies with"
        f" {count_name(groups.pictures_in_repeated, 'picture')}."
    )
    say(console, text)


def _print_twins(audit: Audit, labels: list[str], console: Console) -> None:
    rows = []
    for pair in audit.twins:
        among, total = "itself" if pair.of == pair.among else pair.among, pair.total
        share = format_share(total.near, total.pictures)
        rows.append([pair.of or "all", among, total.pictures, total.near, share, total.identical])
    columns = ["of", "in", "pictures", "near", "share", "identical"]
    print_table(console, "Copies: pictures of one split that another one shows already", columns, rows)
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
    print_table(console, title, columns, [*classes, row("all", audit.lead.total)])


def _print_scores(audit: Audit, console: Console) -> None:
    rows: list[list[Any]] = []
    for scores in zip(audit.memorisation, audit.memorisation_standardised, audit.shortcut, strict=True):
        first = scores[0]
        shares = [*(score.accuracy for score in scores), first.majority]
        rows.append([first.protocol, first.asked, *map(format_percent, shares)])
        if first.protocol == OWN_SPLIT:
            unseen = [*(score.unseen_accuracy for score in scores), None]
            rows.append(["  without a copy", first.unseen, *map(format_percent, unseen)])
    columns = ["tested on", "pictures", "nearest picture", "standardised", "border alone", "largest class"]
    if rows:
        print_table(console, "Accuracy of baselines that see no disease", columns, rows)


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
        say(console, f"{name}: {count:,}")
        for row in rows[:CONSOLE_ROWS]:
            say(console, f"  {row}")
        if count > CONSOLE_ROWS:
            say(console, f"  and {count - CONSOLE_ROWS:,} more; see the written audit")
    if known := audit.agreement:
        say(
            console,
            f"groups.csv: {known.found:,} of {known.train_twins:,} known twins found;"
            f" {known.spanning_groups} groups reach across its groups, {known.mixing_folds} across patient"
            " folds.",
        )


def _pick_tints(audit: Audit) -> dict[str, int]:
    """Number of the colour of each split: 0 for training, 1 for testing, the others in turn."""
    names = list(audit.files.counts)
    own = find_own_split(names) or ()
    ordered = [*own, *(name for name in names if name not in own)]
    tints = itertools.chain((0, 1), itertools.cycle(range(2, _TINTS)))
    return dict(zip(ordered, tints, strict=False))
