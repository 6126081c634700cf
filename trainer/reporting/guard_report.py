"""What the input guard says of a folder of pictures, counted by kind.

Goes in: a loaded `Classifier` and `DIR/KIND/FILE`. Comes out: counts of each verdict by kind, as a table and
    as JSON.
"""

import json
from pathlib import Path

from rich.console import Console
from rich.table import Table

from serving import Classifier
from serving.files.errors import UserError
from serving.model.guard import Verdict
from serving.model.runtime import MAX_BATCH


class GuardReportError(UserError):
    """A folder that cannot be reported on; the message says what was expected, what came and what to do."""


def count_verdicts(classifier: Classifier, folder: Path) -> dict[str, dict[str, int]]:
    """Judge every picture of a folder.

    Args:
        classifier: a loaded artefact.
        folder: its subfolders name the kinds; hidden files are left out.

    Returns:
        By kind, and for `all`, the count of each verdict.

    Raises:
        GuardReportError: no such folder, or it holds no pictures by kind.
        ImageError: a picture cannot be read.
    """
    kinds = (
        [path for path in sorted(folder.iterdir()) if path.is_dir() and not path.name.startswith(".")]
        if folder.is_dir()
        else []
    )
    pictures = {
        kind.name: [
            path for path in sorted(kind.iterdir()) if path.is_file() and not path.name.startswith(".")
        ]
        for kind in kinds
    }
    if not any(pictures.values()):
        raise GuardReportError(
            f"Expected pictures by kind, DIR/KIND/FILE; found none in {folder}. Name another folder."
        )
    counts = {kind: dict.fromkeys(map(str, Verdict), 0) for kind in (*pictures, "all")}
    for kind, paths in pictures.items():
        for start in range(0, len(paths), MAX_BATCH):
            for prediction in classifier.predict_batch(paths[start : start + MAX_BATCH]):
                counts[kind][prediction.verdict.value] += 1
                counts["all"][prediction.verdict.value] += 1
    return counts


def print_verdicts(counts: dict[str, dict[str, int]], console: Console) -> None:
    """Print a row a kind."""
    table = Table("kind", "pictures", *(verdict.replace("_", " ") for verdict in Verdict), "refused")
    for kind, verdicts in counts.items():
        total = sum(verdicts.values())
        share = verdicts[Verdict.not_brain_mri] / total if total else 0.0
        table.add_row(
            kind.replace("_", " "),
            f"{total:,}",
            *(f"{verdicts[verdict]:,}" for verdict in Verdict),
            f"{share:.1%}",
        )
    console.print(table)


def save_verdicts(counts: dict[str, dict[str, int]], path: Path) -> None:
    """Write the counts as JSON."""
    temporary = path.with_name(f"{path.name}.partial")
    temporary.write_text(json.dumps(counts, indent=2) + "\n", encoding="utf-8")
    temporary.replace(path)
