"""Figures are written, legible, and show what they are given."""

import io

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from serving import from_pretrained
from tests.trainer.make_predictions import simulate_predictions
from trainer.evaluation.predictions import Predictions
from trainer.evaluation.scoring import summarise
from trainer.reporting.evaluation_files import CURVES, FIGURES
from trainer.reporting.figures import (
    draw_learning_curves,
    plot_confusion,
    plot_per_class,
    plot_sets,
)
from trainer.reporting.wording import title_subsets


def make_history(epochs: int) -> list[dict[str, float]]:
    return [
        {
            "epoch": epoch,
            "loss": 1 / (1 + epoch),
            "accuracy": 0.9,
            "val_loss": 0.5,
            "val_accuracy": 0.8,
            "learning_rate": 1e-3,
        }
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


@pytest.fixture(scope="module")
def summary():
    return summarise(simulate_predictions(count=200), from_pretrained().config)


@pytest.mark.parametrize("epochs", [1, 12])
def test_learning_curves_show_every_epoch(drawn, epochs):
    with Image.open(io.BytesIO(draw_learning_curves(make_history(epochs), 0))) as picture:
        assert (picture.format, picture.width) == ("PNG", 750)
    loss, accuracy, rate = drawn[0].axes
    assert [axes.get_title() for axes in (loss, accuracy, rate)] == ["loss", "accuracy", "learning rate"]
    training, validation = loss.lines[:2]
    np.testing.assert_array_equal(training.get_xdata(), np.arange(1, epochs + 1))
    np.testing.assert_allclose(training.get_ydata(), 1 / np.arange(1, epochs + 1))
    np.testing.assert_allclose(validation.get_ydata(), 0.5)
    assert "best epoch: 1" in [text.get_text() for text in loss.get_legend().get_texts()]
    assert len(rate.lines) == 1


def test_learning_curves_of_a_run_that_kept_no_learning_rate(drawn):
    draw_learning_curves(
        [{name: value for name, value in row.items() if name != "learning_rate"} for row in make_history(3)],
        2,
    )
    assert [axes.get_title() for axes in drawn[0].axes] == ["loss", "accuracy"]


def test_only_a_split_with_twins_is_called_leaked():
    assert title_subsets(["all"]) == {"all": "all images"}
    assert list(title_subsets(["all", "unseen", "with_train_twin"])) == ["all", "unseen"]
    assert "leaked" in title_subsets(["all", "with_train_twin"])["all"]


def test_confusion_matrices_stand_one_below_the_other(tmp_path, drawn, summary):
    plot_confusion(summary, tmp_path / "confusion.png")
    for axes, name, title in zip(
        drawn[0].axes,
        ("all", "unseen"),
        ("all test images (leaked)", "without a twin in Training"),
        strict=True,
    ):
        assert (
            axes.get_title()
            == f"{title}\n{summary[name]['accuracy']:.2%} of {summary[name]['count']:,} are right"
        )
        assert [int(text.get_text()) for text in axes.texts] == list(
            np.ravel(summary[name]["confusion_matrix"])
        )


def test_bars_by_class_are_the_figures(tmp_path, drawn, summary):
    plot_per_class(summary, tmp_path / "bars.png")
    for axes, name in zip(drawn[0].axes, ("precision", "recall", "f1", "f2"), strict=True):
        expected = [
            figures[name] for subset in ("all", "unseen") for figures in summary[subset]["per_class"].values()
        ]
        np.testing.assert_allclose([bar.get_width() for bar in axes.patches], expected)
        assert [text.get_text() for text in axes.texts] == [f"{100 * value:.1f}" for value in expected]


def test_a_class_without_images_has_no_bar(tmp_path, drawn):
    predictions = simulate_predictions(count=200)
    summary = summarise(predictions.take(predictions.true != 1), from_pretrained().config)
    plot_per_class(summary, tmp_path / "bars.png")
    assert [len(axes.patches) for axes in drawn[0].axes] == [6] * 4
    assert [text.get_text() for text in drawn[0].axes[1].texts].count("no images") == 2


def test_sets_show_coverage_and_size_of_each_class(tmp_path, drawn, summary):
    plot_sets(summary, tmp_path / "sets.png")
    panels = iter(drawn[0].axes)
    for target in ("0.95", "0.99"):
        for key in ("coverage", "size"):
            expected = [
                row[key]
                for subset in ("all", "unseen")
                for row in summary[subset]["prediction_sets"][target]["by_class"].values()
            ]
            np.testing.assert_allclose([bar.get_width() for bar in next(panels).patches], expected)
    assert drawn[0].axes[2].lines[0].get_xdata() == [0.99, 0.99]


@pytest.mark.parametrize("twins", ["none", "some", "all"])
def test_every_figure_is_the_same_file_twice_whatever_the_twins(tmp_path, twins):
    some = simulate_predictions(count=60)
    flags = {"none": np.zeros(60, bool), "some": some.has_train_twin, "all": np.ones(60, bool)}[twins]
    predictions = Predictions(**{**vars(some), "has_train_twin": flags})
    summary = summarise(predictions, from_pretrained().config)
    for plots, shown in ((FIGURES, summary), (CURVES, predictions)):
        for name, plot in plots.items():
            for copy in ("first", "second"):
                plot(shown, tmp_path / f"{name}_{copy}.png")
            assert (tmp_path / f"{name}_first.png").read_bytes() == (
                tmp_path / f"{name}_second.png"
            ).read_bytes()
            assert b"matplotlib" not in (tmp_path / f"{name}_first.png").read_bytes()
