"""Where pictures come from, and what is known of them beside their kind.

Goes in: the records of a dataset. Comes out: `Origins`, which stands in `predictions.csv`. It exists because
figures are told by source and sequence, and because some pictures show a tumour of none of the kinds that a
model names, or none in this slice of a patient who has one.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from trainer.evaluation.image_columns import ImageColumns

if TYPE_CHECKING:
    from trainer.data.input_pipeline import RecordFacts


@dataclass(frozen=True, eq=False)
class Origins(ImageColumns):
    """What is known of n pictures.

    Attributes:
        tumor: float64 (n,), 1: the slice shows a tumour of any kind, 0: it shows none, NaN: unknown.
        source: str (n,), name of the source.
        sequence: str (n,), one of `SEQUENCES` of `tumor_ds.sources.slices`.
        skull: str (n,), one of its `SKULLS`.

    Example:
        >>> Origins(np.array([1.0]), np.array(["mine"]), np.array(["T1C"]), np.array(["kept"])).sequence[0]
        np.str_('T1C')
    """

    tumor: np.ndarray
    source: np.ndarray = field(metadata={"is_text": True})
    sequence: np.ndarray = field(metadata={"is_text": True})
    skull: np.ndarray = field(metadata={"is_text": True})


def describe_origins(records: "Sequence[RecordFacts]") -> Origins:
    """Gather what records say, n of them."""
    from tumor_ds.sources.slices import SEQUENCES, SKULLS  # the package imports TensorFlow

    return Origins(
        tumor=np.array([record.tumor if record.tumor in (0, 1) else np.nan for record in records], float),
        source=np.array([record.source for record in records], str),
        sequence=np.array([SEQUENCES[record.sequence] for record in records], str),
        skull=np.array([SKULLS[record.skull] for record in records], str),
    )
