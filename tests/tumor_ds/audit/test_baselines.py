"""Baselines that see no disease: features, protocols and scores against hand arithmetic."""

import numpy as np
import pytest

from tumor_ds.audit import baselines
from tumor_ds.grouping.facts import ImageFacts


def build_flat(level: int, side: int) -> np.ndarray:
    return np.full((side, side), level, np.uint8)


def build_facts(groups: list[int], labels: list[str], folds: list[int] | None = None) -> list[ImageFacts]:
    folds = folds or [0] * len(groups)
    rows = enumerate(zip(groups, labels, folds, strict=True))
    return [ImageFacts(f"{label}/{index}.png", group, fold, False) for index, (group, label, fold) in rows]


def test_shrink_averages_areas():
    picture = np.zeros((112, 168, 1), np.uint8)
    picture[0:2, 0:3] = [[[60]], [[120]]]  # the first of the 56x56 areas
    small = baselines.shrink(picture)
    assert small.shape == (56, 56)
    assert small.dtype == np.uint8
    assert small[0, 0] == 90
    assert small.sum() == 90


def test_border_is_described_and_nothing_inside():
    picture = np.full((40, 20), 7, np.uint8)  # 5 %: two rows, one column
    picture[:2] = 100
    picture[-2:, :] = 0
    inside = picture.copy()
    inside[2:-2, 1:-1] = np.random.default_rng(0).integers(0, 256, (36, 18))
    assert np.array_equal(baselines.describe_border(picture), baselines.describe_border(inside[..., None]))
    height, width, aspect, *rest = baselines.describe_border(picture).tolist()
    assert (height, width, aspect) == (40, 20, 0.5)
    upper, lower, left, right = np.array(rest[:20]).reshape(4, 5)
    assert upper.tolist() == [100, 0, 100, 100, 0]
    assert lower.tolist() == [0, 0, 0, 0, 1]
    column = np.array([100] * 2 + [7] * 36 + [0] * 2)
    for side in (left, right):
        assert side == pytest.approx([column.mean(), column.std(), 0, 100, 0.05])
    assert rest[20:] == [100, 100, 0, 0]


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (5, 3)])
def test_features_of_tiny_pictures(shape):
    picture = np.full(shape, 9, np.uint8)
    assert baselines.describe_border(picture).shape == (27,)
    assert (baselines.shrink(picture) == 9).all()


def test_own_split_is_found_by_its_names():
    assert baselines.find_own_split(["Testing", "Training"]) == ("Training", "Testing")
    assert baselines.find_own_split(["TRAIN", "val", "Test"]) == ("TRAIN", "Test")
    assert baselines.find_own_split(["train", "valid"]) is None
    assert baselines.find_own_split([""]) is None


def test_own_split_leaves_validation_out():
    protocol = baselines.build_own_split(["train", "test", "valid", "train"])
    ((training, testing),) = protocol.rounds
    assert training.tolist() == [0, 3]
    assert testing.tolist() == [1]


def test_folds_keep_groups_whole_and_predict_every_picture_once():
    groups = np.arange(60) // 3
    protocol = baselines.build_folds(
        build_facts(groups.tolist(), ["cat", "dog"] * 30), baselines.UNSEEN_GROUPS
    )
    assert len(protocol.rounds) == 5
    for training, testing in protocol.rounds:
        assert not set(groups[training]) & set(groups[testing])
        assert len(training) + len(testing) == 60
    assert sorted(np.concatenate([testing for _, testing in protocol.rounds])) == list(range(60))


def test_folds_follow_published_patients():
    protocol = baselines.build_folds(
        build_facts([0, 1, 2, 3, 4], ["cat"] * 5, [2, 2, 5, 5, 5]), baselines.UNSEEN_PATIENTS
    )
    assert [testing.tolist() for _, testing in protocol.rounds] == [[0, 1], [2, 3, 4]]


def test_one_group_leaves_nothing_to_train_on():
    assert baselines.build_folds(build_facts([0, 0, 0], ["cat"] * 3), baselines.UNSEEN_GROUPS) is None


def test_nearest_picture_by_hand():
    """10 is nearest to 20, 160 to 200, 119 to 200 (81 against 99)."""
    training, asked = (
        np.stack([build_flat(level, 56) for level in levels]) for levels in ((20, 200), (10, 160, 119))
    )
    assert baselines.predict_nearest(training, np.array([0, 1]), asked).tolist() == [0, 1, 1]


def test_nearest_standardised_picture_ignores_brightness_and_contrast():
    ramp = np.tile(np.arange(56, dtype=np.uint8), (56, 1))
    training = np.stack([ramp, ramp[:, ::-1] + 120])
    asked = np.stack([ramp + 150, 4 * ramp, ramp[:, ::-1]])
    labels = np.array([0, 1])
    by_brightness = baselines.predict_nearest(training, labels, asked)
    by_shape = baselines.predict_nearest(training, labels, asked, standardised=True)
    assert (by_brightness.tolist(), by_shape.tolist()) == ([1, 1, 0], [0, 0, 1])


def test_nearest_standardised_picture_takes_blank_pictures():
    pictures = np.stack([build_flat(0, 56), build_flat(200, 56)])
    found = baselines.predict_nearest(pictures, np.array([0, 1]), pictures, standardised=True)
    assert found.tolist() == [0, 0]


def test_nearest_picture_is_the_same_in_parts(monkeypatch):
    random = np.random.default_rng(0)
    training, asked = (random.integers(0, 256, (count, 56, 56), np.uint8) for count in (50, 20))
    labels = random.integers(0, 3, 50)
    whole = baselines.predict_nearest(training, labels, asked)
    monkeypatch.setattr(baselines, "_REFERENCES", 7)
    assert baselines.predict_nearest(training, labels, asked).tolist() == whole.tolist()


def test_score_by_hand():
    """Four asked, three right; of two unseen ones, one. dog 2 of 2, cat 1 of 2; the largest class is half."""
    paths = [
        "train/cat/a.png",
        "train/dog/b.png",
        "test/cat/c.png",
        "test/cat/d.png",
        "test/dog/e.png",
        "test/dog/f.png",
    ]
    thumbnails = np.stack([build_flat(level, 56) for level in (0, 100, 10, 90, 80, 99)])
    protocol = baselines.build_own_split([path.split("/")[0] for path in paths])
    unseen = np.array([False, False, False, True, True, False])
    score = baselines.score(protocol, baselines.predict_nearest, thumbnails, paths, unseen)
    assert score == baselines.Score("own split", 4, 4, 0.75, 0.5, {"cat": 0.5, "dog": 1.0}, 2, 0.5, ())


def test_score_names_classes_that_training_lacks():
    paths = ["train/cat/a.png", "train/eel/b.png", "test/cat/c.png", "test/dog/d.png"]
    protocol = baselines.build_own_split([path.split("/")[0] for path in paths])
    score = baselines.score(
        protocol, baselines.predict_nearest, np.zeros((4, 56, 56), np.uint8), paths, np.zeros(4, bool)
    )
    assert score.untaught == ("dog",)
    assert score.recall["dog"] == 0
    assert score.recall["eel"] is None
    assert score.unseen_accuracy is None


def test_many_queries_are_cut_by_a_hash_of_their_names(monkeypatch):
    paths = [f"{split}/cat/{index:03}.png" for split in ("train", "test") for index in range(40)]
    protocol = baselines.build_own_split([path.split("/")[0] for path in paths])
    monkeypatch.setattr(baselines, "MAX_QUERIES", 10)
    score = baselines.score(
        protocol, baselines.predict_nearest, np.zeros((80, 56, 56), np.uint8), paths, np.ones(80, bool)
    )
    assert (score.pictures, score.asked, score.unseen) == (40, 10, 10)
    chosen = baselines.choose_queries(np.arange(40, 80), paths)
    assert len(set(chosen.tolist())) == 10
    assert chosen.min() >= 40
    turned = paths[::-1]
    assert {turned[index] for index in baselines.choose_queries(np.arange(40), turned)} == {
        paths[index] for index in chosen
    }


def build_bordered(seed: int, border: int) -> np.ndarray:
    """Build noise in a frame."""
    picture = np.full((40, 40), border, np.uint8)
    picture[3:-3, 3:-3] = np.random.default_rng(seed).integers(0, 256, (34, 34))
    return picture


def score_borders(borders: list[int]) -> baselines.Score:
    labels = ["cat", "dog"] * 30
    facts = build_facts(list(range(60)), labels)
    features = np.stack(
        [baselines.describe_border(build_bordered(index, border)) for index, border in enumerate(borders)]
    )
    protocol = baselines.build_folds(facts, baselines.UNSEEN_GROUPS)
    return baselines.score(
        protocol, baselines.predict_from_border, features, [row.path for row in facts], np.ones(60, bool)
    )


def test_borders_that_give_the_class_score_all():
    score = score_borders([0, 12] * 30)
    assert score.accuracy == 1
    assert score.majority == 0.5


def test_equal_borders_score_no_more_than_the_largest_class():
    assert score_borders([0] * 60).accuracy <= 0.5


def test_border_scores_are_the_same_again():
    borders = np.random.default_rng(0).integers(0, 9, 60).tolist()
    assert score_borders(borders) == score_borders(borders)
