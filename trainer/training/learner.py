"""What learns: model, optimiser and averaged weights under a strategy, and the one training step.

Goes in: batches and a learning rate. Comes out: losses, and the whole state as named arrays. A batch is what
`trainer.data.batches` describes: images, targets, weights, and for a model with a decoder outlines and
weights of their own.
Keras's own `fit` fails with several workers on the installed version, so the step is written here.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from serving.model.keras_runtime import LOGITS_LAYER, TUMOR_LOGITS_LAYER
from trainer.config import Config
from trainer.data.batches import Batch
from trainer.models.build import build_model
from trainer.models.fused_batch_norms import fuse_batch_norms
from trainer.models.start import Start, start_from
from trainer.models.views import remove_dropout, resize_model
from trainer.training.losses import average_known, compute_class_losses, compute_map_losses

Tensors = tuple[tf.Tensor, ...]


class StepFigures(NamedTuple):
    """What one step says, each a mean over the images of the whole batch of which it is known.

    Attributes:
        loss: what was learnt from: the loss of the classes and that of the map.
        accuracy: share of right labels, of the images with one possible kind.
        map_loss: the second part of the loss; 0 without a decoder.

    Example:
        >>> StepFigures(loss=0.5, accuracy=0.75, map_loss=0.0).accuracy
        0.75
    """

    loss: tf.Tensor
    accuracy: tf.Tensor
    map_loss: tf.Tensor


@dataclass(frozen=True)
class Scores:
    """A validation.

    Attributes:
        loss: mean cross-entropy, without label smoothing.
        accuracy: share of right labels.
        confusion: int (classes, classes), true by predicted.
        map_loss: mean loss of the map over the images whose outline is known; 0 without a decoder.

    Example:
        >>> Scores(loss=0.5, accuracy=0.75, confusion=np.array([[2, 1], [0, 1]])).accuracy
        0.75
    """

    loss: float
    accuracy: float
    confusion: np.ndarray
    map_loss: float = 0.0


class Learner:
    """Model, optimiser and averages of a run.

    Args:
        config: the run.
        strategy: where it runs.
        classes: number of labels.

    Example:
        >>> learner = Learner(Config(), build_strategy("one"), classes=4)  # doctest: +SKIP
        >>> figures = learner.train_step(batch, 1e-3, momentum=0.9)  # doctest: +SKIP
    """

    def __init__(self, config: Config, strategy: tf.distribute.Strategy, classes: int) -> None:
        self.config, self.strategy, self.classes = config, strategy, classes
        with strategy.scope():
            self.model = build_model(config.model, config.data.image_size, classes)
            if strategy.num_replicas_in_sync > 1:
                # Batch norms see the batch of all replicas, so that their number changes nothing.
                for layer in _list_batch_norms(self.model):
                    layer.synchronized = True
            self.optimizer = build_optimizer(config)
            self.optimizer.build(self.model.trainable_variables)
            self.averages = [
                tf.Variable(tf.convert_to_tensor(weight.value), trainable=False)
                for weight in self._averaged_weights()
            ]
        self._steps: dict[int, Callable] = {}
        self._validate = tf.function(self._validation_step)
        self._observe: Callable | None = None

    def train_step(self, batch: Batch, learning_rate: float, momentum: float) -> StepFigures:
        """Learn from one batch on every replica.

        Args:
            batch: one element of the strategy's distributed dataset.
            learning_rate: of this step.
            momentum: of the averaged weights in this step.

        Returns:
            Figures over the whole batch, float32 ().
        """
        # A `LossScaleOptimizer` has the rate of the optimiser that it holds.
        getattr(self.optimizer, "inner_optimizer", self.optimizer).learning_rate.assign(learning_rate)
        size = self.strategy.experimental_local_results(batch[0])[0].shape[1]
        if size not in self._steps:
            self._steps[size] = tf.function(self._build_step(size), reduce_retracing=True)
        return StepFigures(*self._steps[size](batch, tf.constant(momentum, tf.float32)))

    def validate(self, batches: Iterable[Batch]) -> Scores:
        """Score the averaged weights; every image counts by its weight."""
        total = np.zeros(4)
        confusion = np.zeros((self.classes, self.classes), np.int64)
        for batch in batches:
            sums, table = self._validate(batch)
            total += sums.numpy()
            confusion += table.numpy().astype(np.int64)
        loss, count, map_loss, map_count = total
        accuracy = float(np.trace(confusion) / count)
        return Scores(loss / count, accuracy, confusion, map_loss / max(map_count, 1.0))

    def refresh_batch_norms(self, batches: Iterable[Batch]) -> None:
        """Compute the statistics of batch norms anew from whole batches, without dropout.

        Each layer takes the mean of its inputs and their variance over all batches: the mean variance within
        a batch and the variance of the batches' means. Source: "precise" batch norm, Wu and Johnson 2021
        (arXiv:2105.07576), section 3.
        """
        layers = _list_batch_norms(self.model)
        if not layers:
            return
        if self._observe is None:
            self._observe = tf.function(self._build_observation(layers))
        means, variances = [], []
        for batch in batches:
            self._observe(batch[0])
            means.append([layer.moving_mean.numpy() for layer in layers])
            variances.append([layer.moving_variance.numpy() for layer in layers])
        of_layers = zip(layers, zip(*means, strict=True), zip(*variances, strict=True), strict=True)
        for layer, mean, variance in of_layers:
            layer.moving_mean.assign(np.mean(mean, axis=0))
            layer.moving_variance.assign(np.mean(variance, axis=0) + np.var(mean, axis=0))

    def swap_averages(self) -> None:
        """Exchange averages and weights; a second call undoes it."""
        if not self.config.optimization.ema_momentum:
            return
        for weight, average in zip(self._averaged_weights(), self.averages, strict=True):
            kept = weight.numpy()
            weight.assign(average.numpy())
            average.assign(kept)

    def start_from_model(self, labels: Sequence[str]) -> Start:
        """Take the weights of the model that the config names; see `trainer.models.start`."""
        model = self.config.model
        with self.strategy.scope():
            start = start_from(self.model, model.start, model.architecture, labels)
        for weight, average in zip(self._averaged_weights(), self.averages, strict=True):
            average.assign(weight.value)
        return start

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Copy weights, optimiser variables and averages, by name."""
        return {name: variable.numpy() for name, variable in self._name_variables().items()}

    def load_arrays(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Put back what `to_arrays` gave.

        Raises:
            ValueError: the arrays are of another model.
        """
        targets = self._name_variables()
        shapes = {name: tuple(target.shape) for name, target in targets.items()}
        if shapes != {name: array.shape for name, array in arrays.items()}:
            found = f"The checkpoint holds {len(arrays)} arrays"
            raise ValueError(f"{found} that do not fit this model and optimiser ({len(targets)}).")
        for name, target in targets.items():
            target.assign(arrays[name])

    def _name_variables(self) -> dict[str, keras.Variable | tf.Variable]:
        weights, optimizer = self.model.variables, self.optimizer.variables
        groups = {"weights": weights, "optimizer": optimizer, "averages": self.averages}
        return {
            f"{group}/{number:04}": variable
            for group, variables in groups.items()
            for number, variable in enumerate(variables)
        }

    def _averaged_weights(self) -> list[keras.Variable]:
        """Weights and batch norm statistics, which belong to them; random seeds are no weights."""
        return [weight for weight in self.model.weights if weight.dtype == "float32"]

    def _build_step(self, size: int) -> Callable:
        model, learning = fuse_batch_norms(resize_model(self.model, size)), self.model.trainable_variables
        smoothing = self.config.optimization.label_smoothing

        def replica_step(
            images: tf.Tensor, targets: tf.Tensor, weights: tf.Tensor, *outlines: tf.Tensor
        ) -> Tensors:
            with tf.GradientTape() as tape:
                outputs = _name_outputs(model(images, training=True))
                logits = outputs[LOGITS_LAYER]
                loss = average_known(compute_class_losses(targets, logits, smoothing), weights)
                map_loss = (
                    average_known(*self._compare_maps(outputs, *outlines)) if outlines else tf.zeros(())
                )
                loss += map_loss
                # The gradients are summed over replicas, and so are the parts of the mean.
                scaled = self.optimizer.scale_loss(loss)
            gradients = tape.gradient(scaled, [weight.value for weight in learning])
            self.optimizer.apply(gradients, learning)
            right = tf.equal(tf.argmax(targets, axis=1), tf.argmax(logits, axis=1))
            is_known = tf.logical_and(tf.reduce_sum(targets, axis=1) < 2, weights > 0)
            accuracy = average_known(tf.cast(right, tf.float32), tf.cast(is_known, tf.float32))
            return loss, accuracy, map_loss

        def step(batch: Batch, momentum: tf.Tensor) -> Tensors:
            results = self.strategy.run(replica_step, batch)
            if self.config.optimization.ema_momentum:
                for average, weight in zip(self.averages, self._averaged_weights(), strict=True):
                    self.strategy.extended.update(average, _move_average, args=(weight.value, momentum))
            return tuple(self.strategy.reduce("SUM", result, axis=None) for result in results)

        return step

    def _build_observation(self, layers: list[keras.layers.BatchNormalization]) -> Callable:
        """A step after which the moving statistics are those of its batch."""
        model = remove_dropout(self.model)

        def observe(images: tf.Tensor) -> None:
            momenta = [layer.momentum for layer in layers]
            for layer in layers:
                layer.momentum = 0.0  # read while the step is traced
            self.strategy.run(lambda pictures: model(pictures, training=True), (images,))
            for layer, momentum in zip(layers, momenta, strict=True):
                layer.momentum = momentum

        return observe

    def _compare_maps(
        self, outputs: dict[str, tf.Tensor], masks: tf.Tensor, weights: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Losses of the maps, and how much each counts."""
        optimization = self.config.optimization
        losses = compute_map_losses(
            masks, outputs[TUMOR_LOGITS_LAYER], optimization.map_bce_weight, optimization.map_dice_weight
        )
        return losses, weights

    def _validation_step(self, batch: Batch) -> Tensors:
        def replica_step(
            images: tf.Tensor, targets: tf.Tensor, weights: tf.Tensor, *outlines: tf.Tensor
        ) -> Tensors:
            outputs = _name_outputs(self.model(images, training=False))
            logits = outputs[LOGITS_LAYER]
            losses = compute_class_losses(targets, logits, label_smoothing=0.0)
            sums = [tf.reduce_sum(losses * weights), tf.reduce_sum(weights), tf.zeros(()), tf.zeros(())]
            if outlines:
                map_losses, map_weights = self._compare_maps(outputs, *outlines)
                sums[2:] = tf.reduce_sum(map_losses * map_weights), tf.reduce_sum(map_weights)
            true, predicted = tf.argmax(targets, axis=1), tf.argmax(logits, axis=1)
            confusion = tf.math.confusion_matrix(true, predicted, self.classes, weights, dtype=tf.float32)
            return tf.stack(sums), confusion

        results = self.strategy.run(replica_step, batch)
        return tuple(self.strategy.reduce("SUM", result, axis=None) for result in results)


def build_optimizer(config: Config) -> keras.optimizers.Optimizer:
    """Build the optimiser; its learning rate is set before every step.

    AdamW: Loshchilov and Hutter 2019 (arXiv:1711.05101). Under `mixed_float16` the loss is scaled
    (Micikevicius et al. 2018, arXiv:1710.03740).
    """
    optimization = config.optimization
    if optimization.optimizer == "adamw":
        optimizer = keras.optimizers.AdamW(optimization.learning_rate, weight_decay=optimization.weight_decay)
        optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    else:
        optimizer = keras.optimizers.Adam(optimization.learning_rate)
    is_scaled = keras.config.dtype_policy().name == "mixed_float16"
    return keras.optimizers.LossScaleOptimizer(optimizer) if is_scaled else optimizer


def _name_outputs(outputs: tf.Tensor | dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """Outputs of a model by name; one without a decoder gives its logits alone."""
    return outputs if isinstance(outputs, dict) else {LOGITS_LAYER: outputs}


def _list_batch_norms(model: keras.Model) -> list[keras.layers.BatchNormalization]:
    return [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]


def _move_average(average: tf.Variable, weight: tf.Tensor, momentum: tf.Tensor) -> None:
    average.assign(momentum * average + (1 - momentum) * tf.cast(weight, average.dtype))
