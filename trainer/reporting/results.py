"""One table of several runs: protocol, count, and the main figures, each with its 95 % interval over groups.

Goes in: folders with a `metrics.json`, as `tumor evaluate`, `tumor train` and `tumor floor` write it. Comes
    out: Markdown.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from serving.files.errors import UserError
from serving.model.artefact import METRICS_FILE
from trainer.reporting.card_tables import SUBSETS, format_interval, name_subset, to_markdown

COVERAGE = "0.95"
COLUMNS = ("accuracy", "macro F1", "any-tumour sensitivity", "ECE", "set size at 95 %")


class ResultsError(UserError):
    """A folder without figures; the message says what was expected, what came and what to do."""


def build_results(folders: Sequence[Path]) -> str:
    """Build the table: a row a folder, protocol and subset, in the order given; the folder's name is the run's.

    Args:
        folders: each with a `metrics.json`.

    Raises:
        ResultsError: one of them has none, or it is damaged.
    """
    rows = []
    for folder in folders:
        try:
            metrics = json.loads((folder / METRICS_FILE).read_text(encoding="utf-8"))
            for protocol, summary in metrics.items():
                for subset in (name for name in SUBSETS if name in summary):
                    cells = _describe(summary[subset])
                    rows.append(
                        [
                            folder.name,
                            f"{protocol}, {name_subset(summary, subset)}",
                            f"{summary[subset]['count']:,}",
                            *cells,
                        ]
                    )
        except OSError as error:
            remedy = "Name folders that hold one; tumor evaluate writes it."
            raise ResultsError(f"Cannot read {folder / METRICS_FILE}: {error.strerror}. {remedy}") from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            remedy = "Write it again: tumor evaluate, with this version"
            raise ResultsError(
                f"{folder / METRICS_FILE} lacks figures that this table shows ({error!r}). {remedy}"
            ) from error
    return to_markdown(["run", "protocol", "images", *COLUMNS], rows)


def _describe(figures: dict[str, Any]) -> list[str]:
    alarm = (figures["any_tumour"] or {}).get("most_probable_label", {})
    sets = figures["prediction_sets"].get(COVERAGE, {})
    return [
        _format(figures["accuracy"], figures["accuracy_interval"], ".2%"),
        _format(figures["macro"]["f1"], figures["intervals"]["macro_f1"], ".3f"),
        _format(alarm.get("sensitivity"), alarm.get("sensitivity_interval"), ".2%"),
        _format(figures["ece"], figures["intervals"]["ece"], ".3f"),
        _format(sets.get("size"), sets.get("size_interval"), ".2f"),
    ]


def _format(value: float | None, interval: list[float] | None, digits: str) -> str:
    if value is None:
        return "-"
    return f"{value:{digits}} ({format_interval(interval, digits)})"
