"""What all commands share: the terminal, names of protocols, a check that training is installed.

Goes in: text. Comes out: lines on the terminal. Light: nothing here imports TensorFlow.
"""

import enum
import importlib.util
from typing import Annotated

import typer
from rich.console import Console

from serving.files.errors import UserError

console = Console()
# Text, since a `Path` would make gs:/bucket of gs://bucket.
DataDirOption = Annotated[
    str | None, typer.Option(help="Where TFDS keeps datasets, also gs://; ~/tensorflow_datasets by default.")
]


class Protocol(enum.StrEnum):
    """Configs of the dataset builder for pictures in class folders; `tumor build` knows the sources, too."""

    official = enum.auto()
    grouped = enum.auto()
    patient = enum.auto()
    folder = enum.auto()


def require_training_extra() -> None:
    """Stop with the remedy where the package was installed without the extra `train`."""
    if None in map(importlib.util.find_spec, ("tensorflow_datasets", "keras_cv")):
        raise UserError("This command needs the extra `train`: pip install '.[train]'")


def say(text: str) -> None:
    """Print as it is: a path may hold brackets, which are no markup, and stays on one line."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)
