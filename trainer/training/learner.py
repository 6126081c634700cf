"""What learns: model, optimiser and averaged weights under a strategy, and the one training step.

Goes in: batches and a learning rate. Comes out: losses, and the whole state as named arrays.
Keras's own `fit` fails with several workers on the installed version, so the step is written here.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import keras
import keras_cv
import numpy as np
import tensorflow as tf

from trainer.config import Config
from trainer.data.batches import Batch
from trainer.models.build import build_model
from trainer.models.fused_batch_norms import fuse_batch_norms

Tensors = tuple[tf.Tensor, ...]


@dataclass(frozen=True)
class Scores:
    """A validation.

    Attributes:
        loss: mean cross-entropy, without label smoothing.
        accuracy: share of right labels.
        confusion: int (classes, classes), true by predicted.

    Example:
        >>> Scores(loss=0.5, accuracy=0.75, confusion=np.array([[2, 1], [0, 1]])).accuracy
        0.75
    """

    loss: float
    accuracy: float
    confusion: np.ndarray


class Learner:
    """Model, optimiser and averages of a run.

    Args:
        config: the run.
        strategy: where it runs.
        classes: number of labels.

    Example:
        >>> learner = Learner(Config(), build_strategy("one"), classes=4)  # doctest: +SKIP
        >>> loss, accuracy = learner.train_step(batch, 1e-3, momentum=0.9)  # doctest: +SKIP
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

    def train_step(self, batch: Batch, learning_rate: float, momentum: float) -> Tensors:
        """Learn from one batch on every replica.

        Args:
            batch: one element of the strategy's distributed dataset.
            learning_rate: of this step.
            momentum: of the averaged weights in this step.

        Returns:
            Loss and accuracy over the whole batch, float32 ().
        """
        # A `LossScaleOptimizer` has the rate of the optimiser that it holds.
        getattr(self.optimizer, "inner_optimizer", self.optimizer).learning_rate.assign(learning_rate)
        size = self.strategy.experimental_local_results(batch[0])[0].shape[1]
        if size not in self._steps:
            self._steps[size] = tf.function(self._build_step(size), reduce_retracing=True)
        return self._steps[size](*batch, tf.constant(momentum, tf.float32))

    def validate(self, batches: Iterable[Batch]) -> Scores:
        """Score the averaged weights; every image counts by its weight."""
        total = np.zeros(2)
        confusion = np.zeros((self.classes, self.classes), np.int64)
        for batch in batches:
            loss, count, table = self._validate(*batch)
            total += float(loss), float(count)
            confusion += table.numpy().astype(np.int64)
        return Scores(total[0] / total[1], float(np.trace(confusion) / total[1]), confusion)

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
        smoothing, batch_size = self.config.optimization.label_smoothing, self.config.data.batch_size

        def replica_step(images: tf.Tensor, labels: tf.Tensor, weights: tf.Tensor) -> Tensors:
            with tf.GradientTape() as tape:
                logits = model(images, training=True)
                losses = keras.losses.categorical_crossentropy(
                    labels, logits, from_logits=True, label_smoothing=smoothing
                )
                # Divided by the global batch: the gradients are summed over replicas.
                loss = tf.reduce_sum(losses * weights) / batch_size
                scaled = self.optimizer.scale_loss(loss)
            gradients = tape.gradient(scaled, [weight.value for weight in learning])
            self.optimizer.apply(gradients, learning)
            right = tf.equal(tf.argmax(labels, axis=1), tf.argmax(logits, axis=1))
            return loss, tf.reduce_sum(tf.cast(right, tf.float32)) / batch_size

        def step(images: tf.Tensor, labels: tf.Tensor, weights: tf.Tensor, momentum: tf.Tensor) -> Tensors:
            results = self.strategy.run(replica_step, (images, labels, weights))
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

    def _validation_step(self, images: tf.Tensor, labels: tf.Tensor, weights: tf.Tensor) -> Tensors:
        def replica_step(images: tf.Tensor, labels: tf.Tensor, weights: tf.Tensor) -> Tensors:
            logits = self.model(images, training=False)
            losses = keras.losses.categorical_crossentropy(labels, logits, from_logits=True)
            true, predicted = tf.argmax(labels, axis=1), tf.argmax(logits, axis=1)
            confusion = tf.math.confusion_matrix(true, predicted, self.classes, weights, dtype=tf.float32)
            return tf.reduce_sum(losses * weights), tf.reduce_sum(weights), confusion

        results = self.strategy.run(replica_step, (images, labels, weights))
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


def resize_model(model: keras.Model, size: int) -> keras.Model:
    """View a model at another input size; both share every weight.

    Args:
        model: functional, without a layer that depends on the size.
        size: side of the new input, pixels.
    """
    if model.input_shape[1] == size:
        return model
    inputs = keras.Input((size, size, model.input_shape[-1]))
    return keras.models.clone_model(model, input_tensors=inputs, clone_function=lambda layer: layer)


def remove_dropout(model: keras.Model) -> keras.Model:
    """View a functional model without dropout, which would add to the variances; both share every weight."""

    def clone(layer: keras.layers.Layer) -> keras.layers.Layer:
        drops = isinstance(layer, keras.layers.Dropout | keras_cv.layers.DropPath)
        return keras.layers.Identity(name=layer.name) if drops else layer

    return keras.models.clone_model(model, clone_function=clone)


def _list_batch_norms(model: keras.Model) -> list[keras.layers.BatchNormalization]:
    return [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]


def _move_average(average: tf.Variable, weight: tf.Tensor, momentum: tf.Tensor) -> None:
    average.assign(momentum * average + (1 - momentum) * tf.cast(weight, average.dtype))
