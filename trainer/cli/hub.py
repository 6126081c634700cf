"""`tumor push`, `tumor pull` and `tumor space`: thin commands over `serving.hub`."""

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from serving import ArtefactError
from serving.cli.commands import RevisionOption
from serving.hub.fetch import locate_artefact, pull_artefact
from trainer.cli.options import require_training_extra, say

RepositoryArgument = Annotated[str, typer.Argument(metavar="USER/REPO", help="Model repository.")]
_RUN = "Run or artefact folder, or wandb:ENTITY/PROJECT/NAME:VERSION."
_NEW = "Model repository; made where it does not exist."
_SPACE = "Also create or update this Space, pinned to the commit."
_PRIVATE = "Make a new repository, or Space, private."
_CREATE_PR = "Propose the commit in a pull request."
_OVERWRITE = "Replace a model card that was edited on the Hub."


def push(
    run: Annotated[str, typer.Argument(help=_RUN)],
    repo_id: Annotated[str, typer.Argument(metavar="USER/REPO", help=_NEW)],
    space: Annotated[str | None, typer.Option(metavar="USER/SPACE", help=_SPACE)] = None,
    tag: Annotated[str | None, typer.Option(help="Name the commit, for good, such as v1.")] = None,
    private: Annotated[bool, typer.Option("--private", help=_PRIVATE)] = False,
    create_pr: Annotated[bool, typer.Option("--create-pr", help=_CREATE_PR)] = False,
    overwrite_card: Annotated[bool, typer.Option("--overwrite-card", help=_OVERWRITE)] = False,
) -> None:
    """Publish a model on the Hugging Face Hub, in one commit; the same model again makes none."""
    from serving.hub.publish import push_artefact, push_space

    with tempfile.TemporaryDirectory() as scratch:
        folder = locate_source(run, Path(scratch))
        pushed = push_artefact(
            folder, repo_id, private=private, tag=tag, create_pr=create_pr, overwrite_card=overwrite_card
        )
    say(f"{'Published' if pushed.is_new else 'Nothing has changed'}: {pushed.url} at commit {pushed.commit}")
    if pushed.kept_card:
        say("The model card was edited on the Hub and is kept; --overwrite-card replaces it.")
    say(f"Try it: tumor serve --model {pushed.repo_id} --revision {tag or pushed.commit}")
    if space is not None:
        shown = push_space(space, pushed.repo_id, pushed.commit, private)
        say(f"{'Published' if shown.is_new else 'Nothing has changed'}: {shown.url}")


def pull(
    repo_id: RepositoryArgument,
    folder: Annotated[Path, typer.Argument(help="New or empty, or an artefact that is replaced.")],
    revision: RevisionOption = None,
) -> None:
    """Fetch a whole artefact from the Hugging Face Hub and check it against its sha256."""
    commit = pull_artefact(repo_id, folder, revision)
    say(f"Artefact: {folder}, from {repo_id} at commit {commit}\nTry it:   tumor serve --model {folder}")


def space(
    folder: Annotated[Path, typer.Argument(help="New or empty.")],
    repo_id: RepositoryArgument,
    revision: RevisionOption = None,
) -> None:
    """Write the folder of a Space for a model on the Hub, pinned to its commit, to run it here."""
    from serving.hub.publish import save_space

    commit = save_space(folder, repo_id, revision)
    say(
        f"Space: {folder}, with {repo_id} at commit {commit}\nTry it: in a new environment there, pip install"
        " -r requirements.txt && python app.py"
    )


def locate_source(run: str, scratch: Path) -> Path:
    """The artefact folder to publish; one at Weights & Biases is downloaded."""
    if run.startswith("wandb:"):
        require_training_extra()
        from trainer.tracking.wandb_models import download_model

        return download_model(run, scratch)
    if not Path(run).is_dir():
        makers = "`tumor train` makes one, and `tumor pull` fetches one"
        remedy = "Copy it to this machine first" if "://" in run else makers
        raise ArtefactError(f"Expected a run or artefact folder, got {run}, which is none. {remedy}.")
    return locate_artefact(run)
