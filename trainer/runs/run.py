"""A whole run: training, then its artefact, with its Weights & Biases run open until both are logged.

Goes in: a config, a built dataset, a run folder. Comes out: the artefact in the run folder.
"""

import tensorflow as tf
import tensorflow_datasets as tfds
from etils import epath
from rich.console import Console

from trainer.config import Config
from trainer.reporting.figures import write_curves
from trainer.runs.artefact import build_artefact
from trainer.tracking.display import print_run_summary
from trainer.tracking.lineage import is_logged, log_artefact
from trainer.tracking.observer import Observer
from trainer.tracking.wandb_run import start_wandb
from trainer.training.cost import record_session
from trainer.training.listener import Listener
from trainer.training.loop import train
from trainer.training.run_folder import claim_run_dir, find_best_epoch, load_history
from trainer.training.strategies import is_chief


def complete_run(
    config: Config,
    builder: tfds.core.DatasetBuilder,
    run_dir: epath.Path,
    strategy: tf.distribute.Strategy,
    console: Console,
    artefact: bool,
) -> epath.Path | None:
    """Train, or go on after a stop; then build the artefact, log both and say where everything lies.

    A run that is finished and logged is not logged again; its artefact is built anew.

    Args:
        config: the run, its precision resolved.
        builder: a prepared dataset builder.
        run_dir: the run folder; local or `gs://`.
        strategy: where it runs.
        console: where progress is shown.
        artefact: whether to build it, which scores the test split.

    Returns:
        The artefact folder; None where none is built, as on a worker that is not the chief.

    Raises:
        RunError: see `trainer.training.loop`.
        Preempted: SIGTERM came.
        CheckpointError: the disk is full.
    """
    if not is_chief(strategy):
        train(config, builder, run_dir, strategy, Listener())
        return None
    claim_run_dir(config, run_dir)
    if is_logged(run_dir):
        train(config, builder, run_dir, strategy, Listener())  # returns at once
        built = build_artefact(run_dir, builder, console) if artefact else None
    else:
        built = _complete_and_log(config, builder, run_dir, strategy, console, artefact)
    history = load_history(run_dir)
    print_run_summary(console, run_dir, history, find_best_epoch(history, config.optimization.monitor))
    return built


def _complete_and_log(
    config: Config,
    builder: tfds.core.DatasetBuilder,
    run_dir: epath.Path,
    strategy: tf.distribute.Strategy,
    console: Console,
    artefact: bool,
) -> epath.Path | None:
    def say(line: str) -> None:
        console.print(line, markup=False, highlight=False, soft_wrap=True)

    labels = builder.info.features["label"].names
    with start_wandb(config, run_dir, say) as tracker:
        with (
            record_session(run_dir),
            Observer(config, run_dir, labels, console, tracker, write_curves) as observer,
        ):
            train(config, builder, run_dir, strategy, observer)
        if not artefact:
            return None
        built = build_artefact(run_dir, builder, console)
        with console.status("Logging to Weights & Biases"):
            log_artefact(tracker, run_dir, built, builder)
    return built
