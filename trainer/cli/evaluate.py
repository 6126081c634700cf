"""`tumor evaluate`, `compare`, `floor` and `tabulate`: thin commands that import TensorFlow only when run."""

from pathlib import Path
from typing import Annotated, Any

import typer

from serving.cli.commands import RevisionOption
from serving.files.errors import UserError
from serving.files.writing import write_whole
from trainer.cli.options import DataDirOption, Protocol, console, require_training_extra, say


def evaluate(
    model: Annotated[
        str | None,
        typer.Argument(
            help="Run or artefact folder, or Hub repository user/name; the bundled model by default."
        ),
    ] = None,
    protocol: Annotated[
        str | None,
        typer.Option(help="Config of tumor_ds to evaluate on; the one the model was trained on by default."),
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(help="Instead: pictures of another source, DIR/CLASS/FILE; not all classes are needed."),
    ] = None,
    patient_pattern: Annotated[
        str | None, typer.Option(help="With --images: regular expression for the patient in a file name.")
    ] = None,
    predictions: Annotated[
        Path | None,
        typer.Option(help="Instead: predictions.csv of this model; figures are computed from it alone."),
    ] = None,
    pictures: Annotated[
        bool,
        typer.Option(
            "--pictures/--no-pictures", help="Show pictures in the report; without, it may be published."
        ),
    ] = True,
    corruptions: Annotated[
        bool,
        typer.Option(
            "--corruptions", help="Also score up to 200 pictures a class, made worse; 4 CPU minutes."
        ),
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for report.html, metrics.json and more; evaluation/PROTOCOL by default."),
    ] = None,
    revision: RevisionOption = None,
    data_dir: DataDirOption = None,
) -> None:
    """Score the test split of a protocol, all images beside unseen ones; or any labelled folder."""
    require_training_extra()
    if images is not None and (protocol is not None or predictions is not None):
        raise UserError("--images takes neither --protocol nor --predictions. Choose one.")
    if corruptions and (images is not None or predictions is not None):
        raise UserError(
            "--corruptions needs the pictures of a built dataset: it takes neither --images nor"
            " --predictions."
        )
    if patient_pattern is not None and images is None:
        raise UserError("--patient-pattern is about the file names of --images DIR. Name the folder as well.")
    from serving import Classifier
    from serving.hub.fetch import locate_artefact
    from trainer.evaluation import scoring
    from trainer.evaluation.labelled_folder import evaluate_folder
    from trainer.reporting import report
    from trainer.reporting.evaluation_files import save_evaluation
    from trainer.reporting.terminal import print_summary

    folder = locate_artefact(model, revision)
    classifier = Classifier(folder)
    reported = report.Model(classifier.config, folder, report.find_learning_curves(folder, classifier.config))
    if images is not None:
        result = evaluate_folder(classifier, images, patient_pattern)
    elif predictions is not None:
        result = scoring.load_own_predictions(predictions, classifier.config, protocol)
    else:
        result = evaluate_dataset(classifier, protocol, data_dir)
    out = out or Path("evaluation") / result.protocol
    summary = scoring.summarise(result, classifier.config)
    save_evaluation(result, summary, out)
    print_summary(result.protocol, summary, console)
    if images is not None and patient_pattern is None:
        say(
            "Every picture counts as a patient of its own: where patients have several, intervals are too"
            " narrow. Name them by --patient-pattern."
        )
    say(f"Written: {out}/metrics.json, {out}/predictions.csv, {out}/figures")
    if corruptions:
        evaluate_robustness(classifier, result, data_dir, out)
    source = (
        find_pictures(classifier, result.protocol, images, data_dir)
        if pictures and predictions is None
        else None
    )
    save_report(out, reported, classifier, result, source)


def compare(
    runs: Annotated[
        list[Path],
        typer.Argument(help="Folders with a predictions.csv, or such files; the first is the yardstick."),
    ],
    out: Annotated[Path, typer.Option(help="Folder for comparison.json and comparison.png.")] = Path(
        "comparison"
    ),
) -> None:
    """Compare runs on the same images, pair by pair; or give the mean and deviation over folds."""
    require_training_extra()
    from trainer.evaluation.compare import compare_runs, load_runs
    from trainer.reporting.evaluation_files import save_comparison
    from trainer.reporting.terminal import print_comparison

    result = compare_runs(load_runs(runs))
    print_comparison(result, console)
    written = save_comparison(result, out)
    say(f"Written: {', '.join(map(str, written))}")


def floor(
    protocol: Annotated[
        Protocol, typer.Argument(help="Config of tumor_ds; patient: every fold is asked of the others.")
    ] = Protocol.official,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for metrics.json and predictions.csv; floor/PROTOCOL by default."),
    ] = None,
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
    runs: Annotated[
        list[Path], typer.Argument(help="Folders with a metrics.json, in the order of the rows.")
    ],
    out: Annotated[
        Path | None, typer.Option(help="Write the Markdown there instead of to standard output.")
    ] = None,
) -> None:
    """Put the main figures of several runs into one table, in Markdown."""
    require_training_extra()
    from trainer.reporting.tables import build_results

    table = build_results(runs)
    if out is None:
        typer.echo(table)
    else:
        write_whole(out, table + "\n")


def evaluate_dataset(classifier: Any, protocol: str | None, data_dir: str | None) -> Any:
    """Score the test split of a built dataset; by default that of the dataset the model was trained on."""
    from trainer.data.input_pipeline import load_builder
    from trainer.evaluation import scoring

    protocol = protocol or scoring.find_protocol(classifier.config)
    if protocol not in list(Protocol):
        raise UserError(f"There is no protocol {protocol}. Expected one of {', '.join(Protocol)}.")
    builder = load_builder(scoring.name_dataset(classifier.config, protocol), data_dir)
    return scoring.evaluate(classifier, builder)


def save_report(out: Path, reported: Any, classifier: Any, predictions: Any, source: Any) -> None:
    """Write the page for people beside the files of an evaluation."""
    from trainer.evaluation.gallery import list_gallery, load_gallery
    from trainer.reporting.report import REPORT_FILE, write_report

    gallery = list_gallery(predictions) if source is None else load_gallery(predictions, classifier, source)
    write_report(out, [reported], gallery)
    say(f"Written: {out}/{REPORT_FILE}")


def find_pictures(classifier: Any, protocol: str, images: Path | None, data_dir: str | None) -> Any:
    """Say where the pictures that were scored are read from again."""
    from functools import partial

    from trainer.evaluation import gallery, scoring

    if images is not None:
        return partial(gallery.read_folder, images)
    from trainer.data.input_pipeline import load_builder, name_test_split

    builder = load_builder(scoring.name_dataset(classifier.config, protocol), data_dir)
    return partial(gallery.read_split, builder, name_test_split(scoring.find_fold(classifier.config)))


def evaluate_robustness(classifier: Any, predictions: Any, data_dir: str | None, out: Path) -> None:
    """Score some of the pictures that were predicted, made worse; write the table, the JSON and a figure."""
    from rich.progress import track

    from trainer.data.input_pipeline import iterate_examples, load_builder, name_test_split
    from trainer.evaluation import robustness, scoring
    from trainer.reporting.evaluation_files import CORRUPTIONS_FIGURE, CORRUPTIONS_FILE, save_corruptions
    from trainer.reporting.terminal import print_corruptions

    chosen = robustness.choose_filenames(predictions.filenames, predictions.true)
    builder = load_builder(scoring.name_dataset(classifier.config, predictions.protocol), data_dir)
    examples = iterate_examples(builder, name_test_split(scoring.find_fold(classifier.config)))
    wanted = (one for one in examples if one.filename in chosen)
    shown = track(wanted, "Corrupting and scoring", len(chosen), console=console, transient=True)
    result = robustness.evaluate_corruptions(classifier, shown)
    save_corruptions(result, out)
    print_corruptions(result, console)
    say(f"Written: {out}/{CORRUPTIONS_FILE}, {out}/figures/{CORRUPTIONS_FIGURE}")
