"""What each image teaches about its kind: datasets know more of some images than of others.

Goes in: what is known of the images of a split. Comes out: for each image the kinds that it may show, and how
much it counts. An image of which nothing is known counts nothing here; it may still teach an outline.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trainer.data.input_pipeline import RecordFacts
from tumor_ds.sources.records import UNKNOWN

TUMOR, NO_TUMOR = 1, 0


@dataclass(frozen=True)
class Supervision:
    """What n images teach about their kind.

    Attributes:
        targets: float32 (n, classes), 1 for each kind that the image may show, 0 for the others.
        weights: float32 (n,), how much the image counts; 0 where nothing is known.
        is_tumor: bool (classes,), which kinds are tumours.

    Example:
        >>> facts = RecordFacts("a.jpg", label=-1, group=0, has_train_twin=False, tumor=1)
        >>> supervise([facts], ("glioma", "meningioma", "notumor"), "notumor", 0.5).targets.tolist()
        [[1.0, 1.0, 0.0]]
    """

    targets: np.ndarray
    weights: np.ndarray
    is_tumor: np.ndarray


def supervise(
    records: Sequence[RecordFacts], labels: Sequence[str], healthy_label: str | None, no_tumor_weight: float
) -> Supervision:
    """Say what images teach.

    | known | may show | weight |
    |---|---|---|
    | the kind | that kind | 1 |
    | a tumour, of unknown kind | every kind of tumour | 1 |
    | no tumour in this slice, as between the slices of a patient with one | no tumour | `no_tumor_weight` |
    | nothing | everything | 0 |

    Args:
        records: what is known of the images.
        labels: names of the classes.
        healthy_label: the one that says that nothing is found; None where no class does.
        no_tumor_weight: of the third row.
    """
    true, tumor = (
        np.array([getattr(record, name) for record in records], np.int64) for name in ("label", "tumor")
    )
    is_tumor = np.array([label != healthy_label for label in labels])
    targets = np.ones((len(records), len(labels)), np.float32)
    weights = np.zeros(len(records), np.float32)
    # Labels of another study may have none that is healthy, or only that one.
    for value, kinds, weight in ((TUMOR, is_tumor, 1.0), (NO_TUMOR, ~is_tumor, no_tumor_weight)):
        if kinds.any():
            targets[tumor == value], weights[tumor == value] = kinds, weight
    known = true != UNKNOWN
    targets[known] = np.eye(len(labels), dtype=np.float32)[true[known]]
    weights[known] = 1
    return Supervision(targets, weights, is_tumor)


def supervise_known(
    records: Sequence[RecordFacts], labels: Sequence[str], healthy_label: str | None
) -> Supervision:
    """Say what images are validated on: their kind, and nothing where it is unknown."""
    supervision = supervise(records, labels, healthy_label, no_tumor_weight=0)
    known = np.array([record.label != UNKNOWN for record in records], np.float32)
    return dataclasses.replace(supervision, weights=known)
