"""Fused batch norms learn what plain ones learn, with the same weights."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from trainer.config import build_config
from trainer.models.build import build_model
from trainer.models.fused_batch_norms import FusedBatchNormalization, can_be_fused, fuse_batch_norms

TOLERANCE = {"float32": 2e-5, "mixed_bfloat16": 0.05, "mixed_float16": 0.005}


@pytest.fixture(autouse=True)
def keep_policy():
    before = keras.config.dtype_policy()
    yield
    keras.config.set_dtype_policy(before)


def build_layered() -> keras.Model:
    """Convolution, batch norm that is not at its first values, ReLU, pooling."""
    keras.utils.set_random_seed(0)
    images = keras.Input((16, 16, 3))
    normalised = keras.layers.BatchNormalization(momentum=0.9, epsilon=0.01, name="bn")(
        keras.layers.Conv2D(8, 3, use_bias=False)(images)
    )
    model = keras.Model(images, keras.layers.GlobalAveragePooling2D()(keras.layers.ReLU()(normalised)))
    generator = np.random.default_rng(1)
    model.get_layer("bn").set_weights([generator.uniform(0.5, 2, 8) for _ in range(4)])
    return model


def learn(
    model: keras.Model, variables: list[keras.Variable], images: tf.Tensor
) -> tuple[np.ndarray, list[np.ndarray]]:
    with tf.GradientTape() as tape:
        outputs = model(images, training=True)
        loss = tf.reduce_sum(tf.cast(outputs, tf.float32) * tf.range(8, dtype=tf.float32))
    return outputs.numpy().astype(np.float32), [
        gradient.numpy() for gradient in tape.gradient(loss, [weight.value for weight in variables])
    ]


@pytest.mark.parametrize("precision", TOLERANCE)
def test_outputs_gradients_and_statistics_are_those_of_the_plain_layer(precision):
    keras.config.set_dtype_policy(precision)
    plain, twin = build_layered(), build_layered()
    fused = fuse_batch_norms(twin)
    assert isinstance(fused.get_layer("bn"), FusedBatchNormalization)
    before = [weight.numpy() for weight in twin.non_trainable_variables]
    images = tf.constant(np.random.default_rng(2).normal(3, 2, (4, 16, 16, 3)).astype(np.float32))
    expected, expected_gradients = learn(plain, plain.trainable_variables, images)
    got, gradients = learn(fused, twin.trainable_variables, images)
    tolerance = TOLERANCE[precision]
    np.testing.assert_allclose(got, expected, rtol=tolerance, atol=tolerance)
    for ours, theirs in zip(gradients, expected_gradients, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=tolerance * np.abs(theirs).max())
    for ours, theirs, old in zip(
        twin.non_trainable_variables, plain.non_trainable_variables, before, strict=True
    ):
        assert np.abs(ours.numpy() - old).min() > 0.01
        np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=tolerance)


def test_in_use_and_where_it_must_not_learn_it_is_the_plain_layer():
    model = build_layered()
    fused = fuse_batch_norms(model)
    images = tf.random.stateless_normal((4, 16, 16, 3), (0, 0))
    np.testing.assert_array_equal(fused(images, training=False), model(images, training=False))
    model.get_layer("bn").trainable = False
    before = model.get_weights()
    np.testing.assert_array_equal(fused(images, training=True), model(images, training=False))
    assert all(np.array_equal(one, other) for one, other in zip(before, model.get_weights(), strict=True))


def test_the_view_of_a_whole_network_shares_every_weight_and_has_no_plain_batch_norm():
    model = build_model(build_config({"model": {"pretrained": False}}).model, 64, 4)
    view = fuse_batch_norms(model)
    assert {id(weight) for weight in view.weights} == {id(weight) for weight in model.weights}
    assert not any(isinstance(layer, keras.layers.BatchNormalization) for layer in view.layers)
    assert sum(isinstance(layer, FusedBatchNormalization) for layer in view.layers) == 49


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (keras.layers.BatchNormalization(synchronized=True), (8, 8, 3)),
        (keras.layers.BatchNormalization(scale=False), (8, 8, 3)),
        (keras.layers.BatchNormalization(center=False), (8, 8, 3)),
        (keras.layers.BatchNormalization(axis=1), (8, 8, 3)),
        (keras.layers.BatchNormalization(renorm=True), (8, 8, 3)),
        (keras.layers.BatchNormalization(), (8,)),
        (keras.layers.LayerNormalization(), (8, 8, 3)),
    ],
)
def test_what_the_operation_cannot_do_stays_as_it_is(layer, shape):
    images = keras.Input(shape)
    model = keras.Model(images, layer(images))
    assert not can_be_fused(layer)
    assert fuse_batch_norms(model) is model
