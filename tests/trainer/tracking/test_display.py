"""What a person reads when a run ends."""

import io

from etils import epath
from rich.console import Console

from trainer.tracking.display import print_run_summary

HISTORY = [
    {"val_loss": 0.5, "val_accuracy": 0.8},
    {"val_loss": 0.25, "val_accuracy": 0.9125},
    {"val_loss": 0.3, "val_accuracy": 0.9},
]


def test_the_summary_names_the_best_epoch_and_what_is_there(tmp_path):
    (tmp_path / "history.csv").touch()
    (tmp_path / "artefact").mkdir()
    output = io.StringIO()
    print_run_summary(Console(file=output, width=200), epath.Path(tmp_path), HISTORY, 1)
    text = output.getvalue()
    assert "3 epochs; best: epoch 2, val_loss 0.2500, val_accuracy 91.25%" in text
    assert str(tmp_path / "history.csv") in text
    assert str(tmp_path / "artefact") in text
    assert "TensorBoard" not in text


def test_a_path_with_brackets_is_printed_as_it_is(tmp_path):
    folder = tmp_path / "run [bold]"
    folder.mkdir()
    (folder / "history.csv").touch()
    output = io.StringIO()
    print_run_summary(Console(file=output, width=200), epath.Path(folder), HISTORY, 1)
    assert "run [bold]" in output.getvalue()
