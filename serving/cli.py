"""`tumor predict` and `tumor serve`: thin commands over the classifier and the app."""

import csv
import json
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from serving import ArtefactError, Classifier, ImageError, from_pretrained

ModelOption = Annotated[str | None, typer.Option(help="Artefact folder or Hub repository user/name; the bundled model by default.")]
RevisionOption = Annotated[str | None, typer.Option(help="Branch, tag or commit on the Hub.")]
errors = Console(stderr=True)


def predict(
    files: Annotated[list[Path], typer.Argument(help="Pictures: PNG, JPEG, BMP, TIFF or WebP, one slice each.")],
    json_output: Annotated[bool, typer.Option("--json", help="Print a JSON list.")] = False,
    csv_file: Annotated[Path | None, typer.Option("--csv", help="Also write a CSV file, a row a picture.")] = None,
    model: ModelOption = None,
    revision: RevisionOption = None,
) -> None:
    """Classify pictures. A research tool, not a medical device.

    Exit code 0: all were read (refused ones included); 1: the model cannot be loaded; 2: at least one picture cannot be read.
    """
    if csv_file is not None and not csv_file.parent.is_dir():
        raise typer.BadParameter(f"{csv_file.parent} is no folder. Make it first, or write elsewhere.", param_hint="--csv")
    classifier = load_classifier(model, revision)
    rows: list[dict[str, Any]] = []
    for path in files:
        try:
            rows.append({"file": str(path)} | classifier.predict(path).to_dict())
        except ImageError as error:
            rows.append({"file": str(path), "error": str(error)})
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
    host: Annotated[str | None, typer.Option(help="Address to listen on; by default 127.0.0.1, or GRADIO_SERVER_NAME.")] = None,
) -> None:
    """Open the app in the browser. A research tool, not a medical device."""
    classifier = load_classifier(model, revision)
    # Imported here: predicting on the command line needs no web framework.
    from serving.app import launch

    launch(classifier, host=host, port=port)


def load_classifier(model: str | None, revision: str | None) -> Classifier:
    """Load the model, or leave with one line on stderr and code 1."""
    try:
        return from_pretrained(model, revision)
    except ArtefactError as error:
        fail(error)


def fail(error: Exception | str) -> NoReturn:
    """Print one line on stderr and leave with code 1."""
    errors.print(str(error), style="red", markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(1)


def write_csv(rows: list[dict[str, Any]], labels: tuple[str, ...], path: Path) -> None:
    """Write a row a picture; a picture that could not be read has only its file and the error."""
    probability_columns = [f"prob_{label}" for label in labels]
    columns = ["file", "label", "verdict", "reason", "in_domain", *probability_columns, "prediction_set", "domain_distance", "error"]
    temporary = path.with_name(f"{path.name}.partial")
    with temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        writer.writeheader()
        for row in rows:
            probabilities = row.get("probabilities") or {}
            flat = {f"prob_{label}": value for label, value in probabilities.items()}
            writer.writerow(row | flat | {"prediction_set": " ".join(row.get("prediction_set", []))})
    temporary.replace(path)


def print_table(rows: list[dict[str, Any]], labels: tuple[str, ...]) -> None:
    """Print a row a picture."""
    table = Table(caption="Research only, not a medical device.")
    for column in ("file", "label", *labels, "cannot be ruled out"):
        table.add_column(column, overflow="fold")
    for row in rows:
        if "error" in row:
            table.add_row(escape(row["file"]), "[red]not read[/red]", *["-"] * len(labels), escape(row["error"]))
        elif not row["in_domain"]:
            table.add_row(escape(row["file"]), "[yellow]refused[/yellow]", *["-"] * len(labels), row["reason"])
        else:
            probabilities = (f"{row['probabilities'][label]:.1%}" for label in labels)
            table.add_row(escape(row["file"]), row["label"], *probabilities, ", ".join(row["prediction_set"]))
    Console().print(table)
