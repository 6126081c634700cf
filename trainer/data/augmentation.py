"""Label-safe variation of training images with KerasCV layers, whole batches at once.

Goes in: images float32 (n, h, w, 1), [0, 255], and perhaps masks of the same shape, [0, 1]. Comes out: the
same shapes and ranges; labels stay as they are.
The grey channel is augmented before the model sees it: three equal channels would cost three times as much.
"""

import itertools
from typing import Any

import keras
import keras_cv
import tensorflow as tf

from trainer.config import AugmentationConfig
from trainer.data.geometry_layers import RandomAffine
from trainer.data.intensity_layers import (
    RandomBiasField,
    RandomBlur,
    RandomDegradation,
    RandomGamma,
    RandomNoise,
    RandomToneCurve,
)
from trainer.data.seeded_layers import SeededBrightness, SeededContrast
from trainer.data.stripping_layer import RandomStripping

VALUE_RANGE = (0, 255)
CALMED = ("rotation", "zoom", "translation", "blur", "noise", "degradation")


def choose_variation(config: AugmentationConfig, epoch: int, epochs: int) -> AugmentationConfig:
    """Say how images are varied in an epoch, from 0 to `epochs` - 1: less so in the calm ones at the end."""
    if epoch < epochs - config.calm_epochs:
        return config
    return config.replace(**{name: getattr(config, name) * config.calm_share for name in CALMED})


def build_augmenter(config: AugmentationConfig, seed: int) -> keras_cv.layers.Augmenter:
    """Build the chain, in the order in which a picture comes about.

    The head is placed, scanned, perhaps stripped of its skull, displayed and stored.

    Called one batch after another, as in `Dataset.map` without `num_parallel_calls`, two chains with one
    config and one seed give the same sequence of batches, in any process and whatever `tf.random.set_seed`
    says. A chain goes on where it stands, so a second pass over the dataset draws new numbers. Each layer
    draws from its own `_random_generator` alone. Build it outside a distribution strategy's scope, which
    would move its state.

    Every layer is pinned to float32: under a global mixed policy KerasCV layers would emit half precision, or
    fail. The state of the random numbers is pinned to the CPU, where tf.data runs.

    Args:
        config: ranges; a zero leaves its layer out, and the numbers of the others as they are.
        seed: of all random numbers, below 2**53.
    """
    # Two layers with one seed would draw the same numbers, and zero means "unseeded" to KerasCV.
    seeds = itertools.count(1000 * seed + 1)
    layers: list[keras.layers.Layer] = []

    def add(wanted: bool | float, layer: type[keras.layers.Layer], **arguments: Any) -> None:
        number = next(seeds)
        if wanted:
            layers.append(layer(**arguments, seed=number, dtype="float32"))

    geometry = {name: getattr(config, name) for name in ("flip", "rotation", "translation", "zoom")}
    rate = config.intensity_rate
    with tf.device("CPU"):
        moved = set(geometry.values()) != {"none", 0}
        add(moved, RandomAffine, **geometry, fill=config.fill)
        add(config.bias_field, RandomBiasField, factor=config.bias_field, rate=rate)
        add(config.blur, RandomBlur, factor=config.blur, rate=rate)
        add(config.noise, RandomNoise, factor=config.noise, rate=rate)
        add(config.stripping, RandomStripping, rate=config.stripping)
        add(config.gamma, RandomGamma, factor=config.gamma, rate=rate)
        add(config.tone_curve, RandomToneCurve, factor=config.tone_curve, rate=rate)
        add(config.brightness, SeededBrightness, factor=config.brightness, value_range=VALUE_RANGE)
        add(config.contrast, SeededContrast, value_range=VALUE_RANGE, factor=config.contrast)
        add(config.degradation, RandomDegradation, factor=config.degradation, rate=rate)
    return keras_cv.layers.Augmenter(layers)


def augment_batch(augmenter: keras_cv.layers.Augmenter, images: tf.Tensor) -> tf.Tensor:
    """Apply the chain to images float32 (n, h, w, 1), [0, 255], and keep the value range."""
    return tf.clip_by_value(augmenter(images), *map(float, VALUE_RANGE))


def augment_with_masks(
    augmenter: keras_cv.layers.Augmenter, images: tf.Tensor, masks: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Apply the chain to images, and to masks float32 (n, h, w, 1), [0, 1], what moves or hides them.

    The images come out as without masks.
    """
    varied = augmenter({"images": images, "segmentation_masks": masks})
    return tf.clip_by_value(varied["images"], *map(float, VALUE_RANGE)), varied["segmentation_masks"]
