"""What a collection gives away: copies across its splits, conflicting labels, baselines that see no disease.

Goes in: a zip or a folder, CLASS/FILE or SPLIT/CLASS/FILE. Comes out: one `Audit`, which `report` prints and
writes. It exists because a figure measured on a leaking split says nothing, and because the leak cannot be
seen in the file names. A bad collection still gets its audit: files that cannot be decoded are listed, and
everything else is about the ones that can.
"""

import io
import json
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from rich.console import Console
from rich.progress import Progress

from tumor_ds.audit import baselines
from tumor_ds.audit import groups as audit_groups
from tumor_ds.audit import twins as audit_twins
from tumor_ds.audit.baselines import Predict, Score, SplitProtocol
from tumor_ds.audit.files import Files, Scan, describe_files
from tumor_ds.audit.groups import Agreement, GroupCounts, LargeGroup
from tumor_ds.audit.twins import Conflicts, SplitTwins, TwinPair
from tumor_ds.collection.archive import Collection, open_collection
from tumor_ds.collection.errors import DatasetError, PictureError
from tumor_ds.collection.layout import split_and_label
from tumor_ds.collection.versions import VERSION_1_COUNTS, VERSION_2_COUNTS, VERSIONS, check_version
from tumor_ds.grouping.duplicates import Duplicates, find_duplicates, match_twins
from tumor_ds.grouping.facts import ImageFacts, load_facts

THUMBNAIL_PIXELS, THUMBNAIL_QUALITY = 96, 75


@dataclass(frozen=True)
class Audit:
    """Everything that `tumor audit` says.

    Attributes:
        source: name of the zip or folder.
        kaggle_version: 1 or 2 where these are all files of that version of Kaggle's collection, else None.
        files: counts, sizes, formats, and the files that are not what they seem.
        groups: how many pictures are different ones.
        twins: inside each split and across each ordered pair of splits.
        lead: the entry of `twins` that matters most.
        conflicts: twins in different class folders.
        agreement: with `groups.csv`; None for all but Kaggle's version 1.
        memorisation: one-nearest-neighbour on raw pixels, by protocol.
        memorisation_standardised: the same after every picture is brought to one brightness and contrast.
        shortcut: a random forest on size and border alone, by protocol.
        notes: sentences on protocols that could not be run, or run as meant.
        largest_groups: the largest ones.
        examples: pictures beside their twins, of `lead`.
        thumbnails: JPEG of every picture in the last two, by path; not in `to_dict`.

    Example:
        >>> import tumor_ds
        >>> audit = run_audit(Path(tumor_ds.__path__[0], "dummy_data"))
        >>> audit.lead.of, audit.lead.among
        ('Testing', 'Training')
    """

    source: str
    kaggle_version: int | None
    files: Files
    groups: GroupCounts
    twins: tuple[SplitTwins, ...]
    lead: SplitTwins
    conflicts: Conflicts
    agreement: Agreement | None
    memorisation: tuple[Score, ...]
    memorisation_standardised: tuple[Score, ...]
    shortcut: tuple[Score, ...]
    notes: tuple[str, ...]
    largest_groups: tuple[LargeGroup, ...]
    examples: tuple[TwinPair, ...]
    thumbnails: dict[str, bytes] = field(repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Everything but the thumbnails, as JSON knows it: lists, dictionaries, text, numbers, None."""
        plain = asdict(replace(self, thumbnails={}))
        del plain["thumbnails"]
        plain["memorisation_evened"] = plain.pop("memorisation_standardised")  # the key in published audits
        return json.loads(json.dumps(plain))


def run_audit(source: Path, progress: Progress | Console | None = None) -> Audit:
    """Audit a collection; every picture is decoded once, and those shown a second time.

    Args:
        source: a zip or a folder with CLASS/FILE or SPLIT/CLASS/FILE.
        progress: where to show how far it is; a console gets a bar that disappears at the end.

    Returns:
        The audit; the same for the same files.

    Raises:
        DatasetError: there is nothing to audit: the source is no such collection, or no picture of it can be
            decoded.
    """
    with open_progress(progress) as bar, open_collection(source) as collection:
        scan = Scan()
        duplicates = find_duplicates(_read_pictures(collection, scan, bar))
        version = recognise_version(collection.paths)
        twins = audit_twins.count_twins(duplicates, scan.paths)
        lead = audit_twins.pick_lead(twins)
        largest = audit_groups.find_largest_groups(duplicates, scan.paths)
        examples = audit_twins.pick_examples(duplicates, scan.paths, lead.of, lead.among)
        protocols, notes = _build_protocols(scan.paths, duplicates, version == 1)
        raw, standardised, shortcut = _score_baselines(scan, protocols, bar)
        return Audit(
            source=source.resolve().name,
            kaggle_version=version,
            files=describe_files(scan),
            groups=audit_groups.count_groups(duplicates, scan.paths),
            twins=twins,
            lead=lead,
            conflicts=audit_twins.find_conflicts(duplicates, scan.paths),
            agreement=audit_groups.compare_groups(duplicates, scan.paths) if version == 1 else None,
            memorisation=raw,
            memorisation_standardised=standardised,
            shortcut=shortcut,
            notes=tuple(notes),
            largest_groups=largest,
            examples=examples,
            thumbnails=_draw_thumbnails(collection, largest, examples),
        )


def open_progress(progress: Progress | Console | None) -> AbstractContextManager[Progress]:
    """A bar that disappears at the end; the caller's own, where there is one."""
    if isinstance(progress, Progress):
        return nullcontext(progress)
    return Progress(console=progress, transient=True, disable=progress is None)


def _read_pictures(collection: Collection, scan: Scan, bar: Progress) -> Iterator[np.ndarray]:
    """Give the pixels of each picture; what else is needed of it goes into `scan`. Fails if there is none."""
    for path in bar.track(collection.paths, description="Reading pictures"):
        try:
            picture = collection.decode(path)
        except PictureError as error:
            scan.unreadable.append((path, error.reason))
        else:
            scan.add(path, picture)
            yield picture.grey
    if not scan.paths:
        path, reason = scan.unreadable[0]
        raise DatasetError(
            f"None of the {len(collection.paths):,} pictures can be decoded; {path}: {reason}. Replace the"
            " files."
        )


def recognise_version(paths: Sequence[str]) -> int | None:
    """Kaggle's version whose files these are, by their names and counts."""
    for version in VERSIONS:
        try:
            check_version(paths, version, VERSION_1_COUNTS, VERSION_2_COUNTS)
        except DatasetError:
            continue
        if version == 2 or load_facts().keys() == set(paths):
            return version
    return None


def _score_baselines(
    scan: Scan, protocols: Sequence[tuple[SplitProtocol, np.ndarray]], bar: Progress
) -> list[tuple[Score, ...]]:
    """Score nearest picture, the same standardised, and border alone, under every protocol."""
    side = baselines.THUMBNAIL_SIDE
    thumbnails = np.frombuffer(scan.thumbnails, np.uint8).reshape(-1, side, side)
    classifiers: list[tuple[Predict, np.ndarray]] = [
        (baselines.predict_nearest, thumbnails),
        (partial(baselines.predict_nearest, standardised=True), thumbnails),
        (baselines.predict_from_border, np.array(scan.borders)),
    ]
    return [
        tuple(
            baselines.score(protocol, predict, features, scan.paths, unseen) for protocol, unseen in protocols
        )
        for predict, features in bar.track(classifiers, description="Scoring the baselines")
    ]


def _build_protocols(
    paths: Sequence[str], duplicates: Duplicates, is_version_1: bool
) -> tuple[list[tuple[SplitProtocol, np.ndarray]], list[str]]:
    """Protocols that the collection allows, with the pictures new to each; a sentence for each other one."""
    splits = [split_and_label(path)[0] for path in paths]
    protocols: list[tuple[SplitProtocol, np.ndarray]] = []
    notes = []
    own = baselines.build_own_split(splits)
    if own is None:
        notes.append(
            "The collection has no training and test folder (Training or train, Testing or test), so its own"
            " split is not scored."
        )
    else:
        ((training, testing),) = own.rounds
        of, among = (np.isin(np.arange(len(paths)), rows) for rows in (testing, training))
        protocols.append((own, match_twins(duplicates, of, among).partner < 0))
    if is_version_1:
        known = load_facts()
        facts, name = [known[path] for path in paths], baselines.UNSEEN_PATIENTS
    else:
        grouped = zip(paths, duplicates.groups.tolist(), strict=True)
        facts = [ImageFacts(path, group, 0, False) for path, group in grouped]
        name = baselines.UNSEEN_GROUPS
        notes.append(
            "Which pictures are of one patient is unknown here. The folds keep whole groups of near twins"
            " together, and still put other slices of a patient on both sides."
        )
    folds = baselines.build_folds(facts, name)
    if folds is None:
        notes.append("All pictures form one group, so there are no folds to train and test on.")
    else:
        protocols.append((folds, np.ones(len(paths), bool)))
    return protocols, notes


def _draw_thumbnails(
    collection: Collection, groups: Sequence[LargeGroup], pairs: Sequence[TwinPair]
) -> dict[str, bytes]:
    """JPEG of every picture that the page shows; these few are read again, so that no other one is kept."""
    shown = {path for group in groups for path in group.shown}
    shown.update(path for pair in pairs for path in (pair.picture, pair.twin))
    thumbnails = {}
    for path in sorted(shown):
        image = Image.fromarray(collection.decode(path).grey)
        image.thumbnail((THUMBNAIL_PIXELS, THUMBNAIL_PIXELS), Image.Resampling.BOX)
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=THUMBNAIL_QUALITY)
        thumbnails[path] = buffer.getvalue()
    return thumbnails
