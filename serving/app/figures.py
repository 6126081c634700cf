"""Which figures the page shows of a model, and in which order: the most telling ones first.

Goes in: `metrics.json` of any protocols. Comes out: rows of a table, and what they are not about. Unseen
patients and other hospitals come first, a test split that leaks comes last.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

_SOURCES, _FOLDER = "sources-", "images-"
# Of the sources that a model has learnt from: the fold that was held out.
_UNSEEN_PATIENTS = f"{_SOURCES}unseen_patients"
_TITLES = {
    ("patient", "all"): "Patients that it had not seen",
    ("official", "unseen"): "Official test pictures without a copy in training",
    ("official", "all"): "Official test split, all",
    ("grouped", "all"): "Test pictures of groups that it had not seen",
}


@dataclass(frozen=True)
class Figure:
    """One row.

    Attributes:
        title: what pictures it is about.
        count: of pictures.
        accuracy: share whose most probable label is right, [0, 1].
        interval: 95 % interval of the accuracy.
        is_leaked: whether pictures of it are copies of training pictures.
        rank: lower ones stand first.

    Example:
        >>> Figure("Patients that it had not seen", 1404, 0.93, (0.91, 0.95), False, 0).is_leaked
        False
    """

    title: str
    count: int
    accuracy: float
    interval: tuple[float, float]
    is_leaked: bool
    rank: int


def list_figures(metrics: dict[str, Any]) -> list[Figure]:
    """List the figures of all protocols; with several sources, each source has a row of its own.

    Args:
        metrics: `metrics.json`; empty where the model came without.
    """
    found = (one for protocol, summary in metrics.items() for one in _list_protocol(protocol, summary))
    return sorted(found, key=lambda figure: figure.rank)


def describe_figures(metrics: dict[str, Any]) -> str:
    """Say what the figures are not about."""
    told = []
    if any("with_train_twin" in summary for summary in metrics.values()):
        told.append(
            "Most pictures of the official test split are mirrored or turned copies of training pictures, so"
            " its figure over all of them rewards memory."
        )
    missing = [] if metrics.keys() & {"patient", _UNSEEN_PATIENTS} else ["unseen patients"]
    others = [name for name in metrics if name.startswith((_SOURCES, _FOLDER)) and name != _UNSEEN_PATIENTS]
    missing += [] if others else ["other hospitals"]
    if missing:
        told.append(
            f"No figure is about {' or '.join(missing)}, where it must be expected to be lower: pictures of"
            " one group, copies and slices that are alike, stand on one side of a split, but a group is no"
            " sure patient."
        )
    return " ".join(told)


def _list_protocol(protocol: str, summary: dict[str, Any]) -> Iterator[Figure]:
    if protocol.startswith(_SOURCES):
        for source, figures in summary["all"]["sources"]["by_source"].items():
            is_held_out = protocol == _UNSEEN_PATIENTS
            what = "Patients that it had not seen, of" if is_held_out else "Another source, not learnt from:"
            if figures["accuracy"] is not None:
                yield _build(f"{what} {source}", figures, False, 0 if is_held_out else 1)
        return
    for subset in ("all", "unseen"):
        if subset in summary:
            is_leaked = subset == "all" and "with_train_twin" in summary
            rank = 0 if protocol == "patient" else 4 if is_leaked else 2 if subset == "unseen" else 3
            rank = 1 if protocol.startswith(_FOLDER) else rank
            yield _build(_name(protocol, subset), summary[subset], is_leaked, rank)


def _build(title: str, figures: dict[str, Any], is_leaked: bool, rank: int) -> Figure:
    low, high = figures["accuracy_interval"]
    return Figure(title, figures["count"], figures["accuracy"], (low, high), is_leaked, rank)


def _name(protocol: str, subset: str) -> str:
    if (protocol, subset) in _TITLES:
        return _TITLES[protocol, subset]
    if protocol.startswith(_FOLDER):
        return f"Pictures of {protocol.removeprefix(_FOLDER)}"
    return f"Test pictures of {protocol}, of groups that it had not seen"
