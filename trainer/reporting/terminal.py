"""Figures in the terminal: of an evaluation, of runs side by side, of worse pictures, and of the input guard.

Goes in: one protocol's section of `metrics.json`, or what `trainer.evaluation` found. Comes out: tables.
"""

from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from serving.model.guard import Verdict
from trainer.reporting.source_tables import describe_cell
from trainer.reporting.tables import build_comparison, has_comparison
from trainer.reporting.wording import (
    FIGURE_TITLES,
    MAIN_SUBSETS,
    POINTER_TITLES,
    format_figure,
    format_interval,
    title_subset,
)

CLASS_COLUMNS = dict(precision="prec.", recall="recall", specificity="spec.", f1="F1", f2="F2", auroc="AUROC")
# How each is written; the others stand in the file.
COMPARED_FIGURES = {"accuracy": ".2%", "macro_f1": ".4f", "nll": ".4f", "ece": ".4f"}


def start_table(title: str, header: list[str]) -> Table:
    """Begin a table without a frame; text in the first column, numbers in the others."""
    table = Table(title=title, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for column in header:
        is_text = column == header[0]  # only text may be broken where the terminal is narrow
        table.add_column(column, justify="left" if is_text else "right", no_wrap=not is_text, overflow="fold")
    return table


def print_summary(protocol: str, summary: dict[str, Any], console: Console) -> None:
    """Print one table a subset, with figures that `metrics.json` holds, and the comparison with others."""
    for name, figures in summary.items():
        _print_classes(f"{protocol}: {title_subset(name, summary)}", figures, console)
    if has_comparison(protocol, summary):
        header, *rows = build_comparison(summary)
        table = start_table("official: beside others; unseen: without a twin in Training", header)
        for row in rows:
            table.add_row(*row)
        console.print(table)


def print_comparison(result: dict[str, Any], console: Console) -> None:
    """Print the figures of the runs, their mean and deviation, and the differences.

    Args:
        result: of `trainer.evaluation.compare.compare_runs`.
        console: where to.
    """
    subsets = [name for name in MAIN_SUBSETS if name in result]
    for subset in subsets:
        figures = result[subset]
        title = f"{result['protocol']}: {title_subset(subset, subsets)}"
        titles = [FIGURE_TITLES[name] for name in COMPARED_FIGURES]
        table = start_table(title, ["run", *titles, "errors", "images"])
        for run in figures["runs"]:
            shown = (f"{run[name]:{form}}" for name, form in COMPARED_FIGURES.items())
            table.add_row(run["name"], *shown, str(run["errors"]), f"{run['count']:,}")
        for name, key in (("mean", "mean"), ("standard deviation", "sd")):
            over_runs = figures["over_runs"]
            shown = (f"{over_runs[figure][key]:{form}}" for figure, form in COMPARED_FIGURES.items())
            table.add_row(name, *shown, "", "", style="bold")
        console.print(table)
        if result["paired"]:
            _print_differences(figures["differences"], console)


def print_corruptions(result: dict[str, Any], console: Console) -> None:
    """Print a row a severity, and the summary below; a table for all pictures and one for the unseen.

    Args:
        result: of `trainer.evaluation.robustness.evaluate_corruptions`.
        console: where to.
    """
    for name, figures in result.items():
        title = f": {title_subset(name, result)}" if len(result) > 1 else ""
        console.print(_build_severities(title, figures))


def print_verdicts(counts: dict[str, dict[str, int]], console: Console) -> None:
    """Print a row a kind, as `trainer.evaluation.verdicts` counted them."""
    table = Table("kind", "pictures", *(verdict.replace("_", " ") for verdict in Verdict), "refused")
    for kind, verdicts in counts.items():
        total = sum(verdicts.values())
        shown = (f"{verdicts[verdict]:,}" for verdict in Verdict)
        refused = verdicts[Verdict.not_brain_mri] / total if total else 0.0
        table.add_row(kind.replace("_", " "), f"{total:,}", *shown, f"{refused:.1%}")
    console.print(table)


def _print_classes(title: str, figures: dict[str, Any], console: Console) -> None:
    table = start_table(title, ["class", *CLASS_COLUMNS.values(), "images"])
    means = {f"{average} mean": figures[average] for average in ("macro", "weighted")}
    for name, values in (figures["per_class"] | means).items():
        shown = (format_figure(values[column], ".4f") for column in CLASS_COLUMNS)
        count = values.get("support", figures["count"])
        table.add_row(name, *shown, str(count), style="bold" if name in means else None)
    console.print(table)
    console.print("\n".join(_describe(figures)), highlight=False, markup=False)


def _describe(figures: dict[str, Any]) -> list[str]:
    """The figures that are not by class, a line each."""
    errors, bounds = f"{figures['errors']} errors of {figures['count']}", figures["accuracy_interval"]
    interval = f"95 % interval over {figures['groups']} groups {format_interval(bounds)}"
    calibrated, raw = (
        "; ".join(f"{FIGURE_TITLES[name]} {part[name]:.4f}" for name in ("ece", "nll", "brier"))
        for part in (figures, figures["uncalibrated"])
    )
    sets = [
        f"sets for {float(target):.0%} hold the label for {one['coverage']:.2%}, mean size {one['size']:.3f}"
        for target, one in figures["prediction_sets"].items()
    ]
    return [
        f"accuracy {figures['accuracy']:.2%} ({errors}), {interval}",
        f"kappa {format_figure(figures['kappa'], '.4f')}; MCC {format_figure(figures['mcc'], '.4f')}",
        f"area under the risk-coverage curve {figures['abstention']['aurc']:.4f}",
        f"{calibrated}; before temperature: {raw}",
        *sets,
        *_describe_alarms(figures["any_tumour"]),
        f"refused by the guard: {figures['refused']}",
        *_describe_map(figures),
        *_describe_sources(figures),
    ]


def _describe_map(figures: dict[str, Any]) -> list[str]:
    """Where the tumour map points, and what its contradictions with the classes catch."""
    lines, located = [], figures.get("localisation", {}).get("all", {})
    if one := located.get("outlined"):
        pointed = (
            f"{title} {format_figure(one[f'{prefix}inside'], '.1%')}"
            for prefix, title in POINTER_TITLES.items()
        )
        lines.append(f"inside the outline, of {one['count']:,}: {', '.join(pointed)}; Dice {one['dice']:.3f}")
    if one := located.get("empty"):
        area = format_figure(one["false_area"])
        lines.append(f"false tumour area on {one['count']:,} slices without tumour: {area} of the head")
    if doubt := figures.get("agreement", {}).get("all", {}).get("disagreement"):
        caught, cost = (format_figure(doubt[name], ".1%") for name in ("caught", "cost"))
        lines.append(
            f"classes and map contradict each other in {caught} of the wrong answers, {cost} of the right"
        )
    return lines


def _describe_sources(figures: dict[str, Any]) -> list[str]:
    """Tumour or none, source by source, and the worst cell."""
    sources, lines = figures.get("sources"), []
    if sources is None:
        return []
    for name, part in sources["by_source"].items():
        told = part["tumour_or_none"].get("all")
        if told:
            areas = (
                f"{by} {format_figure(told[by]['auroc'], '.3f')}"
                for by in ("classes", "map", "answer")
                if by in told
            )
            lines.append(f"{name}: AUROC of tumour or none by {', '.join(areas)}")
    return lines + ([describe_cell(sources["worst_cell"])] if sources["worst_cell"] else [])


def _describe_alarms(any_tumour: dict[str, Any] | None) -> list[str]:
    if any_tumour is None:
        return []
    rules = {"by the most probable label": any_tumour["most_probable_label"]}
    for point in any_tumour["operating_points"]:
        rules[f"at the threshold for {point['target_sensitivity']:.1%}"] = point
    lines = []
    for name, rule in rules.items():
        sensitivity, specificity = format_figure(rule["sensitivity"]), format_figure(rule["specificity"])
        lines.append(f"alarm {name}: sensitivity {sensitivity}, specificity {specificity}")
    return lines


def _print_differences(rows: list[dict[str, Any]], console: Console) -> None:
    header = ["run", "accuracy", "95 % interval", "macro F1", "alone", "p", "Holm"]
    table = start_table(f"against {rows[0]['baseline']}", header)
    for row in rows:
        test = row["mcnemar"]
        table.add_row(
            row["run"],
            f"{100 * row['accuracy']['difference']:+.2f}",
            format_interval([100 * bound for bound in row["accuracy"]["interval"]], "+.2f"),
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


def _build_severities(title: str, figures: dict[str, Any]) -> Table:
    clean = figures["clean"]
    table = Table(
        title=f"Worse pictures{title}, {figures['count']:,} each",
        caption=(
            f"accuracy {format_figure(clean['accuracy'], '.1%')} as they are,"
            f" {format_figure(figures['mean_corruption_accuracy'], '.1%')} in the mean over corruptions, so"
            f" {format_figure(figures['relative_drop'], '.1%')} of it is lost. Sensitivity: of what is not"
            " healthy, the share that is called so."
        ),
    )
    columns = ("strength", "accuracy", "95 % interval", "macro F1", "sensitivity", "refused", "ECE")
    for column in ("corruption", *columns):
        table.add_column(column, justify="right" if column in columns else "left")
    table.add_row("none", "", *_list_shares(clean), end_section=True)
    for name, rows in figures["corruptions"].items():
        notes = (f"[bold]{name.replace('_', ' ')}[/]", rows[0]["parameter"], "")
        for note, row in zip(notes, rows, strict=True):
            table.add_row(note, f"{row['value']:g}", *_list_shares(row), end_section=not note)
    return table


def _list_shares(figures: dict[str, Any]) -> list[str]:
    return [
        format_figure(figures["accuracy"], ".1%"),
        format_interval(figures["accuracy_interval"], ".1%"),
        f"{figures['macro_f1']:.3f}",
        format_figure(figures["tumour_sensitivity"], ".1%"),
        format_figure(figures["refused"], ".1%"),
        f"{figures['ece']:.3f}",
    ]
