"""What gives a picture away besides disease: which source it is of, and which class, without seeing anatomy.

Goes in: the border figures and a blurred 16x16 thumbnail of each picture, and what is known of it. Comes out:
how often each alone tells the source; and the class, inside each source and from all other sources. A model
that does no better than these on a source may read the same shortcut.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image
from rich.progress import Progress
from sklearn.ensemble import ExtraTreesClassifier

from tumor_ds.audit.baselines import UNSEEN_PATIENTS, Score, SplitProtocol, score
from tumor_ds.audit.inputs import PictureFacts
from tumor_ds.grouping.splits import PATIENT_SHARES, deal_groups

BLURRED_SIDE = 16
# On 15,000 pictures of 21 sources twice as many gave the same accuracy within .01, in twice the time.
TREES = 50
SOURCE, CLASS, TUMOUR = "source", "class", "tumor or none"
OTHER_SOURCES = "other sources"


@dataclass(frozen=True)
class Floor:
    """What two classifiers score that see no anatomy.

    Attributes:
        question: `SOURCE`, `CLASS` or `TUMOUR`.
        source: the source whose pictures are asked about; empty for all of them.
        learnt_from: `UNSEEN_PATIENTS`: other patients of the same source, in five folds; `OTHER_SOURCES`:
            all pictures of all other sources but copies of these.
        border: from the size of a picture and its outermost 5 % alone.
        blurred: from a thumbnail of 16x16 pixels.

    Example:
        >>> score = Score("unseen patients", 9, 9, 0.8, 0.5, {"glioma": 0.8}, 9, 0.8, ())
        >>> Floor("class", "figshare", "unseen patients", score, score).border.accuracy
        0.8
    """

    question: str
    source: str
    learnt_from: str
    border: Score
    blurred: Score


@dataclass(frozen=True)
class _Row:
    """What dealing to folds needs to know: the group that stays whole, and the class."""

    group: int
    label: str


def blur(picture: np.ndarray) -> np.ndarray:
    """Average a picture over a 16x16 grid, stretched: uint8 (h, w) to uint8 (256,)."""
    side = (BLURRED_SIDE, BLURRED_SIDE)
    return np.asarray(Image.fromarray(picture).resize(side, Image.Resampling.BOX)).ravel()


def predict_from_trees(training: np.ndarray, labels: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """Predict with extremely randomised trees: (n, f), int (n,) and (m, f) to int (m,).

    Source: Geurts, Ernst and Wehenkel 2006, doi 10.1007/s10994-006-6226-1; here as in scikit-learn.
    """
    trees = ExtraTreesClassifier(n_estimators=TREES, random_state=0, n_jobs=2).fit(training, labels)
    # Threads add up the votes in the order they finish, which can turn a tie.
    return trees.set_params(n_jobs=1).predict(asked)


def measure_floors(
    facts: Sequence[PictureFacts], units: np.ndarray, borders: np.ndarray, blurred: np.ndarray, bar: Progress
) -> tuple[Floor, ...]:
    """Ask which source and which class.

    Args:
        facts: of the n pictures.
        units: int (n,), pictures of one patient, and copies, share one: they are never on both sides.
        borders: float32 (n, 27) from `baselines.describe_border`.
        blurred: uint8 (n, 256) from `blur`.
        bar: shows how far it is.

    Returns:
        The question for the source first, if there are several. For each source the class inside it, where it
        has more than one; and the class from other sources, where they have pictures of a known class. For
        a source with pictures of no known kind the same with `TUMOUR`.
    """
    plans = list(_plan(facts, units))
    floors = []
    for question, source, protocol, rows, classes in bar.track(plans, description="Scoring shortcuts"):
        names = [f"{facts[row].source}/{facts[row].filename}" for row in rows.tolist()]
        unseen = np.ones(len(rows), bool)
        scores = [
            score(protocol, predict_from_trees, features[rows], names, unseen, classes)
            for features in (borders, blurred)
        ]
        floors.append(Floor(question, source, protocol.name, *scores))
    return tuple(floors)


Plan = tuple[str, str, SplitProtocol, np.ndarray, list[str]]


def _plan(facts: Sequence[PictureFacts], units: np.ndarray) -> Iterable[Plan]:
    """Question, source, who is trained on whom among some rows, these rows, and their classes."""
    sources = np.array([one.source for one in facts])
    everything = np.arange(len(facts))
    yield from _plan_folds(SOURCE, "", everything, sources, units)
    labels = np.array([one.label or "" for one in facts])
    tumors = np.array([{True: "tumor", False: "none", None: ""}[one.tumor] for one in facts])
    for source in np.unique(sources):
        here = sources == source
        yield from _plan_source(CLASS, source, here, labels, units)
        if (here & (labels == "") & (tumors != "")).any():
            yield from _plan_source(TUMOUR, source, here, tumors, units)


def _plan_source(
    question: str, source: str, here: np.ndarray, classes: np.ndarray, units: np.ndarray
) -> Iterable[Plan]:
    known = classes != ""
    yield from _plan_folds(question, source, np.flatnonzero(here & known), classes, units)
    rows = np.flatnonzero(known & (here | ~np.isin(units, units[here])))
    asked = here[rows]
    if asked.any() and len(np.unique(classes[rows[~asked]])) > 1:
        rounds = ((np.flatnonzero(~asked), np.flatnonzero(asked)),)
        yield question, source, SplitProtocol(OTHER_SOURCES, rounds), rows, classes[rows].tolist()


def _plan_folds(
    question: str, source: str, rows: np.ndarray, classes: np.ndarray, units: np.ndarray
) -> Iterable[Plan]:
    """Five folds of whole units; nothing where there is one class, or one fold."""
    named = classes[rows].tolist()
    dealing = [_Row(unit, label) for unit, label in zip(units[rows].tolist(), named, strict=True)]
    dealt = deal_groups(dealing, PATIENT_SHARES)
    folds = np.array([dealt[row.group] for row in dealing])
    names = np.unique(folds)
    if len(set(named)) > 1 and len(names) > 1:
        rounds = tuple((np.flatnonzero(folds != name), np.flatnonzero(folds == name)) for name in names)
        yield question, source, SplitProtocol(UNSEEN_PATIENTS, rounds), rows, named
