"""Training: from a config to the best weights by validation loss, restartable after a crash.

Goes in: a `Config`, a built dataset, a run folder. Comes out, in the run folder:
    config.json             the resolved config; the same run continues only with the same config
    backup/                 the state after the last whole epoch; the same command resumes there
    best.weights.h5         averaged (EMA) weights of the epoch with the lowest validation loss
    history.csv             a row an epoch
    wandb/                  Weights & Biases files
"""

import csv
import dataclasses
import json
from pathlib import Path

import keras
import numpy as np
import tensorflow_datasets as tfds

from trainer import tracking
from trainer.config import Config
from trainer.input_pipeline import build_split
from trainer.models import build_model

CONFIG_FILE = "config.json"
BEST_WEIGHTS_FILE = "best.weights.h5"
HISTORY_FILE = "history.csv"
FINISHED_FILE = "finished"


class RunError(RuntimeError):
    """A run folder that cannot be used; the message says why and what to do."""


def train(config: Config, builder: tfds.core.DatasetBuilder, run_dir: Path) -> None:
    """Train to the end, or from where an earlier call with the same config stopped.

    Args:
        config: the run.
        builder: a prepared dataset builder.
        run_dir: the run folder, made if it is missing.

    Raises:
        RunError: the folder holds a run with another config, or the loss is no longer finite.
    """
    claim_run_dir(config, run_dir)
    if (run_dir / FINISHED_FILE).exists():
        return
    keras.utils.set_random_seed(config.seed)
    training = build_split(builder, "train", config, training=True)
    validation = build_split(builder, "validation", config, training=False)
    keras.config.set_dtype_policy(config.precision)
    model = build_model(config.model, config.data.image_size, builder.info.features["label"].num_classes)
    compile_model(model, config, steps_per_epoch=int(training.cardinality()))
    with tracking.start_wandb(config, run_dir):
        callbacks = build_callbacks(config, run_dir)
        history = model.fit(training, validation_data=validation, epochs=config.optimization.epochs, callbacks=callbacks, verbose="auto").history
    if not np.isfinite(history.get("loss", [])).all():
        raise RunError(
            f"The loss became NaN or infinite in epoch {len(load_history(run_dir))}. Lower optimization.learning_rate and use a new --run-dir."
        )
    (run_dir / FINISHED_FILE).touch()


def claim_run_dir(config: Config, run_dir: Path) -> None:
    """Write the config into a new run folder, or check that an old one has the same.

    Raises:
        RunError: another config lies there.
    """
    run_dir.mkdir(parents=True, exist_ok=True)
    path = run_dir / CONFIG_FILE
    wanted = dataclasses.asdict(config)
    if path.exists():
        if json.loads(path.read_text(encoding="utf-8")) != wanted:
            raise RunError(f"{run_dir} holds a run with another config. Choose another folder with --run-dir, or delete that one.")
        return
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(wanted, indent=2) + "\n", encoding="utf-8")
    temporary.rename(path)


def compile_model(model: keras.Model, config: Config, steps_per_epoch: int) -> None:
    """Attach AdamW with warm-up, cosine decay and averaged weights, and label-smoothed cross-entropy.

    Sources: AdamW, Loshchilov and Hutter 2019 (arXiv:1711.05101); cosine decay, the same authors 2017 (arXiv:1608.03983);
    label smoothing, Szegedy et al. 2016 (arXiv:1512.00567).
    """
    optimization = config.optimization
    warmup_steps = round(optimization.warmup_epochs * steps_per_epoch)
    schedule = keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0 if warmup_steps else optimization.learning_rate,
        decay_steps=optimization.epochs * steps_per_epoch - warmup_steps,
        warmup_target=optimization.learning_rate if warmup_steps else None,
        warmup_steps=warmup_steps,
    )
    optimizer = keras.optimizers.AdamW(schedule, weight_decay=optimization.weight_decay, use_ema=True, ema_momentum=optimization.ema_momentum)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    loss = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=optimization.label_smoothing)
    model.compile(optimizer, loss, metrics=[keras.metrics.CategoricalAccuracy(name="accuracy")])


def build_callbacks(config: Config, run_dir: Path) -> list[keras.callbacks.Callback]:
    """Build the callbacks; their order matters.

    The backup stands before the swap, so that it holds the raw weights; the checkpoint stands behind it, so that it holds the
    averaged weights that were validated. Both judges of the best epoch start from the best one of an earlier, interrupted call.
    """
    best = min((float(row["val_loss"]) for row in load_history(run_dir)), default=None)
    patience = config.optimization.early_stopping_patience
    return [
        keras.callbacks.BackupAndRestore(str(run_dir / "backup"), delete_checkpoint=False),
        keras.callbacks.TerminateOnNaN(),
        keras.callbacks.SwapEMAWeights(swap_on_epoch=True),
        keras.callbacks.ModelCheckpoint(
            str(run_dir / BEST_WEIGHTS_FILE),
            monitor="val_loss",
            mode="min",
            save_best_only=True,
            save_weights_only=True,
            initial_value_threshold=best,
        ),
        keras.callbacks.EarlyStopping(monitor="val_loss", mode="min", patience=patience, baseline=best),
        keras.callbacks.CSVLogger(str(run_dir / HISTORY_FILE), append=True),
        tracking.build_metrics_logger(),
    ]


def load_history(run_dir: Path) -> list[dict[str, str]]:
    """Rows of `history.csv`, one an epoch; none at the start."""
    path = run_dir / HISTORY_FILE
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
