"""From trained weights to the two model files of an artefact, with one set of numbers in both.

Goes in: the best weights of a run. Comes out: `model.keras` (fine-tuning, plain Keras, no custom code) and
`model.tflite` (serving). Kernels are rounded to half precision once, before either file is written: that lets
`model.keras` compress to little more than half its size, and both files still compute exactly the same
network in float32.
"""

import tempfile
import zipfile
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from serving.model.keras_runtime import build_serving_model
from trainer.config import Config
from trainer.models.build import build_model, use_dtype_policy


def load_best_model(config: Config, weights: Path, classes: int) -> keras.Model:
    """Rebuild the network in float32 and load the weights, kernels rounded to half precision.

    What it was pretrained with is not needed for that. The dtype policy of the process stays.

    Args:
        config: of the run.
        weights: `best.weights.h5`.
        classes: number of labels.
    """
    with use_dtype_policy("float32"):
        model = build_model(config.model.replace(pretrained=False), config.data.image_size, classes)
    model.load_weights(weights)
    for variable in model.trainable_variables:
        if len(variable.shape) > 1:
            variable.assign(np.asarray(variable).astype(np.float16).astype(np.float32))
    return model


def save_keras(model: keras.Model, path: Path) -> None:
    """Save `model.keras` and compress it; Keras stores its zip uncompressed."""
    with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        plain = Path(scratch) / path.name
        model.save(plain)
        with zipfile.ZipFile(plain) as source, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target:
            for name in source.namelist():
                target.writestr(name, source.read(name))


def save_litert(model: keras.Model, path: Path) -> None:
    """Save `model.tflite`: float32 (n, size, size, 1), [0, 255] -> logits, maps, embedding."""
    with use_dtype_policy("float32"):
        serving_model = build_serving_model(model)
    specification = tf.TensorSpec((None, *model.input_shape[1:]), tf.float32, name="images")
    with tempfile.TemporaryDirectory() as scratch:
        archive = keras.export.ExportArchive()
        archive.track(serving_model)
        archive.add_endpoint(
            "serving_default",
            lambda images: serving_model(images, training=False),
            input_signature=[specification],
        )
        archive.write_out(scratch, verbose=False)
        path.write_bytes(tf.lite.TFLiteConverter.from_saved_model(scratch).convert())
