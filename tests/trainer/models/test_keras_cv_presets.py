import json
import socket
import time
from pathlib import Path

import keras
import keras_cv
import numpy as np
import pytest

from tests.trainer.models.reloading import predict_without_keras_cv
from trainer.config import Config, ConfigError, DataConfig, ModelConfig
from trainer.models import build as models
from trainer.models import keras_cv_presets
from trainer.models.build import use_dtype_policy
from trainer.models.export import load_best_model, save_litert

EFFICIENTNET_V2 = {
    "stackwise_kernel_sizes": [3, 3],
    "stackwise_num_repeats": [2, 1],
    "stackwise_input_filters": [16, 8],
    "stackwise_output_filters": [8, 16],
    "stackwise_expansion_ratios": [1, 4],
    "stackwise_squeeze_and_excite_ratios": [0, 0.25],
    "stackwise_strides": [1, 2],
    "stackwise_conv_types": ["fused", "unfused"],
    "width_coefficient": 1.0,
    "depth_coefficient": 1.0,
}
MOBILENET_V3 = {
    "stackwise_expansion": [1, 4],
    "stackwise_filters": [8, 16],
    "stackwise_kernel_size": [3, 5],
    "stackwise_stride": [2, 2],
    "stackwise_se_ratio": [0.25, 0.25],
    "stackwise_activation": ["relu", "hard_swish"],
}
RESNET_V2 = {
    "stackwise_filters": [64, 16],
    "stackwise_blocks": [2, 2],
    "stackwise_strides": [1, 2],
    "block_type": "basic_block",
}
CSP_DARKNET = {"stackwise_channels": [16, 16, 16, 16], "stackwise_depth": [1, 1, 1, 1]}
PLAIN = [
    ("EfficientNetV2Backbone", EFFICIENTNET_V2),
    ("MobileNetV3Backbone", MOBILENET_V3),
    ("ResNetV2Backbone", RESNET_V2),
]


def save_preset(folder: Path, cls: str, options: dict) -> keras.Model:
    """Write a small preset as KerasCV does, with weights for every variable."""
    backbone = getattr(keras_cv.models, cls)(**options, include_rescaling=False, input_shape=(None, None, 3))
    rng = np.random.default_rng(0)
    for variable in backbone.variables:
        if "seed" not in variable.path:
            variable.assign(
                rng.uniform(0.5, 1.5, variable.shape)
                if len(variable.shape) == 1
                else rng.normal(0, 0.3, variable.shape)
            )
    config = keras.saving.serialize_keras_object(backbone) | {"weights": "model.weights.h5"}
    config.pop("build_config", None)
    (folder / "config.json").write_text(json.dumps(config))
    backbone.save_weights(folder / "model.weights.h5")
    return backbone


def configure(folder: Path, pretrained: bool = True) -> ModelConfig:
    return ModelConfig(architecture=f"keras_cv:{folder}", pretrained=pretrained)


@pytest.fixture(scope="module")
def presets(tmp_path_factory) -> dict[str, tuple[keras.Model, keras.Model]]:
    """(backbone as KerasCV saved it, model that is built of its folder) by name."""
    found = {}
    for name, options in PLAIN:
        folder = tmp_path_factory.mktemp(name)
        backbone = save_preset(folder, name, options)
        found[name] = backbone, models.build_model(configure(folder), 64, 4)
    return found


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (2, 64, 64, 1)).astype(np.float32)


@pytest.mark.parametrize("name", [name for name, _ in PLAIN])
def test_preset_sees_grey_as_colour_over_255(presets, images, name):
    backbone, model = presets[name]
    features = keras.Model(model.input, model.get_layer(models.EMBEDDING_LAYER).input)
    expected = backbone.predict(np.repeat(images / 255, 3, axis=-1), verbose=0)
    np.testing.assert_allclose(features.predict(images, verbose=0), expected, atol=1e-5 * expected.max())


def test_presets_reload_without_keras_cv(presets, images, tmp_path):
    answers = predict_without_keras_cv([model for _, model in presets.values()], images, tmp_path)
    for (_, model), answer in zip(presets.values(), answers, strict=True):
        np.testing.assert_allclose(answer, model.predict(images, verbose=0), rtol=1e-5, atol=1e-5)


def test_trained_weights_load_into_the_preset_without_its_own(tmp_path, images):
    save_preset(tmp_path, *PLAIN[0])
    model = models.build_model(configure(tmp_path), 64, 4)
    model.save_weights(tmp_path / "best.weights.h5")
    (tmp_path / "model.weights.h5").unlink()
    config = Config(model=configure(tmp_path), data=DataConfig(image_size=64))
    with use_dtype_policy("mixed_float16"):  # as a process has it that trains in mixed precision
        best = load_best_model(config, tmp_path / "best.weights.h5", 4)
        save_litert(best, tmp_path / "model.tflite")
        assert keras.config.dtype_policy().name == "mixed_float16"
    assert {layer.compute_dtype for layer in best.layers} == {"float32"}
    np.testing.assert_allclose(
        best.predict(images, verbose=0), model.predict(images, verbose=0), rtol=1e-2, atol=1e-2
    )


def test_preset_that_plain_keras_cannot_reload_is_refused(tmp_path):
    save_preset(tmp_path, "CSPDarkNetBackbone", CSP_DARKNET)
    with pytest.raises(ConfigError, match=r"cannot be made flat \(.*Lambda.*plain Keras could not reload"):
        models.build_model(configure(tmp_path), 64, 4)


def test_unknown_preset_is_refused_with_what_there_is():
    with pytest.raises(
        ConfigError, match=r"no preset 'efficientnetv9'.* efficientnetv2_b0_imagenet, .*folder"
    ):
        models.build_model(ModelConfig(architecture="keras_cv:efficientnetv9"), 64, 4)


def test_preset_without_network_is_refused_at_once(monkeypatch, tmp_path):
    def refuse(*_, **__):
        raise socket.gaierror("no network in this test")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path))
    start = time.monotonic()
    with pytest.raises(
        ConfigError,
        match=(
            r"'efficientnetv2_b0_imagenet'(.|\n)*downloaded at its first use(.|\n)*efficientnet_lite0 is"
            r" bundled"
        ),
    ):
        models.build_model(ModelConfig(architecture="keras_cv:efficientnetv2_b0_imagenet"), 64, 4)
    assert time.monotonic() - start < 10


def test_presets_are_listed_without_asking_the_network():
    presets = keras_cv_presets.list_presets()
    assert presets["efficientnetv2_b0_imagenet"].startswith("kaggle://")
    assert "resnet50_imagenet" in presets
