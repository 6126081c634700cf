"""What Weights & Biases gets when a run has its artefact: samples, learning curves, and the lineage.

Goes in: a finished run folder with its artefact. Comes out: in the W&B run a table of sample predictions, a
picture of the curves, the dataset as an artifact that the run used, and the model as one that it made.
"""

import io
import json
import math
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds
import wandb
from etils import epath
from PIL import Image

from serving import Classifier
from serving.model import artefact as layout
from trainer.evaluation.gallery import GalleryPicture, load_validation_samples
from trainer.tracking.wandb_run import Tracker, is_remote
from trainer.training.run_folder import CURVES_FILE, FINISHED_FILE, load_run_config

LOGGED_FILE = "wandb_logged"
SAMPLE_COLUMNS = ["filename", "kind", "picture", "heat map", "true", "predicted", "probability"]


def log_artefact(
    tracker: Tracker, run_dir: epath.Path, artefact: epath.Path, builder: tfds.core.DatasetBuilder
) -> None:
    """Log what there is to log once a run has its artefact, and wait until the model is uploaded.

    A fault is said, and the same command makes up for it; once all is logged, the run folder says so.

    Args:
        tracker: of the run.
        run_dir: the run folder.
        artefact: its artefact.
        builder: the dataset that the run was trained on.
    """
    run = tracker.run
    if run.disabled or tracker.has_failed:
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = _fetch_folder(artefact, Path(scratch, layout.RUN_SUBFOLDER))
        config = json.loads((folder / layout.CONFIG_FILE).read_text(encoding="utf-8"))
        curves = run_dir / CURVES_FILE
        if curves.exists():
            picture = wandb.Image(Image.open(io.BytesIO(curves.read_bytes())))
            tracker.attempt(partial(run.log, {"learning_curves": picture}, commit=False))
        samples = load_validation_samples(Classifier(folder), builder, load_run_config(run_dir).data)
        tracker.upload(partial(run.log, {"validation/samples": build_sample_table(samples)}))
        dataset = build_dataset_artifact(config["dataset"])
        model = build_model_artifact(run.id, folder, config)
        # `use_artifact` refuses offline, and online waits for the server without limit. It calls this.
        tracker.upload(partial(run._log_artifact, dataset, is_user_created=True, use_after_commit=True))
        tracker.upload(partial(run.log_artifact, model, aliases=["best"]))  # W&B adds "latest"
        if not run.offline:
            tracker.upload(partial(model.wait, math.ceil(run.settings.finish_timeout)), math.inf)
    if not tracker.has_failed:
        (run_dir / LOGGED_FILE).touch()


def is_logged(run_dir: epath.Path) -> bool:
    """Whether a run is finished and W&B has all of it, so that a later call has nothing to add."""
    return (run_dir / FINISHED_FILE).exists() and (run_dir / LOGGED_FILE).exists()


def build_sample_table(samples: Sequence[GalleryPicture]) -> wandb.Table:
    """Build a table of pictures, heat maps and answers, a row a sample."""
    table = wandb.Table(list(SAMPLE_COLUMNS))
    for one in samples:
        pictures = wandb.Image(one.picture), wandb.Image(one.overlay)
        table.add_data(one.filename, one.kind, *pictures, one.true, one.predicted, one.probability)
    return table


def build_dataset_artifact(dataset: dict[str, Any]) -> wandb.Artifact:
    """Say what a run learnt from, as `config.json` has it."""
    description = "Name, version, counts and fingerprint; no pictures."
    used = wandb.Artifact(dataset["name"].replace("/", "-"), "dataset", description, dataset)
    with used.new_file("dataset.json") as file:
        json.dump(dataset, file, indent=2, sort_keys=True)
    return used


def build_model_artifact(run_id: str, folder: Path, config: dict[str, Any]) -> wandb.Artifact:
    """Hold an artefact, with what one chooses models by, so nothing of the test split.

    Args:
        run_id: of the W&B run.
        folder: the artefact, on this machine's disk.
        config: its `config.json`.
    """
    metadata = {
        "architecture": config["architecture"],
        "image_size": config["image"]["size"],
        "git_commit": config["git_commit"],
        "validation/accuracy": config["validation"]["accuracy"],
    }
    made = wandb.Artifact(f"model-{run_id}", "model", "What `tumor serve --model FOLDER` opens.", metadata)
    made.add_dir(str(folder))
    return made


def _fetch_folder(folder: epath.Path, target: Path) -> Path:
    """A folder on this machine's disk as it is, one on `gs://` as a copy."""
    if not is_remote(folder):
        return Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():  # epath has no `**` on gs://
        if path.is_dir():
            _fetch_folder(path, target / path.name)
        else:
            (target / path.name).write_bytes(path.read_bytes())
    return target
