"""What the input guard says of a folder of pictures, counted by kind.

Goes in: a loaded `Classifier` and `DIR/KIND/FILE`. Comes out: counts of each verdict by kind.
"""

from pathlib import Path

from serving import Classifier
from serving.files.errors import UserError
from serving.model.guard import Verdict
from trainer.evaluation.labelled_folder import list_visible, predict_files


class VerdictsError(UserError):
    """A folder without pictures by kind.

    Example:
        >>> VerdictsError("Expected pictures by kind, DIR/KIND/FILE; found none in x.").exit_code
        1
    """


def count_verdicts(classifier: Classifier, folder: Path) -> dict[str, dict[str, int]]:
    """Judge every picture of a folder.

    Args:
        classifier: a loaded artefact.
        folder: its subfolders name the kinds; hidden files are left out.

    Returns:
        By kind, and for `all`, the count of each verdict.

    Raises:
        VerdictsError: no such folder, or it holds no pictures by kind.
        ImageError: a picture cannot be read.
    """
    kinds = [path for path in list_visible(folder) if path.is_dir()] if folder.is_dir() else []
    pictures = {kind.name: [path for path in list_visible(kind) if path.is_file()] for kind in kinds}
    if not any(pictures.values()):
        raise VerdictsError(
            f"Expected pictures by kind, DIR/KIND/FILE; found none in {folder}. Name another folder."
        )
    counts = {kind: dict.fromkeys(map(str, Verdict), 0) for kind in (*pictures, "all")}
    for kind, paths in pictures.items():
        for prediction in predict_files(classifier, paths):
            counts[kind][prediction.verdict.value] += 1
            counts["all"][prediction.verdict.value] += 1
    return counts
