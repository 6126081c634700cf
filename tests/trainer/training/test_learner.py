"""The training step: what learns, what is averaged, and that its whole state can be put away and back."""

from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.trainer.models.test_decoder import RESNET_V2
from tests.trainer.models.test_keras_cv_presets import save_preset
from trainer.config import Config, build_config
from trainer.models.build import build_model
from trainer.models.views import remove_dropout, resize_model
from trainer.training.learner import Learner
from trainer.training.losses import compute_class_losses, compute_map_losses
from trainer.training.strategies import build_strategy


@pytest.fixture(autouse=True)
def keep_policy():
    before = keras.config.dtype_policy()
    yield
    keras.config.set_dtype_policy(before)


def make(
    precision: str = "float32", architecture: str = "reference_vgg", **optimization
) -> tuple[Config, Learner]:
    model = {"architecture": architecture, "pretrained": False}
    config = build_config(
        {
            "precision": precision,
            "data": {"image_size": 64, "progressive_scales": [], "batch_size": 4},
            "model": model,
            "optimization": optimization,
        }
    )
    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy(precision)
    return config, Learner(config, build_strategy("one"), 4)


@pytest.fixture(scope="module")
def preset(tmp_path_factory) -> Path:
    """A small backbone with all strides, which is traced in a few seconds."""
    folder = tmp_path_factory.mktemp("preset")
    save_preset(folder, "ResNetV2Backbone", RESNET_V2)
    return folder


def make_with_map(preset: Path, precision: str = "float32") -> Learner:
    config = build_config(
        {
            "precision": precision,
            "data": {"image_size": 64, "progressive_scales": [], "batch_size": 4},
            "model": {"architecture": f"keras_cv:{preset}", "decoder_channels": 8, "dropout": 0.0},
            "optimization": {"label_smoothing": 0.0},
        }
    )
    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy(precision)
    return Learner(config, build_strategy("one"), 4)


@pytest.fixture
def partly_known(batch) -> tuple[tf.Tensor, ...]:
    """A kind, a tumour of some kind, nothing, a kind; outlines of the second (a tumour) and third (none)."""
    targets = tf.constant([[1, 0, 0, 0], [1, 1, 0, 1], [1, 1, 1, 1], [0, 0, 1, 0]], tf.float32)
    masks = np.zeros((4, 64, 64, 1), np.float32)
    masks[:2, 16:32, 16:32] = 1
    return batch[0], targets, tf.constant([1.0, 1, 0, 1]), tf.constant(masks), tf.constant([0.0, 1, 1, 0])


@pytest.fixture
def batch() -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    generator = np.random.default_rng(0)
    images = generator.uniform(0, 255, (4, 64, 64, 1)).astype(np.float32)
    return tf.constant(images), tf.one_hot([0, 1, 2, 3], 4), tf.ones(4)


def copy_weights(learner: Learner) -> dict[str, np.ndarray]:
    return {
        f"{layer.name}/{number}": np.array(weight)
        for layer in learner.model.layers
        for number, weight in enumerate(layer.weights)
    }


def changed_layers(before: dict[str, np.ndarray], after: dict[str, np.ndarray]) -> set[str]:
    return {name.split("/")[0] for name in before if not np.array_equal(before[name], after[name])}


def test_every_layer_learns(batch):
    _, learner = make()
    before = copy_weights(learner)
    learner.train_step(batch, 1e-3, 0.9)
    learning = {layer.name for layer in learner.model.layers if layer.trainable_weights}
    assert learning <= changed_layers(before, copy_weights(learner))


def test_the_learning_rate_is_that_of_the_step(batch):
    """With a rate of zero nothing moves, whatever the optimiser was built with."""
    _, learner = make()
    before = copy_weights(learner)
    loss, accuracy, map_loss = learner.train_step(batch, 0.0, 0.9)
    assert changed_layers(before, copy_weights(learner)) <= {"dropout"}
    assert float(loss) > 0
    assert 0 <= float(accuracy) <= 1
    assert float(map_loss) == 0


def test_loss_is_the_weighted_mean_with_label_smoothing(batch):
    _, learner = make(label_smoothing=0.1)
    images, labels, _ = batch
    weights = tf.constant([0.0, 1.0, 2.0, 1.0])
    learner.model.get_layer("dropout").rate = 0.0
    logits = learner.model(images, training=True).numpy()
    log_probabilities = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    losses = -(log_probabilities * (0.9 * labels.numpy() + 0.1 / 4)).sum(axis=1)
    loss = learner.train_step((images, labels, weights), 0.0, 0.9).loss
    assert float(loss) == pytest.approx((losses * weights.numpy()).sum() / 3, rel=1e-5)  # three count


def test_averages_follow_with_the_momentum(batch):
    _, learner = make()
    before = [np.array(average) for average in learner.averages]
    learner.train_step(batch, 1e-2, 0.75)
    for old, average, weight in zip(before, learner.averages, learner._averaged_weights(), strict=True):
        np.testing.assert_allclose(average.numpy(), 0.75 * old + 0.25 * np.array(weight), atol=1e-6)


def test_swapping_twice_changes_nothing(batch):
    _, learner = make()
    learner.train_step(batch, 1e-2, 0.5)
    weights, averages = copy_weights(learner), [np.array(average) for average in learner.averages]
    learner.swap_averages()
    assert changed_layers(weights, copy_weights(learner))
    learner.swap_averages()
    assert changed_layers(weights, copy_weights(learner)) == set()
    assert all(
        np.array_equal(old, average.numpy()) for old, average in zip(averages, learner.averages, strict=True)
    )


def test_the_whole_state_can_be_put_away_and_back(batch):
    """Two more steps from the same state give the same losses, so dropout's random numbers belong to it."""
    _, learner = make()
    learner.train_step(batch, 1e-3, 0.9)
    arrays = learner.to_arrays()
    one = [float(learner.train_step(batch, 1e-3, 0.9)[0]) for _ in range(2)]
    _, other = make()
    other.load_arrays(arrays)
    assert [float(other.train_step(batch, 1e-3, 0.9)[0]) for _ in range(2)] == one


def test_arrays_of_another_model_are_refused():
    _, learner = make()
    arrays = learner.to_arrays()
    with pytest.raises(ValueError, match="do not fit"):
        learner.load_arrays({name: values for name, values in list(arrays.items())[1:]})


def test_validation_counts_by_weight(batch):
    _, learner = make()
    images, labels, _ = batch
    scores = learner.validate(
        [
            (images, labels, tf.constant([1.0, 1.0, 1.0, 0.0])),
            (images, labels, tf.constant([0.0, 0.0, 0.0, 1.0])),
        ]
    )
    logits = learner.model(images, training=False).numpy()
    expected = keras.losses.categorical_crossentropy(labels, logits, from_logits=True).numpy().mean()
    assert scores.loss == pytest.approx(expected, rel=1e-5)
    assert scores.accuracy == (logits.argmax(axis=1) == np.arange(4)).mean()
    assert scores.confusion.sum() == 4


def test_refreshed_statistics_are_those_of_all_batches_together(batch):
    _, learner = make(architecture="reference_vgg_batchnorm")
    images, labels, weights = batch
    other = images * 0.3 + 40
    before = copy_weights(learner)
    learner.refresh_batch_norms([(images, labels, weights), (other, labels, weights)])
    inputs = keras.Model(learner.model.input, learner.model.get_layer("block1_conv").output)(
        tf.concat([images, other], axis=0)
    ).numpy()
    refreshed = learner.model.get_layer("block1_bn")
    np.testing.assert_allclose(refreshed.moving_mean.numpy(), inputs.mean(axis=(0, 1, 2)), atol=1e-5)
    np.testing.assert_allclose(refreshed.moving_variance.numpy(), inputs.var(axis=(0, 1, 2)), rtol=1e-4)
    assert refreshed.momentum == 0.99
    after = copy_weights(learner)
    moved = {name for name in before if not np.array_equal(before[name], after[name])}
    assert moved == {
        f"block{block}_bn/{number}" for block in range(1, 5) for number in (2, 3)
    }  # not dropout's random state


def test_without_batch_norms_there_is_nothing_to_refresh(batch):
    _, learner = make()
    before = copy_weights(learner)
    learner.refresh_batch_norms([batch])
    assert changed_layers(before, copy_weights(learner)) == set()


def test_a_model_without_dropout_shares_its_weights():
    model = build_model(build_config({"model": {"pretrained": False}}).model, 64, 4)
    view = remove_dropout(model)
    assert not any(isinstance(layer, keras.layers.Dropout) for layer in view.layers)
    assert [id(weight) for weight in view.trainable_weights] == [
        id(weight) for weight in model.trainable_weights
    ]
    images = np.random.default_rng(0).uniform(0, 255, (2, 64, 64, 1)).astype(np.float32)
    np.testing.assert_array_equal(view(images, training=False), model(images, training=False))


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_half_precision_learns_with_float32_logits_and_losses(batch, precision):
    _, learner = make(precision)
    assert isinstance(learner.optimizer, keras.optimizers.LossScaleOptimizer) == (
        precision == "mixed_float16"
    )
    # The first steps of float16 may only lower the scale of the loss.
    losses = [float(learner.train_step(batch, 1e-3, 0.9)[0]) for _ in range(20)]
    assert np.isfinite(losses).all()
    assert min(losses[-3:]) < 0.9 * losses[0]
    assert learner.model(batch[0]).dtype == tf.float32


def test_a_resized_model_shares_its_weights_and_is_the_model_of_that_size():
    keras.utils.set_random_seed(0)
    large = build_model(build_config({"model": {"pretrained": False}}).model, 96, 4)
    small = build_model(build_config({"model": {"pretrained": False}}).model, 64, 4)
    small.set_weights(large.get_weights())
    view = resize_model(large, 64)
    images = np.random.default_rng(0).uniform(0, 255, (2, 64, 64, 1)).astype(np.float32)
    np.testing.assert_array_equal(view(images).numpy(), small(images).numpy())
    assert view.weights[0] is large.weights[0]
    assert resize_model(large, 96) is large


def test_each_loss_is_a_mean_over_the_images_that_have_its_supervision(partly_known, preset):
    learner = make_with_map(preset)
    images, targets, _, masks, _ = partly_known
    outputs = learner.model(images, training=True)
    learner = make_with_map(preset)  # statistics of batch norms as before
    of_classes = compute_class_losses(targets, outputs["logits"], 0.0).numpy()[[0, 1, 3]].mean()
    of_maps = compute_map_losses(masks, outputs["tumor_logits"], 4.0, 0.5).numpy()[1:3].mean()
    figures = learner.train_step(partly_known, 0.0, 0.9)
    assert float(figures.map_loss) == pytest.approx(of_maps, rel=1e-3)
    assert float(figures.loss) == pytest.approx(of_classes + of_maps, rel=1e-3)
    right = outputs["logits"].numpy().argmax(axis=1) == [0, 0, 0, 2]
    assert float(figures.accuracy) == pytest.approx(right[[0, 3]].mean())


@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_a_batch_that_knows_nothing_changes_nothing_and_stays_finite(partly_known, preset, precision):
    learner = make_with_map(preset, precision)
    images, targets, weights, masks, map_weights = partly_known
    before = copy_weights(learner)
    nothing = images, tf.ones_like(targets), 0 * weights, masks, 0 * map_weights
    figures = learner.train_step(nothing, 1e-2, 0.9)
    assert [float(figure) for figure in figures] == [0, 0, 0]
    kernels = {name for name, value in before.items() if value.ndim == 4}
    after = copy_weights(learner)
    decayed = 1 - 1e-2 * learner.config.optimization.weight_decay
    for name in kernels:
        np.testing.assert_allclose(after[name], before[name] * decayed, atol=1e-6)


@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
def test_a_map_is_learnt_beside_the_classes(partly_known, preset, precision):
    learner = make_with_map(preset, precision)
    figures = [learner.train_step(partly_known, 3e-3, 0.9) for _ in range(30)]
    assert np.mean([float(f.map_loss) for f in figures[-3:]]) < 0.7 * float(figures[0].map_loss)
    assert np.mean([float(f.loss) for f in figures[-3:]]) < 0.7 * float(figures[0].loss)


def test_validation_scores_the_map_over_known_outlines(partly_known, preset):
    learner = make_with_map(preset)
    images, targets, _, masks, map_weights = partly_known
    outputs = learner.model(images, training=False)
    of_maps = compute_map_losses(masks, outputs["tumor_logits"], 4.0, 0.5).numpy()[1:3].mean()
    known = tf.constant([1.0, 0, 0, 1])
    scores = learner.validate([(images, targets, known, masks, map_weights)])
    assert scores.map_loss == pytest.approx(of_maps, rel=1e-4)
    assert scores.confusion.sum() == 2
