"""`tumor predict`: a thin command over the classifier."""

import json
import sys
import textwrap
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Annotated, Literal

import typer

from serving.classifier import from_pretrained
from serving.cli.answers import Row, build_csv
from serving.cli.batch import find_inputs, score_inputs
from serving.cli.lines import has_error, print_lines
from serving.cli.pictures import PictureWriter
from serving.cli.terminal import errors
from serving.files.writing import write_as_it_comes

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
_STDOUT = ("/dev/stdout", "/dev/fd/1")


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
    classifier = from_pretrained(model, revision)
    if outlines is not None and classifier.config.map is None:
        text = "This model has no tumour map and outlines nothing. Leave --outlines out, or take another one."
        raise typer.BadParameter(text, param_hint="--outlines")
    for folder in (csv_file and csv_file.parent, heatmaps, outlines):
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
    writer = PictureWriter(classifier.config.image_fit, heatmaps, outlines)
    found = find_inputs(inputs, sys.stdin.buffer)
    rows = show_progress(score_inputs(classifier, found, plane, writer), len(found))
    with ExitStack() as outputs:
        if csv_file is not None:
            rows = copy_to_csv(rows, outputs.enter_context(write_as_it_comes(csv_file)), classifier.labels)
        if str(csv_file) in _STDOUT:  # where nothing else may stand among its lines
            has_failed = any([has_error(row) for row in rows])
        elif json_output:
            has_failed = print_json(rows)
        else:
            has_failed = print_lines(rows, classifier.labels, classifier.config.map is not None)
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


def print_json(rows: Iterable[Row]) -> bool:
    """Print a JSON array, an object an input, each as it comes; tell whether one of them is an error."""
    has_failed, before = False, "["
    for row in rows:
        typer.echo(before + textwrap.indent(f"\n{json.dumps(row, indent=2)}", "  "), nl=False)
        sys.stdout.flush()
        has_failed, before = has_failed or has_error(row), ","
    typer.echo("[]" if before == "[" else "\n]")
    return has_failed
