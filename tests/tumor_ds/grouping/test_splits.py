"""The three protocols on the real `groups.csv`: whole groups, stratified, the same everywhere."""

import csv
import hashlib
import random
from collections import Counter

import pytest

from tumor_ds.collection.errors import DatasetError
from tumor_ds.grouping import splits
from tumor_ds.grouping.facts import GROUPS_CSV, ImageFacts, load_facts

SPLITTERS = {
    "official": splits.split_official,
    "grouped": splits.split_grouped,
    "patient": splits.split_patient,
}
# sha256 of the sorted lines "SPLIT PATH". A new value is a new split: no earlier figure compares with it.
PINNED = {
    "official": "964fd017fa11d5c636745817be8a4e70a80a0ab1965413c527b266b07791ac50",
    "grouped": "02437eb760b05a41c5cb0eace0bbc688f2b160729c82a7ced967b82664554ced",
    "patient": "7b325a94ec076e39bcaa08dce9c5b6b864bffd951012d6eb3351eea7b1a590e5",
}
CLASS_SIZES = {"glioma": 1621, "meningioma": 1645, "notumor": 2000, "pituitary": 1757}


@pytest.fixture(scope="module")
def facts() -> list[ImageFacts]:
    return list(load_facts().values())


@pytest.fixture(scope="module", params=list(SPLITTERS))
def protocol(request: pytest.FixtureRequest) -> str:
    return request.param


def make_facts(group: int, label: str, count: int, folder: str = "Training") -> list[ImageFacts]:
    return [ImageFacts(f"{folder}/{label}/{group}_{index}.jpg", group, 0, False) for index in range(count)]


def make_groups(labels: dict[str, int], size: int = 1) -> list[ImageFacts]:
    numbers = iter(range(10_000))
    return [
        row
        for label, groups in labels.items()
        for _ in range(groups)
        for row in make_facts(next(numbers), label, size)
    ]


def digest(found: splits.Splits) -> str:
    lines = sorted(f"{name} {row.path}\n" for name, rows in found.items() for row in rows)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def count_labels(rows: list[ImageFacts]) -> dict[str, int]:
    return dict(sorted(Counter(row.label for row in rows).items()))


# The real collection


def test_facts_of_known_files():
    facts = load_facts()
    assert len(facts) == 7023
    assert facts["Testing/glioma/Te-glTr_0000.jpg"] == ImageFacts(
        "Testing/glioma/Te-glTr_0000.jpg", 292, 5, True, 1979, False
    )
    assert facts["Testing/glioma/Te-glTr_0003.jpg"] == ImageFacts(
        "Testing/glioma/Te-glTr_0003.jpg", 295, 5, False, 2018, False
    )
    assert facts["Testing/notumor/Te-no_0271.jpg"].patient_fold == 0
    assert facts["Testing/glioma/Te-glTr_0000.jpg"].label == "glioma"


def test_twins_share_a_group_and_no_group_spans_two_patient_folds():
    """Were a twin in another group, mirrored copies of one picture could stand on both sides of a split."""
    facts = load_facts()
    with GROUPS_CSV.open(newline="", encoding="utf-8") as file:
        twins = {row["path"]: row["train_twin"] for row in csv.DictReader(file) if row["train_twin"]}
    assert len(twins) == 992
    assert all(facts[path].group == facts[twin].group for path, twin in twins.items())
    folds: dict[int, set[int]] = {}
    for row in facts.values():
        folds.setdefault(row.group, set()).add(row.patient_fold)
    assert [group for group, found in folds.items() if len(found - {0}) > 1] == []


def test_splits_are_pinned(facts, protocol):
    assert digest(SPLITTERS[protocol](facts)) == PINNED[protocol]


def test_order_of_the_input_does_not_matter(facts, protocol):
    shuffled = list(facts)
    random.Random(1).shuffle(shuffled)
    assert shuffled != facts
    assert digest(SPLITTERS[protocol](shuffled)) == digest(SPLITTERS[protocol](facts))


def test_every_picture_is_in_one_split(facts, protocol):
    paths = [row.path for rows in SPLITTERS[protocol](facts).values() for row in rows]
    assert sorted(paths) == sorted(row.path for row in facts)


def test_no_group_is_in_two_splits(facts, protocol):
    found = SPLITTERS[protocol](facts)
    if protocol == "official":  # Kaggle's own test split shares groups with Training: that is the leak
        found = {name: found[name] for name in ("train", "validation")}
    groups = [group for rows in found.values() for group in {row.group for row in rows}]
    assert len(groups) == len(set(groups))


def test_official_keeps_kaggles_test_split_with_its_twins(facts):
    found = splits.split_official(facts)
    assert {row.path.split("/")[0] for row in found["test"]} == {"Testing"}
    assert sum(row.has_train_twin for row in found["test"]) == 992
    for label, count in count_labels(found["validation"]).items():
        assert count / (count + count_labels(found["train"])[label]) == pytest.approx(0.10, abs=0.01)


def test_grouped_gives_each_class_seventy_ten_twenty(facts):
    found = splits.split_grouped(facts)
    for name, share in {"train": 0.7, "validation": 0.1, "test": 0.2}.items():
        for label, count in count_labels(found[name]).items():
            assert count / CLASS_SIZES[label] == pytest.approx(share, abs=0.01), (name, label)


def test_class_shares_of_grouped_are_those_of_the_whole(facts):
    for name, rows in splits.split_grouped(facts).items():
        for label, count in count_labels(rows).items():
            assert count / len(rows) == pytest.approx(CLASS_SIZES[label] / 7023, abs=0.02), (name, label)


def test_where_no_picture_has_a_train_twin(facts):
    """Every pair that `groups.csv` names is in one split, so the flag, which is about Kaggle's, is off."""
    with GROUPS_CSV.open(newline="", encoding="utf-8") as file:
        twins = {row["path"]: row["train_twin"] for row in csv.DictReader(file) if row["train_twin"]}
    for splitter in (splits.split_grouped, splits.split_patient):
        found = splitter(facts)
        where = {row.path: name for name, rows in found.items() for row in rows}
        assert all(where[path] == where[twin] for path, twin in twins.items())
        assert not any(row.has_train_twin for rows in found.values() for row in rows)


def test_patient_keeps_the_published_folds(facts):
    for number, rows in enumerate(splits.split_patient(facts).values(), start=1):
        assert {row.patient_fold for row in rows} == {0, number}


def test_class_shares_of_patient_are_those_of_the_whole_where_the_published_folds_allow(facts):
    """Jun Cheng's folds settle all gliomas and most pituitary tumours; folds 3 and 5 are far from even."""
    points_off = {
        (name, label): round(100 * (count_labels(rows)[label] / len(rows) - size / 7023), 1)
        for name, rows in splits.split_patient(facts).items()
        for label, size in CLASS_SIZES.items()
    }
    beyond = {cell: points for cell, points in points_off.items() if abs(points) > 2}
    assert beyond == {
        ("fold3", "glioma"): -3.3,
        ("fold3", "pituitary"): 3.2,
        ("fold5", "glioma"): 4.2,
        ("fold5", "pituitary"): -2.4,
    }


@pytest.mark.parametrize(
    ("fold", "scarce", "plenty"), [(3, "glioma", "pituitary"), (5, "pituitary", "glioma")]
)
def test_no_dealing_could_bring_those_folds_within_two_points(facts, fold: int, scarce: str, plenty: str):
    """The fold would have to be small for the one class and large for the other, whatever is added to it."""
    published = Counter(row.label for row in facts if row.patient_fold == fold)
    free = Counter(row.label for row in facts if row.patient_fold == 0)
    least_size = published[plenty] / (CLASS_SIZES[plenty] / 7023 + 0.02)
    most_size = (published[scarce] + free[scarce]) / (CLASS_SIZES[scarce] / 7023 - 0.02)
    assert least_size > most_size


def test_dealt_classes_are_even_over_the_folds(facts):
    """Of meningioma only fold 2 holds more than a fifth by publication; notumor is all ours to deal."""
    counts = [count_labels(rows) for rows in splits.split_patient(facts).values()]
    assert [count["notumor"] for count in counts] == [400] * 5
    assert all(abs(count["meningioma"] - 329) <= 7 for count in counts)


def test_real_groups_with_two_labels_stay_whole(facts):
    labels: dict[int, set[str]] = {}
    for row in facts:
        labels.setdefault(row.group, set()).add(row.label)
    mixed = {group for group, found in labels.items() if len(found) > 1}
    assert mixed == {146, 587, 655}
    for splitter in (splits.split_grouped, splits.split_patient):
        for group in mixed:
            assert sum(any(row.group == group for row in rows) for rows in splitter(facts).values()) == 1


# Dealing


def test_a_mixed_group_counts_where_most_of_its_images_are():
    """14 meningiomas, and a group of 3 more and a glioma: a tenth of 18 is 2; of 14 it would be 1."""
    rows = [row for group in range(19) for row in make_facts(group, "glioma", 1)]
    rows += make_facts(99, "glioma", 1) + make_facts(99, "meningioma", 3)
    rows += [row for group in range(100, 114) for row in make_facts(group, "meningioma", 1)]
    held_out = [
        group
        for group, split in splits.deal_groups(rows, splits.OFFICIAL_SHARES).items()
        if split == "validation"
    ]
    assert 99 not in held_out
    assert len([group for group in held_out if group < 99]) == 2
    assert len([group for group in held_out if group > 99]) == 2


def test_the_first_label_wins_a_tie():
    """A group with one image of each class is glioma's, so meningioma has 14 and gives 1; of 16 it gave 2."""
    rows = make_facts(99, "meningioma", 1) + make_facts(99, "glioma", 1)
    rows += [row for group in range(14) for row in make_facts(group, "meningioma", 1)]
    dealt = splits.deal_groups(rows, splits.OFFICIAL_SHARES)
    assert Counter(split for group, split in dealt.items() if group != 99) == {"train": 13, "validation": 1}


def test_settled_groups_stay_and_count():
    """Two of ten are settled for fold1: it has its fifth already, and gets no more."""
    rows = make_groups({"glioma": 10})
    settled = {3: "fold1", 7: "fold1"}
    dealt = splits.deal_groups(rows, splits.PATIENT_SHARES, settled)
    assert Counter(dealt.values()) == {f"fold{number}": 2 for number in range(1, 6)}
    assert {group for group, split in dealt.items() if split == "fold1"} == {3, 7}


def test_a_group_that_is_too_large_for_a_share_goes_to_the_last():
    rows = make_facts(0, "glioma", 30) + [
        row for group in range(1, 11) for row in make_facts(group, "glioma", 1)
    ]
    dealt = splits.deal_groups(rows, splits.GROUPED_SHARES)
    assert dealt[0] == "train"
    assert Counter(dealt[row.group] for row in rows) == {
        "train": 30,
        "test": 8,
        "validation": 2,
    }  # a fifth of 40, and the two that are left


def test_ten_equal_groups_fill_every_split():
    found = splits.split_grouped(make_groups({"a": 10, "b": 10}, size=3))
    assert {name: count_labels(rows) for name, rows in found.items()} == {
        "train": {"a": 21, "b": 21},
        "validation": {"a": 3, "b": 3},
        "test": {"a": 6, "b": 6},
    }


@pytest.mark.parametrize(
    "rows", [make_groups({"a": 10, "b": 2}), make_groups({"a": 10}) + make_facts(5000, "b", 40)]
)
def test_a_class_that_cannot_be_in_every_split_is_refused(rows: list[ImageFacts]):
    with pytest.raises(DatasetError, match=r"Class b has \d groups of pictures.*is left without one"):
        splits.split_grouped(rows)
