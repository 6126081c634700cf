"""The contact sheet: small pictures by source, class and sequence, the outline of the tumour drawn over them.

Goes in: each picture with its mask. Comes out: a JPEG of it, and which of them stand in which cell.
"""

import hashlib
import io
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from tumor_ds.audit.inputs import PictureFacts
from tumor_ds.sources.slices import SEQUENCES

THUMBNAIL_PIXELS, THUMBNAIL_QUALITY = 112, 75
MAX_EXAMPLES = 4
# Orange of Okabe and Ito 2008: on any grey it stands out for people who are colour-blind, too.
OUTLINE_COLOUR = (230, 159, 0)


@dataclass(frozen=True)
class Cell:
    """The pictures of one source, class and sequence.

    Attributes:
        source: name of the source.
        kind: the class in words.
        sequence: one of `slices.SEQUENCES`.
        pictures: how many there are.
        patients: how many patients they are of; 0 where unknown.
        outlined: how many have an outline.
        skulls: number of pictures by skull state.
        shown: file names of up to `MAX_EXAMPLES`, of different patients where there are so many.

    Example:
        >>> Cell("mine", "glioma", "T1C", 2, 1, 2, {"kept": 2}, ("a.png",)).skulls
        {'kept': 2}
    """

    source: str
    kind: str
    sequence: str
    pictures: int
    patients: int
    outlined: int
    skulls: dict[str, int]
    shown: tuple[str, ...]


def draw_thumbnail(image: np.ndarray, mask: np.ndarray | None) -> bytes:
    """Draw a small JPEG of a picture with the outline of its mask, one pixel wide.

    Args:
        image: uint8 (h, w), [0, 255].
        mask: uint8 (h, w), not 0 where there is tumour; None where unknown.
    """
    grey = Image.fromarray(image)
    grey.thumbnail((THUMBNAIL_PIXELS, THUMBNAIL_PIXELS), Image.Resampling.BOX)
    buffer = io.BytesIO()
    if mask is None or not mask.any():
        grey.save(buffer, "JPEG", quality=THUMBNAIL_QUALITY)
        return buffer.getvalue()
    pixels = np.asarray(grey.convert("RGB")).copy()
    pixels[find_edge(mask, grey.size)] = OUTLINE_COLOUR
    # Full colour resolution: half of it would smear a line of one pixel.
    Image.fromarray(pixels).save(buffer, "JPEG", quality=THUMBNAIL_QUALITY, subsampling=0)
    return buffer.getvalue()


def find_edge(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The pixels just outside a mask that is brought to a size: bool (height, width).

    Outside, so that the line hides nothing of the tumour.
    """
    filled = Image.fromarray(np.where(mask > 0, 255, 0).astype(np.uint8))
    inside = np.asarray(filled.resize(size, Image.Resampling.BOX)) > 0
    padded = np.pad(inside, 1)
    neighbours = padded[:-2, 1:-1] | padded[2:, 1:-1] | padded[1:-1, :-2] | padded[1:-1, 2:]
    return neighbours & ~inside


def build_cells(facts: Sequence[PictureFacts], outlined: Sequence[bool]) -> tuple[Cell, ...]:
    """Gather the pictures by source, class and sequence, and choose those to show.

    Args:
        facts: of the n pictures.
        outlined: of the n pictures, whether an outline is known.
    """
    members: dict[tuple[str, str, int], list[int]] = defaultdict(list)
    for row, one in enumerate(facts):
        members[one.source, one.kind, SEQUENCES.index(one.sequence)].append(row)
    return tuple(
        Cell(
            source=source,
            kind=kind,
            sequence=SEQUENCES[sequence],
            pictures=len(rows),
            patients=len({facts[row].patient for row in rows} - {None}),
            outlined=sum(outlined[row] for row in rows),
            skulls=dict(sorted(Counter(facts[row].skull for row in rows).items())),
            shown=tuple(facts[row].filename for row in _choose(rows, facts, outlined)),
        )
        for (source, kind, sequence), rows in sorted(members.items())
    )


def _choose(rows: list[int], facts: Sequence[PictureFacts], outlined: Sequence[bool]) -> Iterator[int]:
    """Outlined ones first, and one of each patient first; else by a hash of their names."""
    hashed = {row: hashlib.sha256(facts[row].filename.encode()).digest() for row in rows}
    ordered = sorted(rows, key=lambda row: (not outlined[row], hashed[row]))
    seen: Counter[str | None] = Counter()
    turns = {}
    for row in ordered:
        turns[row] = seen[facts[row].patient]
        seen[facts[row].patient] += facts[row].patient is not None
    yield from sorted(ordered, key=lambda row: (not outlined[row], turns[row]))[:MAX_EXAMPLES]
