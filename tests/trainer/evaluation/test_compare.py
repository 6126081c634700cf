"""Comparing runs: the tests against published examples and hand arithmetic, and what cannot be compared."""

import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import f1_score, log_loss
from typer.testing import CliRunner

from tests.trainer.make_predictions import make_predictions, simulate_predictions
from trainer.cli.main import app
from trainer.evaluation.bootstrap import GroupBootstrap
from trainer.evaluation.compare import (
    ComparedRun,
    ComparisonError,
    adjust_by_holm,
    compare_runs,
    compute_mcnemar,
    compute_run_figures,
    load_runs,
    summarise_runs,
)
from trainer.evaluation.predictions import Predictions, PredictionsError
from trainer.evaluation.predictions_file import save_predictions
from trainer.reporting.figures import plot_differences
from trainer.reporting.terminal import print_comparison


def flip(predictions: Predictions, rows: list[int]) -> Predictions:
    """The same answers, but for some images the labels' probabilities in reverse order."""
    probs, logits = predictions.probs.copy(), predictions.logits.copy()
    probs[rows], logits[rows] = probs[rows, ::-1], logits[rows, ::-1]
    return Predictions(**{**vars(predictions), "probs": probs, "logits": logits})


@pytest.fixture
def first() -> Predictions:
    return simulate_predictions(count=200, skill=3.0)


@pytest.fixture
def folders(first, tmp_path) -> list[Path]:
    """Three runs of the same images, with 0, 5 and 40 answers turned round."""
    paths = []
    for number, wrong in enumerate((0, 5, 40)):
        path = tmp_path / f"run{number}"
        path.mkdir()
        save_predictions(flip(first, list(range(wrong))), path / "predictions.csv")
        paths.append(path)
    return paths


# Arithmetic


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        # Airway hyper-responsiveness, Fagerland et al. 2013, exact conditional test.
        (1, 7, 0.0703),
        (1, 5, 14 / 64),  # by hand: 2 (C(6,0) + C(6,1)) / 2^6
        (0, 0, 1.0),
        (3, 3, 1.0),
        (0, 10, 2 / 1024),
    ],
)
def test_mcnemar_is_exact(first, second, expected):
    assert compute_mcnemar(first, second) == pytest.approx(expected, abs=5e-5)
    assert compute_mcnemar(second, first) == compute_mcnemar(first, second)


def test_holm_as_worked_by_hand():
    # Sorted .01, .02, .03, .04 times 4, 3, 2, 1: .04, .06, .06 and .04, which may not fall below the one
    # before.
    assert adjust_by_holm([0.03, 0.01, 0.04, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert adjust_by_holm([0.7, 0.6]) == [1.0, 1.0]


def test_figures_are_those_of_scikit_learn(first):
    figures = compute_run_figures(first)
    assert figures["accuracy"] == pytest.approx((first.predicted == first.true).mean())
    assert figures["macro_f1"] == pytest.approx(f1_score(first.true, first.predicted, average="macro"))
    assert figures["nll"] == pytest.approx(log_loss(first.true, first.probs, labels=range(4)))
    assert (figures["count"], figures["errors"]) == (200, int((first.predicted != first.true).sum()))


def test_mean_and_deviation_over_runs():
    rows = [
        dict.fromkeys(("accuracy", "macro_f1", "macro_f2", "nll", "ece"), value)
        for value in (0.9, 0.94, 0.95)
    ]
    assert summarise_runs(rows)["accuracy"] == pytest.approx(
        {"mean": 0.93, "sd": (0.0014 / 2) ** 0.5, "min": 0.9, "max": 0.95}
    )


def test_the_difference_is_paired(first):
    """The interval comes from the same draws of groups for both runs: by hand from the draws."""
    second = flip(first, list(range(60)))
    found = compare_runs([ComparedRun("a", first), ComparedRun("b", second)])["all"]["differences"][0]
    change = (second.predicted == second.true).astype(float) - (first.predicted == first.true)
    weights, membership = (
        GroupBootstrap(first.groups).weights,
        np.unique(first.groups, return_inverse=True)[1],
    )
    by_image = weights[:, membership]
    expected = np.percentile((by_image @ change) / by_image.sum(axis=1), (2.5, 97.5))
    assert found["accuracy"]["difference"] == pytest.approx(change.mean())
    np.testing.assert_allclose(found["accuracy"]["interval"], expected)
    assert found["mcnemar"]["only_baseline_right"] == (change < 0).sum()
    assert found["mcnemar"]["only_run_right"] == (change > 0).sum()


def test_a_run_does_not_differ_from_itself(first):
    row = compare_runs([ComparedRun("a", first), ComparedRun("b", first)])["all"]["differences"][0]
    assert row["accuracy"] == row["macro_f1"] == row["nll"] == {"difference": 0.0, "interval": [0.0, 0.0]}
    assert row["mcnemar"] == {"only_baseline_right": 0, "only_run_right": 0, "p": 1.0, "p_holm": 1.0}


def test_the_order_of_images_does_not_matter(first):
    shuffled = first.take(np.random.default_rng(1).permutation(200))
    assert (
        compare_runs([ComparedRun("a", first), ComparedRun("b", shuffled)])["all"]["differences"][0][
            "accuracy"
        ]["difference"]
        == 0
    )


def test_the_unseen_images_stand_beside_all(first):
    result = compare_runs([ComparedRun("a", first), ComparedRun("b", flip(first, [0, 1]))])
    assert result["unseen"]["runs"][0]["count"] == (~first.has_train_twin).sum()
    alone = compare_runs(
        [
            ComparedRun("a", first.take(~first.has_train_twin)),
            ComparedRun("b", flip(first, [0, 1]).take(~first.has_train_twin)),
        ]
    )
    assert result["unseen"] == alone["all"]
    assert "unseen" not in alone


def test_folds_have_a_mean_and_no_difference(first):
    halves = [
        ComparedRun("fold1", first.take(np.arange(200) < 100)),
        ComparedRun("fold2", first.take(np.arange(200) >= 100)),
    ]
    result = compare_runs(halves)
    assert not result["paired"]
    assert "differences" not in result["all"]
    assert result["all"]["over_runs"]["accuracy"]["mean"] == pytest.approx(
        (first.predicted == first.true).mean()
    )


# What cannot be compared


def test_runs_that_share_some_images_are_refused(first):
    parts = [
        ComparedRun("a", first.take(np.arange(200) < 120)),
        ComparedRun("b", first.take(np.arange(200) >= 100)),
    ]
    with pytest.raises(ComparisonError, match=r"these share some\. a: 120 images, b: 100 images"):
        compare_runs(parts)


@pytest.mark.parametrize(
    ("what", "said"), [("true", "label"), ("groups", "group"), ("has_train_twin", "has_train_twin")]
)
def test_runs_of_another_version_are_refused(first, what, said):
    values = getattr(first, what).copy()
    values[7] = not values[7] if what == "has_train_twin" else (values[7] + 1) % 4
    other = Predictions(**{**vars(first), what: values})
    with pytest.raises(
        ComparisonError,
        match=rf"do not give Testing/00007.jpg the same {said}\. They are of different versions",
    ):
        compare_runs([ComparedRun("a", first), ComparedRun("b", other)])


def test_one_run_or_the_same_twice_is_refused(folders):
    with pytest.raises(ComparisonError, match="two runs or more to compare, got 1"):
        load_runs(folders[:1])
    with pytest.raises(ComparisonError, match="one of them twice"):
        load_runs([folders[0], folders[0] / "predictions.csv"])


def test_other_protocols_and_labels_are_refused(folders, tmp_path):
    other = tmp_path / "other.csv"
    save_predictions(make_predictions([0, 1], np.eye(4)[:2], protocol="grouped"), other)
    with pytest.raises(PredictionsError, match="is about grouped, expected official"):
        load_runs([folders[0], other])
    save_predictions(make_predictions([0, 1], np.eye(2), labels=("cat", "dog")), other)
    with pytest.raises(PredictionsError, match="It is of another dataset"):
        load_runs([folders[0], other])


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (("a/x", "a/y"), ["x", "y"]),
        (("a/x/artefact", "a/y/artefact"), ["x/artefact", "y/artefact"]),
        (("a/1.csv", "b/1.csv"), ["a/1.csv", "b/1.csv"]),
    ],
)
def test_runs_are_told_apart_by_their_paths(first, tmp_path, paths, names):
    for path in paths:
        target = tmp_path / path
        (target.parent if target.suffix else target).mkdir(parents=True, exist_ok=True)
        save_predictions(first, target if target.suffix else target / "predictions.csv")
    assert [run.name for run in load_runs([tmp_path / path for path in paths])] == names


# The command


def test_the_command_prints_what_it_writes(folders, tmp_path):
    out = tmp_path / "out"
    result = CliRunner().invoke(
        app,
        ["compare", *map(str, folders), "--out", str(out)],
        catch_exceptions=False,
        env={"COLUMNS": "100"},
    )
    assert result.exit_code == 0, result.output
    written = json.loads((out / "comparison.json").read_text())
    assert {path.name for path in out.iterdir()} == {"comparison.json", "comparison.png"}
    assert [row["run"] for row in written["all"]["differences"]] == ["run1", "run2"]
    for subset in ("all", "unseen"):
        for run in written[subset]["runs"]:
            assert f"{run['accuracy']:.2%}" in result.output
        for row in written[subset]["differences"]:
            assert f"{100 * row['accuracy']['difference']:+.2f}" in result.output
            assert f"{row['mcnemar']['p_holm']:.4f}" in result.output
    # Forty of 200 wrong answers more are no accident; five are hardly told.
    assert written["all"]["differences"][1]["accuracy"]["interval"][1] < 0
    assert written["all"]["differences"][1]["mcnemar"]["p_holm"] < 0.001


def test_the_figure_shows_the_differences(first, tmp_path, monkeypatch):
    from matplotlib.figure import Figure

    kept = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, path, **options: kept.append(figure))
    result = compare_runs(
        [ComparedRun("a", first), ComparedRun("b", flip(first, list(range(30)))), ComparedRun("c", first)]
    )
    plot_differences(result, tmp_path / "comparison.png")
    (axes,) = kept[0].axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["b", "c"]
    shown = axes.containers[0][0].get_xdata()
    np.testing.assert_allclose(
        shown, [100 * row["accuracy"]["difference"] for row in result["all"]["differences"]]
    )


def test_a_narrow_terminal_keeps_the_numbers(first, capsys):
    from rich.console import Console

    result = compare_runs(
        [
            ComparedRun("a_rather_long_name_of_a_run_folder", first),
            ComparedRun("another_rather_long_name_of_one", flip(first, [0, 1, 2])),
        ]
    )
    print_comparison(result, Console(width=80))
    printed = capsys.readouterr().out
    assert f"{result['all']['runs'][1]['accuracy']:.2%}" in printed
    assert "…" not in printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["nowhere", "neither"], "cannot be read as predictions"), (["nowhere"], "two runs or more")],
)
def test_wrong_paths_are_clear_errors(arguments, message):
    result = CliRunner().invoke(app, ["compare", *arguments])
    assert result.exit_code == 1
    assert message in " ".join(result.stderr.split())
