"""From a download to records: the adapter that reads it, groups of what is alike, folds of whole patients.

Goes in: the name of a source and the folder that holds it. Comes out: for each fold what to read, and the
records. Every picture is read twice: once to find copies, of which only a short description is kept, and
once to be stored. So memory does not grow with the size of the pictures.
"""

import zlib
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from tumor_ds.collection.errors import DatasetError
from tumor_ds.collection.layout import is_clutter
from tumor_ds.grouping.duplicates import find_duplicates
from tumor_ds.grouping.facts import load_facts
from tumor_ds.grouping.similarity import join_groups
from tumor_ds.sources import alzheimer_oasis, feltrin44, figshare, gathered, lgg_tcga, volumes, vqamed2019
from tumor_ds.sources.records import UNKNOWN, make_record
from tumor_ds.sources.slices import FOLDS, Adapter, Slice, check_folds, deal_fold

GATHERED = "gathered"
FIGSHARE = figshare.SOURCE
# Adapters of downloads as they come, by source; all others are read as `gathered` lays them out.
ADAPTERS: dict[str, Adapter] = {
    GATHERED: volumes.make_adapter(),
    "alzheimer_oasis": alzheimer_oasis.ADAPTER,
    "feltrin44": feltrin44.ADAPTER,
    FIGSHARE: figshare.ADAPTER,
    "lgg_tcga": lgg_tcga.ADAPTER,
    "vqamed2019": vqamed2019.ADAPTER,
    **{
        name: volumes.make_adapter(name)
        for name in ("tiantan_pituitary", "brats_samples", "ixi_small", "nichart_elderly", "ms_ljubljana")
    },
}
# Groups of one source start here times a number of its own, so that those of two sources differ.
_GROUPS_A_SOURCE = 1 << 24


@dataclass(frozen=True)
class SliceFacts:
    """What is kept of a slice between the two readings: all but its pixels.

    Example:
        >>> SliceFacts("a.png", "p1", 2, "glioma").fold
        2
    """

    filename: str
    patient: str
    fold: int
    kind: str


@dataclass(frozen=True)
class Unit:
    """One unit of an adapter, and which of its slices a split takes: (group, fold) by file name.

    Example:
        >>> Unit("patient_1", {"patient_1/a.png": (7, 2)}).slices["patient_1/a.png"]
        (7, 2)
    """

    content: Any
    slices: Mapping[str, tuple[int, int]]


def choose_adapter(name: str, folder: Path) -> Adapter:
    """Choose how a folder is read.

    Args:
        name: of the source, or `GATHERED` for all rows of a table.
        folder: that holds the download as it comes, or a table as `gathered` describes it.

    Raises:
        DatasetError: it holds neither.
    """
    candidates = [gathered.make_adapter(None if name == GATHERED else name)]
    candidates += [ADAPTERS[name]] if name in ADAPTERS else []
    for adapter in candidates:
        if adapter.recognise(folder):
            return adapter
    found = sorted(path.name for path in folder.iterdir() if not is_clutter(path.name))
    raw = (
        f", {volumes.TABLE} beside volumes, or the download of {name} as it comes" if name in ADAPTERS else ""
    )
    raise DatasetError(
        f"Expected {gathered.TABLE} beside pictures{raw} in {folder}; found"
        f" {', '.join(found[:5]) or 'nothing'}. See the section on sources in tumor_ds/README.md."
    )


def plan_splits(
    name: str, adapter: Adapter, folder: Path, expected: Mapping[str, int] | None = None
) -> dict[str, list[Unit]]:
    """Read everything once, find what is alike, and deal whole patients and groups to folds.

    Slices of one patient, and copies, share a group; a group lies in one fold: the one that its source
    publishes for most of its slices, else the one dealt by the name of its patient. Slices of figshare have
    the groups that the same slices have in Kaggle's collection.

    Args:
        name: of the source.
        adapter: that reads it.
        folder: that holds it.
        expected: number of slices by kind, where they are known; `None` checks nothing.

    Returns:
        By name of the fold, `fold1` to `fold5`, what to read; folds without a slice are left out, since TFDS
        stores no empty split.

    Raises:
        DatasetError: a file is missing, damaged or there twice, the counts are not those expected, or a
            patient is in two published folds.
    """
    facts: list[SliceFacts] = []
    units = adapter.list_units(folder)
    contents: list[int] = []

    def read_pictures() -> Iterator[np.ndarray]:
        for number, content in enumerate(tqdm(units, desc=f"Comparing pictures of {name}", unit=" files")):
            for piece in adapter.read_unit(folder, content):
                facts.append(SliceFacts(piece.filename, piece.patient, piece.fold, _name_kind(piece)))
                contents.append(number)
                yield piece.image

    if name == FIGSHARE:  # its groups are known
        deque(read_pictures(), maxlen=0)
    else:
        likeness = find_duplicates(read_pictures()).groups
    _check_names(name, facts)
    _check_counts(name, folder, Counter(fact.kind for fact in facts), expected)
    if name != GATHERED:  # there, patients of several sources may share a name
        check_folds(name, facts)
    groups = _take_collection_groups(facts) if name == FIGSHARE else _join_patients(facts, likeness)
    folds = _settle_folds(facts, groups)
    base = 0 if name == FIGSHARE else zlib.crc32(name.encode()) * _GROUPS_A_SOURCE
    splits: dict[str, list[Unit]] = {}
    for fold in range(1, FOLDS + 1):
        chosen: dict[int, dict[str, tuple[int, int]]] = defaultdict(dict)
        for number, fact, group in zip(contents, facts, groups, strict=True):
            if folds[group] == fold:
                chosen[number][fact.filename] = base + group, fold
        if chosen:
            splits[f"fold{fold}"] = [Unit(units[number], slices) for number, slices in chosen.items()]
    return splits


def read_records(
    units: Iterable[Unit], adapter: Adapter, folder: Path
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Read the records of a split, each with its key."""
    for unit in units:
        for piece in adapter.read_unit(folder, unit.content):
            if piece.filename in unit.slices:
                group, fold = unit.slices[piece.filename]
                yield (
                    piece.filename,
                    make_record(
                        piece.image,
                        piece.mask,
                        piece.mask_known,
                        piece.tumor,
                        label=piece.label or UNKNOWN,
                        filename=piece.filename,
                        source=piece.source,
                        sequence=piece.sequence,
                        skull=piece.skull,
                        patient=piece.patient,
                        fold=fold,
                        group=group,
                        has_train_twin=False,
                    ),
                )


def _name_kind(piece: Slice) -> str:
    if piece.label:
        return piece.label
    return {True: "other_tumor", False: "no_tumor_in_slice", None: "unknown"}[piece.tumor]


def _check_names(name: str, facts: list[SliceFacts]) -> None:
    (filename, count), *_ = Counter(fact.filename for fact in facts).most_common(1) or [("", 0)]
    if count != 1:
        what = f"{filename} is there {count} times" if count else "no slice is there"
        raise DatasetError(f"{name}: {what}; expected each slice once. Download it again.")


def _check_counts(name: str, folder: Path, found: Counter[str], expected: Mapping[str, int] | None) -> None:
    if expected is not None and found != Counter(expected):
        wrong = [kind for kind in sorted({*found, *expected}) if found[kind] != expected.get(kind, 0)]
        listed = "; ".join(f"{found[kind]:,} of {kind}, expected {expected.get(kind, 0):,}" for kind in wrong)
        raise DatasetError(
            f"{name} in {folder} holds {listed}. Get the whole of it; a selection of your own is built as the"
            f" config `{GATHERED}`."
        )


def _take_collection_groups(facts: list[SliceFacts]) -> list[int]:
    """Groups of `groups.csv` by the number of the slice, with which a file name starts."""
    known = {row.figshare_slice: row.group for row in load_facts().values() if row.figshare_slice}
    numbers = [int(PurePosixPath(fact.filename).stem.partition("_")[0]) for fact in facts]
    return [known[number] for number in numbers]


def _join_patients(facts: list[SliceFacts], likeness: np.ndarray) -> list[int]:
    """Join slices that are alike, and slices of one patient."""
    _, patients = np.unique([fact.patient for fact in facts], return_inverse=True)
    first = int(likeness.max()) + 1
    edges = np.stack([likeness, first + patients], axis=1)
    return join_groups(edges, first + int(patients.max()) + 1)[likeness].tolist()


def _settle_folds(facts: list[SliceFacts], groups: list[int]) -> dict[int, int]:
    """One fold for each group: of most of its slices, the lowest of a tie."""
    votes: dict[int, Counter[int]] = defaultdict(Counter)
    for fact, group in zip(facts, groups, strict=True):
        votes[group][fact.fold or deal_fold(fact.patient)] += 1
    return {group: min(count, key=lambda fold: (-count[fold], fold)) for group, count in votes.items()}
