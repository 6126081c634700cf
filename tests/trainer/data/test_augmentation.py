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
from trainer.data.augmentation import augment_batch, build_augmenter, choose_variation

NOTHING = AugmentationConfig(
    flip="none", **dict.fromkeys(("rotation", "zoom", "translation", "brightness", "contrast", "gamma"), 0.0)
)
INTENSITY = {"bias_field": 0.5, "blur": 0.9, "noise": 0.1, "tone_curve": 0.6, "degradation": 0.6}
EVERYTHING = AugmentationConfig(**INTENSITY)
MIXING = ["mixup", "cutmix"]


def make_batch() -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (16, 24, 24, 1)).astype(np.float32)
    return images, np.eye(4, dtype=np.float32)[generator.integers(0, 4, 16)]


@pytest.fixture
def batch() -> tuple[np.ndarray, np.ndarray]:
    return make_batch()


def build_pipeline(config: AugmentationConfig, batch, seed: int = 1, batches: int = 1) -> tf.data.Dataset:
    augmenter = build_augmenter(config, seed)
    dataset = tf.data.Dataset.from_tensors(batch).repeat(batches)
    return dataset.map(lambda images, labels: augment_batch(augmenter, images, labels))


def run_in_pipeline(config: AugmentationConfig, batch) -> tuple[np.ndarray, np.ndarray]:
    return next(build_pipeline(config, batch).as_numpy_iterator())


def hash_batches(config: AugmentationConfig, seed: int) -> list[str]:
    """Hash three batches, and three more of a second pass."""
    dataset = build_pipeline(config, make_batch(), seed, batches=3)
    return [
        hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest()
        for _ in range(2)
        for images, labels in dataset.as_numpy_iterator()
    ]


@pytest.mark.parametrize("policy", ["float32", "mixed_float16", "mixed_bfloat16"])
@pytest.mark.parametrize("config", [AugmentationConfig(), EVERYTHING], ids=["default", "everything"])
def test_shapes_types_and_range_under_every_policy(batch, policy, config):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        images, labels = run_in_pipeline(config, batch)
    finally:
        keras.config.set_dtype_policy(before)
    assert images.shape == batch[0].shape
    assert images.dtype == labels.dtype == np.float32
    assert 0 <= images.min() <= images.max() <= 255
    np.testing.assert_array_equal(labels, batch[1])
    assert not np.array_equal(images, batch[0])


@pytest.mark.parametrize("policy", ["float32", "mixed_float16", "mixed_bfloat16"])
@pytest.mark.parametrize("field", MIXING)
def test_mixing_keeps_types_and_whole_labels_under_every_policy(batch, policy, field):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        images, labels = run_in_pipeline(AugmentationConfig(**{field: 1.0}), batch)
    finally:
        keras.config.set_dtype_policy(before)
    assert images.dtype == labels.dtype == np.float32
    assert labels.shape == batch[1].shape
    assert 0 <= labels.min() <= labels.max() <= 1
    np.testing.assert_allclose(labels.sum(axis=1), 1, atol=1e-5)
    assert (labels.max(axis=1) < 1).any()
    assert 0 <= images.min() <= images.max() <= 255


def test_every_field_switched_off_changes_nothing(batch):
    assert build_augmenter(NOTHING, seed=1).layers == []
    images, _ = run_in_pipeline(NOTHING, batch)
    np.testing.assert_array_equal(images, batch[0])


def test_no_image_chosen_changes_nothing(batch):
    images, _ = run_in_pipeline(
        AugmentationConfig(**{**vars(NOTHING), **INTENSITY, "gamma": 0.5, "intensity_rate": 0.0}), batch
    )
    np.testing.assert_array_equal(images, batch[0])


@pytest.mark.parametrize(
    "field", ["rotation", "zoom", "translation", "brightness", "contrast", "gamma", *INTENSITY, *MIXING]
)
def test_every_field_changes_images(batch, field):
    images, _ = run_in_pipeline(
        AugmentationConfig(**{**vars(NOTHING), field: INTENSITY.get(field, 0.3)}), batch
    )
    assert not np.array_equal(images, batch[0])


@pytest.mark.parametrize(
    ("field", "largest"),
    [
        ("intensity_rate", 1),
        ("calm_share", 1),
        ("gamma", 0.6),
        ("bias_field", 0.6),
        ("blur", 1),
        ("noise", 0.5),
        ("tone_curve", 0.8),
        ("degradation", 0.7),
        *((name, 1) for name in MIXING),
    ],
)
def test_each_step_takes_its_largest_value_and_no_more(batch, field, largest):
    config = build_config({"augmentation": {field: largest}}).augmentation
    assert np.isfinite(run_in_pipeline(config, batch)[0]).all()
    for value in (-0.1, largest + 0.01):
        with pytest.raises(
            ConfigError, match=rf"augmentation.{field}: expected in \[0, {largest}\], got {value}"
        ):
            build_config({"augmentation": {field: value}})


def test_mixup_and_cutmix_exclude_each_other():
    with pytest.raises(ConfigError, match=r"cutmix: expected 0 where mixup is on, got 0\.5"):
        build_config({"augmentation": {"mixup": 0.2, "cutmix": 0.5}})


def test_the_last_epochs_are_calmer():
    config = AugmentationConfig(
        gamma=0.6, noise=0.4, rotation=0.1, fill="nearest", mixup=0.2, calm_epochs=2, calm_share=0.25
    )
    assert [choose_variation(config, epoch, 5) for epoch in range(3)] == [config] * 3
    for calm in (choose_variation(config, epoch, 5) for epoch in (3, 4)):
        assert (calm.noise, calm.rotation, calm.zoom, calm.translation, calm.mixup) == pytest.approx(
            (0.1, 0.025, 0.03, 0.015, 0)
        )
        changed = {name for name, value in vars(calm).items() if value != getattr(config, name)}
        assert changed == {
            "noise",
            "rotation",
            "zoom",
            "translation",
            "mixup",
        }  # blur and degradation are off
    assert choose_variation(AugmentationConfig(), 4, 5) == AugmentationConfig()


@pytest.mark.parametrize("epochs", [-1, 13])
def test_there_are_no_more_calm_epochs_than_epochs(epochs):
    with pytest.raises(
        ConfigError, match=rf"augmentation.calm_epochs: expected from 0 to optimization.epochs, got {epochs}"
    ):
        build_config({"augmentation": {"calm_epochs": epochs}, "optimization": {"epochs": 12}})


def test_flips_go_both_ways_independently():
    corner = np.zeros((256, 4, 4, 1), np.float32)
    corner[:, 0, 0] = 255
    images, _ = run_in_pipeline(
        AugmentationConfig(**{**vars(NOTHING), "flip": "horizontal_and_vertical"}),
        (corner, np.zeros((256, 4), np.float32)),
    )
    counts = [(images[:, row, column, 0] > 0).sum() for row in (0, 3) for column in (0, 3)]
    assert sum(counts) == 256
    assert min(counts) > 30


def test_layers_draw_different_numbers():
    seeds = [layer.seed for layer in build_augmenter(EVERYTHING, seed=0).layers]
    assert len(seeds) == 9
    assert len(set(seeds)) == len(seeds)
    assert all(seeds)  # KerasCV takes zero for "unseeded"


def test_layers_stand_in_the_order_in_which_a_picture_comes_about():
    mixed = (
        build_augmenter(AugmentationConfig(**INTENSITY, mixup=0.2), seed=0).layers,
        build_augmenter(AugmentationConfig(cutmix=0.2), seed=0).layers,
    )
    names = [[type(layer).__name__ for layer in layers] for layers in mixed]
    scanned = ["RandomBiasField", "RandomBlur", "RandomNoise"]
    displayed = ["RandomGamma", "RandomToneCurve", "SeededBrightness", "SeededContrast"]
    assert names[0] == ["RandomAffine", *scanned, *displayed, "RandomDegradation", "SeededMixUp"]
    assert names[1] == ["RandomAffine", "RandomGamma", "SeededBrightness", "SeededContrast", "SeededCutMix"]


def test_a_layer_draws_the_same_whichever_others_are_on():
    alone = build_augmenter(AugmentationConfig(**{**vars(NOTHING), "contrast": 0.25}), seed=2).layers
    among = {type(layer): layer.seed for layer in build_augmenter(EVERYTHING, seed=2).layers}
    assert [layer.seed for layer in alone] == [among[type(alone[0])]]


@pytest.mark.parametrize(
    "extra",
    [{}, INTENSITY, {"mixup": 0.4}, {"cutmix": 1.0}],
    ids=["default", "everything", "mixup", "cutmix"],
)
def test_one_seed_one_sequence_that_goes_on(extra):
    config = AugmentationConfig(**extra)
    tf.random.set_seed(1)
    first = hash_batches(config, seed=3)
    tf.random.set_seed(2)
    assert hash_batches(config, seed=3) == first
    assert len(set(first)) == 6
    assert not set(hash_batches(config, seed=4)) & set(first)


@pytest.mark.parametrize(
    "extra", [INTENSITY, {"mixup": 0.4}, {"cutmix": 1.0}], ids=["everything", "mixup", "cutmix"]
)
def test_every_number_comes_from_the_layers_own_generator(batch, extra):
    """So whoever resets those generators, as after a restart, gets the same batch again."""
    augmenter = build_augmenter(AugmentationConfig(**extra), seed=3)
    drawn = []
    for _ in range(2):
        for number, layer in enumerate(augmenter.layers):
            layer._random_generator.reset_from_seed(number + 1)
        images, labels = augment_batch(augmenter, *map(tf.constant, batch))
        drawn.append(images.numpy().tobytes() + labels.numpy().tobytes())
    assert drawn[0] == drawn[1]


def test_another_process_gives_the_same_batches():
    configs = [EVERYTHING, AugmentationConfig(mixup=0.4), AugmentationConfig(cutmix=1.0)]
    code = f"from test_augmentation import *\nfor config in {configs!r}: print(*hash_batches(config, seed=3))"
    paths = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[3])])
    result = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": paths},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    assert result.stdout.split("\n")[:3] == [" ".join(hash_batches(config, seed=3)) for config in configs]


def test_whole_batches_at_once(batch):
    """No loop over images in the graph, which is how KerasCV's unvectorised layers work."""
    augmenter = build_augmenter(EVERYTHING, seed=1)
    graph = (
        tf.function(lambda images, labels: augment_batch(augmenter, images, labels))
        .get_concrete_function(*batch)
        .graph.as_graph_def()
    )
    operations = {
        node.op
        for part in (graph, *graph.library.function)
        for node in (part.node if part is graph else part.node_def)
    }
    assert "ImageProjectiveTransformV3" in operations
    assert not {operation for operation in operations if "While" in operation or "Map" in operation}
