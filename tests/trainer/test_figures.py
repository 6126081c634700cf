"""Figures are written, legible, and show what they are given."""

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from tests.trainer.make_predictions import simulate_predictions
from trainer.figures import plot_learning_curves, plot_uncertainty
from trainer.predictions import Predictions


def make_history(epochs: int) -> list[dict[str, float]]:
    return [
        {"epoch": epoch, "loss": 1 / (1 + epoch), "accuracy": 0.9, "val_loss": 0.5, "val_accuracy": 0.8, "learning_rate": 1e-3}
        for epoch in range(epochs)
    ]


@pytest.fixture
def drawn(monkeypatch) -> list[Figure]:
    """Figures as they are saved."""
    kept = []
    save = Figure.savefig

    def keep(figure, *arguments, **named):
        kept.append(figure)
        save(figure, *arguments, **named)

    monkeypatch.setattr(Figure, "savefig", keep)
    return kept


@pytest.mark.parametrize("epochs", [1, 12])
def test_learning_curves_show_every_epoch(tmp_path, drawn, epochs):
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


@pytest.mark.parametrize("labels", [("glioma", "meningioma", "notumor", "pituitary"), ("a", "b", "c", "d")])
def test_uncertainty_shows_what_is_given(tmp_path, drawn, labels):
    predictions = simulate_predictions(count=200)
    plot_uncertainty(Predictions(**{**vars(predictions), "labels": labels}), tmp_path / "uncertainty.png")
    roc, risk, reliability = drawn[0].axes
    assert len(roc.lines) == (2 if "notumor" in labels else 0)
    share, error = risk.lines[0].get_data()
    assert (len(share), share[-1]) == (200, 1.0)
    assert error[-1] == pytest.approx((predictions.predicted != predictions.true).mean())
    assert len(risk.lines[1].get_xdata()) == (~predictions.has_train_twin).sum()
    assert len(reliability.lines[0].get_xdata()) == 15
