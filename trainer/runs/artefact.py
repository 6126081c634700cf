"""From a trained run to its artefact: export, calibrate, evaluate the reloaded files, write the card.

Goes in: a run folder with the best weights, the dataset, and perhaps what folds of the same recipe said of
unseen patients. Comes out: `RUN/artefact/` as `serving` loads it and the Hub stores it, and beside it the
predictions and the report, which shows pictures of the dataset and so is no part of what is published. The
folder appears under its name only when it is whole.
"""

import importlib.metadata
import platform
import secrets
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds
from etils import epath
from rich.console import Console

from serving import Classifier
from serving.files.writing import write_json, write_whole
from serving.model import artefact as layout
from serving.model.combination import compute_answers, explain_disagreements
from serving.model.guard import encode_guard
from serving.model.runtime import LiteRTModel, Outputs
from trainer.config import Config, DataConfig, build_config
from trainer.data.input_pipeline import (
    Split,
    compute_fingerprint,
    count_images,
    list_filenames,
    load_builder,
    load_learning_split,
    name_test_split,
)
from trainer.data.mixing import find_additions, load_mix
from trainer.evaluation import scoring as evaluation
from trainer.evaluation.gallery import load_gallery, read_split
from trainer.evaluation.predictions import PREDICTIONS_FILE, Predictions
from trainer.fitting import guard as guard_fit
from trainer.fitting.calibration import UnseenMaps, explain_few_groups, fit_calibration
from trainer.fitting.cross_calibration import fit_on_unseen, load_unseen
from trainer.fitting.tumor_map import fit_map_threshold
from trainer.models.export import load_best_model, save_keras, save_litert
from trainer.reporting.architecture_figure import ARCHITECTURE_FIGURE, plot_architecture
from trainer.reporting.card import write_card
from trainer.reporting.evaluation_files import save_evaluation
from trainer.reporting.figures import load_learning_curves
from trainer.reporting.report import REPORT_FILE, Model, build_page
from trainer.reporting.terminal import print_summary
from trainer.runs.provenance import find_git_commit
from trainer.runs.sources import UNSEEN_PATIENTS, evaluate_sources, load_sources
from trainer.training.cost import load_cost
from trainer.training.run_folder import BEST_WEIGHTS_FILE, RunError, load_run_config, load_start
from tumor_ds.sources.own_pictures import find_healthy_label
from tumor_ds.sources.records import UNKNOWN

RECORDED_PACKAGES = ("keras", "keras-cv", "tensorflow-datasets", "numpy", "pillow", "ai-edge-litert")


def build_artefact(
    run_dir: epath.Path, builder: tfds.core.DatasetBuilder, console: Console, folds: epath.Path | None = None
) -> epath.Path:
    """Write the artefact of a run, and give its folder.

    Args:
        run_dir: holds the resolved config and the best weights.
        builder: the dataset the run was trained on.
        console: where progress is told.
        folds: of the same recipe, whose unseen patients are calibrated on; None: on validation.

    Raises:
        RunError: the run has no weights yet, its history is damaged, or the folds are not of its recipe.
        PredictionsError: the predictions of the folds are damaged.
    """
    config = load_run_config(run_dir)
    curves = load_learning_curves(run_dir, config.optimization.monitor)
    unseen, of_sources, labels = None, None, tuple(builder.info.features["label"].names)
    if folds:
        unseen = load_unseen(folds, config, labels, list_filenames(builder, "test", config.data))
        of_sources = load_sources(folds, UNSEEN_PATIENTS, labels)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / layout.RUN_SUBFOLDER
        with console.status("Exporting model.keras and model.tflite"):
            export_models(config, run_dir, len(labels), folder)
        with console.status("Fitting temperature, prediction sets and guard"):
            fitted = fit_sections(folder / layout.LITERT_FILE, builder, config, unseen, of_sources)
            if told := explain_few_groups(fitted["calibration"]["fitted_on"]):
                console.print(told, markup=False, highlight=False, soft_wrap=True)
            write_config(
                folder, config, builder, fitted | {"started_from": load_start(run_dir)}, load_cost(run_dir)
            )
        with console.status("Evaluating the reloaded artefact on the test split"):
            result, summary, page = evaluate_artefact(folder, builder, config, curves)
        evaluate_sources(folder, builder, run_dir, console)
        predictions = (folder / PREDICTIONS_FILE).read_bytes()
        (folder / PREDICTIONS_FILE).unlink()
        write_card(folder)
        target = publish_folder(folder, run_dir / layout.RUN_SUBFOLDER)
    write_whole(run_dir / PREDICTIONS_FILE, predictions)
    write_whole(run_dir / REPORT_FILE, page)
    print_summary(result.protocol, summary, console)
    return target


def export_models(config: Config, run_dir: epath.Path, classes: int, folder: Path) -> None:
    """Write `model.keras`, `model.tflite` and the figure of the network into a new folder."""
    if not (run_dir / BEST_WEIGHTS_FILE).exists():
        raise RunError(
            f"{run_dir} holds no {BEST_WEIGHTS_FILE}. Train it first: tumor train CONFIG --run-dir {run_dir}"
        )
    with tempfile.TemporaryDirectory() as scratch:
        weights = Path(scratch) / BEST_WEIGHTS_FILE
        weights.write_bytes((run_dir / BEST_WEIGHTS_FILE).read_bytes())
        model = load_best_model(config, weights, classes)
    figures = folder / layout.FIGURES_FOLDER
    figures.mkdir(parents=True)
    save_keras(model, folder / layout.KERAS_FILE)
    save_litert(model, folder / layout.LITERT_FILE)
    plot_architecture(model, config.model.architecture, figures / ARCHITECTURE_FIGURE)


def evaluate_artefact(
    folder: Path, builder: tfds.core.DatasetBuilder, config: Config, curves: bytes | None
) -> tuple[Predictions, dict[str, Any], str]:
    """Score the reloaded artefact on the test split and write its numbers and figures into it.

    Returns:
        The predictions, their summary, and the report as HTML, which shows pictures of the dataset.
    """
    classifier = Classifier(folder)
    result = evaluation.evaluate(classifier, builder)
    summary = evaluation.summarise(result, classifier.config)
    save_evaluation(result, summary, folder)
    source = partial(read_split, builder, name_test_split(config.data.fold))
    gallery = load_gallery(result, classifier, source, partial(source, feature="mask"))
    return result, summary, build_page(folder, result, [Model(classifier.config, folder, curves)], gallery)


def publish_folder(folder: Path, target: epath.Path) -> epath.Path:
    """Copy a local artefact to where its run lies, also on `gs://`, in the place of an older artefact.

    Raises:
        RunError: the target holds something that is no artefact; it stays.
    """
    if target.exists() and any(target.iterdir()) and not (target / layout.CONFIG_FILE).exists():
        raise RunError(f"{target} holds something that is no artefact. Move it away, and run this again.")
    # A name that nobody else has: what lies under it was made here, and may be removed.
    partial = target.with_name(f"{target.name}.{secrets.token_hex(8)}.partial")
    try:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            copy = partial / path.relative_to(folder).as_posix()
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
        if target.exists():
            target.rmtree()
        return partial.rename(target)
    finally:
        if partial.exists():
            partial.rmtree()


def fit_sections(
    litert: Path,
    builder: tfds.core.DatasetBuilder,
    config: Config,
    unseen: Predictions | None,
    of_sources: Predictions | None = None,
) -> dict[str, Any]:
    """Fit `validation`, `calibration`, `guard` and `map` of `config.json` with the exported graph.

    `unseen` is what models of the same recipe said of patients that they had not learnt, and `of_sources` of
    those of other sources; None: validation is used instead. The threshold of the tumour map is fitted on
    validation in either case: it needs the maps.
    """
    model, has_map = LiteRTModel(litert), bool(config.model.decoder_channels)
    validation = load_learning_split(builder, "validation", config.data, config.data.image_size, has_map)
    outputs, threshold = model.run(validation.images), None
    if outputs.tumor_maps is not None:
        threshold = fit_map_threshold(outputs.tumor_maps, validation)
    if unseen is None:
        fitted = _fit_on_validation(outputs, validation, find_healthy(builder), threshold)
    else:
        fitted = fit_on_unseen(unseen, threshold, [of_sources] if of_sources else [])
    guarded = fit_guard_sections(model, builder, config.data, fitted)
    known = validation.true != UNKNOWN
    accuracy = float(np.mean(outputs.logits.argmax(axis=1)[known] == validation.true[known]))
    return {
        "validation": {"count": int(known.sum()), "accuracy": accuracy},
        "calibration": fitted["calibration"] | guarded["calibration"],
        "guard": guarded["guard"],
        "map": fitted["map"],
    }


def find_healthy(builder: tfds.core.DatasetBuilder) -> int | None:
    """Index of the healthy class; None where there is none."""
    label = find_healthy_label(builder)
    return None if label is None else builder.info.features["label"].names.index(label)


def _fit_on_validation(
    outputs: Outputs, validation: Split, healthy: int | None, threshold: float | None
) -> dict[str, Any]:
    """Sections `calibration` and `map`, by what the graph says of the validation images of known kind."""
    rows, maps = np.flatnonzero(validation.true != UNKNOWN), None
    if threshold is not None and outputs.tumor_peaks is not None:
        maps = UnseenMaps(outputs.tumor_peaks[rows], threshold)
    true, groups = validation.true[rows], validation.groups[rows]
    return fit_calibration(outputs.logits[rows], true, groups, healthy, "validation", maps)


def fit_guard_sections(
    model: LiteRTModel, builder: tfds.core.DatasetBuilder, data: DataConfig, fitted: dict[str, Any]
) -> dict[str, Any]:
    """Fit the section `guard`, and the thresholds in `calibration` for slices unlike the training slices.

    `fitted` has the sections `calibration` and `map`, by which those slices are answered.
    """
    validation = load_learning_split(builder, "validation", data, data.image_size)
    training = load_mix(builder, data, find_additions(builder, data), data.image_size).split
    varied = guard_fit.vary_slices(validation.images, guard_fit.VALIDATION_SEED)
    unusual = model.run(varied)
    guard = guard_fit.fit_guard(model, training.images, model.run(validation.images), varied, unusual)
    healthy, tumor_map = find_healthy(builder), layout.parse_map(fitted["map"])
    logits, peaks = unusual.logits, unusual.tumor_peaks
    probs = compute_answers(logits, peaks, fitted["calibration"]["temperature"], healthy, tumor_map)
    doubted = np.array(explain_disagreements(logits, probs, peaks, healthy, tumor_map)) != ""
    thresholds = guard_fit.fit_unlike_set_thresholds(
        guard, unusual, probs, doubted, validation.true, validation.groups
    )
    return {"calibration": {"unlike_prediction_set_thresholds": thresholds}, "guard": encode_guard(guard)}


def refit_guard(folder: Path, data_dir: str | None, console: Console) -> None:
    """Fit the guard of an artefact anew, on the dataset it was trained on; the rest of its config stays.

    Args:
        folder: the artefact.
        data_dir: where TFDS keeps datasets; None: its default.
        console: where progress is told.

    Raises:
        ArtefactError: the folder holds no artefact, or one of another format version.
        ConfigError: its training config is of another version of this package.
        DatasetMissingError: the dataset is not built.
    """
    loaded = layout.load_config(folder)
    path, content = folder / layout.CONFIG_FILE, loaded.raw
    builder = load_builder(evaluation.name_dataset(loaded), data_dir)
    with console.status("Fitting the guard on training and validation"):
        model, data = LiteRTModel(folder / layout.LITERT_FILE), build_config(content["training"]).data
        fitted = fit_guard_sections(model, builder, data, content)
    content |= {"calibration": content["calibration"] | fitted["calibration"], "guard": fitted["guard"]}
    write_json(path, content)
    layout.load_config(folder)


def write_config(
    folder: Path, config: Config, builder: tfds.core.DatasetBuilder, fitted: dict[str, Any], cost: Any
) -> None:
    """Write `config.json` beside the two model files; `cost` as `load_cost` gives it."""
    data, models = config.data, (layout.KERAS_FILE, layout.LITERT_FILE)
    content = {
        "format_version": layout.FORMAT_VERSION,
        "labels": builder.info.features["label"].names,
        "healthy_label": find_healthy_label(builder),
        "image": {"size": data.image_size, "channels": 1, "value_range": [0, 255], "fit": data.fit},
        "architecture": config.model.architecture,
        **fitted,
        "dataset": {
            "name": f"{builder.name}/{builder.builder_config.name}",
            "version": str(builder.version),
            "fingerprint": compute_fingerprint(builder),
            "fold": data.fold,
            "counts": count_images(builder, data.fold),
        },
        "training": config.model_dump(),
        "training_cost": cost,
        # TensorFlow not by its package, which on a TPU is tensorflow-tpu.
        "versions": {"python": platform.python_version(), "tensorflow": tf.__version__}
        | {name: importlib.metadata.version(name) for name in RECORDED_PACKAGES},
        "git_commit": find_git_commit(),
        "sha256": {name: layout.compute_sha256(folder / name) for name in models},
    }
    write_json(folder / layout.CONFIG_FILE, content)
