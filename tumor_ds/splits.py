"""Which training images become validation: whole groups, stratified by class, the same on every machine.

Goes in: the rows of `groups.csv`. Comes out: the set of groups held out.
It exists because slices of one patient, and mirrored copies of one picture, must never stand on both sides.
"""

import csv
import hashlib
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

GROUPS_CSV = Path(__file__).parent / "groups.csv"
VALIDATION_SHARE = 0.10
SEED = 0


@dataclass(frozen=True)
class ImageFacts:
    """What `groups.csv` knows of one file.

    Attributes:
        path: `Training/glioma/Tr-gl_0010.jpg`, as in Kaggle's zip.
        group: near-duplicates and neighbouring slices share it.
        patient_fold: 1..5 as published with figshare 1512427, 0 where unknown.
        has_train_twin: a test image that is a training image up to one of the eight flips and turns.
    """

    path: str
    group: int
    patient_fold: int
    has_train_twin: bool

    @property
    def label(self) -> str:
        """Name of the class folder."""
        return self.path.split("/")[1]


def load_facts() -> dict[str, ImageFacts]:
    """Read `groups.csv` as shipped with the package, by path."""
    with GROUPS_CSV.open(newline="", encoding="utf-8") as file:
        return {
            row["path"]: ImageFacts(row["path"], int(row["group"]), int(row["patient_fold"] or 0), bool(row["train_twin"]))
            for row in csv.DictReader(file)
        }


def choose_validation_groups(training: list[ImageFacts]) -> set[int]:
    """Hold out about a tenth of every class, in whole groups.

    Groups are dealt in the order of a keyed hash, which is the same on every machine and Python version, until a class has its
    share. A group that spans two classes counts where it has most images (the first label of a tie).

    Args:
        training: facts of all training images, in any order.

    Returns:
        The groups that become validation.
    """
    members: dict[int, Counter[str]] = defaultdict(Counter)
    for facts in training:
        members[facts.group][facts.label] += 1
    strata: dict[str, list[int]] = defaultdict(list)
    for group, labels in members.items():
        strata[min(labels, key=lambda label: (-labels[label], label))].append(group)
    chosen: set[int] = set()
    for label in sorted(strata):
        wanted = round(VALIDATION_SHARE * sum(members[group].total() for group in strata[label]))
        held = 0
        for group in sorted(strata[label], key=_hash_order):
            size = members[group].total()
            if held + size <= wanted:
                chosen.add(group)
                held += size
    return chosen


def _hash_order(group: int) -> str:
    return hashlib.sha256(f"{SEED}:{group}".encode()).hexdigest()
