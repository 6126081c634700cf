"""A model that is kept at Weights & Biases, as an artefact folder on this machine.

Goes in: the name of a W&B artifact, as `tumor train` logs one for every run. Comes out: a folder with its
    artefact's files, and only those.
"""

import os
import re
from pathlib import Path

import wandb

from serving.model.artefact import ArtefactError, is_inside

PREFIX = "wandb:"
_NAME = re.compile(r"[^/:]+/[^/:]+/[^/:]+:[^/:]+")
# How long a server that does not answer is waited for.
TIMEOUT_SECONDS = 10


def download_model(source: str, folder: Path) -> Path:
    """Download a model.

    Args:
        source: `wandb:ENTITY/PROJECT/NAME:VERSION`; the version may be an alias, such as `best`.
        folder: an empty one.

    Returns:
        The folder, with the files of an artefact that it had; whether they are whole has yet to be checked.

    Raises:
        ArtefactError: no such artifact, no key for it, or W&B cannot be reached.
    """
    name = source.removeprefix(PREFIX)
    if not _NAME.fullmatch(name):
        raise ArtefactError(
            f"Expected {PREFIX}ENTITY/PROJECT/NAME:VERSION, got {source}. The artifact's page at W&B says its"
            " full name."
        )
    os.environ.setdefault("WANDB_SILENT", "true")
    try:
        found = wandb.Api(timeout=TIMEOUT_SECONDS).artifact(name)
        if found.type != "model":
            remedy = "Expected a model, as `tumor train` logs one."
            raise ArtefactError(f"{name} is of type {found.type}. {remedy}")
        for path, entry in found.manifest.entries.items():
            # A reference may name any file of this machine, which would then be published.
            if not is_inside(path) or entry.ref is not None:
                raise ArtefactError(
                    f"{name} lists a file {path!r} outside its own folder. Nothing was downloaded; do not"
                    " use it."
                )
        found.download(str(folder), skip_cache=True)
    except (wandb.Error, ValueError, OSError) as error:
        advice = "Check the name, log in with `wandb login`, and check the network."
        raise ArtefactError(
            f"{name} cannot be had from W&B: {str(error).strip().rstrip('.') or repr(error)}. {advice}"
        ) from error
    return folder
