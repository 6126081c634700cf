"""`tumor predict`: a thin command over the classifier, and the table that it prints."""

import json
import sys
import textwrap
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Annotated, Literal

import typer
from rich.console import Console
from rich.table import Table

from serving.classifier import from_pretrained
from serving.cli.answers import Row, build_csv, list_slices
from serving.cli.batch import find_inputs, score_inputs
from serving.cli.pictures import PictureWriter
from serving.cli.terminal import errors
from serving.cli.wording import clean, describe_outlined, format_head_share, format_percent
from serving.files.writing import write_as_it_comes
from serving.model.guard import Verdict
from serving.model.runtime import MAX_BATCH

_MODEL = "Artefact folder or Hub repository user/name; the bundled model by default."
ModelOption = Annotated[str | None, typer.Option(help=_MODEL)]
RevisionOption = Annotated[str | None, typer.Option(help="Branch, tag or commit on the Hub.")]
_INPUTS = (
    "Pictures (PNG, JPEG, BMP, TIFF, WebP), DICOM, NIfTI, zips of a DICOM series, folders, quoted patterns,"
    " or - for standard input."
)
_CSV = "Also write a CSV file, a row a picture and a row a slice of a volume."
_HEATMAPS = "Also write the class activation map of every scored picture into this folder: where the evidence"
_HEATMAPS += " for its label lies, coarse."
_OUTLINES = (
    "Also write masks of what is outlined into this folder: PNG in the picture's size, for NIfTI a NIfTI"
)
_OUTLINES += " on the scan's grid."
_PLANE = "How a NIfTI volume is cut; by default as it was taken."
_MIN_FOR_PROGRESS = 20


def predict(
    inputs: Annotated[list[str], typer.Argument(metavar="INPUTS...", help=_INPUTS)],
    json_output: Annotated[bool, typer.Option("--json", help="Print JSON, an object an input.")] = False,
    csv_file: Annotated[Path | None, typer.Option("--csv", help=_CSV)] = None,
    heatmaps: Annotated[Path | None, typer.Option(help=_HEATMAPS)] = None,
    outlines: Annotated[Path | None, typer.Option(help=_OUTLINES)] = None,
    plane: Annotated[Literal["axial", "coronal", "sagittal"] | None, typer.Option(help=_PLANE)] = None,
    model: ModelOption = None,
    revision: RevisionOption = None,
) -> None:
    """Classify pictures and volumes. A research tool, not a medical device.

    Exit code 0: all were read (refused ones included); 1: the model cannot be loaded, or an output not be
    written; 2: at least one input cannot be read (the others are answered), or the command line is wrong.
    """
    if csv_file is not None and not csv_file.parent.is_dir():
        text = f"{csv_file.parent} is no folder. Make it first, or write elsewhere."
        raise typer.BadParameter(text, param_hint="--csv")
    classifier = from_pretrained(model, revision)
    if outlines is not None and classifier.config.map is None:
        text = "This model has no tumour map and outlines nothing. Leave --outlines out, or take another one."
        raise typer.BadParameter(text, param_hint="--outlines")
    for folder in (heatmaps, outlines):
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
    writer = PictureWriter(classifier.config.image_fit, heatmaps, outlines)
    found = find_inputs(inputs, sys.stdin.buffer)
    rows = show_progress(score_inputs(classifier, found, plane, writer), len(found))
    with ExitStack() as outputs:
        if csv_file is not None:
            rows = copy_to_csv(rows, outputs.enter_context(write_as_it_comes(csv_file)), classifier.labels)
        has_failed = (print_json if json_output else print_tables)(rows, classifier.labels)
    if has_failed:
        raise typer.Exit(2)


def show_progress(rows: Iterator[Row], count: int) -> Iterator[Row]:
    """Show a bar on a terminal's stderr while many inputs are answered and the answers go elsewhere."""
    if count >= _MIN_FOR_PROGRESS and errors.is_terminal and not sys.stdout.isatty():
        # Imported here: one picture is answered before it is.
        from rich.progress import Progress

        with Progress(console=errors, transient=True, redirect_stdout=False) as progress:
            yield from progress.track(rows, count, description="Scoring")
    else:
        yield from rows


def copy_to_csv(rows: Iterable[Row], stream: IO[bytes], labels: tuple[str, ...]) -> Iterator[Row]:
    """Pass rows on, each once it lies in the CSV file: a run that is stopped loses none."""
    stream.write(build_csv([], labels))
    for row in rows:
        stream.write(build_csv([row], labels, with_header=False))
        stream.flush()
        yield row


def print_json(rows: Iterable[Row], labels: tuple[str, ...]) -> bool:
    """Print a JSON array, an object an input, each as it comes; tell whether one of them is an error."""
    has_failed, before = False, "["
    for row in rows:
        typer.echo(before + textwrap.indent(f"\n{json.dumps(row, indent=2)}", "  "), nl=False)
        sys.stdout.flush()
        has_failed, before = has_failed or _has_error(row), ","
    typer.echo("[]" if before == "[" else "\n]")
    return has_failed


def print_tables(rows: Iterable[Row], labels: tuple[str, ...]) -> bool:
    """Print a table a batch of pictures or a volume, as they come; tell whether a row is an error."""
    has_failed, waiting = False, list[Row]()
    try:
        for row in rows:
            waiting.append(row)
            has_failed |= _has_error(row)
            if "slices" in row or len(waiting) == MAX_BATCH:
                print_table(waiting, labels)
                waiting = []
    finally:  # what was answered before a fault is shown
        if waiting:
            print_table(waiting, labels)
    return has_failed


def _has_error(row: Row) -> bool:
    return "error" in row or any("error" in one for one in list_slices([row]))


def print_table(rows: list[Row], labels: tuple[str, ...]) -> None:
    """Print a row a picture or slice, and below them what the slices of each volume say together."""
    table = Table(caption="Research only, not a medical device.")
    slices = list(list_slices(rows))
    outlined = ["outlined"] if any(row.get("tumor_share") is not None for row in slices) else []
    for column in ("file", "label", *labels, *outlined, "cannot be ruled out"):
        table.add_column(column, overflow="fold")
    for row in slices:
        name = clean(row["file"]) + (f" {row['slice']}" if "slice" in row else "")
        if "error" in row:
            table.add_row(
                name, "[red]not read[/red]", *["-"] * (len(labels) + len(outlined)), clean(row["error"])
            )
        elif not row["in_domain"]:
            table.add_row(
                name, "[yellow]refused[/yellow]", *["-"] * (len(labels) + len(outlined)), row["reason"]
            )
        else:
            shares = (format_percent(row["probabilities"][label]) for label in labels)
            reason = f". {row['reason']}" if row["reason"] else ""
            sizes = [format_head_share(row["tumor_share"])] if outlined else []
            table.add_row(name, row["label"], *shares, *sizes, ", ".join(row["prediction_set"]) + reason)
    console = Console()
    console.print(table)
    for row in rows:
        if "summary" in row:
            console.print(describe_volume(row), soft_wrap=True, highlight=False)


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
        lines.append(f"  most likely to show a tumour: slices {numbers}")
    fields = (summary[field] for field in ("volume_ml", "volume_basis"))
    if outlined := describe_outlined(summary["outlined_slices"], len(row["slices"]), *fields):
        lines.append(f"  {outlined}")
    if "error" in row:
        lines.append(f"  {clean(row['error'])}")
    return "\n".join([*lines, *(f"  left out: {clean(reason)}" for reason in row["skipped"])])
