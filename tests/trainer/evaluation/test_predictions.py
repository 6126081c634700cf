"""One file holds all that figures are made of, and says what is wrong with it."""

import csv
import dataclasses
from pathlib import Path

import numpy as np
import pytest

from tests.trainer.make_predictions import LABELS, make_predictions, simulate_predictions
from trainer.evaluation.localisation import Localisation
from trainer.evaluation.origins import Origins
from trainer.evaluation.predictions import (
    PREDICTIONS_FILE,
    UNKNOWN_KIND,
    Predictions,
    PredictionsError,
    pool_predictions,
)
from trainer.evaluation.predictions_file import load_predictions, save_predictions


@pytest.fixture
def saved(tmp_path) -> Path:
    save_predictions(simulate_predictions(count=40, temperature=0.7), tmp_path / PREDICTIONS_FILE)
    return tmp_path / PREDICTIONS_FILE


def change(path: Path, edit) -> Path:
    with path.open(newline="") as file:
        rows = list(csv.reader(file))
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(edit(rows))
    return path


def set_value(row: int, name: str, value: str):
    def edit(rows):
        rows[row][rows[0].index(name)] = value
        return rows

    return edit


def test_every_number_survives_the_file(saved):
    before, after = simulate_predictions(count=40, temperature=0.7), load_predictions(saved)
    assert (after.protocol, after.labels, after.filenames) == (
        before.protocol,
        before.labels,
        before.filenames,
    )
    for name in ("groups", "has_train_twin", "true", "logits", "probs", "refused"):
        np.testing.assert_array_equal(getattr(after, name), getattr(before, name))
        assert getattr(after, name).dtype == getattr(before, name).dtype
    assert not list(saved.parent.glob("*.partial"))


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (
            lambda rows: [["file", *rows[0][1:]], *rows[1:]],
            "has the columns file, .*expected protocol, filename",
        ),
        (lambda rows: [], "has the columns none"),
        (lambda rows: rows[:1], "at least one image"),
        (lambda rows: [*rows, rows[5]], "every image once, got Testing/00004.jpg more than once"),
        (lambda rows: [*rows[:-1], rows[-1][:4]], "line 41: expected 15 values, got 4"),
        (set_value(3, "logit_glioma", "nan"), "NaN or infinity for 1 of 40 images, first Testing/00002.jpg"),
        (set_value(3, "prob_glioma", "inf"), "NaN or infinity"),
        (set_value(3, "prob_glioma", "1.5"), "sum to 1, got .* for Testing/00002.jpg"),
        (set_value(3, "prob_glioma", "much"), "no number: .*much"),
        (set_value(3, "group", "a"), "no number"),
        (set_value(3, "refused", "maybe"), "'maybe' where 0 or 1"),
        (set_value(3, "label", "cyst"), "true label 'cyst'; expected one of glioma"),
        (set_value(3, "predicted", "cyst"), "other predicted labels than its probabilities"),
        (set_value(3, "protocol", "grouped"), "mixes the protocols grouped, official"),
    ],
)
def test_a_damaged_file_is_named_with_the_fault(saved, edit, message):
    with pytest.raises(PredictionsError, match=message):
        load_predictions(change(saved, edit))


@pytest.mark.parametrize(
    ("expected", "message"),
    [
        ({"labels": ("a", "b")}, "another dataset"),
        ({"labels": LABELS[::-1]}, "expected .'pituitary'"),
        ({"protocol": "grouped"}, "is about official, expected grouped"),
    ],
)
def test_a_file_of_another_dataset_is_refused(saved, expected, message):
    with pytest.raises(PredictionsError, match=message):
        load_predictions(saved, **expected)


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00\x01"])
def test_a_file_that_cannot_be_read(tmp_path, content):
    if content is not None:
        (tmp_path / "file.csv").write_bytes(content)
    with pytest.raises(PredictionsError, match=r"file\.csv cannot be read as predictions"):
        load_predictions(tmp_path / "file.csv")


def test_damage_is_found_without_a_file():
    good = simulate_predictions(count=6)
    with pytest.raises(PredictionsError, match="finite"):
        Predictions(**{**vars(good), "logits": np.full((6, 4), np.nan, np.float32)})
    with pytest.raises(PredictionsError, match=r"groups of shape \(6,\), got \(5,\)"):
        Predictions(**{**vars(good), "groups": good.groups[:5]})
    with pytest.raises(PredictionsError, match="labels 0 to 3, got 0 to 4"):
        make_predictions([0, 4], np.full((2, 4), 0.25))


def test_taking_some():
    some = simulate_predictions(count=6).take(np.array([4, 1]))
    assert some.filenames == ("Testing/00004.jpg", "Testing/00001.jpg")
    assert some.probs.shape == (2, 4)


def add_optional(predictions: Predictions) -> Predictions:
    """Predictions of a model with a map about a built dataset; the last two pictures are of unknown kind."""
    count, generator = len(predictions.true), np.random.default_rng(0)
    unknown = np.where(np.arange(count) < 3, np.nan, generator.random(count))
    numbers = {name: unknown for name in Localisation.list_names()[1:]}
    origins = Origins(
        tumor=np.where(np.arange(count) == count - 1, np.nan, 1.0),
        source=np.array(["mine"] * count),
        sequence=np.array(["T1", "T2"] * (count // 2)),
        skull=np.array(["kept"] * count),
    )
    return dataclasses.replace(
        predictions,
        true=np.where(np.arange(count) >= count - 2, UNKNOWN_KIND, predictions.true),
        unlike_training=np.arange(count) % 3 == 0,
        tumor_peak=generator.random(count),
        origins=origins,
        localisation=Localisation(np.array(["outlined"] * count), **numbers),
    )


def test_optional_columns_survive_the_file(tmp_path):
    before, path = add_optional(simulate_predictions(count=40)), tmp_path / PREDICTIONS_FILE
    save_predictions(before, path)
    after = load_predictions(path)
    for name in ("true", "unlike_training", "tumor_peak"):
        np.testing.assert_array_equal(getattr(after, name), getattr(before, name))
    for group in ("origins", "localisation"):
        for name in getattr(before, group).list_names():
            np.testing.assert_array_equal(
                getattr(getattr(after, group), name), getattr(getattr(before, group), name)
            )
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert (rows[-1]["label"], rows[-1]["tumor"], rows[0]["dice"]) == ("", "", "")


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda rows: [[*row[:8], *row[9:]] for row in rows], "has the columns"),  # without `source`
        (set_value(3, "tumor_peak", ""), "no number"),
        (set_value(3, "tumor_peak", "1.5"), "tumor_peak from 0 to 1, got 1.5 for Testing/00002.jpg"),
        (set_value(3, "unlike_training", "maybe"), "'maybe' where 0 or 1"),
        (set_value(3, "dice", "good"), "no number"),
    ],
)
def test_damage_of_optional_columns_is_found(tmp_path, edit, message):
    save_predictions(add_optional(simulate_predictions(count=40)), tmp_path / PREDICTIONS_FILE)
    with pytest.raises(PredictionsError, match=message):
        load_predictions(change(tmp_path / PREDICTIONS_FILE, edit))


def test_a_kind_may_be_unknown_only_where_more_is_known(saved):
    with pytest.raises(PredictionsError, match="true label ''; expected one of glioma"):
        load_predictions(change(saved, set_value(3, "label", "")))
    good = simulate_predictions(count=6)
    with pytest.raises(PredictionsError, match="labels 0 to 3, got -1"):
        dataclasses.replace(good, true=np.full(6, UNKNOWN_KIND))


def test_unknown_kinds_are_told_by_what_is_known_of_them():
    made = add_optional(simulate_predictions(count=6))
    assert made.kinds.tolist()[:4] == [LABELS[index] for index in made.true[:4]]
    assert made.kinds.tolist()[4:] == ["other_tumor", "unknown"]
    known = made.take_known()
    assert len(known.filenames) == len(known.origins) == len(known.localisation) == 4
    with pytest.raises(PredictionsError, match=r"kinds glioma, .*, got 2 of other or unknown kind"):
        made.take(np.array([4, 5])).take_known()


def test_parts_are_pooled_with_what_all_of_them_have():
    made = add_optional(simulate_predictions(count=6))
    first, second = made.take(np.array([0, 1])), made.take(np.array([3, 4, 5]))
    assert pool_predictions([first, second]).origins.sequence.tolist() == ["T1", "T2", "T2", "T1", "T2"]
    assert pool_predictions([first, dataclasses.replace(second, tumor_peak=None)]).tumor_peak is None
