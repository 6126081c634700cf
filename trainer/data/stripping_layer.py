"""Random removal of what surrounds the brain, skull and background, as a KerasCV layer.

Goes in: images float32 (n, h, w, 1), [0, 255], or a dictionary with `images` and `segmentation_masks`. Comes
out: the same shapes and ranges. Classes differ in what surrounds the brain: in borders, and in whether the
skull was removed. A network that may rely on it does not look at the brain. Rough on purpose, as quick
methods of skull stripping are: it has to be possible for a whole batch at once, and no measure of the brain
is made with it.
"""

from typing import Any

import keras_cv
import tensorflow as tf

# The head is looked for in means of squares of this side, pixels: noise and letters vanish.
SQUARE = 4
# A place belongs to the head if it is brighter than this share of the picture's mean.
DARKEST = 0.5
# Size of what is kept, share of the head. Scalp and skull take some 9 % of its width on either side (head
# about 150 mm, brain about 125 to 130 mm); 1 removes the background alone.
KEPT = (0.78, 1.0)


class RandomStripping(keras_cv.layers.VectorizedBaseImageAugmentationLayer):
    """Make everything black outside of the head's outline, which is shrunk towards its centre.

    Masks are cut alike: a part of a tumour that is not to be seen is not asked for. A picture without skull
    loses some of its rim.

    Args:
        rate: probability that an image is changed, [0, 1].
        seed: of the random numbers, not zero; without one (None, or zero as in all of KerasCV) they differ
            from run to run.
        **kwargs: of `keras.layers.Layer`. The type is float32 under every global policy.

    Example:
        >>> changed = RandomStripping(rate=0.5, seed=1)(tf.ones((2, 8, 8, 1)))
    """

    def __init__(self, rate: float = 1.0, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(seed=seed, **{"dtype": "float32", **kwargs})
        if not 0 <= rate <= 1:
            raise ValueError(f"RandomStripping: rate expected in [0, 1], got {rate}")
        self.rate, self.seed = rate, seed

    def get_random_transformation_batch(
        self, batch_size: tf.Tensor, images: tf.Tensor, **kwargs: Any
    ) -> dict[str, tf.Tensor]:
        """Draw who is changed, and find what is kept of them.

        Returns:
            `chosen`, int64 (m, 1), and `kept`, float32 (m, h, w, 1), [0, 1].
        """
        uniform = self._random_generator.uniform
        chosen = tf.where(uniform((batch_size,)) < self.rate)
        shares = tf.gather_nd(uniform((batch_size, 2), *KEPT), chosen)
        return {"chosen": chosen, "kept": find_brain(tf.gather_nd(images, chosen), shares)}

    def augment_images(
        self, images: tf.Tensor, transformations: dict[str, tf.Tensor], **kwargs: Any
    ) -> tf.Tensor:
        """Keep the chosen images where they are to be kept."""
        chosen, kept = transformations["chosen"], transformations["kept"]
        return tf.tensor_scatter_nd_update(images, chosen, tf.gather_nd(images, chosen) * kept)

    def augment_segmentation_masks(
        self, segmentation_masks: tf.Tensor, transformations: dict[str, tf.Tensor], **kwargs: Any
    ) -> tf.Tensor:
        """Cut the masks alike; what is half visible stays."""
        sharp = transformations | {"kept": tf.round(transformations["kept"])}
        return self.augment_images(segmentation_masks, sharp)


def find_brain(images: tf.Tensor, shares: tf.Tensor) -> tf.Tensor:
    """Find roughly where the brain is: the head, filled, and shrunk towards its centre.

    Args:
        images: float32 (n, h, w, 1), [0, 255], h and w multiples of `SQUARE`.
        shares: of the head's height and width that are kept, float32 (n, 2).

    Returns:
        float32 (n, h, w, 1), 1 inside, 0 outside, with a soft edge of some pixels.
    """
    size = tf.shape(images)[1:3]
    means = tf.nn.avg_pool2d(images, SQUARE, SQUARE, "VALID")
    head = _fill(means > DARKEST * tf.reduce_mean(means, axis=(1, 2), keepdims=True))
    height, width = means.shape[1:3]
    grid = tf.stack(tf.meshgrid(tf.range(float(height)), tf.range(float(width)), indexing="ij"), axis=-1)
    area = tf.reduce_sum(head, axis=(1, 2)) + 1e-6
    centres = tf.reduce_sum(head * grid, axis=(1, 2)) / area
    # A place at centre + d is kept if centre + d / share belongs to the head. x before y, as the operation
    # has it.
    scales = 1 / shares
    offsets = centres * (1 - scales)
    zeros = tf.zeros_like(scales[:, 0])
    rows = [scales[:, 1], zeros, offsets[:, 1], zeros, scales[:, 0], offsets[:, 0], zeros, zeros]
    kept = tf.raw_ops.ImageProjectiveTransformV3(
        images=head,
        transforms=tf.stack(rows, axis=1),
        output_shape=tf.shape(means)[1:3],
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="CONSTANT",
    )
    return tf.ensure_shape(tf.image.resize(kept, size), images.shape)


def _fill(places: tf.Tensor) -> tf.Tensor:
    """Fill what lies between places (n, h, w, 1) in its row and in its column: float32, 0 or 1."""
    found = tf.cast(places, tf.float32)
    sides = [tf.cumsum(found, axis=axis, reverse=reverse) > 0 for axis in (1, 2) for reverse in (False, True)]
    return tf.cast(tf.reduce_all(tf.stack(sides), axis=0), tf.float32)
