"""What each augmentation costs, images a CPU-second, and whether a layer takes whole batches at once.

    python tests/benchmarks/benchmark_augmentation.py --size 192 --batch 32

Own layers run at their largest strength on every image (`intensity_rate` halves that by default). "By image"
means that the graph loops over the pictures of a batch, as KerasCV's layers on its unvectorised base class
do. CPU time of all threads is counted, so other work on the machine changes little; the table is printed.
"""

import argparse
import functools
import time
from collections.abc import Callable

import keras_cv
import numpy as np
import tensorflow as tf
from rich.console import Console
from rich.table import Table
from scipy.ndimage import gaussian_filter

from trainer.config import AugmentationConfig
from trainer.data.augmentation import VALUE_RANGE, augment_batch, augment_with_masks, build_augmenter
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

Augmentation = Callable[[tf.Tensor], tf.Tensor]
DEFAULT = AugmentationConfig()
STRIPPED = AugmentationConfig(stripping=0.25)
ALL_ON = AugmentationConfig(gamma=0.6, bias_field=0.6, blur=1.0, noise=0.5, tone_curve=0.8, degradation=0.7)


def build_kerascv_chain(
    config: AugmentationConfig,
) -> list[keras_cv.layers.VectorizedBaseImageAugmentationLayer]:
    """Six layers of KerasCV in a row with the ranges of the config."""
    layers, geometric = keras_cv.layers, {"fill_mode": "constant", "fill_value": 0.0}
    return [
        layers.RandomFlip(config.flip, seed=1),
        layers.RandomRotation(config.rotation, seed=2, **geometric),
        layers.RandomTranslation(config.translation, config.translation, seed=3, **geometric),
        layers.RandomZoom(config.zoom, config.zoom, seed=4, **geometric),
        layers.RandomBrightness(config.brightness, value_range=VALUE_RANGE, seed=5),
        layers.RandomContrast(VALUE_RANGE, config.contrast, seed=6),
    ]


def list_augmentations(size: int) -> dict[str, list[tuple[str, Augmentation]]]:
    """Name what is measured, by section of the table."""
    layers, chain = keras_cv.layers, build_kerascv_chain(DEFAULT)
    affine = RandomAffine(DEFAULT.flip, DEFAULT.rotation, DEFAULT.translation, DEFAULT.zoom, seed=1)
    own = [
        affine,
        SeededBrightness(DEFAULT.brightness, seed=1),
        SeededContrast(VALUE_RANGE, DEFAULT.contrast, seed=1),
    ]
    own += [
        RandomGamma(ALL_ON.gamma, seed=1),
        RandomBiasField(ALL_ON.bias_field, seed=1),
        RandomBlur(ALL_ON.blur, seed=1),
    ]
    with_masks = build_augmenter(DEFAULT, seed=1)
    own += [
        RandomStripping(seed=1),
        RandomNoise(ALL_ON.noise, seed=1),
        RandomToneCurve(ALL_ON.tone_curve, seed=1),
        RandomDegradation(ALL_ON.degradation, seed=1),
    ]
    unused = [
        layers.RandomCropAndResize((size, size), (0.8, 1.0), (0.9, 1.1)),
        layers.GridMask((0, 0.3)),
        layers.RandomGaussianBlur(7, (0, 1.0)),
    ]
    jpeg, randaugment = layers.RandomJpegQuality((30, 100)), layers.RandAugment(VALUE_RANGE)
    return {
        "chains": [
            ("default", functools.partial(augment_batch, build_augmenter(DEFAULT, seed=1))),
            (
                "default, images and masks",
                lambda images: augment_with_masks(with_masks, images, images / 255),
            ),
            (
                "default, a quarter stripped",
                functools.partial(augment_batch, build_augmenter(STRIPPED, seed=1)),
            ),
            (
                "default and every intensity step",
                functools.partial(augment_batch, build_augmenter(ALL_ON, seed=1)),
            ),
            ("six KerasCV layers, ranges of the default", keras_cv.layers.Augmenter(chain)),
        ],
        "layers of the chain": [(type(layer).__name__, layer) for layer in own],
        "KerasCV layers that one RandomAffine replaces": [
            (type(layer).__name__, layer) for layer in chain[:4]
        ],
        "KerasCV layers that are not used": [
            *((type(layer).__name__, layer) for layer in unused),
            ("RandomJpegQuality", lambda images: jpeg(images / 255)),
            (
                "RandAugment, three channels",
                lambda images: randaugment(tf.repeat(images, 3, axis=-1)),
            ),
        ],
    }


def measure(augment: Augmentation, batch: tf.Tensor, seconds: float) -> tuple[float, bool]:
    """Run an augmentation for some time.

    Returns:
        Images a CPU-second, and whether its graph has no loop.
    """

    function = tf.function(lambda images: augment(images))
    graph = function.get_concrete_function(batch).graph.as_graph_def()
    operations = {
        node.op
        for nodes in (graph.node, *(part.node_def for part in graph.library.function))
        for node in nodes
    }
    function(batch)
    images, started, cpu_started = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - started < seconds:
        function(batch)
        images += len(batch)
    return images / (time.process_time() - cpu_started), not any(
        "While" in operation for operation in operations
    )


def build_batch(count: int, size: int) -> tf.Tensor:
    """Smooth random texture, so that no layer meets an easy case."""
    texture = gaussian_filter(np.random.default_rng(0).normal(0, 1, (count, size, size, 1)), (0, 3, 3, 0))
    return tf.constant(np.clip(120 + 400 * texture, *VALUE_RANGE).astype(np.float32))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=192, help="side of the images, pixels")
    parser.add_argument("--batch", type=int, default=32, help="images a batch")
    parser.add_argument("--seconds", type=float, default=1.0, help="time for each row")
    arguments = parser.parse_args()
    batch = build_batch(arguments.batch, arguments.size)
    table = Table(
        "augmentation", "batch", title=f"{arguments.size}x{arguments.size}x1, batch {arguments.batch}"
    )
    table.add_column("images a CPU-second", justify="right")
    for section, augmentations in list_augmentations(arguments.size).items():
        table.add_section()
        table.add_row(f"[bold]{section}")
        for name, augment in augmentations:
            speed, vectorised = measure(augment, batch, arguments.seconds)
            table.add_row(name, "whole" if vectorised else "[red]by image", f"{speed:,.0f}")
    Console().print(table)


if __name__ == "__main__":
    main()
