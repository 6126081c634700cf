"""Figures are written, legible, and show what they are given."""

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from trainer.figures import plot_learning_curves


def make_history(epochs: int) -> list[dict[str, float]]:
    return [
        {"epoch": epoch, "loss": 1 / (1 + epoch), "accuracy": 0.9, "val_loss": 0.5, "val_accuracy": 0.8, "learning_rate": 1e-3}
        for epoch in range(epochs)
    ]


@pytest.mark.parametrize("epochs", [1, 12])
def test_learning_curves_show_every_epoch(tmp_path, monkeypatch, epochs):
    drawn = []
    save = Figure.savefig

    def keep(figure, *arguments, **named):
        drawn.append(figure)
        save(figure, *arguments, **named)

    monkeypatch.setattr(Figure, "savefig", keep)
    plot_learning_curves(make_history(epochs), 0, tmp_path / "curves.png")
    with Image.open(tmp_path / "curves.png") as picture:
        assert picture.format == "PNG"
        assert picture.width > 2 * picture.height
    loss, accuracy, rate = drawn[0].axes
    assert [axes.get_title() for axes in (loss, accuracy, rate)] == ["loss", "accuracy", "learning rate"]
    training, validation = loss.lines[:2]
    np.testing.assert_array_equal(training.get_xdata(), np.arange(1, epochs + 1))
    np.testing.assert_allclose(training.get_ydata(), 1 / np.arange(1, epochs + 1))
    np.testing.assert_allclose(validation.get_ydata(), 0.5)
    assert "best epoch: 1" in [text.get_text() for text in loss.get_legend().get_texts()]
    assert len(rate.lines) == 1
