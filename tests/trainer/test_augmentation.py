import keras
import numpy as np
import pytest
import tensorflow as tf

from trainer.augmentation import augment_batch, build_augmenter
from trainer.config import AugmentationConfig

NOTHING = AugmentationConfig(flip="none", rotation=0, zoom=0, translation=0, brightness=0, contrast=0)


@pytest.fixture
def batch() -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (16, 24, 24, 1)).astype(np.float32)
    return images, np.eye(4, dtype=np.float32)[generator.integers(0, 4, 16)]


def run_in_pipeline(config: AugmentationConfig, batch) -> tuple[np.ndarray, np.ndarray]:
    augmenter = build_augmenter(config, seed=1)
    dataset = tf.data.Dataset.from_tensors(batch).map(lambda images, labels: augment_batch(augmenter, images, labels))
    return next(dataset.as_numpy_iterator())


@pytest.mark.parametrize("policy", ["float32", "mixed_float16", "mixed_bfloat16"])
def test_shapes_types_and_range_under_every_policy(batch, policy):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        images, labels = run_in_pipeline(AugmentationConfig(), batch)
    finally:
        keras.config.set_dtype_policy(before)
    assert images.shape == batch[0].shape
    assert images.dtype == labels.dtype == np.float32
    assert 0 <= images.min() <= images.max() <= 255
    np.testing.assert_array_equal(labels, batch[1])
    assert not np.array_equal(images, batch[0])


def test_every_field_switched_off_changes_nothing(batch):
    images, _ = run_in_pipeline(NOTHING, batch)
    np.testing.assert_array_equal(images, batch[0])


@pytest.mark.parametrize("field", ["rotation", "zoom", "translation", "brightness", "contrast"])
def test_every_field_changes_images(batch, field):
    images, _ = run_in_pipeline(AugmentationConfig(**{**vars(NOTHING), field: 0.3}), batch)
    assert not np.array_equal(images, batch[0])


def test_flips_go_both_ways_independently():
    corner = np.zeros((256, 4, 4, 1), np.float32)
    corner[:, 0, 0] = 255
    images, _ = run_in_pipeline(AugmentationConfig(**{**vars(NOTHING), "flip": "horizontal_and_vertical"}), (corner, np.zeros((256, 4), np.float32)))
    counts = [(images[:, row, column, 0] > 0).sum() for row in (0, 3) for column in (0, 3)]
    assert sum(counts) == 256
    assert min(counts) > 30


def test_layers_draw_different_numbers(batch):
    seeds = [layer.seed for layer in build_augmenter(AugmentationConfig(), seed=0).layers]
    assert len(set(seeds)) == len(seeds)
    assert all(seeds)  # KerasCV takes zero for "unseeded"
