"""`tumor guard` and `tumor refit-guard`: thin commands that import TensorFlow only when run."""

from pathlib import Path
from typing import Annotated

import typer

from serving.cli.commands import ModelOption, RevisionOption
from serving.files.writing import write_json
from trainer.cli.options import DataDirOption, console, require_training_extra, say


def guard(
    images: Annotated[Path, typer.Argument(help="Pictures by kind, DIR/KIND/FILE.")],
    model: ModelOption = None,
    revision: RevisionOption = None,
    out: Annotated[Path | None, typer.Option(help="Also write the figures as JSON.")] = None,
) -> None:
    """Count what the input guard says of pictures, by kind."""
    require_training_extra()
    from serving import from_pretrained
    from trainer.evaluation.verdicts import count_verdicts
    from trainer.reporting.terminal import print_verdicts

    figures = count_verdicts(from_pretrained(model, revision), images)
    print_verdicts(figures, console)
    if out is not None:
        write_json(out, figures)
        say(f"Written: {out}")


def refit_guard(
    artefact: Annotated[Path, typer.Argument(help="Artefact folder whose config.json is rewritten.")],
    data_dir: DataDirOption = None,
) -> None:
    """Fit the input guard of an artefact anew, on the dataset it was trained on; some minutes."""
    require_training_extra()
    from trainer.runs import artefact as artefacts

    artefacts.refit_guard(artefact, data_dir, console)
    say(f"Written: {artefact}/config.json")
