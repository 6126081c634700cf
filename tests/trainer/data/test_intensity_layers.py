import io
import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from scipy.ndimage import gaussian_filter

from trainer.data.intensity_layers import (
    RandomBiasField,
    RandomBlur,
    RandomDegradation,
    RandomGamma,
    RandomIntensity,
    RandomNoise,
    RandomToneCurve,
)

LAYERS = [RandomGamma, RandomBiasField, RandomBlur, RandomNoise, RandomDegradation, RandomToneCurve]
KEEP_BLACK = [
    RandomGamma,
    RandomBiasField,
    RandomBlur,
    RandomNoise,
    RandomToneCurve,
]  # JPEG: up to rounding, see below

every_layer = pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.__name__)


@pytest.fixture
def images() -> np.ndarray:
    """Smooth texture with fine noise on a black ground."""
    generator = np.random.default_rng(0)
    pictures = (
        gaussian_filter(generator.normal(0, 1, (16, 40, 48)), (0, 3, 3)) * 500
        + generator.normal(0, 8, (16, 40, 48))
        + 120
    )
    pictures[:, :, :16] = 0
    return np.clip(pictures, 0, 255).astype(np.float32)[..., np.newaxis]


def apply(layer: RandomIntensity, images: np.ndarray) -> np.ndarray:
    return layer(tf.constant(images)).numpy()


def compress(picture: np.ndarray, quality: int) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(picture.astype(np.uint8)).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer)).astype(np.float32)


def changed_rows(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    return (before != after).any(axis=(1, 2, 3))


@every_layer
@pytest.mark.parametrize("policy", ["float32", "mixed_float16", "mixed_bfloat16"])
def test_shape_type_and_range_under_every_policy(images, layer, policy):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        built = layer(0.6, seed=1)
    finally:
        keras.config.set_dtype_policy(before)
    changed = next(tf.data.Dataset.from_tensors(images).map(built).as_numpy_iterator())
    assert changed.shape == images.shape
    assert changed.dtype == np.float32
    assert np.isfinite(changed).all()
    assert 0 <= changed.min() <= changed.max() <= 255
    assert not np.array_equal(changed, images)


@every_layer
def test_rate_is_the_share_of_images_that_change(layer):
    images = np.tile(np.linspace(0, 255, 64, dtype=np.float32).reshape(1, 8, 8, 1), (400, 1, 1, 1))
    np.testing.assert_array_equal(apply(layer(0.6, rate=0.0, seed=1), images), images)
    share = changed_rows(images, apply(layer((0.5, 0.6), rate=0.3, seed=1), images)).mean()
    assert 0.2 < share < 0.4
    assert changed_rows(images, apply(layer((0.5, 0.6), seed=1), images)).all()


@every_layer
def test_zero_strength_is_the_identity(images, layer):
    whole = np.round(images)  # JPEG decodes to whole numbers
    off = apply(layer(0.0, seed=1), whole)
    np.testing.assert_allclose(off, whole, atol=1 if layer is RandomDegradation else 1e-3)


@every_layer
def test_images_of_a_batch_and_batches_differ(layer):
    images = np.tile(
        np.random.default_rng(1).uniform(20, 230, (1, 16, 16, 1)).astype(np.float32), (6, 1, 1, 1)
    )
    built = layer((0.1, 0.6), seed=1)
    batches = [apply(built, images) for _ in range(2)]
    flat = np.concatenate(batches).reshape(12, -1)
    # JPEG knows whole numbers as qualities only, so two pictures in twelve may have the same.
    assert len(np.unique(flat, axis=0)) >= (9 if layer is RandomDegradation else 12)


@every_layer
def test_one_seed_one_sequence(images, layer):
    def draw_two(seed: int) -> np.ndarray:
        dataset = tf.data.Dataset.from_tensors(images).repeat(2).map(layer(0.6, rate=0.5, seed=seed))
        return np.stack(list(dataset.as_numpy_iterator()))

    np.testing.assert_array_equal(draw_two(7), draw_two(7))
    assert not np.array_equal(draw_two(7), draw_two(8))


@every_layer
def test_config_round_trip_gives_the_same_batches(images, layer):
    built = layer((0.2, 0.5), rate=0.5, seed=3)
    again = layer.from_config(built.get_config())
    np.testing.assert_array_equal(apply(built, images), apply(again, images))


@every_layer
def test_a_single_image_and_an_odd_size(layer):
    image = np.random.default_rng(0).uniform(0, 255, (13, 21, 1)).astype(np.float32)
    assert apply(layer((0.5, 0.6), seed=1), image).shape == image.shape


@every_layer
def test_wrong_arguments_say_what_was_expected(layer):
    with pytest.raises(ValueError, match=r"factor expected as .* got \(0.5, 0.2\)"):
        layer((0.5, 0.2))
    with pytest.raises(ValueError, match=r"rate expected in \[0, 1\], got 2"):
        layer(0.5, rate=2)
    with pytest.raises(ValueError, match=r"expected images \(n, h, w, 1\) .* got \(2, 8, 8, 3\)"):
        layer(0.5)(tf.zeros((2, 8, 8, 3)))


@pytest.mark.parametrize("layer", KEEP_BLACK, ids=lambda layer: layer.__name__)
def test_black_pictures_stay_black(layer):
    np.testing.assert_array_equal(apply(layer((0.5, 0.6), seed=1), np.zeros((4, 16, 16, 1), np.float32)), 0)


@pytest.mark.parametrize("exponent", [0.7, 1.6])
def test_gamma_is_the_power(images, exponent):
    np.testing.assert_allclose(
        apply(RandomGamma((exponent, exponent), seed=1), images), 255 * (images / 255) ** exponent, atol=0.01
    )


def test_gamma_exponents_are_symmetric_on_the_logarithmic_scale():
    grey = np.full((2000, 1, 1, 1), 51, np.float32)
    exponents = np.log(apply(RandomGamma(0.5, seed=1), grey).ravel() / 255) / math.log(0.2)
    assert 1 / 1.5 - 1e-3 < exponents.min() < 0.68
    assert 1.48 < exponents.max() < 1.5 + 1e-3
    assert abs(np.log(exponents).mean()) < 0.02


def test_bias_field_multiplies_smoothly_within_its_bounds():
    flat = np.full((32, 40, 48, 1), 100, np.float32)
    field = apply(RandomBiasField((0.5, 0.5), seed=1), flat) / 100
    assert field.min() >= 1 / 1.5 - 1e-4
    assert field.max() <= 1.5 + 1e-4
    largest = np.abs(np.log(field)).max(axis=(1, 2, 3))
    np.testing.assert_allclose(largest, math.log(1.5), rtol=1e-4)  # one of the bounds is reached
    assert np.abs(np.diff(field, axis=1)).max() < 0.15
    assert np.abs(np.diff(np.log(field), n=4, axis=1)).max() < 1e-4  # a cubic has no fourth difference
    # Multiplies: twice the picture gives twice the result.
    np.testing.assert_allclose(apply(RandomBiasField((0.5, 0.5), seed=1), flat / 2), 50 * field, rtol=1e-5)


def test_blur_is_the_gaussian_of_scipy(images):
    expected = gaussian_filter(images[..., 0], (0, 1.2, 1.2), mode="reflect", radius=(0, 4, 4))
    np.testing.assert_allclose(apply(RandomBlur((1.2, 1.2), seed=1), images)[..., 0], expected, atol=0.01)


def test_blur_keeps_the_mean_and_lowers_the_variance(images):
    blurred = apply(RandomBlur((0.4, 2.0), seed=1), images)
    np.testing.assert_allclose(blurred.mean(axis=(1, 2, 3)), images.mean(axis=(1, 2, 3)), rtol=1e-4)
    assert (blurred.var(axis=(1, 2, 3)) < images.var(axis=(1, 2, 3))).all()
    assert len(np.unique((images.var(axis=(1, 2, 3)) - blurred.var(axis=(1, 2, 3))).round(3))) == len(images)


def test_noise_is_rician():
    halves = np.zeros((4, 128, 128, 1), np.float32)
    halves[:, :, 64:] = 200  # standard deviation of the picture: 100
    noisy = apply(RandomNoise((0.1, 0.1), seed=1), halves)
    dark, bright = noisy[:, :, :64], noisy[:, :, 64:]
    # Without signal Rayleigh, sigma 10: mean sqrt(pi / 2) sigma, standard deviation sqrt(2 - pi / 2) sigma.
    np.testing.assert_allclose([dark.mean(), dark.std()], [12.53, 6.55], rtol=0.02)
    # Far above the noise Gaussian, with mean sqrt(200^2 + 10^2).
    np.testing.assert_allclose([bright.mean(), bright.std()], [200.25, 10.0], rtol=0.02)
    neighbours = np.corrcoef(bright[:, 1:].ravel(), bright[:, :-1].ravel())[0, 1]
    assert abs(neighbours) < 0.02
    assert abs(np.corrcoef(bright[0].ravel(), bright[1].ravel())[0, 1]) < 0.05


@pytest.mark.parametrize("quality", [90, 50, 30, 15])
def test_degradation_is_jpeg(images, quality):
    whole = np.round(images)
    decoded = apply(RandomDegradation(((100 - quality) / 100,) * 2, seed=1), whole)[..., 0]
    theirs = np.stack([compress(picture, quality) for picture in whole[..., 0]])
    # libjpeg computes in integers, so that a coefficient halfway between two values may be rounded the other
    # way.
    assert np.abs(decoded - theirs).mean() < 0.2 * np.abs(whole[..., 0] - theirs).mean()
    assert (np.abs(decoded - theirs) <= 1).mean() > 0.93


def test_degradation_keeps_block_means(images):
    decoded = apply(RandomDegradation((0.7, 0.7), seed=1), images)
    means = [pictures.reshape(16, 5, 8, 6, 8).mean(axis=(2, 4)) for pictures in (images, decoded)]
    assert np.abs(means[0] - means[1])[means[0] > 20].max() < 3
    black = apply(RandomDegradation((0.0, 0.85), seed=1), np.zeros((100, 8, 8, 1), np.float32))
    assert black.max() <= 4


def test_tone_curves_rise_from_black_to_white():
    ramp = np.tile(np.arange(256, dtype=np.float32).reshape(1, 16, 16, 1), (64, 1, 1, 1))
    curves = apply(RandomToneCurve((0.3, 0.8), seed=1), ramp).reshape(64, 256)
    slopes = np.diff(curves)
    assert (slopes > 0).all()
    np.testing.assert_array_equal(curves[:, 0], 0)
    np.testing.assert_allclose(curves[:, -1], 255, atol=1e-3)
    assert slopes.max() <= 1.8**2
    assert slopes.min() >= 1.8**-2
    assert np.ptp(slopes.reshape(64, 5, 51), axis=2).max() < 1e-3  # straight between control points
    assert np.ptp(slopes, axis=1).min() > 0.05


def test_curved_layers_do_not_touch_the_order_of_greys(images):
    order = np.argsort(images[0].ravel(), kind="stable")
    for layer in (RandomGamma(0.6, seed=1), RandomToneCurve(0.8, seed=1)):
        assert (np.diff(apply(layer, images)[0].ravel()[order]) >= 0).all()
