"""KerasCV layers that ignore their seed, drawing from it.

KerasCV 0.9's RandomBrightness and RandomContrast keep the seed that they are given, and then draw with
`tf.random` without it: two runs differ, or, once `tf.random.set_seed` is called, every epoch repeats the
numbers of the first. Here the draws come from the layer's own generator, so that one seed names one sequence
of batches that goes on from epoch to epoch.
"""

from typing import Any

import keras_cv
import tensorflow as tf


class SeededBrightness(keras_cv.layers.RandomBrightness):
    """`keras_cv.layers.RandomBrightness`, seeded.

    Example:
        >>> changed = SeededBrightness(0.1, seed=1)(tf.ones((2, 8, 8, 1)))
    """

    def get_random_transformation_batch(self, batch_size: tf.Tensor, **kwargs: Any) -> tf.Tensor:
        """Draw what is added to the images, float32 (n, 1, 1, 1)."""
        low, high = self.value_range
        drawn = self._random_generator.uniform((batch_size, 1, 1, 1), self.factor.lower, self.factor.upper)
        return (high - low) * drawn


class SeededContrast(keras_cv.layers.RandomContrast):
    """`keras_cv.layers.RandomContrast`, seeded.

    Example:
        >>> changed = SeededContrast((0, 255), 0.25, seed=1)(tf.ones((2, 8, 8, 1)))
    """

    def get_random_transformation_batch(self, batch_size: tf.Tensor, **kwargs: Any) -> tf.Tensor:
        """Draw what the distance to the mean is multiplied with, float32 (n, 1, 1, 1)."""
        return self._random_generator.uniform((batch_size, 1, 1, 1), self.factor.lower, self.factor.upper)
