import subprocess
import sys

import keras
import numpy as np
import pytest

from serving.artefact import compute_sha256
from trainer import models
from trainer.config import ModelConfig


@pytest.fixture(scope="module")
def model() -> keras.Model:
    keras.utils.set_random_seed(0)
    return models.build_model(ModelConfig(), 64, 4)


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (3, 64, 64, 1)).astype(np.float32)


def test_shapes_and_size(model, images):
    logits = model.predict(images, verbose=0)
    assert logits.shape == (3, 4)
    assert logits.dtype == np.float32
    assert 3.3e6 < model.count_params() < 3.5e6


def test_inputs_are_normalised_as_the_imagenet_weights_expect(model):
    rescaling = next(layer for layer in model.layers if isinstance(layer, keras.layers.Rescaling))
    np.testing.assert_allclose(rescaling(np.array([0.0, 127.0, 255.0])), [-127 / 128, 0.0, 1.0], atol=1e-6)


def test_first_kernel_is_the_sum_over_colours(model):
    with np.load(models.WEIGHTS) as archive:
        kernel = archive["000"].astype(np.float32)
    np.testing.assert_allclose(model.get_layer("stem_conv").get_weights()[0][:, :, 0], kernel.sum(axis=2), atol=1e-6)


def test_archive_is_the_one_its_readme_describes():
    assert compute_sha256(models.WEIGHTS) in (models.WEIGHTS.parent / "README.md").read_text()


def test_imagenet_weights_are_loaded_into_every_layer(model):
    fresh = models.build_model(ModelConfig(pretrained=False), 64, 4)
    for loaded, initial in zip(model.layers, fresh.layers, strict=True):
        if loaded.name != models.LOGITS_LAYER:
            for one, other in zip(loaded.get_weights(), initial.get_weights(), strict=True):
                assert not np.array_equal(one, other), loaded.name


def test_archive_that_does_not_fit_is_refused(monkeypatch, tmp_path):
    np.savez(tmp_path / "short.npz", **{"000": np.zeros((3, 3, 3, 32), np.float16)})
    monkeypatch.setattr(models, "WEIGHTS", tmp_path / "short.npz")
    with pytest.raises(ValueError, match="1 arrays that do not fit"):
        models.build_model(ModelConfig(), 64, 4)


def test_logits_stay_float32_under_mixed_precision(images):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        mixed = models.build_model(ModelConfig(), 64, 4)
    finally:
        keras.config.set_dtype_policy("float32")
    assert mixed.get_layer("stem_conv").compute_dtype == "bfloat16"
    assert mixed(images).dtype == "float32"


def test_saved_model_reloads_without_keras_cv(model, images, tmp_path):
    model.save(tmp_path / "model.keras")
    np.save(tmp_path / "images.npy", images)
    code = (
        "import sys, keras, numpy as np; model = keras.models.load_model('model.keras', safe_mode=True);"
        "np.save('logits.npy', model.predict(np.load('images.npy'), verbose=0)); assert 'keras_cv' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True)
    np.testing.assert_allclose(np.load(tmp_path / "logits.npy"), model.predict(images, verbose=0), atol=1e-6)
