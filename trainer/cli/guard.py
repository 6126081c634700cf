"""`tumor guard` and `tumor refit-guard`: thin commands about the input guard; what needs TensorFlow is imported only when one runs."""

from pathlib import Path
from typing import Annotated

import typer

from serving.cli.commands import RevisionOption, fail
from trainer.cli.options import DataDirOption, console, require_training_extra, say


def guard(
    images: Annotated[Path, typer.Argument(help="Pictures by kind, DIR/KIND/FILE.")],
    model: Annotated[
        str | None,
        typer.Option(help="Artefact folder or Hub repository user/name; the bundled model by default."),
    ] = None,
    revision: RevisionOption = None,
    out: Annotated[Path | None, typer.Option(help="Also write the figures as JSON.")] = None,
) -> None:
    """Count what the input guard says of pictures, by kind."""
    require_training_extra()
    from serving import ArtefactError, ImageError, from_pretrained
    from trainer.reporting import guard_report

    try:
        figures = guard_report.count_verdicts(from_pretrained(model, revision), images)
    except (ArtefactError, ImageError, guard_report.GuardReportError) as error:
        fail(error)
    guard_report.print_verdicts(figures, console)
    if out is not None:
        guard_report.save_verdicts(figures, out)
        say(f"Written: {out}")


def refit_guard(
    artefact: Annotated[Path, typer.Argument(help="Artefact folder whose config.json is rewritten.")],
    data_dir: DataDirOption = None,
) -> None:
    """Fit the input guard of an artefact anew, on the dataset it was trained on; some minutes."""
    require_training_extra()
    from serving import ArtefactError
    from trainer.config import ConfigError
    from trainer.data.input_pipeline import DatasetMissingError
    from trainer.runs import artefact as artefacts

    try:
        artefacts.refit_guard(artefact, data_dir, console)
    except (ArtefactError, ConfigError, DatasetMissingError) as error:
        fail(error)
    say(f"Written: {artefact}/config.json")
