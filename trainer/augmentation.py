"""Label-safe variation of training images with KerasCV layers.

Goes in: batches {"images": float32 (n, h, w, 1), [0, 255]; "labels": float32 (n, classes)}. Comes out: the same shapes and ranges.
The grey channel is augmented before the model sees it: three equal channels would cost three times as much.
"""

import itertools
from typing import Any

import keras_cv
import tensorflow as tf

from trainer.config import AugmentationConfig

VALUE_RANGE = (0, 255)


def build_augmenter(config: AugmentationConfig, seed: int) -> keras_cv.layers.Augmenter:
    """Build the chain: flip, turn, shift, zoom, brightness, contrast.

    Every layer is pinned to float32: under a global mixed policy KerasCV layers would emit half precision, or fail.

    Args:
        config: ranges; a zero leaves its layer out.
        seed: of every layer's random numbers.
    """
    # Two layers with one seed would draw the same numbers, and zero means "unseeded" to KerasCV.
    seeds = itertools.count(1000 * seed + 1)

    def common() -> dict[str, Any]:
        return {"seed": next(seeds), "dtype": "float32"}

    def geometric() -> dict[str, Any]:
        return {"fill_mode": "constant", "fill_value": 0.0, **common()}

    layers = []
    if config.flip != "none":
        layers.append(keras_cv.layers.RandomFlip(config.flip, **common()))
    if config.rotation:
        layers.append(keras_cv.layers.RandomRotation(config.rotation, **geometric()))
    if config.translation:
        layers.append(keras_cv.layers.RandomTranslation(config.translation, config.translation, **geometric()))
    if config.zoom:
        layers.append(keras_cv.layers.RandomZoom(config.zoom, config.zoom, **geometric()))
    if config.brightness:
        layers.append(keras_cv.layers.RandomBrightness(config.brightness, value_range=VALUE_RANGE, **common()))
    if config.contrast:
        layers.append(keras_cv.layers.RandomContrast(VALUE_RANGE, config.contrast, **common()))
    return keras_cv.layers.Augmenter(layers)


def augment_batch(augmenter: keras_cv.layers.Augmenter, images: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Apply the chain to a batch and keep the value range.

    Args:
        augmenter: from `build_augmenter`.
        images: float32 (n, h, w, 1), [0, 255].
        labels: float32 (n, classes).
    """
    batch = augmenter({"images": images, "labels": labels})
    return tf.clip_by_value(batch["images"], *map(float, VALUE_RANGE)), batch["labels"]
