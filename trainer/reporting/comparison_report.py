"""A comparison of runs for people and for programs: tables in the terminal, `comparison.json`, a figure.

Goes in: what `trainer.evaluation.compare.compare_runs` gives. Comes out: text, JSON, a PNG.
"""

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from rich.console import Console

from trainer.reporting.figures import BEST_COLOUR, SUBSET_COLOURS, save_figure
from trainer.reporting.tables import SUBSET_TITLES, start_table

COMPARISON_FILE, COMPARISON_FIGURE = "comparison.json", "comparison.png"
# The others stand in the file.
TITLES = {"accuracy": "accuracy", "macro_f1": "macro F1", "nll": "NLL", "ece": "ECE"}


def save_comparison(result: dict[str, Any], folder: Path) -> list[Path]:
    """Write `comparison.json` and, where runs are paired, `comparison.png`, each whole or not at all; returns what was written."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        drafts = [Path(scratch, COMPARISON_FILE)]
        drafts[0].write_text(json.dumps(result, indent=2, allow_nan=False) + "\n", encoding="utf-8")
        if result["paired"]:
            drafts.append(Path(scratch, COMPARISON_FIGURE))
            plot_differences(result, drafts[1])
        return [draft.replace(folder / draft.name) for draft in drafts]


def print_comparison(result: dict[str, Any], console: Console) -> None:
    """Print the figures of the runs, their mean and deviation, and the differences."""
    for subset in (name for name in ("all", "unseen") if name in result):
        title = f"{result['protocol']}: {SUBSET_TITLES[subset] if 'unseen' in result else 'all images'}"
        figures = result[subset]
        table = start_table(title, ["run", *TITLES.values(), "errors", "images"])
        for run in figures["runs"]:
            table.add_row(
                run["name"],
                *(_format(name, run[name]) for name in TITLES),
                str(run["errors"]),
                f"{run['count']:,}",
            )
        for name, row in (("mean", "mean"), ("standard deviation", "sd")):
            table.add_row(
                name,
                *(_format(figure, figures["over_runs"][figure][row]) for figure in TITLES),
                "",
                "",
                style="bold",
            )
        console.print(table)
        if result["paired"]:
            _print_differences(figures["differences"], console)


def plot_differences(result: dict[str, Any], path: Path) -> None:
    """Draw the difference in accuracy of each run from the first, with its interval; a line at no difference.

    Args:
        result: of `compare_runs`, paired.
        path: the PNG to write.
    """
    subsets = [name for name in ("all", "unseen") if name in result]
    names = [one["run"] for one in result["all"]["differences"]]
    figure = Figure(figsize=(6, 1.4 + 0.5 * len(names)), dpi=120, layout="constrained")
    axes = figure.subplots()
    for shift, subset in enumerate(subsets):
        rows = result[subset]["differences"]
        middle = np.array([100 * row["accuracy"]["difference"] for row in rows])
        low, high = np.array([[100 * bound for bound in row["accuracy"]["interval"]] for row in rows]).T
        places = np.arange(len(names)) + 0.2 * (shift - (len(subsets) - 1) / 2)
        errors = np.maximum([middle - low, high - middle], 0)
        label = SUBSET_TITLES[subset] if len(subsets) > 1 else "all images"
        axes.errorbar(
            middle, places, xerr=errors, fmt="os"[shift], color=SUBSET_COLOURS[subset], capsize=3, label=label
        )
    axes.axvline(0, color=BEST_COLOUR, linestyle=":")
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlabel(f"accuracy against {result['all']['runs'][0]['name']}, percentage points")
    axes.grid(axis="x", alpha=0.3)
    axes.legend(frameon=False, fontsize=8, loc="lower left", bbox_to_anchor=(0, 1))
    save_figure(figure, path)


def _print_differences(rows: list[dict[str, Any]], console: Console) -> None:
    table = start_table(
        f"against {rows[0]['baseline']}",
        ["run", "accuracy", "95 % interval", "macro F1", "alone", "p", "Holm"],
    )
    for row in rows:
        low, high = row["accuracy"]["interval"]
        test = row["mcnemar"]
        table.add_row(
            row["run"],
            f"{100 * row['accuracy']['difference']:+.2f}",
            f"{100 * low:+.2f} to {100 * high:+.2f}",
            f"{row['macro_f1']['difference']:+.4f}",
            f"{test['only_run_right']} : {test['only_baseline_right']}",
            f"{test['p']:.4f}",
            f"{test['p_holm']:.4f}",
        )
    console.print(table)
    console.print(
        "Accuracy in percentage points, intervals over groups. Alone: images that only this run, and only the"
        " first, gets right; p: McNemar's exact test of those, which takes images for independent; Holm: the"
        " same, adjusted for the number of runs."
    )


def _format(name: str, value: float) -> str:
    return f"{value:.2%}" if name == "accuracy" else f"{value:.4f}"
