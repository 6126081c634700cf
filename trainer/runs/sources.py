"""What a run says of the sources of its mix: patients that it has not seen, and hospitals left out.

Goes in: the artefact of a run with `data.mix`. Comes out, in `RUN/sources/`:
    unseen_patients/   the held-out fold of each source that was learnt from
    left_out/          all of each source that was left out
each with `predictions.csv`, a row an image, and `metrics.json`, the figures of each source and cell. A run
that holds out no fold and leaves out no source writes nothing.
"""

import dataclasses
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds
from etils import epath
from rich.console import Console

from serving import Classifier
from serving.files.writing import write_whole
from serving.model.artefact import METRICS_FILE, ArtefactConfig
from trainer.config import DataConfig, build_config
from trainer.data.input_pipeline import name_test_split
from trainer.data.mixing import load_beside
from trainer.evaluation.other_sources import PROTOCOL_PREFIX, SourcePart, parse_part, score_sources
from trainer.evaluation.predictions import PREDICTIONS_FILE, Predictions, number_groups
from trainer.evaluation.predictions_file import load_predictions
from trainer.evaluation.scoring import pool, save_numbers, summarise
from trainer.fitting.cross_calibration import answer_anew

SOURCES_FOLDER = "sources"
UNSEEN_PATIENTS, LEFT_OUT = "unseen_patients", "left_out"


def evaluate_sources(
    folder: Path, builder: tfds.core.DatasetBuilder, run_dir: epath.Path, console: Console
) -> None:
    """Score the sources of a run's mix with its artefact.

    Args:
        folder: the artefact; local.
        builder: of the main dataset; the others lie beside it.
        run_dir: where `sources/` is written; local or `gs://`.
        console: where progress is told.
    """
    classifier = Classifier(folder)
    data = build_config(classifier.config.raw["training"]).data
    if not data.mix:
        return
    builders = load_beside(builder, data.mix)
    for name, parts in (
        (UNSEEN_PATIENTS, list(_list_held_out(data, builders))),
        (LEFT_OUT, [parse_part(source) for source in data.left_out_here]),
    ):
        if not parts:
            continue
        with console.status(f"Scoring {', '.join(map(str, parts))}"):
            of_parts = [builders[f"tumor_ds/{part.name}"] for part in parts]
            answers = score_sources(classifier, parts, of_parts, PROTOCOL_PREFIX + name)
            save_sources(answers, classifier.config, run_dir / SOURCES_FOLDER / name)


def save_sources(answers: Predictions, config: ArtefactConfig, folder: epath.Path) -> None:
    """Write `predictions.csv` and `metrics.json` of one model into a folder, local or `gs://`."""
    with tempfile.TemporaryDirectory() as scratch:
        save_numbers(answers, summarise(answers, config), Path(scratch))
        folder.mkdir(parents=True, exist_ok=True)
        for name in (METRICS_FILE, PREDICTIONS_FILE):
            write_whole(folder / name, Path(scratch, name).read_bytes())


def load_sources(run_dir: epath.Path, name: str, labels: Sequence[str]) -> Predictions | None:
    """Read what `evaluate_sources` or `pool_sources` wrote; None where there was nothing to write.

    Args:
        run_dir: of a run, or of all folds.
        name: `UNSEEN_PATIENTS` or `LEFT_OUT`.
        labels: of the model.
    """
    path = run_dir / SOURCES_FOLDER / name / PREDICTIONS_FILE
    if not path.exists():
        return None
    with tempfile.TemporaryDirectory() as scratch:
        local = Path(scratch, PREDICTIONS_FILE)
        local.write_bytes(path.read_bytes())
        return load_predictions(local, labels, PROTOCOL_PREFIX + name)


def pool_sources(folder: epath.Path, configs: Sequence[ArtefactConfig], out: Path) -> None:
    """Put together what the folds of a recipe say of sources, by numbers that were fitted on other folds.

    Args:
        folder: of all folds, `fold1` and so on.
        configs: of the models of the folds, as `calibrate_folds` returns them.
        out: where `sources/` is written; local.
    """
    for name in (UNSEEN_PATIENTS, LEFT_OUT):
        found = [
            (answer_anew(answers, config), config)
            for fold, config in enumerate(configs, start=1)
            if (answers := load_sources(folder / f"fold{fold}", name, config.labels)) is not None
        ]
        if found:
            groups = number_groups([answers.groups for answers, _ in found])
            starts = np.cumsum([0, *(len(answers.groups) for answers, _ in found)])
            apart = [
                (dataclasses.replace(answers, groups=groups[start : start + len(answers.groups)]), config)
                for (answers, config), start in zip(found, starts, strict=False)
            ]
            save_numbers(*pool(apart), out / SOURCES_FOLDER / name)


def _list_held_out(data: DataConfig, builders: dict[str, tfds.core.DatasetBuilder]) -> Iterator[SourcePart]:
    """The held-out fold of each source that was learnt from and has one."""
    for name in data.learnt_mix:
        if data.fold and name_test_split(data.fold) in builders[name].info.splits:
            yield SourcePart(name.rpartition("/")[2], data.fold)
