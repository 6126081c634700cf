"""Curves go through the points that the figures are made of."""

import numpy as np
import pytest
from matplotlib.figure import Figure
from sklearn.metrics import auc

from tests.trainer.make_predictions import make_predictions, simulate_predictions
from trainer.evaluation.metrics import compute_auroc, compute_average_precision
from trainer.evaluation.predictions import Predictions
from trainer.reporting.curves import plot_precision_recall, plot_reliability, plot_risk_coverage, plot_roc

HEALTHY = 2


@pytest.fixture(scope="module")
def predictions() -> Predictions:
    return simulate_predictions(count=200)


@pytest.fixture
def drawn(monkeypatch) -> list[Figure]:
    """Figures instead of files."""
    kept = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *arguments, **named: kept.append(figure))
    return kept


def list_questions(part: Predictions):
    return [
        (part.true != HEALTHY, 1 - part.probs[:, HEALTHY]),
        *((part.true == index, part.probs[:, index]) for index in range(4)),
    ]


def test_roc_of_any_tumour_and_of_each_class(tmp_path, drawn, predictions):
    plot_roc(predictions, tmp_path / "roc.png")
    panels = drawn[0].axes[:5]
    assert [axes.get_title() for axes in panels] == [
        "any tumour",
        "glioma",
        "meningioma",
        "notumor",
        "pituitary",
    ]
    unseen = predictions.take(~predictions.has_train_twin)
    for axes, whole, rest in zip(panels, list_questions(predictions), list_questions(unseen), strict=True):
        for line, (positive, scores) in zip(axes.lines, (whole, rest), strict=True):
            assert auc(*line.get_data()) == pytest.approx(compute_auroc(positive, scores))


def test_steps_of_precision_by_recall_sum_up_to_average_precision(tmp_path, drawn, predictions):
    plot_precision_recall(predictions, tmp_path / "pr.png")
    for axes, (positive, scores) in zip(drawn[0].axes[:5], list_questions(predictions), strict=True):
        recall, precision = axes.lines[0].get_data()
        assert axes.lines[0].get_drawstyle() == "steps-post"
        assert -(np.diff(recall) * precision[:-1]).sum() == pytest.approx(
            compute_average_precision(positive, scores)
        )


@pytest.mark.parametrize(("skill", "shown"), [(2.0, 1.0), (30.0, 0.02)])
def test_the_axes_show_the_corner_where_curves_turn(tmp_path, drawn, skill, shown):
    plot_roc(simulate_predictions(count=200, skill=skill), tmp_path / "roc.png")
    assert drawn[0].axes[0].get_xlim()[1] == pytest.approx(shown)
    assert drawn[0].axes[0].get_ylim()[0] == pytest.approx(1 - shown)


def test_a_question_without_both_sides_is_said_to_be_none(tmp_path, drawn):
    healthy = make_predictions([HEALTHY] * 3, [[0.1, 0.1, 0.7, 0.1]] * 3)
    plot_roc(healthy, tmp_path / "roc.png")
    assert all("not defined" in axes.texts[0].get_text() for axes in drawn[0].axes[:5])
    other = Predictions(**{**vars(healthy), "labels": ("a", "b", "c", "d")})
    plot_roc(other, tmp_path / "roc.png")
    assert drawn[1].axes[0].get_title() == "a"


def test_reliability_has_the_bins_of_the_calibration_error(tmp_path, drawn, predictions):
    plot_reliability(predictions, tmp_path / "reliability.png")
    [axes] = drawn[0].axes
    assert [len(line.get_xdata()) for line in axes.lines] == [15, 15, 2]
    said, right = axes.lines[0].get_data()
    first = np.argsort(predictions.probs.max(axis=1), kind="stable")[:14]  # 200 images in 15 bins
    assert said[0] == pytest.approx(predictions.probs.max(axis=1)[first].mean())
    assert right[0] == pytest.approx((predictions.predicted == predictions.true)[first].mean())


def test_risk_by_share_answered(tmp_path, drawn, predictions):
    plot_risk_coverage(predictions, tmp_path / "risk.png")
    whole, unseen = drawn[0].axes[0].lines
    share, error = whole.get_data()
    assert (len(share), share[-1]) == (200, 100.0)
    assert error[-1] == pytest.approx(100 * (predictions.predicted != predictions.true).mean())
    assert len(unseen.get_xdata()) == (~predictions.has_train_twin).sum()
