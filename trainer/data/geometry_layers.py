"""Flip, turn, shift and zoom in one interpolation, as a KerasCV layer.

Goes in: images float32 (n, h, w, 1), [0, 255], or a dictionary with `images` and `segmentation_masks`, which
turn together. Comes out: the same shapes and ranges. KerasCV's four layers in
a row do the same in four passes, three of which interpolate: slower, and every pass blurs.
"""

import math
from typing import Any, get_args

import keras_cv
import tensorflow as tf

from trainer.config import Fill, Flip


class RandomAffine(keras_cv.layers.VectorizedBaseImageAugmentationLayer):
    """Flip, turn, shift and zoom of KerasCV, in that order, with one bilinear interpolation.

    Height and width are shifted and zoomed independently.

    Args:
        flip: one of `trainer.config.Flip`; each direction with probability one half.
        rotation: largest turn, share of a full turn.
        translation: largest shift, share of the side.
        zoom: largest change of scale, share.
        fill: what comes from outside the picture, one of `trainer.config.Fill`.
        seed: of the random numbers, not zero; without one (None, or zero as in all of KerasCV) they differ
            from run to run.
        **kwargs: of `keras.layers.Layer`. The type is float32 under every global policy.

    Example:
        >>> changed = RandomAffine("horizontal", rotation=0.04, seed=1)(tf.ones((2, 8, 8, 1)))
    """

    def __init__(
        self,
        flip: str = "none",
        rotation: float = 0.0,
        translation: float = 0.0,
        zoom: float = 0.0,
        fill: str = "black",
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(seed=seed, **{"dtype": "float32", **kwargs})
        for name, value, allowed in (("flip", flip, get_args(Flip)), ("fill", fill, get_args(Fill))):
            if value not in allowed:
                raise ValueError(f"RandomAffine: {name} expected as one of {', '.join(allowed)}, got {value}")
        self.flip, self.fill, self.seed = flip, fill, seed
        self.rotation, self.translation, self.zoom = rotation, translation, zoom

    def get_random_transformation_batch(self, batch_size: tf.Tensor, **kwargs: Any) -> dict[str, tf.Tensor]:
        """Draw signs, scales and shifts (width, height), float32 (n, 2), and angles, radians, (n,)."""
        uniform = self._random_generator.uniform
        flipped = [name in self.flip for name in ("horizontal", "vertical")]
        return {
            "signs": tf.where((uniform((batch_size, 2)) < 0.5) & flipped, -1.0, 1.0),
            "angles": 2 * math.pi * uniform((batch_size,), -self.rotation, self.rotation),
            "shifts": uniform((batch_size, 2), -self.translation, self.translation),
            "scales": uniform((batch_size, 2), 1 - self.zoom, 1 + self.zoom),
        }

    def augment_images(
        self, images: tf.Tensor, transformations: dict[str, tf.Tensor], **kwargs: Any
    ) -> tf.Tensor:
        """Sample the images at the places that the transformations name."""
        return self._sample(images, transformations, "BILINEAR")

    def augment_segmentation_masks(
        self, segmentation_masks: tf.Tensor, transformations: dict[str, tf.Tensor], **kwargs: Any
    ) -> tf.Tensor:
        """Sample the masks at the same places, the nearest pixel, so that no new values come about."""
        return self._sample(segmentation_masks, transformations, "NEAREST")

    def _sample(
        self, images: tf.Tensor, transformations: dict[str, tf.Tensor], interpolation: str
    ) -> tf.Tensor:
        size = tf.shape(images)[1:3]
        changed = tf.raw_ops.ImageProjectiveTransformV3(
            images=images,
            transforms=compute_transforms(size, **transformations),
            output_shape=size,
            fill_value=0.0,
            interpolation=interpolation,
            fill_mode={"black": "CONSTANT", "nearest": "NEAREST"}[self.fill],
        )
        return tf.ensure_shape(changed, images.shape)


def compute_transforms(
    size: tf.Tensor, signs: tf.Tensor, angles: tf.Tensor, shifts: tf.Tensor, scales: tf.Tensor
) -> tf.Tensor:
    """Compute where each pixel of the result comes from.

    With p a place in the result, measured from the centre, F the flip, R the turn, t the shift and Z the
    zoom, KerasCV's chain reads the picture at F R (Z p - t). As there, a scale above 1 makes the head
    smaller.

    Args:
        size: height and width, int32 (2,).
        signs: of width and height, -1 flips, float32 (n, 2).
        angles: radians, float32 (n,).
        shifts: of width and height, share of the side, float32 (n, 2).
        scales: of width and height, float32 (n, 2).

    Returns:
        float32 (n, 8), as `ImageProjectiveTransformV3` takes them: x' = a0 x + a1 y + a2, y' = b0 x + b1
        y + b2.
    """
    sides = tf.cast(size[::-1], tf.float32)
    centre = (sides - 1) / 2
    cosine, sine = tf.cos(angles), tf.sin(angles)
    turns = tf.stack([tf.stack([cosine, -sine], axis=-1), tf.stack([sine, cosine], axis=-1)], axis=-2)
    turns *= signs[:, :, tf.newaxis]
    linear = turns * scales[:, tf.newaxis, :]
    offsets = (
        centre
        - tf.linalg.matvec(linear, tf.broadcast_to(centre, tf.shape(shifts)))
        - tf.linalg.matvec(turns, shifts * sides)
    )
    rows = tf.concat([linear, offsets[:, :, tf.newaxis]], axis=-1)
    return tf.concat([tf.reshape(rows, (-1, 6)), tf.zeros_like(shifts)], axis=-1)
