"""Evaluation on pictures of another source, such as another hospital's, sorted into folders by class.

Goes in: a loaded `Classifier` and `FOLDER/CLASS/FILE`. Comes out: `Predictions`, each picture once.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from serving import Classifier
from serving.classifier import Prediction
from serving.model.runtime import MAX_BATCH
from trainer.evaluation.predictions import Predictions
from trainer.evaluation.scoring import EvaluationError
from trainer.evaluation.split_scoring import stack_answers

FOLDER_PREFIX = "images-"


def evaluate_folder(classifier: Classifier, folder: Path, patient_pattern: str | None = None) -> Predictions:
    """Score the pictures of a folder.

    Args:
        classifier: a loaded artefact.
        folder: its subfolders are named as labels of the model, not necessarily all of them.
        patient_pattern: regular expression for the part of a file name that names the patient; pictures with
            the same part are one group. None: every picture is its own group, and intervals are too narrow
            where a patient has several.

    Raises:
        EvaluationError: no such folder, an unknown or an empty class, or a file name without a patient.
        ImageError: a picture cannot be read.
    """
    paths = _list_pictures(folder, classifier.labels)
    groups = _group_by_patient(paths, patient_pattern)
    return Predictions(
        protocol=f"{FOLDER_PREFIX}{folder.resolve().name}",
        labels=classifier.labels,
        filenames=tuple(path.relative_to(folder).as_posix() for path in paths),
        groups=groups,
        has_train_twin=np.zeros(len(paths), bool),
        true=np.array([classifier.labels.index(path.parent.name) for path in paths]),
        **stack_answers(list(predict_files(classifier, paths))),
    )


def predict_files(classifier: Classifier, paths: Sequence[Path]) -> Iterator[Prediction]:
    """Answer for each file in order, in batches that memory holds."""
    for start in range(0, len(paths), MAX_BATCH):
        yield from classifier.predict_batch(paths[start : start + MAX_BATCH])


def list_visible(folder: Path) -> list[Path]:
    """List what a folder holds, sorted, without what is hidden."""
    return [path for path in sorted(folder.iterdir()) if not path.name.startswith(".")]


def _list_pictures(folder: Path, labels: tuple[str, ...]) -> list[Path]:
    """Files of all class folders, sorted; hidden ones are left out."""
    expected = f"Expected DIR/CLASS/FILE, with classes among {', '.join(labels)}"
    if not folder.is_dir():
        raise EvaluationError(f"{folder} is no folder. {expected}.")
    entries = list_visible(folder)
    wrong = [path.name for path in entries if path.name not in labels or not path.is_dir()]
    if wrong or not entries:
        raise EvaluationError(
            f"{expected}; {folder} holds {', '.join(wrong) or 'nothing'}. Rename, or name another folder."
        )
    found = {entry: list_visible(entry) for entry in entries}
    for entry, paths in found.items():
        if not paths:
            raise EvaluationError(f"{entry} holds no pictures. Put some there, or remove the folder.")
        if below := [path for path in paths if not path.is_file()]:
            raise EvaluationError(f"{expected}; {below[0]} is a folder. Move its pictures up.")
    return [path for paths in found.values() for path in paths]


def _group_by_patient(paths: list[Path], pattern: str | None) -> np.ndarray:
    """A number for each patient, int (n,)."""
    if pattern is None:
        return np.arange(len(paths))
    try:
        matches = [re.search(pattern, path.name) for path in paths]
    except re.error as error:
        raise EvaluationError(
            f"{pattern!r} is no regular expression: {error}. Expected one such as 'patient[0-9]+'."
        ) from error
    names = [match.group() if match else "" for match in matches]
    if "" in names:
        name = paths[names.index("")].name
        remedy = "Expected it to name the patient of every picture."
        raise EvaluationError(f"{pattern!r} does not match the file name {name}. {remedy}")
    return np.unique(names, return_inverse=True)[1]
