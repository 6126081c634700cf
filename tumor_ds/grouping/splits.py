"""Which pictures belong to which split: whole groups, stratified by class, the same on every machine.

Goes in: the facts of all pictures. Comes out: them, by split, for each protocol.
It exists because slices of one patient, and mirrored copies of one picture, must never stand on both sides.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Protocol

from tumor_ds.collection.errors import DatasetError
from tumor_ds.collection.layout import SPLIT_FOLDERS, split_and_label
from tumor_ds.grouping.facts import ImageFacts

SEED = 0
# The last split of each takes what the others leave.
OFFICIAL_SHARES = {"validation": 0.10, "train": 0.90}
GROUPED_SHARES = {"test": 0.20, "validation": 0.10, "train": 0.70}
PATIENT_SHARES = {"fold1": 0.2, "fold2": 0.2, "fold3": 0.2, "fold4": 0.2, "fold5": 0.2}

Splits = dict[str, list[ImageFacts]]


class Grouped(Protocol):
    """What dealing needs to know of a picture.

    Example:
        >>> row: Grouped = ImageFacts("Training/glioma/a.jpg", 7, 0, False)
        >>> deal_groups([row], GROUPED_SHARES)
        {7: 'test'}
    """

    @property
    def group(self) -> int:
        """Near-duplicates and neighbouring slices share it."""

    @property
    def label(self) -> Any:
        """The class, by name or by number."""


def split_official(facts: Iterable[ImageFacts]) -> Splits:
    """Keep Kaggle's Testing as `test`; hold out a tenth of each class of Training, in whole groups."""
    rows = list(facts)
    training, testing = (
        [row for row in rows if split_and_label(row.path)[0] == folder] for folder in SPLIT_FOLDERS
    )
    dealt = deal_groups(training, OFFICIAL_SHARES)
    return {
        "train": [row for row in training if dealt[row.group] == "train"],
        "validation": [row for row in training if dealt[row.group] == "validation"],
        "test": testing,
    }


def split_grouped(facts: Iterable[ImageFacts]) -> Splits:
    """Split all pictures 70/10/20 into `train`, `validation` and `test`, in whole groups, by class.

    Raises:
        DatasetError: a class has too few groups, or too large ones, to be in every split.
    """
    rows = list(facts)
    splits = _collect(rows, deal_groups(rows, GROUPED_SHARES), ("train", "validation", "test"))
    for label in sorted({row.label for row in rows}):
        for name, members in splits.items():
            if not any(row.label == label for row in members):
                groups = len({row.group for row in rows if row.label == label})
                raise DatasetError(
                    f"Class {label} has {groups} groups of pictures, too few or too large to put whole groups"
                    f" into train, validation and test: {name} is left without one. Ten groups of about the"
                    " same size are enough; add pictures of other patients."
                )
    return splits


def split_patient(facts: Iterable[ImageFacts]) -> Splits:
    """Split all pictures into `fold1` ... `fold5`: published folds where known, the other groups dealt."""
    rows = list(facts)
    published = {row.group: f"fold{row.patient_fold}" for row in rows if row.patient_fold}
    return _collect(rows, deal_groups(rows, PATIENT_SHARES, published), tuple(PATIENT_SHARES))


def deal_groups(
    rows: Iterable[Grouped], shares: Mapping[str, float], dealt: Mapping[int, str] | None = None
) -> dict[int, str]:
    """Deal groups to splits so that each split gets its share of every class.

    Groups come in the order of a keyed hash, which is the same on every machine and Python version. Each
    split in turn takes what still fits into its share; the last takes the rest. A group that spans two
    classes counts where it has most pictures (the first label of a tie).

    Args:
        rows: facts of the pictures, in any order.
        shares: of all pictures, by split, adding up to 1.
        dealt: groups whose split is settled; they count towards its share.

    Returns:
        The split of each group.
    """
    members: dict[int, Counter[Any]] = defaultdict(Counter)
    for row in rows:
        members[row.group][row.label] += 1
    strata: dict[Any, list[int]] = defaultdict(list)
    for group, labels in members.items():
        strata[min(labels, key=lambda label: (-labels[label], label))].append(group)
    result = dict(dealt or {})
    *limited, last = shares
    for groups in strata.values():
        size = {group: members[group].total() for group in sorted(groups, key=_hash_order)}
        for split in limited:
            wanted = max(1, round(shares[split] * sum(size.values())))
            held = sum(count for group, count in size.items() if result.get(group) == split)
            for group, count in size.items():
                if group not in result and held + count <= wanted:
                    result[group] = split
                    held += count
        result.update({group: last for group in size if group not in result})
    return result


def _collect(rows: list[ImageFacts], dealt: Mapping[int, str], names: tuple[str, ...]) -> Splits:
    """Gather the pictures of each split; copies share a group, so none of them has its twin in another."""
    return {
        name: [replace(row, has_train_twin=False) for row in rows if dealt[row.group] == name]
        for name in names
    }


def _hash_order(group: int) -> str:
    return hashlib.sha256(f"{SEED}:{group}".encode()).hexdigest()
