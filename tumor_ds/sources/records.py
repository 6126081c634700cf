"""The record that every dataset of this package holds: its features, and how one is made.

Goes in: what is known of a picture. Comes out: a dictionary as TFDS stores it. One record for all, so that
datasets can be mixed.
"""

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from tumor_ds.sources.slices import MASK_STATES, SEQUENCES, SKULLS

UNKNOWN = -1
# zlib's 2 of 9: a seventh larger than 6, the default, in a quarter of the time.
PNG_LEVEL = 2
_TUMOR = {True: 1, False: 0, None: UNKNOWN}


def build_features(labels: Sequence[str] | None) -> tfds.features.FeaturesDict:
    """Describe the record.

    Args:
        labels: names of the classes; None where they are known only once the pictures are read.
    """

    def number(doc: str, dtype: Any = np.int64) -> tfds.features.Scalar:
        return tfds.features.Scalar(dtype=dtype, doc=doc)

    def picture(doc: str) -> tfds.features.Image:
        return tfds.features.Image(shape=(None, None, 1), encoding_format="png", doc=doc)

    def choice(names: Sequence[str] | None, doc: str) -> tfds.features.ClassLabel:
        return tfds.features.ClassLabel(names=names, doc=doc)

    return tfds.features.FeaturesDict(
        {
            "image": picture("grey slice, native size, lossless"),
            "label": choice(labels, "class; -1: unknown, or a tumour of another kind"),
            "tumor": number("1: the slice shows a tumour of any kind, 0: it shows none, -1: unknown"),
            "filename": tfds.features.Text(doc="path in the collection"),
            "source": tfds.features.Text(doc="where the picture comes from, as a name of a config"),
            "sequence": choice(SEQUENCES, "of the scan; T1C is T1 with contrast agent"),
            "skull": choice(SKULLS, "whether the skull is in the picture"),
            "patient": tfds.features.Text(doc="patient, or what comes closest: pictures that are alike"),
            "fold": number("1..5: whole patients; 0: unknown"),
            "group": number("near-duplicates and slices of one patient or neighbourhood share it"),
            "has_train_twin": number("test image that is a flipped or turned training image", np.bool_),
            "mask": picture("outline of the tumour, filled, same grid as the image: 0 or 255, lossless"),
            "mask_known": choice(MASK_STATES, "unknown: the mask is no information; empty: no tumour here"),
        }
    )


def make_record(
    image: np.ndarray, mask: np.ndarray | None, mask_known: str, tumor: bool | None, **facts: Any
) -> dict[str, Any]:
    """Make one record.

    Args:
        image: uint8 (h, w), [0, 255].
        mask: uint8 (h, w), 0 or 255; None where it is unknown, or empty.
        mask_known: one of `MASK_STATES`.
        tumor: whether the slice shows one; None where unknown.
        **facts: the other features, as TFDS takes them.
    """
    return facts | {
        "image": _encode(image),
        "mask": _encode(np.zeros_like(image) if mask is None else mask),
        "mask_known": mask_known,
        "tumor": _TUMOR[tumor],
    }


def _encode(pixels: np.ndarray) -> bytes:
    """PNG of a picture: lossless, as TFDS stores it. Its own encoder takes three times as long."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=PNG_LEVEL)
    return buffer.getvalue()
