import hashlib
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from trainer.config import AugmentationConfig, ConfigError, build_config
from trainer.data.augmentation import augment_batch, augment_with_masks, build_augmenter, choose_variation

NOTHING = AugmentationConfig(
    flip="none", **dict.fromkeys(("rotation", "zoom", "translation", "brightness", "contrast", "gamma"), 0.0)
)
INTENSITY = {
    "stripping": 0.5,
    "bias_field": 0.5,
    "blur": 0.9,
    "noise": 0.1,
    "tone_curve": 0.6,
    "degradation": 0.6,
}
EVERYTHING = AugmentationConfig(**INTENSITY)


def make_images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (16, 24, 24, 1)).astype(np.float32)


@pytest.fixture
def images() -> np.ndarray:
    return make_images()


def build_pipeline(config: AugmentationConfig, images, seed: int = 1, batches: int = 1) -> tf.data.Dataset:
    augmenter = build_augmenter(config, seed)
    dataset = tf.data.Dataset.from_tensors(images).repeat(batches)
    return dataset.map(lambda images: augment_batch(augmenter, images))


def run_in_pipeline(config: AugmentationConfig, images) -> np.ndarray:
    return next(build_pipeline(config, images).as_numpy_iterator())


def hash_batches(config: AugmentationConfig, seed: int) -> list[str]:
    """Hash three batches, and three more of a second pass."""
    dataset = build_pipeline(config, make_images(), seed, batches=3)
    return [
        hashlib.sha256(images.tobytes()).hexdigest()
        for _ in range(2)
        for images in dataset.as_numpy_iterator()
    ]


@pytest.mark.parametrize("policy", ["float32", "mixed_float16", "mixed_bfloat16"])
@pytest.mark.parametrize("config", [AugmentationConfig(), EVERYTHING], ids=["default", "everything"])
def test_shape_type_and_range_under_every_policy(images, policy, config):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        varied = run_in_pipeline(config, images)
    finally:
        keras.config.set_dtype_policy(before)
    assert varied.shape == images.shape
    assert varied.dtype == np.float32
    assert 0 <= varied.min() <= varied.max() <= 255
    assert not np.array_equal(varied, images)


def test_every_field_switched_off_changes_nothing(images):
    assert build_augmenter(NOTHING, seed=1).layers == []
    np.testing.assert_array_equal(run_in_pipeline(NOTHING, images), images)


def test_no_image_chosen_changes_nothing(images):
    config = NOTHING.replace(**INTENSITY | {"stripping": 0.0}, gamma=0.5, intensity_rate=0.0)
    np.testing.assert_array_equal(run_in_pipeline(config, images), images)


@pytest.mark.parametrize(
    "field", ["rotation", "zoom", "translation", "brightness", "contrast", "gamma", *INTENSITY]
)
def test_every_field_changes_images(images, field):
    config = NOTHING.replace(**{field: INTENSITY.get(field, 0.3)})
    assert not np.array_equal(run_in_pipeline(config, images), images)


@pytest.mark.parametrize(
    ("field", "largest"),
    [
        ("intensity_rate", 1),
        ("calm_share", 1),
        ("stripping", 1),
        ("gamma", 0.6),
        ("bias_field", 0.6),
        ("blur", 1),
        ("noise", 0.5),
        ("tone_curve", 0.8),
        ("degradation", 0.7),
    ],
)
def test_each_step_takes_its_largest_value_and_no_more(images, field, largest):
    config = build_config({"augmentation": {field: largest}}).augmentation
    assert np.isfinite(run_in_pipeline(config, images)).all()
    for value in (-0.1, largest + 0.01):
        expected = rf"augmentation.{field}: expected float at least 0, at most {largest}(\.0)?, got {value}"
        with pytest.raises(ConfigError, match=expected):
            build_config({"augmentation": {field: value}})


def test_the_last_epochs_are_calmer():
    config = AugmentationConfig(
        gamma=0.6, noise=0.4, rotation=0.1, fill="nearest", calm_epochs=2, calm_share=0.25
    )
    assert [choose_variation(config, epoch, 5) for epoch in range(3)] == [config] * 3
    for calm in (choose_variation(config, epoch, 5) for epoch in (3, 4)):
        assert (calm.noise, calm.rotation, calm.zoom, calm.translation) == pytest.approx(
            (0.1, 0.025, 0.03, 0.015)
        )
        changed = {name for name, value in vars(calm).items() if value != getattr(config, name)}
        assert changed == {"noise", "rotation", "zoom", "translation"}  # blur and degradation are off
    assert choose_variation(AugmentationConfig(), 4, 5) == AugmentationConfig()


def test_there_are_no_more_calm_epochs_than_epochs():
    with pytest.raises(ConfigError, match=r"calm_epochs: expected at most optimization\.epochs, got 13"):
        build_config({"augmentation": {"calm_epochs": 13}, "optimization": {"epochs": 12}})


def test_flips_go_both_ways_independently():
    corner = np.zeros((256, 4, 4, 1), np.float32)
    corner[:, 0, 0] = 255
    images = run_in_pipeline(NOTHING.replace(flip="horizontal_and_vertical"), corner)
    counts = [(images[:, row, column, 0] > 0).sum() for row in (0, 3) for column in (0, 3)]
    assert sum(counts) == 256
    assert min(counts) > 30


def test_layers_draw_different_numbers():
    seeds = [layer.seed for layer in build_augmenter(EVERYTHING, seed=0).layers]
    assert len(seeds) == 10
    assert len(set(seeds)) == len(seeds)
    assert all(seeds)  # KerasCV takes zero for "unseeded"


def test_layers_stand_in_the_order_in_which_a_picture_comes_about():
    names = [type(layer).__name__ for layer in build_augmenter(EVERYTHING, seed=0).layers]
    scanned = ["RandomBiasField", "RandomBlur", "RandomNoise"]
    displayed = ["RandomGamma", "RandomToneCurve", "SeededBrightness", "SeededContrast"]
    assert names == ["RandomAffine", *scanned, "RandomStripping", *displayed, "RandomDegradation"]


def test_a_layer_draws_the_same_whichever_others_are_on():
    alone = build_augmenter(NOTHING.replace(contrast=0.25), seed=2).layers
    among = {type(layer): layer.seed for layer in build_augmenter(EVERYTHING, seed=2).layers}
    assert [layer.seed for layer in alone] == [among[type(alone[0])]]


@pytest.mark.parametrize("config", [AugmentationConfig(), EVERYTHING], ids=["default", "everything"])
def test_one_seed_one_sequence_that_goes_on(config):
    tf.random.set_seed(1)
    first = hash_batches(config, seed=3)
    tf.random.set_seed(2)
    assert hash_batches(config, seed=3) == first
    assert len(set(first)) == 6
    assert not set(hash_batches(config, seed=4)) & set(first)


def test_every_number_comes_from_the_layers_own_generator(images):
    """So whoever resets those generators, as after a restart, gets the same batch again."""
    augmenter = build_augmenter(EVERYTHING, seed=3)
    drawn = []
    for _ in range(2):
        for number, layer in enumerate(augmenter.layers):
            layer._random_generator.reset_from_seed(number + 1)
        drawn.append(augment_batch(augmenter, tf.constant(images)).numpy())
    np.testing.assert_array_equal(*drawn)


def test_another_process_gives_the_same_batches():
    code = "from test_augmentation import *\nprint(*hash_batches(EVERYTHING, seed=3))"
    paths = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[3])])
    result = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": paths},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    assert result.stdout.split() == hash_batches(EVERYTHING, seed=3)


def test_whole_batches_at_once(images):
    """No loop over images in the graph, which is how KerasCV's unvectorised layers work."""
    augmenter = build_augmenter(EVERYTHING, seed=1)
    graph = (
        tf.function(lambda images: augment_batch(augmenter, images))
        .get_concrete_function(images)
        .graph.as_graph_def()
    )
    operations = {
        node.op
        for part in (graph, *graph.library.function)
        for node in (part.node if part is graph else part.node_def)
    }
    assert "ImageProjectiveTransformV3" in operations
    assert not {operation for operation in operations if "While" in operation or "Map" in operation}


def test_a_mask_moves_with_its_image_and_grey_values_leave_it_alone():
    """A white disc is its own mask: where it moves, the mask says."""
    rows, columns = np.mgrid[:64, :64]
    disc = ((rows - 24) ** 2 + (columns - 40) ** 2 < 120).astype(np.float32)[np.newaxis, ..., np.newaxis]
    images, masks = 60 + 190 * np.repeat(disc, 32, axis=0), np.repeat(disc, 32, axis=0)
    grey = EVERYTHING.replace(stripping=0.0, noise=0.0, degradation=0.0)
    varied, moved = augment_with_masks(build_augmenter(grey, seed=1), tf.constant(images), tf.constant(masks))
    assert set(np.unique(moved)) == {0, 1}
    assert np.abs(moved.numpy() - masks).mean() > 0.01
    for image, mask in zip(varied.numpy(), moved.numpy(), strict=True):
        inside, outside = image[mask == 1], image[mask == 0]
        assert np.median(inside) > np.median(outside)
        middle = (np.median(inside) + np.median(outside)) / 2
        # Only the rim of the disc, where the image is interpolated, may be on the other side.
        assert (inside < middle).mean() + (outside > middle).mean() < 0.1


def test_images_are_the_same_with_and_without_masks(images):
    alone, beside = (build_augmenter(EVERYTHING, seed=3) for _ in range(2))
    varied, _ = augment_with_masks(beside, tf.constant(images), tf.zeros_like(images))
    np.testing.assert_array_equal(augment_batch(alone, tf.constant(images)), varied)
