"""What an audit across sources reads: class pictures, a table of sources, or a built dataset.

Goes in: a zip or folder of class pictures, a folder with `sources.csv`, or a TFDS builder. Comes out: one
picture after the other with what is known of it, in the same terms, whatever it was read from.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.progress import Progress

from tumor_ds.audit.audit import recognise_version
from tumor_ds.collection.archive import Collection, open_collection
from tumor_ds.collection.errors import DatasetError, PictureError
from tumor_ds.collection.layout import split_and_label
from tumor_ds.collection.versions import LABELS
from tumor_ds.grouping.facts import load_facts
from tumor_ds.sources.gathered import make_adapter
from tumor_ds.sources.slices import NO_TUMOUR

if TYPE_CHECKING:
    import tensorflow_datasets as tfds

UNKNOWN = "unknown"
OTHER_TUMOUR, NO_TUMOUR_SEEN = "other tumour", "tumour not in slice"


@dataclass(frozen=True)
class PictureFacts:
    """What is known of one picture besides its pixels.

    Attributes:
        collection: name of what it was read from.
        source: name of the source; that of the collection where it names none.
        filename: unique in the source.
        label: one of `LABELS`; None where unknown, or none of these.
        tumor: whether it shows a tumour of any kind; None where unknown.
        kind: the class in words: the label, else what `tumor` says, else the folder's name or `UNKNOWN`.
        sequence: one of `slices.SEQUENCES`.
        skull: one of `slices.SKULLS`.
        patient: all pictures of one patient in a source share it; None where unknown.

    Example:
        >>> PictureFacts("mine", "mine", "a.png", "glioma", True).kind
        'glioma'
    """

    collection: str
    source: str
    filename: str
    label: str | None
    tumor: bool | None
    sequence: str = UNKNOWN
    skull: str = UNKNOWN
    patient: str | None = None
    folder: str = UNKNOWN

    @property
    def kind(self) -> str:
        """The class in words."""
        return self.label or {True: OTHER_TUMOUR, False: NO_TUMOUR_SEEN, None: self.folder}[self.tumor]


@dataclass(frozen=True, eq=False)
class Shown:
    """A picture: uint8 (h, w), what is known of it, and its mask, uint8 (h, w); None where unknown.

    Example:
        >>> facts = PictureFacts("mine", "mine", "a.png", "glioma", True)
        >>> Shown(facts, np.zeros((4, 6), np.uint8)).image.shape
        (4, 6)
    """

    facts: PictureFacts
    image: np.ndarray
    mask: np.ndarray | None = field(default=None, repr=False)


def is_table_of_sources(path: Path) -> bool:
    """Whether a folder is laid out as `sources/gathered.py` says, rather than by class."""
    return path.is_dir() and make_adapter().recognise(path)


def read_pictures(
    name: str, thing: "Path | tfds.core.DatasetBuilder", bar: Progress, unreadable: list[tuple[str, str]]
) -> Iterator[Shown]:
    """Read every picture of one thing, each once.

    Args:
        name: of the collection.
        thing: a zip, a folder or a prepared builder.
        bar: shows how far it is.
        unreadable: what cannot be decoded is added, as (name, reason).

    Raises:
        DatasetError: it is none of what can be audited.
    """
    if not isinstance(thing, Path):
        yield from _read_built(name, thing, bar)
    elif is_table_of_sources(thing):
        yield from _read_table(name, thing, bar, unreadable)
    else:
        with open_collection(thing) as collection:
            yield from _read_classes(name, collection, bar, unreadable)


def _read_classes(
    name: str, collection: Collection, bar: Progress, unreadable: list[tuple[str, str]]
) -> Iterator[Shown]:
    known = load_facts() if recognise_version(collection.paths) == 1 else {}
    for path in bar.track(collection.paths, description=f"Reading {name}"):
        try:
            image, mask = collection.read_grey(path)[..., 0], collection.read_mask(path)
        except PictureError as error:
            unreadable.append((f"{name}: {path}", error.reason))
            continue
        folder = split_and_label(path)[1]
        label = folder if folder in LABELS else None
        tumor = label != NO_TUMOUR if label else None
        patient = f"group{known[path].group}" if known else None
        facts = PictureFacts(name, name, path, label, tumor, patient=patient, folder=folder)
        yield Shown(facts, image, mask)


def _read_table(name: str, folder: Path, bar: Progress, unreadable: list[tuple[str, str]]) -> Iterator[Shown]:
    adapter = make_adapter()
    for unit in bar.track(adapter.list_units(folder), description=f"Reading {name}"):
        try:
            slices = adapter.read_unit(folder, unit)
        except DatasetError as error:
            # The page is passed on: it names no folder of this machine.
            unreadable.append((name, str(error).replace(f"{folder}/", "").replace(str(folder), name)))
            continue
        for one in slices:
            facts = PictureFacts(
                *(name, one.source, one.filename, one.label, one.tumor),
                *(one.sequence, one.skull, one.patient),
            )
            yield Shown(facts, one.image, one.mask)


def _read_built(name: str, builder: "tfds.core.DatasetBuilder", bar: Progress) -> Iterator[Shown]:
    import tensorflow_datasets as tfds

    features = builder.info.features
    if "source" not in features:
        raise DatasetError(
            f"{name} in {builder.data_dir} was built by an earlier version of this package: its records"
            " name no source. Build it anew: tumor build with --overwrite."
        )
    total = sum(split.num_examples for split in builder.info.splits.values())
    task = bar.add_task(f"Reading {name}", total=total)
    for split in sorted(builder.info.splits):
        for record in tfds.as_numpy(builder.as_dataset(split=split, shuffle_files=False)):
            yield _read_record(name, features, record)
            bar.advance(task)


def _read_record(name: str, features: Any, record: dict[str, Any]) -> Shown:
    number = int(record["label"])
    folder = features["label"].int2str(number) if number >= 0 else UNKNOWN
    is_mask_known = features["mask_known"].int2str(int(record["mask_known"])) != UNKNOWN
    facts = PictureFacts(
        collection=name,
        source=record["source"].decode(),
        filename=record["filename"].decode(),
        label=folder if folder in LABELS else None,
        tumor={1: True, 0: False}.get(int(record["tumor"])),
        sequence=features["sequence"].int2str(int(record["sequence"])),
        skull=features["skull"].int2str(int(record["skull"])),
        patient=record["patient"].decode() or None,
        folder=folder,
    )
    return Shown(facts, record["image"][..., 0], record["mask"][..., 0] if is_mask_known else None)
