"""Learning curves of a run: drawn after every epoch into its folder, and once more for its report.

Goes in: `history.csv`, or its rows. Comes out: a PNG.
"""

import gc
import tempfile
from collections.abc import Sequence
from pathlib import Path

from etils import epath

from serving.files.writing import write_whole
from trainer.reporting.figures import plot_learning_curves
from trainer.training.run_folder import CURVES_FILE, find_best_epoch, load_history


def write_curves(run_dir: epath.Path, history: Sequence[dict[str, float]], best_epoch: int) -> None:
    """Draw `learning_curves.png` in a run folder."""
    write_whole(run_dir / CURVES_FILE, draw_curves(history, best_epoch))


def draw_curves(history: Sequence[dict[str, float]], best_epoch: int) -> bytes:
    """Draw the learning curves; the content of a PNG."""
    with tempfile.TemporaryDirectory() as folder:
        local = Path(folder) / CURVES_FILE
        plot_learning_curves(history, best_epoch, local)
        content = local.read_bytes()
    # A figure and its canvas hold each other: without this, pictures pile up over the epochs of a long run.
    gc.collect()
    return content


def load_learning_curves(run_dir: epath.Path, monitor: str) -> bytes | None:
    """Draw the learning curves of a run, its best epoch by `monitor`; None where it has no history.

    Raises:
        RunError: `history.csv` is damaged.
    """
    history = load_history(run_dir)
    return draw_curves(history, find_best_epoch(history, monitor)) if history else None
