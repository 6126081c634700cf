"""Records of pictures in class folders: Kaggle's collection, and a user's own.

Goes in: an open collection and what is known of its pictures. Comes out: their records. The outlines of the
slices of figshare are those that this package holds; a picture of the healthy class has an empty one; a
picture of one's own has the one in `FILE_mask.png` beside it.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from tumor_ds.collection.archive import Collection
from tumor_ds.collection.errors import DatasetError
from tumor_ds.collection.versions import LABELS
from tumor_ds.grouping.facts import ImageFacts
from tumor_ds.outlines import draw_mask, load_outlines
from tumor_ds.sources.records import make_record

FIGSHARE, COLLECTION = "figshare", "collection"


def read_records(
    collection: Collection, rows: Iterable[ImageFacts], healthy_label: str | None, source: str
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Read the pictures of some rows, each with its key and its record.

    Args:
        collection: open.
        rows: which pictures.
        healthy_label: class of those that show nothing; None where no class says so. Then only of Kaggle's
            classes is known that they show a tumour.
        source: where pictures come from that are not of figshare.

    Raises:
        DatasetError: a picture or a mask is damaged, or a mask of a picture without tumour is not empty.
    """
    outlines = load_outlines()
    for row in rows:
        image = collection.read_grey(row.path)[..., 0]
        tumor = row.label != healthy_label if healthy_label or row.label in LABELS else None
        is_figshare = row.figshare_slice > 0
        mask = collection.read_mask(row.path)
        if is_figshare:
            height, width = image.shape
            mask = draw_mask(outlines[row.figshare_slice], height, width, row.is_mirrored)
        mask_known = _name_state(row.path, mask, tumor)
        yield (
            row.path,
            make_record(
                image,
                mask,
                mask_known,
                {"outlined": True, "empty": False, "unknown": tumor}[mask_known],
                label=row.label,
                filename=row.path,
                source=FIGSHARE if is_figshare else source,
                sequence="T1C" if is_figshare else "unknown",
                skull="kept" if is_figshare else "unknown",
                patient=f"group{row.group}",
                fold=row.patient_fold,
                group=row.group,
                has_train_twin=row.has_train_twin,
            ),
        )


def _name_state(path: str, mask: np.ndarray | None, tumor: bool | None) -> str:
    """One of `slices.MASK_STATES`."""
    if mask is None:
        return "empty" if tumor is False else "unknown"
    state = "outlined" if mask.any() else "empty"
    if tumor is not None and tumor is not mask.any().item():
        raise DatasetError(
            f"The mask of {path} is {state}, and its class says otherwise. Correct the mask, or move the"
            " picture."
        )
    return state
