"""`tumor predict` and `tumor serve`: thin commands over the classifier and the app."""

import csv
import enum
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from serving import from_pretrained
from serving.cli.batch import find_inputs, score_inputs
from serving.cli.terminal import errors
from serving.model.guard import Verdict

ModelOption = Annotated[
    str | None,
    typer.Option(help="Artefact folder or Hub repository user/name; the bundled model by default."),
]
RevisionOption = Annotated[str | None, typer.Option(help="Branch, tag or commit on the Hub.")]
MIN_FOR_PROGRESS = 20


class Plane(enum.StrEnum):
    """How a volume may be cut."""

    axial = enum.auto()
    coronal = enum.auto()
    sagittal = enum.auto()


def predict(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUTS...",
            help=(
                "Pictures (PNG, JPEG, BMP, TIFF, WebP), DICOM, NIfTI, zips of a DICOM series, folders, quoted"
                " patterns, or - for standard input."
            ),
        ),
    ],
    json_output: Annotated[
        bool, typer.Option("--json", help="Print a JSON list, an object an input.")
    ] = False,
    csv_file: Annotated[
        Path | None,
        typer.Option("--csv", help="Also write a CSV file, a row a picture and a row a slice of a volume."),
    ] = None,
    heatmaps: Annotated[
        Path | None, typer.Option(help="Also write the heat map of every scored picture into this folder.")
    ] = None,
    plane: Annotated[
        Plane | None, typer.Option(help="How a NIfTI volume is cut; by default as it was taken.")
    ] = None,
    model: ModelOption = None,
    revision: RevisionOption = None,
) -> None:
    """Classify pictures and volumes. A research tool, not a medical device.

    Exit code 0: all were read (refused ones included); 1: the model cannot be loaded, or an output not be
    written; 2: at least one input cannot be read (the others are answered), or the command line is wrong.
    """
    if csv_file is not None and not csv_file.parent.is_dir():
        raise typer.BadParameter(
            f"{csv_file.parent} is no folder. Make it first, or write elsewhere.", param_hint="--csv"
        )
    classifier = from_pretrained(model, revision)
    if heatmaps is not None:
        heatmaps.mkdir(parents=True, exist_ok=True)
    found = find_inputs(inputs, sys.stdin.buffer)
    rows = list(show_progress(score_inputs(classifier, found, plane, heatmaps), len(found)))
    if csv_file is not None:
        write_csv(rows, classifier.labels, csv_file)
    if json_output:
        typer.echo(json.dumps(rows, indent=2))
    else:
        print_table(rows, classifier.labels)
    if any("error" in row for row in rows):
        raise typer.Exit(2)


def serve(
    model: ModelOption = None,
    revision: RevisionOption = None,
    port: Annotated[int | None, typer.Option(help="Port; by default the first free one from 7860.")] = None,
    host: Annotated[
        str | None, typer.Option(help="Address to listen on; by default 127.0.0.1, or GRADIO_SERVER_NAME.")
    ] = None,
) -> None:
    """Open the app in the browser. A research tool, not a medical device."""
    classifier = from_pretrained(model, revision)
    # Imported here: predicting on the command line needs no web framework.
    from serving.app.page import launch

    launch(classifier, host=host, port=port)


def show_progress(rows: Iterator[dict[str, Any]], count: int) -> Iterator[dict[str, Any]]:
    """Show a bar on a terminal's stderr while many inputs are answered."""
    if count < MIN_FOR_PROGRESS or not errors.is_terminal:
        return rows
    # Imported here: one picture is answered before it is.
    from rich.progress import track

    return iter(track(rows, "Scoring", count, console=errors, transient=True))


def list_slices(rows: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Flatten answers to a row a picture and a row a slice."""
    for row in rows:
        yield from ({"file": row["file"]} | each for each in row["slices"]) if "slices" in row else [row]


def write_csv(rows: list[dict[str, Any]], labels: tuple[str, ...], path: Path) -> None:
    """Write a row a picture or slice; an input that could not be read has only its file and the error."""
    probabilities = [f"prob_{label}" for label in labels]
    columns = [
        "file",
        "slice",
        "position_mm",
        "label",
        "verdict",
        "in_domain",
        *probabilities,
        "prediction_set",
        "domain_distance",
    ]
    temporary = path.with_name(f"{path.name}.partial")
    # File names that are no UTF-8 go out as they came in.
    with temporary.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        writer = csv.DictWriter(file, [*columns, "heatmap", "reason", "error"], extrasaction="ignore")
        writer.writeheader()
        for row in list_slices(rows):
            flat = {f"prob_{label}": value for label, value in (row.get("probabilities") or {}).items()}
            writer.writerow(row | flat | {"prediction_set": " ".join(row.get("prediction_set", []))})
    temporary.replace(path)


def print_table(rows: list[dict[str, Any]], labels: tuple[str, ...]) -> None:
    """Print a row a picture or slice, and below them what the slices of each volume say together."""
    table = Table(caption="Research only, not a medical device.")
    for column in ("file", "label", *labels, "cannot be ruled out"):
        table.add_column(column, overflow="fold")
    for row in list_slices(rows):
        name = clean(row["file"]) + (f" {row['slice']}" if "slice" in row else "")
        if "error" in row:
            table.add_row(name, "[red]not read[/red]", *["-"] * len(labels), clean(row["error"]))
        elif not row["in_domain"]:
            table.add_row(name, "[yellow]refused[/yellow]", *["-"] * len(labels), row["reason"])
        else:
            probabilities = (f"{row['probabilities'][label]:.1%}" for label in labels)
            table.add_row(
                name,
                row["label"],
                *probabilities,
                ", ".join(row["prediction_set"]) + (f". {row['reason']}" if row["reason"] else ""),
            )
    console = Console()
    console.print(table)
    for row in rows:
        if "summary" in row:
            console.print(describe_volume(row), soft_wrap=True, highlight=False)


def describe_volume(row: dict[str, Any]) -> str:
    """Say in a few lines what a volume is and how many of its slices speak for what."""
    summary, facts = row["summary"], ", ".join(f"{name} {value}" for name, value in row["facts"].items())
    counts = dict(summary["counts"])
    parts = [
        f"refused {counts.pop(Verdict.not_brain_mri)}",
        *(f"{label} {count}" for label, count in counts.items()),
    ]
    lines = [
        f"{clean(row['file'])}: {row['format']}, {row['plane'] or 'plane not stated'}, {len(row['slices'])}"
        f" slices ({facts})"
    ]
    lines.append(f"  slices: {', '.join(parts)}; unlike the training pictures {summary['unlike_training']}")
    if summary["most_affected"]:
        lines.append(
            f"  most likely to show a tumour: slices {', '.join(map(str, summary['most_affected']))}"
        )
    lines += [f"  left out: {clean(reason)}" for reason in row["skipped"]]
    return "\n".join(lines)


def clean(text: str) -> str:
    """Make text from a file name safe to print: no markup, no control characters, nothing that is no UTF-8."""
    return escape(
        "".join(one if one.isprintable() else one.encode("unicode_escape").decode("ascii") for one in text)
    )
