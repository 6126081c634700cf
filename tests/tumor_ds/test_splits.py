"""The validation groups of the real `groups.csv`: whole, stratified, the same everywhere."""

import csv
import hashlib
import random
from collections import Counter

import pytest

from tumor_ds import splits

# sha256 of the sorted held-out groups, joined by commas. A new value is a new validation split: no earlier figure compares with it.
HELD_OUT_SHA256 = "fc273d7d6aaacf9a646e9ee63815a5f04f00a0b81e8b2ac3f0e0a44b152a90c6"


@pytest.fixture(scope="module")
def training() -> list[splits.ImageFacts]:
    return [facts for path, facts in splits.load_facts().items() if path.startswith("Training/")]


def make_facts(group: int, label: str, count: int) -> list[splits.ImageFacts]:
    return [splits.ImageFacts(f"Training/{label}/{group}_{index}.jpg", group, 0, False) for index in range(count)]


def test_facts_of_known_files():
    facts = splits.load_facts()
    assert len(facts) == 7023
    assert facts["Testing/glioma/Te-glTr_0000.jpg"] == splits.ImageFacts("Testing/glioma/Te-glTr_0000.jpg", 292, 5, True)
    assert facts["Testing/glioma/Te-glTr_0003.jpg"] == splits.ImageFacts("Testing/glioma/Te-glTr_0003.jpg", 295, 5, False)
    assert facts["Testing/notumor/Te-no_0271.jpg"] == splits.ImageFacts("Testing/notumor/Te-no_0271.jpg", 135, 0, False)
    assert facts["Testing/glioma/Te-glTr_0000.jpg"].label == "glioma"


def test_groups_are_held_out_whole(training):
    held_out = splits.choose_validation_groups(training)
    train = {facts.group for facts in training if facts.group not in held_out}
    validation = {facts.group for facts in training if facts.group in held_out}
    assert validation == held_out  # every chosen group exists
    assert not train & validation
    assert len(train | validation) == len({facts.group for facts in training})


def test_twins_share_a_group_and_no_group_spans_two_patient_folds():
    """Were a twin in another group, mirrored copies of one picture could stand on both sides of a split."""
    facts = splits.load_facts()
    with splits.GROUPS_CSV.open(newline="", encoding="utf-8") as file:
        twins = {row["path"]: row["train_twin"] for row in csv.DictReader(file) if row["train_twin"]}
    assert len(twins) == 992
    assert all(facts[path].group == facts[twin].group for path, twin in twins.items())
    folds: dict[int, set[int]] = {}
    for row in facts.values():
        folds.setdefault(row.group, set()).add(row.patient_fold)
    assert [group for group, found in folds.items() if len(found - {0}) > 1] == []


def test_each_class_gives_ten_percent(training):
    held_out = splits.choose_validation_groups(training)
    total = Counter(facts.label for facts in training)
    held = Counter(facts.label for facts in training if facts.group in held_out)
    assert set(total) == {"glioma", "meningioma", "notumor", "pituitary"}
    for label, count in total.items():
        assert held[label] / count == pytest.approx(0.10, abs=0.01), label


def test_order_of_the_input_does_not_matter(training):
    shuffled = list(training)
    random.Random(1).shuffle(shuffled)
    assert shuffled != training
    assert splits.choose_validation_groups(shuffled) == splits.choose_validation_groups(training)
    assert splits.choose_validation_groups(training[::-1]) == splits.choose_validation_groups(training)


def test_held_out_groups_are_pinned(training):
    held_out = sorted(splits.choose_validation_groups(training))
    assert hashlib.sha256(",".join(map(str, held_out)).encode()).hexdigest() == HELD_OUT_SHA256


def test_real_groups_with_two_labels_stay_whole(training):
    labels: dict[int, set[str]] = {}
    for facts in training:
        labels.setdefault(facts.group, set()).add(facts.label)
    mixed = {group for group, found in labels.items() if len(found) > 1}
    assert mixed == {146, 587, 655}
    held_out = splits.choose_validation_groups(training)
    for group in mixed:
        assert len({facts.group in held_out for facts in training if facts.group == group}) == 1


def test_a_mixed_group_counts_where_most_of_its_images_are():
    """14 meningiomas and a group of 3 more and a glioma: a tenth of 18 is 2 images; counted as glioma it would leave 14, and 1 held out."""
    training = [row for group in range(19) for row in make_facts(group, "glioma", 1)]
    training += make_facts(99, "glioma", 1) + make_facts(99, "meningioma", 3)
    training += [row for group in range(100, 114) for row in make_facts(group, "meningioma", 1)]
    held_out = splits.choose_validation_groups(training)
    assert 99 not in held_out
    assert len([group for group in held_out if group < 99]) == 2
    assert len([group for group in held_out if group > 99]) == 2


def test_the_first_label_wins_a_tie():
    """A group with one image of each class belongs to glioma, so meningioma has 14 images and gives 1; with 16 it would give 2."""
    training = make_facts(99, "meningioma", 1) + make_facts(99, "glioma", 1)
    training += [row for group in range(14) for row in make_facts(group, "meningioma", 1)]
    held_out = splits.choose_validation_groups(training)
    assert 99 not in held_out
    assert len(held_out) == 1
