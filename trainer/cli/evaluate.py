"""`tumor evaluate`, `compare`, `floor` and `tabulate`: thin commands that import TensorFlow only when run."""

from pathlib import Path
from typing import Annotated, Any

import typer

from serving.cli.commands import RevisionOption
from serving.files.errors import UserError
from serving.files.writing import write_whole
from trainer.cli.options import DataDirOption, Protocol, console, require_training_extra, say

_MODEL = "Run or artefact folder, or Hub repository user/name; the bundled model by default."
_PROTOCOL = "Config of tumor_ds to evaluate on; the one the model was trained on by default."
_ON = "Instead: NAME or NAME/foldN of a built source, as another hospital's; may be given several times."
_IMAGES = "Instead: pictures of another source, DIR/CLASS/FILE; not all classes are needed."
_PATTERN = "With --images: regular expression for the patient in a file name."
_PREDICTIONS = "Instead: predictions.csv of this model; figures are computed from it alone."
_PICTURES = "Show pictures in the report; without, it may be published."
_CORRUPTIONS = "Also score up to 200 pictures a class, made worse; 4 CPU minutes."
_OUT = "Folder for report.html, metrics.json and more; evaluation/PROTOCOL (sources-NAME) by default."
_COMPARED = "Folders with a predictions.csv, or such files; the first is the yardstick."
_COMPARISON = "Folder for comparison.json and comparison.png."
_FLOOR_PROTOCOL = "Config of tumor_ds; patient: every fold is asked of the others."
_FLOOR_OUT = "Folder for metrics.json and predictions.csv; floor/PROTOCOL by default."
_TABULATED = "Folders with a metrics.json, in the order of the rows."
_TABLE = "Write the Markdown there instead of to standard output."
_EACH_A_PATIENT = (
    "Every picture counts as a patient of its own: where patients have several, intervals are too narrow."
    " Name them by --patient-pattern."
)


def evaluate(
    model: Annotated[str | None, typer.Argument(help=_MODEL)] = None,
    protocol: Annotated[str | None, typer.Option(help=_PROTOCOL)] = None,
    on: Annotated[list[str] | None, typer.Option(help=_ON)] = None,
    images: Annotated[Path | None, typer.Option(help=_IMAGES)] = None,
    patient_pattern: Annotated[str | None, typer.Option(help=_PATTERN)] = None,
    predictions: Annotated[Path | None, typer.Option(help=_PREDICTIONS)] = None,
    pictures: Annotated[bool, typer.Option("--pictures/--no-pictures", help=_PICTURES)] = True,
    corruptions: Annotated[bool, typer.Option("--corruptions", help=_CORRUPTIONS)] = False,
    out: Annotated[Path | None, typer.Option(help=_OUT)] = None,
    revision: RevisionOption = None,
    data_dir: DataDirOption = None,
) -> None:
    """Score the test split of a protocol, all images beside unseen ones; other sources; or a folder."""
    require_training_extra()
    check_options(on, protocol, images, patient_pattern, predictions, corruptions)
    from serving import Classifier
    from serving.hub.fetch import locate_artefact
    from trainer.evaluation import gallery, scoring
    from trainer.reporting import report
    from trainer.reporting.evaluation_files import save_evaluation
    from trainer.reporting.terminal import print_summary

    folder = locate_artefact(model, revision)
    classifier = Classifier(folder)
    reported = report.Model(classifier.config, folder, report.find_learning_curves(folder, classifier.config))
    result, source, masks = (
        score_on(classifier, on, data_dir)
        if on
        else score(classifier, protocol, images, patient_pattern, predictions, data_dir)
    )
    out = out or Path("evaluation") / result.protocol
    summary = scoring.summarise(result, classifier.config)
    save_evaluation(result, summary, out)
    print_summary(result.protocol, summary, console)
    if images is not None and patient_pattern is None:
        say(_EACH_A_PATIENT)
    say(f"Written: {out}/metrics.json, {out}/predictions.csv, {out}/figures")
    if corruptions:
        evaluate_robustness(classifier, result, data_dir, out)
    shown = source and pictures
    answers = (
        gallery.load_gallery(result, classifier, source, masks) if shown else gallery.list_gallery(result)
    )
    report.write_report(out, [reported], answers)
    say(f"Written: {out}/{report.REPORT_FILE}")


def compare(
    runs: Annotated[list[Path], typer.Argument(help=_COMPARED)],
    out: Annotated[Path, typer.Option(help=_COMPARISON)] = Path("comparison"),
) -> None:
    """Compare runs on the same images, pair by pair; or give the mean and deviation over folds."""
    require_training_extra()
    from trainer.evaluation.compare import compare_runs, load_runs
    from trainer.reporting.evaluation_files import save_comparison
    from trainer.reporting.terminal import print_comparison

    result = compare_runs(load_runs(runs))
    print_comparison(result, console)
    say(f"Written: {', '.join(map(str, save_comparison(result, out)))}")


def floor(
    protocol: Annotated[Protocol, typer.Argument(help=_FLOOR_PROTOCOL)] = Protocol.official,
    out: Annotated[Path | None, typer.Option(help=_FLOOR_OUT)] = None,
    data_dir: DataDirOption = None,
) -> None:
    """Score memory alone: every test picture gets the label of the most similar training picture."""
    require_training_extra()
    from trainer.data.input_pipeline import load_builder
    from trainer.evaluation import baseline
    from trainer.evaluation.scoring import DATASET, save_numbers

    predictions = baseline.predict_baseline(load_builder(f"{DATASET}/{protocol}", data_dir))
    summary, out = baseline.summarise_baseline(predictions), out or Path("floor") / protocol
    save_numbers(predictions, summary, out)
    for name, figures in summary.items():
        say(f"{protocol}, {name}: {figures['accuracy']:.2%} of {figures['count']:,} images")
    say(f"Written: {out}/metrics.json, {out}/predictions.csv")


def tabulate(
    runs: Annotated[list[Path], typer.Argument(help=_TABULATED)],
    out: Annotated[Path | None, typer.Option(help=_TABLE)] = None,
) -> None:
    """Put the main figures of several runs into one table, and those by source into another, in Markdown."""
    require_training_extra()
    from trainer.reporting.source_tables import build_source_results
    from trainer.reporting.tables import build_results

    table = "\n\n".join(filter(None, (build_results(runs), build_source_results(runs))))
    if out is None:
        typer.echo(table)
    else:
        write_whole(out, table + "\n")


def check_options(
    on: list[str] | None,
    protocol: str | None,
    images: Path | None,
    pattern: str | None,
    predictions: Path | None,
    corrupted: bool,
) -> None:
    """Refuse options of `tumor evaluate` that do not go together."""
    if on and (protocol, images, predictions, corrupted) != (None, None, None, False):
        others = "--protocol, --images, --predictions and --corruptions"
        raise UserError(f"--on takes none of {others}. Choose one.")
    if images is not None and (protocol is not None or predictions is not None):
        raise UserError("--images takes neither --protocol nor --predictions. Choose one.")
    if corrupted and (images is not None or predictions is not None):
        needed = "--corruptions needs the pictures of a built dataset"
        raise UserError(f"{needed}: it takes neither --images nor --predictions.")
    if pattern is not None and images is None:
        raise UserError("--patient-pattern is about the file names of --images DIR. Name the folder as well.")


def score_on(classifier: Any, names: list[str], data_dir: str | None) -> tuple[Any, Any, Any]:
    """Give predictions about sources, and what reads their pictures and their masks."""
    from functools import partial

    from trainer.evaluation import other_sources

    parts = [other_sources.parse_part(name) for name in names]
    builders = [other_sources.open_part(classifier.config, part, data_dir) for part in parts]
    for line in other_sources.describe_doubts(classifier.config, parts):
        say(line)
    read = partial(other_sources.read_parts, parts, builders)
    return other_sources.score_sources(classifier, parts, builders), read, partial(read, feature="mask")


def score(
    classifier: Any,
    protocol: str | None,
    images: Path | None,
    patient_pattern: str | None,
    predictions: Path | None,
    data_dir: str | None,
) -> tuple[Any, Any, Any]:
    """Give predictions, and what reads pictures and masks again; None where there are none."""
    from functools import partial

    from trainer.evaluation import gallery, scoring
    from trainer.evaluation.labelled_folder import evaluate_folder

    if images is not None:
        read = partial(gallery.read_folder, images)
        return evaluate_folder(classifier, images, patient_pattern), read, None
    if predictions is not None:
        return scoring.load_own_predictions(predictions, classifier.config, protocol), None, None
    builder, split = open_dataset(classifier.config, protocol, data_dir)
    read = partial(gallery.read_split, builder, split)
    return scoring.evaluate(classifier, builder), read, partial(read, feature="mask")


def open_dataset(config: Any, protocol: str | None, data_dir: str | None) -> tuple[Any, str]:
    """Open the dataset of a protocol, by default of the model's own, and name its test split."""
    from trainer.data.input_pipeline import load_builder, name_test_split
    from trainer.evaluation import scoring

    protocol = protocol or scoring.find_protocol(config)
    if protocol not in (*Protocol, scoring.find_protocol(config)):
        raise UserError(f"There is no protocol {protocol}. Expected one of {', '.join(Protocol)}.")
    builder = load_builder(scoring.name_dataset(config, protocol), data_dir)
    return builder, name_test_split(scoring.find_fold(config))


def evaluate_robustness(classifier: Any, predictions: Any, data_dir: str | None, out: Path) -> None:
    """Score some of the pictures that were predicted, made worse; write the table, the JSON and a figure."""
    from rich.progress import track

    from trainer.data.input_pipeline import iterate_examples
    from trainer.evaluation import robustness
    from trainer.reporting.evaluation_files import CORRUPTIONS_FIGURE, CORRUPTIONS_FILE, save_corruptions
    from trainer.reporting.terminal import print_corruptions

    chosen = robustness.choose_filenames(predictions.filenames, predictions.true)
    examples = iterate_examples(*open_dataset(classifier.config, predictions.protocol, data_dir))
    wanted = (one for one in examples if one.facts.filename in chosen)
    shown = track(wanted, "Corrupting and scoring", len(chosen), console=console, transient=True)
    result = robustness.evaluate_corruptions(classifier, shown)
    save_corruptions(result, out)
    print_corruptions(result, console)
    say(f"Written: {out}/{CORRUPTIONS_FILE}, {out}/figures/{CORRUPTIONS_FIGURE}")
