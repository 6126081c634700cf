"""What `trainer.evaluation.corruptions` found, for people and for programs: tables in the terminal, `corruptions.json`, figures.

Goes in: a dictionary of `evaluate_corruptions`. Comes out: text, JSON, PNGs. Where some pictures have a twin
in Training, the unseen ones stand beside all.
"""

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from serving.preprocess import fit_to_square
from trainer.evaluation.corruptions import CORRUPTIONS, SEVERITIES, WHITE, corrupt
from trainer.reporting.figures import save_figure
from trainer.reporting.tables import SUBSET_TITLES

CORRUPTIONS_FILE, CORRUPTIONS_FIGURE = "corruptions.json", "corruptions.png"
# Key, label, colour (Okabe and Ito's palette, as in trainer.reporting.figures) and style.
CURVES = (
    ("accuracy", "accuracy", "#0072B2", "o-"),
    ("tumour_sensitivity", "tumours called a tumour", "#D55E00", "s--"),
    ("refused", "refused by the guard", "#555555", "^:"),
)


def save_corruptions(result: dict[str, Any], folder: Path) -> None:
    """Write `corruptions.json` and `figures/corruptions.png` into a folder, each whole or not at all."""
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        table, drawn = Path(scratch, CORRUPTIONS_FILE), Path(scratch, CORRUPTIONS_FIGURE)
        table.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
        plot_corruptions(result, drawn)
        table.replace(folder / table.name)
        drawn.replace(folder / "figures" / drawn.name)


def print_corruptions(result: dict[str, Any], console: Console) -> None:
    """Print a row a severity, and the summary below; a table for all pictures and one for the unseen."""
    for name, figures in result.items():
        console.print(_build_table(f": {SUBSET_TITLES[name]}" if len(result) > 1 else "", figures))


def plot_corruptions(result: dict[str, Any], path: Path) -> None:
    """Draw a panel a corruption, in two columns that fit a phone: figures by severity, the clean accuracy as a line.

    The unseen pictures' accuracy is drawn beside that of all.

    Args:
        result: of `evaluate_corruptions`.
        path: the PNG to write.
    """
    whole = result["all"]
    names = list(whole["corruptions"])
    figure = Figure(figsize=(5.4, 10.5), dpi=150, layout="constrained")
    grid = figure.subplots(len(names) // 2, 2, sharey=True)
    for axes, name in zip(grid.flat, names, strict=True):
        points = [whole["clean"], *whole["corruptions"][name]]
        axes.axhline(
            100 * whole["clean"]["accuracy"],
            color="black",
            linewidth=0.8,
            label=f"accuracy, {whole['count']:,} clean pictures",
        )
        curves = [(points, *curve) for curve in CURVES]
        if "unseen" in result:
            unseen = result["unseen"]
            curves.append(
                (
                    [unseen["clean"], *unseen["corruptions"][name]],
                    "accuracy",
                    f"accuracy, {unseen['count']:,} unseen",
                    "#009E73",
                    "d-.",
                )
            )
        for rows, key, label, colour, style in curves:
            if rows[0][key] is not None:
                axes.plot(
                    [100 * row[key] for row in rows],
                    style,
                    color=colour,
                    markersize=4,
                    linewidth=1.5,
                    label=label,
                )
        axes.set_title(name.replace("_", " "), fontsize=11)
        axes.set_xticks(range(len(points)), ["none", *(f"{point['value']:g}" for point in points[1:])])
        axes.set_xlabel(points[1]["parameter"], fontsize=8)
        axes.set_ylim(-4, 104)
        axes.set_yticks(range(0, 101, 25))
        axes.grid(alpha=0.3)
    for axes in grid[:, 0]:
        axes.set_ylabel("%")
    handles, labels = grid.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=2, frameon=False, fontsize=9)
    save_figure(figure, path)


def plot_examples(grey: np.ndarray, key: str, path: Path) -> None:
    """Draw one slice as it is and under every corruption and severity, for a person to check that a lesion stays visible.

    Args:
        grey: uint8 (h, w), [0, 255].
        key: of the picture, as for `corrupt`.
        path: the PNG to write.
    """
    figure = Figure(figsize=(8.4, 22), dpi=100, layout="constrained")
    for row, (name, corruption) in zip(
        figure.subplots(len(CORRUPTIONS), 4), CORRUPTIONS.items(), strict=True
    ):
        pictures = [grey, *(corrupt(grey, name, severity, key) for severity in SEVERITIES)]
        titles = [
            f"{name.replace('_', ' ')}\n{corruption.quantity}",
            *(f"{strength:g}" for strength in corruption.strengths),
        ]
        for axes, picture, title in zip(row, pictures, titles, strict=True):
            axes.imshow(fit_to_square(picture, max(grey.shape)), cmap="gray", vmin=0, vmax=WHITE)
            axes.set_title(title, fontsize=8)
            axes.axis("off")
    save_figure(figure, path)


def _build_table(title: str, figures: dict[str, Any]) -> Table:
    clean = figures["clean"]
    table = Table(
        title=f"Worse pictures{title}, {figures['count']:,} each",
        caption=(
            f"accuracy {_format_share(clean['accuracy'])} as they are,"
            f" {_format_share(figures['mean_corruption_accuracy'])} in the mean over corruptions, so"
            f" {_format_share(figures['relative_drop'])} of it is lost. Sensitivity: tumours that are called"
            " any tumour."
        ),
    )
    for column in (
        "corruption",
        "strength",
        "accuracy",
        "95 % interval",
        "macro F1",
        "sensitivity",
        "refused",
        "ECE",
    ):
        table.add_column(column, justify="left" if column == "corruption" else "right")
    table.add_row("none", "", *_format_figures(clean), end_section=True)
    for name, rows in figures["corruptions"].items():
        notes = (f"[bold]{name.replace('_', ' ')}[/]", rows[0]["parameter"], "")
        for note, row in zip(notes, rows, strict=True):
            table.add_row(note, f"{row['value']:g}", *_format_figures(row), end_section=not note)
    return table


def _format_figures(figures: dict[str, Any]) -> list[str]:
    low, high = figures["accuracy_interval"]
    shares = [_format_share(figures[name]) for name in ("tumour_sensitivity", "refused")]
    return [
        _format_share(figures["accuracy"]),
        f"{low:.1%} to {high:.1%}",
        f"{figures['macro_f1']:.3f}",
        *shares,
        f"{figures['ece']:.3f}",
    ]


def _format_share(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"
