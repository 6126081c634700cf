"""Batch norms in one kernel while training, instead of the dozen that Keras strings together.

Goes in: a model of plain Keras layers. Comes out: a view of it that shares every weight and learns the same,
faster; what is saved and served stays the plain model. Keras 3 computes a batch norm from means, differences
and products, each a pass over the activations; TensorFlow has all of it, and its gradient, as one operation
for CPUs, GPUs and TPUs.
"""

from typing import Any

import keras
import tensorflow as tf

IMAGES_RANK = 4  # of a batch of feature maps (n, h, w, channels)


class FusedBatchNormalization(keras.layers.Layer):
    """A `keras.layers.BatchNormalization`, by `tf.raw_ops.FusedBatchNormV3` while it learns.

    Args:
        plain: the layer whose weights and statistics are used and updated; one that `can_be_fused`.

    Example:
        >>> plain = keras.layers.BatchNormalization()
        >>> plain.build((None, 8, 8, 3))
        >>> outputs = FusedBatchNormalization(plain)(tf.ones((2, 8, 8, 3)), training=True)
    """

    def __init__(self, plain: keras.layers.BatchNormalization) -> None:
        super().__init__(name=plain.name, dtype=plain.dtype_policy)
        self.plain = plain

    def call(self, inputs: tf.Tensor, training: bool | None = None, mask: Any = None) -> tf.Tensor:
        """Normalise (n, h, w, channels) by the batch's statistics; the layer's own move towards them."""
        plain = self.plain
        if not (training and plain.trainable):
            return plain(inputs, training=training)
        nothing = tf.zeros((0,), tf.float32)
        outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=inputs,
            scale=plain.gamma.value,
            offset=plain.beta.value,
            mean=nothing,
            variance=nothing,
            epsilon=plain.epsilon,
            is_training=True,
        )
        # The operation estimates the variance of a population; Keras keeps that of the batch.
        values = tf.cast(tf.reduce_prod(tf.shape(inputs)[:-1]), tf.float32)
        variance *= (values - 1) / values
        for moving, new in ((plain.moving_mean, mean), (plain.moving_variance, variance)):
            moving.assign(moving.value * plain.momentum + new * (1 - plain.momentum))
        return outputs


def fuse_batch_norms(model: keras.Model) -> keras.Model:
    """View a functional model with fused batch norms; both share every weight.

    Those that replicas synchronise, or that normalise something else than the channels of images, stay as
    they are.
    """
    if not any(can_be_fused(layer) for layer in model.layers):
        return model
    return keras.models.clone_model(
        model, clone_function=lambda layer: FusedBatchNormalization(layer) if can_be_fused(layer) else layer
    )


def can_be_fused(layer: keras.layers.Layer) -> bool:
    """Whether a layer is a scaled and shifted batch norm over the channels of one replica's images."""
    if not isinstance(layer, keras.layers.BatchNormalization) or layer.synchronized or layer.renorm:
        return False
    by_channel = layer.input_spec.ndim == IMAGES_RANK and layer.axis in (-1, IMAGES_RANK - 1)
    return layer.scale and layer.center and by_channel
