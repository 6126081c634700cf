import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, f1_score, recall_score, roc_auc_score

from tests.trainer.make_predictions import simulate_predictions
from trainer.evaluation.bootstrap import (
    GroupBootstrap,
    compute_basic_interval,
    compute_interval,
    compute_macro_f,
    compute_recalls,
)
from trainer.evaluation.metrics import CALIBRATION_BINS, compute_calibration_error


@pytest.fixture(scope="module")
def predictions():
    return simulate_predictions()


@pytest.fixture(scope="module")
def bootstrap(predictions):
    return GroupBootstrap(predictions.groups)


@pytest.mark.parametrize("sample", [0, 7, 999])
def test_every_sample_gives_what_scikit_learn_gives(predictions, bootstrap, sample):
    true, predicted, probs = predictions.true, predictions.predicted, predictions.probs
    # Coarse scores: ties between images, within and across groups.
    scores = probs[:, 1].round(2)
    drawn = np.repeat(np.arange(len(true)), bootstrap.weights[sample].astype(int)[bootstrap.membership])
    assert bootstrap.weights[sample].sum() == len(np.unique(predictions.groups))
    confusion = bootstrap.compute_confusion(true, predicted, 4)
    np.testing.assert_array_equal(confusion[sample], confusion_matrix(true[drawn], predicted[drawn]))
    np.testing.assert_allclose(
        compute_recalls(confusion)[sample], recall_score(true[drawn], predicted[drawn], average=None)
    )
    assert compute_macro_f(confusion, 1.0)[sample] == pytest.approx(
        f1_score(true[drawn], predicted[drawn], average="macro")
    )
    assert bootstrap.compute_auroc(true == 1, scores)[sample] == pytest.approx(
        roc_auc_score(true[drawn] == 1, scores[drawn])
    )
    ratio = bootstrap.compute_ratios((true == 0) & (predicted == 0), true == 0)[sample]
    assert ratio == pytest.approx(recall_score(true[drawn] == 0, predicted[drawn] == 0))


def test_small_blocks_give_the_same(predictions, bootstrap, monkeypatch):
    before = bootstrap.compute_auroc(predictions.true == 0, predictions.probs[:, 0])
    monkeypatch.setattr("trainer.evaluation.bootstrap._BLOCK", 1000)
    np.testing.assert_array_equal(
        bootstrap.compute_auroc(predictions.true == 0, predictions.probs[:, 0]), before
    )


def test_interval_is_wider_when_images_share_groups():
    correct = np.repeat([True, False], 50)
    of_images, of_tens = GroupBootstrap(np.arange(100)), GroupBootstrap(np.arange(100) // 10)
    alone, grouped = (
        compute_interval(bootstrap.compute_ratios(correct, np.ones(100)))
        for bootstrap in (of_images, of_tens)
    )
    assert alone[0] < 0.5 < alone[1]
    assert grouped[1] - grouped[0] > 2 * (alone[1] - alone[0])


def test_interval_is_the_same_twice_and_within_binomial_theory():
    correct = np.arange(1000) % 10 > 0
    first, second = (
        compute_interval(GroupBootstrap(np.arange(1000)).compute_ratios(correct, np.ones(1000)))
        for _ in range(2)
    )
    assert first == second
    half_width = 1.96 * np.sqrt(0.9 * 0.1 / 1000)
    assert first == pytest.approx([0.9 - half_width, 0.9 + half_width], abs=0.005)


def test_what_no_sample_has_gets_no_interval():
    bootstrap = GroupBootstrap(np.arange(5))
    nothing = np.zeros(5, bool)
    assert compute_interval(bootstrap.compute_ratios(nothing, nothing)) is None
    assert compute_interval(bootstrap.compute_auroc(nothing, np.arange(5.0))) is None
    # One image of a class: samples without it are left out.
    assert compute_interval(bootstrap.compute_ratios(np.arange(5) == 0, np.arange(5) == 0)) == [1.0, 1.0]


def test_a_class_that_a_sample_lacks_takes_no_part_in_its_mean():
    # Two of a found, one of two b taken for c; there is no c.
    confusion = np.array([[[2.0, 0, 0], [0, 1, 1], [0, 0, 0]]])
    assert compute_macro_f(confusion, 1.0) == pytest.approx([(1 + 2 / 3) / 2])
    np.testing.assert_array_equal(compute_recalls(confusion), [[1, 1 / 2, np.nan]])


def test_calibration_error_of_a_sample_that_drew_every_group_once_is_that_of_all(predictions):
    correct, confidence = predictions.predicted == predictions.true, predictions.probs.max(axis=1)
    bootstrap = GroupBootstrap(predictions.groups)
    bootstrap.weights = np.ones_like(bootstrap.weights[:1])
    found = bootstrap.compute_calibration_errors(correct, confidence, 1)
    assert found == pytest.approx([abs(correct.mean() - confidence.mean())])
    # Bins differ by an image at their ends where their number does not divide the images.
    found = bootstrap.compute_calibration_errors(correct, confidence, CALIBRATION_BINS)
    assert found == pytest.approx([compute_calibration_error(correct, confidence)], abs=0.01)


def test_a_group_drawn_twice_weighs_as_two_copies():
    correct, confidence, groups = (
        np.array([True, False, True]),
        np.array([0.9, 0.8, 0.6]),
        np.array([1, 2, 2]),
    )
    bootstrap = GroupBootstrap(groups)
    bootstrap.weights = np.array([[0.0, 2.0], [2.0, 0.0]])
    np.testing.assert_allclose(
        bootstrap.compute_calibration_errors(correct, confidence, 1), [abs(0.5 - 0.7), 0.1]
    )
    np.testing.assert_allclose(
        bootstrap.compute_calibration_errors(correct, confidence, 2), [(0.4 + 0.8) / 2, 0.1]
    )


def test_basic_interval_takes_off_what_resampling_adds():
    samples = np.linspace(0.02, 0.06, 1001)
    assert compute_basic_interval(0.03, samples) == pytest.approx([0.001, 0.039])
    assert compute_basic_interval(0.01, samples) == [0.0, 0.0]
