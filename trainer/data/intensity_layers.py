"""What scanners and storage do to grey values, as KerasCV layers: a smooth field, blur, noise, curves, JPEG.

Goes in: images float32 (n, h, w, 1), [0, 255]. Comes out: the same shape and range. KerasCV 0.9 has nothing
of the kind but a RandomGaussianBlur, without a seed and with dark rims, and a RandomJpegQuality that takes
[0, 1] and maps image by image. Each layer draws a strength for every image of its own and leaves a share of
1 - `rate` of the images as they are, bit for bit.
"""

import abc
import itertools
import math
from typing import Any

import keras_cv
import numpy as np
import tensorflow as tf

WHITE = 255.0
# ITU-T T.81 (1992), table K.1: quantisation of luminance at quality 50.
JPEG_TABLE = np.array(
    [
        *(16, 11, 10, 16, 24, 40, 51, 61),
        *(12, 12, 14, 19, 26, 58, 60, 55),
        *(14, 13, 16, 24, 40, 57, 69, 56),
        *(14, 17, 22, 29, 51, 87, 80, 62),
        *(18, 22, 37, 56, 68, 109, 103, 77),
        *(24, 35, 55, 64, 81, 104, 113, 92),
        *(49, 64, 78, 87, 103, 121, 120, 101),
        *(72, 92, 95, 98, 112, 100, 103, 99),
    ],
    np.float32,
)


class RandomIntensity(keras_cv.layers.VectorizedBaseImageAugmentationLayer, abc.ABC):
    """Base of the layers here: who is changed, how strongly, and that range and type stay.

    A layer says in `change` what a drawn strength does. Only the chosen images are computed, so half the rate
    is half the cost.

    Args:
        factor: range of the strength as a pair, or a number for (0, number); each layer says what it
            measures.
        rate: probability that an image is changed, [0, 1].
        seed: of the random numbers, not zero; without one (None, or zero as in all of KerasCV) they differ
            from run to run.
        **kwargs: of `keras.layers.Layer`. The type is float32 under every global policy.

    Example:
        >>> changed = RandomGamma(0.3, rate=0.5, seed=1)(tf.ones((2, 8, 8, 1)))
    """

    def __init__(
        self, factor: float | tuple[float, float], rate: float = 1.0, seed: int | None = None, **kwargs: Any
    ) -> None:
        super().__init__(seed=seed, **{"dtype": "float32", **kwargs})
        self.low, self.high = self.parse_factor(factor)
        name = type(self).__name__
        if not 0 <= self.low <= self.high:
            raise ValueError(f"{name}: factor expected as a number or a rising pair, from 0, got {factor}")
        if not 0 <= rate <= 1:
            raise ValueError(f"{name}: rate expected in [0, 1], got {rate}")
        self.rate, self.seed = rate, seed

    def parse_factor(self, factor: float | tuple[float, float]) -> tuple[float, float]:
        """Read the range of the strength."""
        low, high = (0.0, factor) if isinstance(factor, int | float) else factor
        return float(low), float(high)

    def draw(self, count: int | tf.Tensor) -> dict[str, tf.Tensor]:
        """Draw the numbers of a batch, a row an image; `strength`, float32 (n, 1, 1, 1), is uniform."""
        return {"strength": self._random_generator.uniform((count, 1, 1, 1), self.low, self.high)}

    @abc.abstractmethod
    def change(self, images: tf.Tensor, draws: dict[str, tf.Tensor]) -> tf.Tensor:
        """Change images float32 (n, h, w, 1), [0, 255], by their draws; the result is clipped afterwards."""

    def get_random_transformation_batch(self, batch_size: tf.Tensor, **kwargs: Any) -> dict[str, tf.Tensor]:
        """Draw for every image whether it is changed, and the numbers of `draw`."""
        return {"chosen": self._random_generator.uniform((batch_size,)) < self.rate, **self.draw(batch_size)}

    def augment_images(
        self, images: tf.Tensor, transformations: dict[str, tf.Tensor], **kwargs: Any
    ) -> tf.Tensor:
        """Change the chosen images.

        Raises:
            ValueError: the images are not grey, or their size is not known when the graph is built.
        """
        if images.shape[-1] != 1 or None in images.shape[1:]:
            shape, name = tuple(images.shape), type(self).__name__
            raise ValueError(f"{name}: expected images (n, h, w, 1) with known h and w, got {shape}")
        draws = dict(transformations)
        chosen = tf.where(draws.pop("chosen"))

        def change_chosen() -> tf.Tensor:
            of_chosen = {name: tf.gather_nd(drawn, chosen) for name, drawn in draws.items()}
            changed = self.change(tf.gather_nd(images, chosen), of_chosen)
            return tf.tensor_scatter_nd_update(images, chosen, tf.clip_by_value(changed, 0.0, WHITE))

        return tf.cond(tf.size(chosen) > 0, change_chosen, lambda: images)

    def augment_segmentation_masks(self, segmentation_masks: tf.Tensor, **kwargs: Any) -> tf.Tensor:
        """Leave the masks as they are: grey values say nothing of places."""
        return segmentation_masks


class RandomGamma(RandomIntensity):
    """Gamma correction, 255 (x / 255)^g: displays and export filters differ by it. Black and white stay.

    Args:
        factor: smallest and largest exponent g, drawn evenly on the logarithmic scale; a number f stands for
            (1 / (1 + f), 1 + f).
        rate: as in `RandomIntensity`, like all further arguments.

    Example:
        >>> changed = RandomGamma(0.3, seed=1)(tf.ones((2, 8, 8, 1)))
    """

    def parse_factor(self, factor: float | tuple[float, float]) -> tuple[float, float]:
        """Read the range of exponents."""
        pair = (1 / (1 + factor), 1 + factor) if isinstance(factor, int | float) else factor
        return super().parse_factor(pair)

    def draw(self, count: int | tf.Tensor) -> dict[str, tf.Tensor]:
        """Draw exponents."""
        uniform = self._random_generator.uniform
        return {"exponent": tf.exp(uniform((count, 1, 1, 1), math.log(self.low), math.log(self.high)))}

    def change(self, images: tf.Tensor, draws: dict[str, tf.Tensor]) -> tf.Tensor:
        """Raise to the power, by logarithm: five times faster on a CPU than `**`."""
        # The logarithm of black is -inf, and its power 0.
        return WHITE * tf.exp(draws["exponent"] * tf.math.log(images / WHITE))


class RandomBiasField(RandomIntensity):
    """Smooth multiplicative field, as an uneven receive coil makes it. Black stays black.

    The logarithm of the field is a random polynomial of degree 3 in x and y without its constant, scaled to a
    largest magnitude of log(1 + strength). So the field lies within [1 / (1 + strength), 1 + strength] and
    touches one of the two.

    Source: polynomial model, Van Leemput et al. 1999, "Automated model-based bias field correction of MR
    images of the brain" (doi:10.1109/42.811268); as augmentation with random coefficients, Perez-Garcia et
    al. 2021, TorchIO (arXiv:2003.04696).

    Example:
        >>> changed = RandomBiasField(0.3, seed=1)(tf.ones((2, 8, 8, 1)))
    """

    DEGREES = [(row, column) for row in range(4) for column in range(4) if 0 < row + column <= 3]

    def draw(self, count: int | tf.Tensor) -> dict[str, tf.Tensor]:
        """Draw strengths and the coefficients of the polynomials."""
        coefficients = self._random_generator.uniform((count, len(self.DEGREES)), -1.0, 1.0)
        return {**super().draw(count), "coefficients": coefficients}

    def change(self, images: tf.Tensor, draws: dict[str, tf.Tensor]) -> tf.Tensor:
        """Multiply with the fields."""
        height, width = images.shape[1:3]
        # Legendre polynomials: of the same size and independent over the picture, so no degree dominates.
        rows, columns = (
            np.polynomial.legendre.legvander(np.linspace(-1, 1, side), 3).T for side in (height, width)
        )
        basis = np.stack([np.outer(rows[row], columns[column]).ravel() for row, column in self.DEGREES])
        shapes = tf.matmul(draws["coefficients"], basis.astype(np.float32))
        shapes /= tf.reduce_max(tf.abs(shapes), axis=1, keepdims=True) + 1e-6
        return images * tf.exp(tf.math.log1p(draws["strength"]) * tf.reshape(shapes, (-1, height, width, 1)))


class RandomBlur(RandomIntensity):
    """Gaussian blur: lower resolution, thicker slices, slight motion.

    The strength is the standard deviation in pixels. The edge is mirrored, so the mean of a picture stays. A
    black background stays black but for the rim of the head.

    Example:
        >>> changed = RandomBlur(1.0, seed=1)(tf.ones((2, 8, 8, 1)))
    """

    def change(self, images: tf.Tensor, draws: dict[str, tf.Tensor]) -> tf.Tensor:
        """Convolve columns, then rows; the images are channels of one picture, each with its own kernel."""
        radius = math.ceil(3 * self.high)
        offsets = tf.range(-radius, radius + 1, dtype=tf.float32)[:, tf.newaxis]
        sigma = tf.maximum(tf.reshape(draws["strength"], (1, -1)), 1e-3)
        kernels = tf.exp(-0.5 * (offsets / sigma) ** 2)
        kernels /= tf.reduce_sum(kernels, axis=0)
        pictures = tf.transpose(images, (3, 1, 2, 0))
        for axis, shape in ((1, (-1, 1)), (2, (1, -1))):
            # Gathered faster than tf.pad mirrors.
            mirrored = np.pad(np.arange(images.shape[axis]), radius, "symmetric")
            filters = tf.reshape(kernels, (*shape, tf.shape(images)[0], 1))
            padded = tf.gather(pictures, mirrored, axis=axis)
            pictures = tf.nn.depthwise_conv2d(padded, filters, (1, 1, 1, 1), "VALID")
        return tf.transpose(pictures, (3, 1, 2, 0))


class RandomNoise(RandomIntensity):
    """Rician noise, that of magnitude images: Gaussian noise in the real and the imaginary channel.

    The strength is its standard deviation as a share of the picture's own: noise belongs to the scan and not
    to the display, and as a share of the value range it would bury the lesions of dark pictures. Black does
    not stay black: without signal the magnitude of the noise is left (Rayleigh, mean 1.25 standard
    deviations), which is what a scanner records outside the head.

    Source: Gudbjartsson and Patz 1995, "The Rician distribution of noisy MRI data"
    (doi:10.1002/mrm.1910340618).

    Example:
        >>> changed = RandomNoise(0.1, seed=1)(tf.ones((2, 8, 8, 1)))
    """

    def change(self, images: tf.Tensor, draws: dict[str, tf.Tensor]) -> tf.Tensor:
        """Add both channels, as radius and angle: |x + s r e^(i a)|."""
        uniform = self._random_generator.uniform
        sigma = draws["strength"] * tf.math.reduce_std(images, axis=(1, 2, 3), keepdims=True)
        # Two uniform numbers a pixel cost half of two normal ones. Box and Muller 1958: r^2 = -2 log u is the
        # squared length of two independent standard normal numbers. 1 - [0, 1) has no zero.
        squared = -2 * tf.math.log(1 - uniform(tf.shape(images)))
        along = tf.sqrt(squared) * tf.cos(2 * math.pi * uniform(tf.shape(images)))
        return tf.sqrt(tf.maximum(images**2 + 2 * sigma * images * along + sigma**2 * squared, 0))


class RandomDegradation(RandomIntensity):
    """JPEG compression at the size of the model's input; public collections are full of it.

    The strength is the loss of quality: 0.7 stands for quality 30 of libjpeg. The result is what a decoder
    returns, whole numbers. Black stays black up to the rounding of the block's mean: at most 4 grey levels at
    quality 15, as in any JPEG.

    Source: ITU-T T.81 (1992), annexes A.3 and K.1; quality as in libjpeg's `jpeg_quality_scaling`.

    Example:
        >>> changed = RandomDegradation(0.5, seed=1)(tf.ones((2, 8, 8, 1)))
    """

    BLOCK = 8

    def change(self, images: tf.Tensor, draws: dict[str, tf.Tensor]) -> tf.Tensor:
        """Transform blocks of 8x8 pixels, round to multiples of the table's coefficients, transform back."""
        block, count = self.BLOCK, tf.shape(images)[0]
        height, width = images.shape[1:3]
        images = tf.pad(images, ((0, 0), (0, -height % block), (0, -width % block), (0, 0)), "SYMMETRIC")
        rows, columns = images.shape[1] // block, images.shape[2] // block
        blocks = tf.transpose(tf.reshape(images, (count, rows, block, columns, block)), (0, 1, 3, 2, 4))
        transform = _build_block_transform(block)
        coefficients = tf.matmul(tf.reshape(blocks, (-1, block**2)) - 128, transform, transpose_b=True)
        tables = tf.reshape(_scale_jpeg_table(draws["strength"]), (count, 1, block**2))
        coefficients = tf.round(tf.reshape(coefficients, (count, rows * columns, block**2)) / tables) * tables
        blocks = tf.round(tf.matmul(tf.reshape(coefficients, (-1, block**2)), transform) + 128)
        blocks = tf.transpose(tf.reshape(blocks, (count, rows, columns, block, block)), (0, 1, 3, 2, 4))
        return tf.reshape(blocks, tf.shape(images))[:, :height, :width]


class RandomToneCurve(RandomIntensity):
    """Random rising curve from black to white: other sequences and window settings.

    Black and white stay. The curve is linear between the points at 51, 102, 153 and 204; before it is scaled
    to end at white, its slopes are drawn evenly on the logarithmic scale from [1 / (1 + strength),
    1 + strength].

    Source: Zhou et al. 2019, Models Genesis (arXiv:1908.06912), section 2, non-linear transformation; linear
    pieces as in MONAI's RandHistogramShift.

    Example:
        >>> changed = RandomToneCurve(0.5, seed=1)(tf.ones((2, 8, 8, 1)))
    """

    SEGMENTS = 5

    def draw(self, count: int | tf.Tensor) -> dict[str, tf.Tensor]:
        """Draw slopes, scaled so that each curve ends at white."""
        places = self._random_generator.uniform((count, 1, 1, self.SEGMENTS), -1.0, 1.0)
        slopes = tf.exp(places * tf.math.log1p(super().draw(count)["strength"]))
        return {"slopes": slopes / tf.reduce_mean(slopes, axis=-1, keepdims=True)}

    def change(self, images: tf.Tensor, draws: dict[str, tf.Tensor]) -> tf.Tensor:
        """Sum the changes of slope at the control points; faster than looking up the piece of each pixel."""
        slopes = tf.unstack(draws["slopes"], axis=-1)
        steps = [slopes[0], *(after - before for before, after in itertools.pairwise(slopes))]
        changed = steps[0][..., tf.newaxis] * images
        for number, step in enumerate(steps[1:], start=1):
            changed += step[..., tf.newaxis] * tf.nn.relu(images - number * WHITE / self.SEGMENTS)
        return changed


def _build_block_transform(side: int) -> np.ndarray:
    """Matrix of the orthonormal two-dimensional cosine transform of flattened blocks (T.81, A.3.3)."""
    frequency, place = np.mgrid[:side, :side]
    scale = np.sqrt(np.where(frequency == 0, 1, 2) / side)
    cosines = scale * np.cos((2 * place + 1) * frequency * np.pi / (2 * side))
    return np.kron(cosines, cosines).astype(np.float32)


def _scale_jpeg_table(loss: tf.Tensor) -> tf.Tensor:
    """Quantisation tables, float32 (n, 1, 1, 64), of quality 100 (1 - loss), at least 1."""
    quality = tf.clip_by_value(tf.round(100 * (1 - loss)), 1, 100)
    percent = tf.where(quality < 50, tf.floor(5000 / quality), 200 - 2 * quality)
    return tf.clip_by_value(tf.floor((JPEG_TABLE * percent + 50) / 100), 1, 255)
