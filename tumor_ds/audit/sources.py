"""The audit of several collections, or of one that has several sources.

Goes in: zips, folders and built datasets. Comes out: one `SourcesAudit`, which `sources_report` prints and
writes: what there is, copies between collections, and what gives a source or a class away without any
anatomy. It exists because pictures of several hospitals differ in more than disease.
"""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console
from rich.progress import Progress

from tumor_ds.audit.audit import open_progress
from tumor_ds.audit.baselines import describe_border
from tumor_ds.audit.between import (
    Copies,
    CopyPair,
    Crossing,
    count_between,
    find_crossings,
    pick_crossing_examples,
    pick_examples,
)
from tumor_ds.audit.inputs import PictureFacts, Shown, read_pictures
from tumor_ds.audit.sheet import Cell, build_cells, draw_thumbnail
from tumor_ds.audit.shortcuts import BLURRED_SIDE, Floor, blur, measure_floors
from tumor_ds.collection.errors import DatasetError
from tumor_ds.grouping.duplicates import find_duplicates
from tumor_ds.grouping.mixing import join_keys

if TYPE_CHECKING:
    import tensorflow_datasets as tfds

# A picture by source and file name.
Key = tuple[str, str]


@dataclass(frozen=True)
class SourcesAudit:
    """Everything that `tumor audit` says of several collections or sources.

    Attributes:
        collections: number of pictures by name.
        unreadable: what cannot be decoded, as (name, reason).
        cells: pictures by source, class and sequence.
        between_collections: copies, for each ordered pair of collections.
        between_sources: copies, for each ordered pair of sources that has any.
        crossings: alike pictures of several patients, by source.
        floors: what gives source and class away.
        examples: pictures beside their copies in another collection, or else in another source.
        crossing_examples: two alike pictures of two patients of one source each.
        thumbnails: JPEG of every picture that the page shows; not in `to_dict`.

    Example:
        >>> import tumor_ds
        >>> audit = audit_sources({"drawn": Path(tumor_ds.__path__[0], "dummy_data")})
        >>> audit.collections
        {'drawn': 48}
    """

    collections: dict[str, int]
    unreadable: tuple[tuple[str, str], ...]
    cells: tuple[Cell, ...]
    between_collections: tuple[Copies, ...]
    between_sources: tuple[Copies, ...]
    crossings: tuple[Crossing, ...]
    floors: tuple[Floor, ...]
    examples: tuple[CopyPair, ...]
    crossing_examples: tuple[tuple[Key, ...], ...]
    thumbnails: dict[Key, bytes] = field(repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Everything but the thumbnails, as JSON knows it: lists, dictionaries, text, numbers, None."""
        plain = asdict(replace(self, thumbnails={}))
        del plain["thumbnails"]
        return json.loads(json.dumps(plain))


@dataclass
class _Scan:
    """What is kept of each picture; the pixels are not."""

    facts: list[PictureFacts] = field(default_factory=list)
    borders: list[np.ndarray] = field(default_factory=list)
    blurred: bytearray = field(default_factory=bytearray)
    outlined: list[bool] = field(default_factory=list)
    thumbnails: list[bytes] = field(default_factory=list)
    unreadable: list[tuple[str, str]] = field(default_factory=list)

    def add(self, shown: Shown) -> None:
        self.facts.append(shown.facts)
        self.borders.append(describe_border(shown.image))
        self.blurred += blur(shown.image).tobytes()
        self.outlined.append(shown.mask is not None and bool(shown.mask.any()))
        self.thumbnails.append(draw_thumbnail(shown.image, shown.mask))


def audit_sources(
    things: "Mapping[str, Path | tfds.core.DatasetBuilder]", progress: Progress | Console | None = None
) -> SourcesAudit:
    """Audit collections together; every picture is read once.

    Args:
        things: zips, folders and prepared builders, by the name of the collection.
        progress: where to show how far it is; a console gets a bar that disappears at the end.

    Returns:
        The audit; the same for the same pictures.

    Raises:
        DatasetError: one of them holds nothing to audit.
    """
    scan = _Scan()
    with open_progress(progress) as bar:
        duplicates = find_duplicates(_read_all(things, scan, bar))
        facts = _name_apart(scan.facts)
        sources = [one.source for one in facts]
        patients = [(one.source, one.patient) if one.patient else None for one in facts]
        units = join_keys(duplicates.groups.tolist(), patients)
        blurred = np.frombuffer(scan.blurred, np.uint8).reshape(-1, BLURRED_SIDE**2)
        floors = measure_floors(facts, units, np.array(scan.borders), blurred, bar)
    cells = build_cells(facts, scan.outlined)
    collections = [one.collection for one in facts]
    between_collections = count_between(duplicates, facts, collections, with_pairs=True)
    between_sources = count_between(duplicates, facts, sources, with_pairs=len(things) == 1)
    examples = pick_examples(between_collections if len(things) > 1 else between_sources)
    crossings = find_crossings(duplicates, facts)
    crossing_examples = pick_crossing_examples(crossings)
    thumbnails = dict(zip(((one.source, one.filename) for one in facts), scan.thumbnails, strict=True))
    shown = [(cell.source, name) for cell in cells for name in cell.shown]
    shown += [key for pair in examples for key in (pair.picture, pair.copy)]
    shown += [key for pair in crossing_examples for key in pair]
    return SourcesAudit(
        collections={name: collections.count(name) for name in things},
        unreadable=tuple(scan.unreadable),
        cells=cells,
        between_collections=between_collections,
        between_sources=tuple(one for one in between_sources if one.count.near),
        crossings=crossings,
        floors=floors,
        examples=examples,
        crossing_examples=crossing_examples,
        thumbnails={key: thumbnails[key] for key in shown},
    )


def _read_all(
    things: "Mapping[str, Path | tfds.core.DatasetBuilder]", scan: _Scan, bar: Progress
) -> Iterator[np.ndarray]:
    """Give the pixels of each picture; what else is needed of it goes into `scan`."""
    for name, thing in things.items():
        before = len(scan.facts)
        for shown in read_pictures(name, thing, bar, scan.unreadable):
            scan.add(shown)
            yield shown.image
        if len(scan.facts) == before:
            reason = f": {scan.unreadable[-1][1]}" if scan.unreadable else ""
            raise DatasetError(f"No picture of {name} can be decoded{reason}. Replace the files.")


def _name_apart(facts: Sequence[PictureFacts]) -> list[PictureFacts]:
    """Add the collection to the name of a source that several collections have."""
    holders: dict[str, set[str]] = defaultdict(set)
    for one in facts:
        holders[one.source].add(one.collection)
    return [
        replace(one, source=f"{one.source} in {one.collection}") if len(holders[one.source]) > 1 else one
        for one in facts
    ]
