"""Configs of the dataset builder: public ones by name, and one's own pictures, as many datasets as wanted.

Goes in: what a person says of own pictures: a name, the healthy class, whether they come in folds. Comes out:
a `BuilderConfig` as TFDS knows it, so that `tfds.load("tumor_ds/NAME")` finds what was built; and of a built
dataset, which class is healthy. That is a fact about pictures and not about a run: the records say by it
whether a picture shows anything, and every training, evaluation and artefact reads it from there.
"""

import dataclasses
import re
import unicodedata
from collections.abc import Sequence
from typing import Literal

import tensorflow_datasets as tfds

from serving.model.artefact import find_default_healthy
from tumor_ds.collection.errors import DatasetError

# Of Kaggle's collection: the same pictures, split in three ways.
PROTOCOLS = ("official", "grouped", "patient")
FOLDER, HEALTHY_LABEL = "folder", "healthy_label"
# Names of Python and of folders on every system; TFDS reads some other signs as its own.
_NAME = r"[a-z][a-z0-9_]*"


@dataclasses.dataclass(eq=False)
class PicturesConfig(tfds.core.BuilderConfig):
    """A config of the builder; the fields here are for own pictures, which have any name that is free.

    Attributes:
        layout: `folder`: CLASS/FILE or SPLIT/CLASS/FILE; `gathered`: a table `sources.csv`.
        healthy_label: of a folder, the class that shows nothing; None: `notumor`, where there is that class.
        in_folds: a folder is split into five folds of whole groups, and not into train, validation and test.

    Example:
        >>> PicturesConfig(name="my_hospital", healthy_label="sans tumeur").layout
        'folder'
    """

    description: str | None = None
    layout: Literal["folder", "gathered"] = "folder"
    healthy_label: str | None = None
    in_folds: bool = False

    def __post_init__(self) -> None:
        if self.description is None:
            has_folds = self.in_folds or self.layout == "gathered"
            split = "in five folds" if has_folds else "70/10/20 of each class"
            self.description = f"own pictures, {split}, in whole groups"


def check_name(name: str, taken: Sequence[str]) -> None:
    """Check that own pictures may have a name.

    Raises:
        DatasetError: it is taken by a public dataset, or has other signs than TFDS can store.
    """
    if name in taken:
        raise DatasetError(f"--name {name}: tumor_ds/{name} is a dataset of this package. Choose another.")
    if not re.fullmatch(_NAME, name):
        raise DatasetError(
            f"--name {name}: expected small letters a to z, digits and _, a letter first, as my_hospital."
        )


def match_label(wanted: str | None, labels: Sequence[str]) -> str | None:
    """Find the healthy class among the classes; accents may be stored in either of two ways.

    Args:
        wanted: as a person wrote it; None: not said.
        labels: names of the classes.

    Raises:
        DatasetError: it is none of them.

    Example:
        >>> match_label("sain", ("lésion", "sain")), match_label(None, ("glioma", "notumor"))
        ('sain', 'notumor')
    """
    if wanted is None:
        return find_default_healthy(labels)
    for label in labels:
        if unicodedata.normalize("NFC", label) == unicodedata.normalize("NFC", wanted):
            return label
    raise DatasetError(f"Expected one of the classes as healthy label, {', '.join(labels)}; got {wanted}.")


def is_folder(builder: tfds.core.DatasetBuilder) -> bool:
    """Whether a built dataset holds own pictures in class folders, under whatever name."""
    return builder.builder_config.name == FOLDER or HEALTHY_LABEL in (builder.info.metadata or {})


def find_healthy_label(builder: tfds.core.DatasetBuilder) -> str | None:
    """Find the healthy class of a built dataset; None where it has none."""
    labels = tuple(builder.info.features["label"].names)
    return dict(builder.info.metadata or {}).get(HEALTHY_LABEL) or find_default_healthy(labels)
