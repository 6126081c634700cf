"""Answers on the terminal: a line a file that fits its width, or tab-separated values where nobody looks.

Goes in: rows of `serving.cli.answers`, as they come. Comes out: for eyes, aligned columns, with reasons and
errors beneath the line that they are about; for pipes, a header and a line a picture or slice on stdout, and
on stderr what is about all of them.
"""

import sys
import textwrap
from collections.abc import Iterable, Sequence

import typer
from rich.cells import cell_len, set_cell_size
from rich.console import Console

from serving.cli.answers import Row, list_slices
from serving.cli.wording import clean, describe_outlined, format_percent
from serving.model.guard import Verdict

NOTICE = "Research only, not a medical device."
COLUMNS = (
    "file",
    "slice",
    "label",
    "probability",
    "prediction_set",
    "verdict",
    "tumor_share",
    "reason",
    "error",
)
VERDICTS = {
    Verdict.like_training.value: "usual",
    Verdict.unlike_training.value: "unusual",
    Verdict.not_brain_mri.value: "refused",
}
NOT_READ = "not read"
STYLES = {"refused": "yellow", NOT_READ: "red", "unusual": "yellow"}
_PROBABILITY, _VERDICT, _OUTLINED, _OTHERS, _LONGEST_LABEL = 8, 8, 8, 15, 18


def print_lines(rows: Iterable[Row], labels: Sequence[str], has_map: bool) -> bool:
    """Print answers as they come; tell whether one of them is an error.

    Args:
        rows: of files, pictures and volumes.
        labels: of the model.
        has_map: whether the model outlines anything.
    """
    if not sys.stdout.isatty():
        return _print_values(rows)
    printer, has_failed = LinePrinter(Console(), labels, has_map), False
    printer.print_header()
    for row in rows:
        has_failed |= has_error(row)
        for one in list_slices([row]):
            printer.print_row(one)
        if "summary" in row:
            printer.print_text(describe_volume(row))
    printer.print_text(NOTICE)
    return has_failed


class LinePrinter:
    """Prints lines that are no wider than the terminal.

    Example:
        >>> printer = LinePrinter(Console(width=60), ("glioma", "notumor"), has_map=False)
        >>> printer.print_row({"file": "a/very/long/path/of/notes.txt", "error": "It is no picture."})
        …h/of/notes.txt  -               -  -               not read
          It is no picture.
    """

    def __init__(self, console: Console, labels: Sequence[str], has_map: bool):
        self._console, self._has_map = console, has_map
        self._label = min(_LONGEST_LABEL, max(map(cell_len, ("label", *labels))))
        fixed = (self._label, _PROBABILITY, _VERDICT, *[_OUTLINED] * has_map)
        free = console.width - sum(fixed) - 2 * (len(fixed) + 1)
        # The rest is for the file's name and for labels that are not ruled out, which may stand beneath.
        self._others = max(8, min(_OTHERS, free // 2))
        self._file = max(8, free - self._others)

    def print_header(self) -> None:
        """Print what the columns are."""
        self._print(["file", "label", "prob.", "also possible", "verdict", "outlined"], "bold")

    def print_row(self, row: Row) -> None:
        """Print one picture or slice, and beneath it what does not fit into its line."""
        name = clean(row["file"]) + (f":{row['slice']}" if "slice" in row else "")
        verdict = NOT_READ if "error" in row else VERDICTS[row["verdict"]]
        if "error" in row or not row["in_domain"]:
            self._print([name, "-", "-", "-", verdict, "-"], STYLES[verdict])
            self.print_text(clean(row["error"] if "error" in row else row["reason"]), "  ")
            return
        label, share = row["label"], row["tumor_share"]
        others = [one for one in row["prediction_set"] if one != label]
        listed = ", ".join(others) or "none"
        fits = cell_len(listed) <= self._others
        shown = listed if fits else "1 other" if len(others) == 1 else f"{len(others)} others"
        probability = format_percent(row["probabilities"][label])
        outlined = "-" if share is None else format_share(share)
        self._print([name, label, probability, shown, verdict, outlined], STYLES.get(verdict))
        beneath = [row["reason"], "" if fits else f"Also possible at 95 %: {listed}."]
        self.print_text(" ".join(filter(None, beneath)), "  ")

    def print_text(self, text: str, indent: str = "") -> None:
        """Print sentences, wrapped; nothing where there are none."""
        for line in text.split("\n") if text else []:
            wrapped = textwrap.wrap(line, self._console.width, initial_indent=indent, subsequent_indent="  ")
            for part in wrapped or [""]:
                self._write(part)

    def _print(self, cells: list[str], style: str | None) -> None:
        name, label, probability, others, verdict, outlined = cells
        columns = [
            fit_end(name, self._file),
            fit_start(label, self._label),
            f"{probability:>{_PROBABILITY}}",
            set_cell_size(others, self._others),
            set_cell_size(verdict, _VERDICT),
        ]
        self._write("  ".join([*columns, *[outlined] * self._has_map]).rstrip(), style)

    def _write(self, text: str, style: str | None = None) -> None:
        self._console.print(
            text, style=style, markup=False, highlight=False, soft_wrap=True, emoji=False, crop=False
        )


def _print_values(rows: Iterable[Row]) -> bool:
    has_failed = False
    # Not by echo, which would take another encoding than that of the pipe, where that is ASCII.
    print("\t".join(COLUMNS))
    for row in rows:
        has_failed |= has_error(row)
        for one in list_slices([row]):
            print("\t".join(map(_format_value, _list_values(one))))
        sys.stdout.flush()
        if "summary" in row:
            typer.echo(describe_volume(row), err=True)
    typer.echo(NOTICE, err=True)
    return has_failed


def _list_values(row: Row) -> list[object]:
    label = row.get("label")
    probability = row["probabilities"][label] if label else None
    members = ";".join(row.get("prediction_set", ()))
    rest = [row.get(name) for name in COLUMNS[-4:]]
    return [row["file"], row.get("slice"), label, probability, members, *rest]


def _format_value(value: object) -> str:
    """All digits of a number; text without tabs or line ends; nothing for what is not known."""
    return "" if value is None else clean(value) if isinstance(value, str) else str(value)


def has_error(row: Row) -> bool:
    """Whether an input, or a file that belongs to it, could not be read or written."""
    return "error" in row or any("error" in one for one in list_slices([row]))


def format_share(share: float) -> str:
    """Write which share of the head is outlined, [0, 1], in a word.

    Example:
        >>> format_share(0.0378), format_share(0.002), format_share(0.0)
        ('4 %', '< 1 %', 'nothing')
    """
    if share <= 0:
        return "nothing"
    return f"{100 * share:.0f} %" if share >= 0.01 else "< 1 %"


def fit_end(text: str, width: int) -> str:
    """Fill or cut a path to a number of columns; its end stays, which tells files apart.

    Example:
        >>> fit_end("data/study/slice.png", 12), fit_end("a.png", 8)
        ('…y/slice.png', 'a.png   ')
    """
    if cell_len(text) <= width:
        return set_cell_size(text, width)
    while cell_len(text) > width - 1:
        text = text[1:]
    return set_cell_size(f"…{text}", width)


def fit_start(text: str, width: int) -> str:
    """Fill or cut text to a number of columns; its start stays.

    Example:
        >>> fit_start("hémorragie récente", 12)
        'hémorragie …'
    """
    return set_cell_size(text if cell_len(text) <= width else f"{set_cell_size(text, width - 1)}…", width)


def describe_volume(row: Row) -> str:
    """Say in a few lines what a volume is, and how many of its slices have which label."""
    summary, plane = row["summary"], row["plane"] or "plane not stated"
    facts = ", ".join(f"{name} {value}" for name, value in row["facts"].items())
    counts = dict(summary["counts"])
    refused = counts.pop(Verdict.not_brain_mri)
    parts = ", ".join([f"refused {refused}", *(f"{label} {count}" for label, count in counts.items())])
    lines = [
        f"{clean(row['file'])}: {row['format']}, {plane}, {len(row['slices'])} slices ({facts})",
        f"  slices: {parts}; unlike the training pictures {summary['unlike_training']}",
    ]
    if summary["most_affected"]:
        numbers = ", ".join(map(str, summary["most_affected"]))
        lines.append(f"  least probably healthy: slices {numbers}")
    fields = (summary[field] for field in ("volume_ml", "volume_basis"))
    if outlined := describe_outlined(summary["outlined_slices"], len(row["slices"]), *fields):
        lines.append(f"  {outlined}")
    if "error" in row:
        lines.append(f"  {clean(row['error'])}")
    return "\n".join([*lines, *(f"  left out: {clean(reason)}" for reason in row["skipped"])])
