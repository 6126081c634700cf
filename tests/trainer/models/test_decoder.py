"""The decoder: its shape and cost, what is saved and served of it, and that it learns."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from serving.model.artefact import KERAS_FILE, LITERT_FILE
from serving.model.keras_runtime import LOGITS_LAYER, TUMOR_LOGITS_LAYER, KerasModel, build_serving_model
from serving.model.runtime import LiteRTModel
from tests.trainer.models.test_keras_cv_presets import PLAIN, save_preset
from trainer.config import ConfigError, ModelConfig
from trainer.models.build import build_model, use_dtype_policy
from trainer.models.decoder import TUMOR_SHARE, count_multiplications
from trainer.models.export import save_keras, save_litert
from trainer.reporting.architecture_figure import describe_stages

WITH_MAP = ModelConfig(pretrained=False, decoder_channels=48)
RESNET_V2 = {
    "stackwise_filters": [64, 16, 16, 16],
    "stackwise_blocks": [2, 2, 2, 2],
    "stackwise_strides": [1, 2, 2, 2],
    "block_type": "basic_block",
}


@pytest.fixture(scope="module")
def model() -> keras.Model:
    keras.utils.set_random_seed(0)
    return build_model(WITH_MAP, 64, 4)


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (3, 64, 64, 1)).astype(np.float32)


def test_the_map_stands_beside_the_logits(model, images):
    outputs = model.predict(images, verbose=0)
    assert {name: output.shape for name, output in outputs.items()} == {
        LOGITS_LAYER: (3, 4),
        TUMOR_LOGITS_LAYER: (3, 16, 16, 1),
    }
    assert all(output.dtype == np.float32 for output in outputs.values())


def test_the_map_begins_at_the_share_of_tumour(model):
    [bias] = model.get_layer(TUMOR_LOGITS_LAYER).get_weights()[1]
    assert 1 / (1 + np.exp(-bias)) == pytest.approx(TUMOR_SHARE)


@pytest.mark.parametrize("architecture", ["efficientnet_lite0", "efficientnet_lite2"])
def test_it_costs_less_than_a_third_more(architecture):
    plain = ModelConfig(architecture=architecture, pretrained=False)
    with_map = plain.replace(decoder_channels=48)
    costs = [count_multiplications(build_model(config, 96, 4)) for config in (plain, with_map)]
    assert 1 < costs[1] / costs[0] <= 1.35


def test_multiplications_are_those_counted_by_hand():
    inputs = keras.Input((8, 8, 2))
    features = keras.layers.Conv2D(3, 3, strides=2, padding="same")(inputs)
    features = keras.layers.DepthwiseConv2D(3, padding="same")(features)
    features = keras.layers.SeparableConv2D(5, 3, padding="same")(features)
    features = keras.layers.BatchNormalization()(features)
    model = keras.Model(inputs, keras.layers.Dense(4)(keras.layers.GlobalAveragePooling2D()(features)))
    assert count_multiplications(model) == 16 * (9 * 2 * 3 + 9 * 3 + 9 * 3 + 3 * 5) + 5 * 4


def test_the_classes_do_not_see_the_decoder(images):
    keras.utils.set_random_seed(0)
    plain = build_model(WITH_MAP.replace(decoder_channels=0), 64, 4)
    assert not isinstance(plain.output, dict)
    with_map = build_model(WITH_MAP, 64, 4)
    weights = [w for layer in with_map.layers if "decoder" not in layer.name for w in layer.get_weights()]
    plain.set_weights(
        weights[: len(plain.get_weights()) - 2] + with_map.get_layer(LOGITS_LAYER).get_weights()
    )
    np.testing.assert_allclose(
        with_map.predict(images, verbose=0)[LOGITS_LAYER], plain.predict(images, verbose=0), atol=1e-6
    )


def test_gradients_of_the_map_reach_every_stride_and_the_first_layer(model, images):
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model(images, training=True)[TUMOR_LOGITS_LAYER] ** 2)
    laterals = [model.get_layer(f"decoder_stride{stride}_lateral").kernel for stride in (4, 8, 16, 32)]
    watched = [model.get_layer("stem_conv").kernel, *laterals]
    gradients = tape.gradient(loss, [variable.value for variable in watched])
    assert all(np.abs(gradient).max() > 0 for gradient in gradients)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_the_map_stays_float32_under_mixed_precision(images, policy):
    with use_dtype_policy(policy):
        mixed = build_model(WITH_MAP, 64, 4)
    assert mixed.get_layer("decoder_stride4_smooth").compute_dtype == policy.removeprefix("mixed_")
    with tf.GradientTape() as tape:
        outputs = mixed(images, training=True)
        loss = tf.reduce_mean(outputs[TUMOR_LOGITS_LAYER] ** 2)
    assert outputs[TUMOR_LOGITS_LAYER].dtype == tf.float32
    gradient = tape.gradient(loss, mixed.get_layer("decoder_stride32_lateral").kernel.value)
    assert np.isfinite(gradient).all()


def widen_map(model: keras.Model, images: np.ndarray) -> None:
    """Let an untrained map take all values from 0 to 1: of nearly equal ones everything agrees."""
    last = model.get_layer(TUMOR_LOGITS_LAYER)
    logits = model.predict(images, verbose=0)[TUMOR_LOGITS_LAYER] - last.get_weights()[1]
    factor = 3 / logits.std()
    last.set_weights([last.get_weights()[0] * factor, np.float32([-logits.mean() * factor])])


@pytest.mark.parametrize("architecture", ["efficientnet_lite0", "preset"])
def test_both_runtimes_agree_on_saved_files(architecture, images, tmp_path):
    if architecture == "preset":
        save_preset(tmp_path, "ResNetV2Backbone", RESNET_V2)
        architecture = f"keras_cv:{tmp_path}"
    keras.utils.set_random_seed(0)
    model = build_model(WITH_MAP.replace(architecture=architecture, decoder_channels=16), 64, 4)
    widen_map(model, images)
    save_keras(model, tmp_path / KERAS_FILE)
    save_litert(model, tmp_path / LITERT_FILE)
    light, heavy = (
        runtime(tmp_path / name).run(images.astype(np.uint8))
        for runtime, name in ((LiteRTModel, LITERT_FILE), (KerasModel, KERAS_FILE))
    )
    for name in ("logits", "cams", "embeddings", "tumor_maps"):
        np.testing.assert_allclose(getattr(light, name), getattr(heavy, name), atol=1e-4)
    assert light.tumor_maps.shape == (3, 16, 16)
    assert light.tumor_maps.dtype == np.float32
    assert np.ptp(light.tumor_maps) > 0.5
    np.testing.assert_array_equal(light.tumor_peaks, light.tumor_maps.reshape(3, -1).max(axis=1))


def test_what_is_served_is_the_mean_of_both_views_and_turns_with_the_picture(model, images):
    serving = build_serving_model(model)
    mirrored = images[:, :, ::-1]
    seen, turned = (model.predict(view, verbose=0)[TUMOR_LOGITS_LAYER] for view in (images, mirrored))
    expected = 1 / (1 + np.exp(-(seen + turned[:, :, ::-1]) / 2))
    served = [serving.predict(view, verbose=0)["tumor_map"] for view in (images, mirrored)]
    np.testing.assert_allclose(served[0], expected, atol=1e-5)
    np.testing.assert_allclose(served[0], served[1][:, :, ::-1], atol=1e-5)
    assert np.abs(served[0] - served[1]).max() > 1e-4


def test_a_preset_gets_a_map_and_reloads_with_plain_keras(images, tmp_path):
    save_preset(tmp_path, "ResNetV2Backbone", RESNET_V2)
    preset = build_model(ModelConfig(architecture=f"keras_cv:{tmp_path}", decoder_channels=16), 64, 4)
    preset.save(tmp_path / "model.keras")
    reloaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    expected = preset.predict(images, verbose=0)
    assert expected[TUMOR_LOGITS_LAYER].shape == (3, 16, 16, 1)
    for name, output in reloaded.predict(images, verbose=0).items():
        np.testing.assert_allclose(output, expected[name], rtol=1e-5, atol=1e-5)


def test_a_preset_without_the_strides_is_refused(tmp_path):
    save_preset(tmp_path, *PLAIN[0])
    with pytest.raises(ConfigError, match=r"decoder_channels: .*strides \(4, 8, 16, 32\), got maps of \["):
        build_model(ModelConfig(architecture=f"keras_cv:{tmp_path}", decoder_channels=16), 64, 4)


def test_the_reference_stays_without():
    with pytest.raises(ConfigError, match=r"decoder_channels: expected 0 for reference_vgg.*got 48"):
        ModelConfig(architecture="reference_vgg", pretrained=False, decoder_channels=48)


def test_the_figure_of_the_network_counts_the_decoder(model):
    stages = describe_stages(model)
    assert sum(stage.parameters for stage in stages) == model.count_params()
