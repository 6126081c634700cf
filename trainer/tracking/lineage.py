"""What Weights & Biases gets when a run has its artefact: sample predictions, learning curves, and the lineage from dataset to model.

Goes in: a finished run folder with its artefact. Comes out: in the W&B run a table of samples, a picture of
the curves, the dataset as an artifact that the run used, and the model as one that it made.
"""

import contextlib
import io
import json
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
import wandb
from etils import epath
from PIL import Image
from wandb.sdk.lib.service.service_connection import WandbApiFailedError

from serving import Classifier
from serving.model import artefact as layout
from trainer.tracking.samples import Sample, load_samples
from trainer.tracking.wandb_run import UPLOAD_TIMEOUT_SECONDS, Tracker, is_remote
from trainer.training.run_folder import CURVES_FILE, FINISHED_FILE, load_run_config

LOGGED_FILE = "wandb_logged"
SAMPLE_COLUMNS: list[str | int] = [
    "filename",
    "kind",
    "picture",
    "heat map",
    "true",
    "predicted",
    "probability",
]


def log_ending(
    tracker: Tracker, run_dir: epath.Path, artefact: epath.Path, builder: tfds.core.DatasetBuilder
) -> None:
    """Log what there is to log once a run has its artefact, and wait for it as long as the server answers.

    A fault is said, and the same command makes up for it; so once all is logged, the run folder says so.

    Args:
        tracker: of the run.
        run_dir: the run folder.
        artefact: its artefact.
        builder: the dataset that the run was trained on.
    """
    if tracker.is_off or not tracker.can_upload():
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = _fetch_folder(artefact, Path(scratch, layout.RUN_SUBFOLDER))
        config = json.loads((folder / layout.CONFIG_FILE).read_text(encoding="utf-8"))
        samples = load_samples(Classifier(folder), builder, load_run_config(run_dir).data)
        curves = run_dir / CURVES_FILE
        picture = curves.read_bytes() if curves.exists() else None

        def log_all(run: wandb.Run) -> None:
            run.log(
                {
                    "validation/samples": build_sample_table(samples),
                    **({"learning_curves": _read_picture(picture)} if picture else {}),
                }
            )
            log_lineage(run, folder, config)
            (run_dir / LOGGED_FILE).touch()

        tracker.submit(log_all, uploads=True)
        tracker.drain()


def is_logged(run_dir: epath.Path) -> bool:
    """Whether a run is finished and W&B has all of it, so that a later call has nothing to add."""
    return (run_dir / FINISHED_FILE).exists() and (run_dir / LOGGED_FILE).exists()


def build_sample_table(samples: list[Sample]) -> wandb.Table:
    """Build a table of pictures, heat maps and answers, a row a sample."""
    rows: list[Iterable[Any]] = [
        [
            sample.filename,
            sample.kind,
            wandb.Image(sample.picture),
            wandb.Image(sample.overlay),
            sample.true,
            sample.predicted,
            sample.probability,
        ]
        for sample in samples
    ]
    return wandb.Table(SAMPLE_COLUMNS, rows)


def log_lineage(run: wandb.Run, folder: Path, config: dict[str, Any]) -> None:
    """Declare the dataset as what the run used, and the artefact as what it made.

    Args:
        run: open W&B run.
        folder: the artefact, on this machine's disk.
        config: its `config.json`.
    """
    dataset = config["dataset"]
    used = wandb.Artifact(
        dataset["name"].replace("/", "-"),
        "dataset",
        "Name, version, counts and fingerprint; no pictures.",
        dataset,
    )
    with used.new_file("dataset.json") as file:
        json.dump(dataset, file, indent=2, sort_keys=True)
    # `use_artifact` refuses offline, and online waits for the server without limit. This is what it calls; it
    # does neither.
    run._log_artifact(used, is_user_created=True, use_after_commit=True)
    made = wandb.Artifact(
        f"model-{run.id}", "model", "What `tumor serve --model FOLDER` opens.", build_model_metadata(config)
    )
    made.add_dir(str(folder))
    run.log_artifact(made, aliases=["best"])  # W&B adds "latest"
    if not run.offline:
        with contextlib.suppress(
            WandbApiFailedError
        ):  # it is uploaded; the server only cannot describe it, as servers but W&B's own may not
            made.wait(UPLOAD_TIMEOUT_SECONDS)


def build_model_metadata(config: dict[str, Any]) -> dict[str, Any]:
    """Say of a model what one chooses models by, so nothing of the test split; that stands in the artifact's `metrics.json`."""
    return {
        "architecture": config["architecture"],
        "image_size": config["image"]["size"],
        "git_commit": config["git_commit"],
        "validation/accuracy": config["validation"]["accuracy"],
    }


def _read_picture(content: bytes) -> wandb.Image:
    return wandb.Image(np.asarray(Image.open(io.BytesIO(content)).convert("RGB")))


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
