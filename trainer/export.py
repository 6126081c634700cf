"""From trained weights to the two model files of an artefact, with one set of numbers in both.

Goes in: the best weights of a run. Comes out: `model.keras` (fine-tuning, plain Keras, no custom code) and `model.tflite` (serving).
Kernels are rounded to half precision once, before either file is written: that lets `model.keras` compress to little more than
half its size, and both files still compute exactly the same network in float32.
"""

import dataclasses
import tempfile
import zipfile
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from trainer.config import Config
from trainer.models import EMBEDDING_LAYER, FLATTEN_LAYER, LOGITS_LAYER, build_model


def load_best_model(config: Config, weights: Path, classes: int) -> keras.Model:
    """Rebuild the network in float32, whatever precision it was trained in, and load the weights, kernels rounded to half precision.

    What it was pretrained with is not needed for that.

    Args:
        config: of the run.
        weights: `best.weights.h5`.
        classes: number of labels.
    """
    keras.config.set_dtype_policy("float32")
    model = build_model(dataclasses.replace(config.model, pretrained=False), config.data.image_size, classes)
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
    """Save `model.tflite`: images float32 (n, size, size, 1), [0, 255] -> logits, class activation maps, embedding."""
    serving_model = build_serving_model(model)
    specification = tf.TensorSpec((None, *model.input_shape[1:]), tf.float32, name="images")
    with tempfile.TemporaryDirectory() as scratch:
        archive = keras.export.ExportArchive()
        archive.track(serving_model)
        archive.add_endpoint("serving_default", lambda images: serving_model(images, training=False), input_signature=[specification])
        archive.write_out(scratch, verbose=False)
        path.write_bytes(tf.lite.TFLiteConverter.from_saved_model(scratch).convert())


def build_serving_model(model: keras.Model) -> keras.Model:
    """Give the classifier two more outputs, computed with the weights that it holds now.

    The maps are exact: their spatial mean plus a term that belongs to no position is the logit. Behind pooled features that term is the
    last layer's bias, behind a dense layer also what that layer's biases add.

    Returns:
        Model with outputs {"logits": (n, classes), "cams": (n, h, w, classes), "embedding": (n, d)}.
    """
    embedding = model.get_layer(EMBEDDING_LAYER)
    compute_outputs = _compute_dense_outputs if isinstance(embedding, keras.layers.Dense) else _compute_pooled_outputs
    return keras.Model(model.input, compute_outputs(model))


def _compute_pooled_outputs(model: keras.Model) -> dict[str, keras.KerasTensor]:
    """Class activation maps: the last layer applied at every position before pooling (Zhou et al. 2016, arXiv:1512.04150)."""
    embedding = model.get_layer(EMBEDDING_LAYER)
    kernel, _ = model.get_layer(LOGITS_LAYER).get_weights()
    project = keras.layers.Conv2D(kernel.shape[1], 1, use_bias=False, dtype="float32", name="cams")
    outputs = {"logits": model.output, "cams": project(embedding.input), "embedding": embedding.output}
    project.set_weights([kernel[None, None]])
    return outputs


def _compute_dense_outputs(model: keras.Model) -> dict[str, keras.KerasTensor]:
    """What each position adds to each logit through flatten, dense, ReLU and dense.

    For a given input a ReLU multiplies by 0 or 1, so the head is linear in its features, and the sum over positions p and channels i,
    x[p, i] W1[p, i, j], can be split by position: y[p, j]. Hidden unit j is relu(b1[j] + sum of y[p, j] over p), and position p adds
    the sum over the active j of y[p, j] W2[j, c] to logit c. That is gradient times input, and exact. The hidden units are summed up
    from y, so the kernel, nearly all of the network, is stored and multiplied once.
    """
    hidden, last = model.get_layer(EMBEDDING_LAYER), model.get_layer(LOGITS_LAYER)
    features = model.get_layer(FLATTEN_LAYER).input
    _, height, width, channels = features.shape
    positions = height * width
    by_position = keras.ops.transpose(keras.ops.reshape(features, (-1, positions, channels)), (1, 0, 2))
    shares = keras.ops.matmul(by_position, keras.ops.reshape(hidden.kernel, (positions, channels, hidden.units)))
    embedding = keras.ops.relu(keras.ops.sum(shares, axis=0) + hidden.bias)
    active = keras.ops.cast(embedding > 0, "float32")
    cams = keras.ops.transpose(keras.ops.matmul(shares * active, last.kernel * positions), (1, 0, 2))
    logits = keras.ops.matmul(embedding, last.kernel) + last.bias
    return {"logits": logits, "cams": keras.ops.reshape(cams, (-1, height, width, last.units)), "embedding": embedding}
