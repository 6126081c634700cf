"""A whole run: training, then its artefact, with its Weights & Biases run open until both are logged.

Goes in: a config, a built dataset, a run folder. Comes out: the artefact in the run folder.
"""

from contextlib import nullcontext
from functools import partial

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

    Arguments and errors are those of `trainer.training.loop.train`; the console shows progress. A run that is
    finished and logged is not logged again; its artefact is built anew. `artefact` says whether to build it,
    which scores the test split.

    Returns:
        The artefact folder; None where none is built, as on a worker that is not the chief.
    """
    if not is_chief(strategy):
        train(config, builder, run_dir, strategy, Listener())
        return None
    claim_run_dir(config, run_dir)
    built, labels = None, builder.info.features["label"].names
    say = partial(console.print, markup=False, highlight=False, soft_wrap=True)
    with nullcontext() if is_logged(run_dir) else start_wandb(config, run_dir, say) as tracker:
        if tracker:
            observer = Observer(config, run_dir, labels, console, tracker, write_curves)
            with record_session(run_dir), observer:
                train(config, builder, run_dir, strategy, observer)
        if artefact:
            built = build_artefact(run_dir, builder, console)
        if tracker and built:
            with console.status("Logging to Weights & Biases"):
                log_artefact(tracker, run_dir, built, builder)
    history = load_history(run_dir)
    print_run_summary(console, run_dir, history, find_best_epoch(history, config.optimization.monitor))
    return built
