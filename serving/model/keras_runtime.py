"""Keras: runs `model.keras` with the outputs of `model.tflite`.

Goes in: `model.keras`, which may come from anywhere. Comes out: logits, class activation maps, the
embedding and the tumour map. The file may hold Keras's own layers and weights and nothing else: no pickle, no
code, no assets. No other module of `serving` imports TensorFlow.
"""

import random
import threading
import zipfile
from pathlib import Path

import keras
import numpy as np

from serving.model.artefact import ArtefactError
from serving.model.runtime import MAX_BATCH, TUMOR_MAP_OUTPUT, Outputs, collect_outputs

FLATTEN_LAYER = "flatten"
EMBEDDING_LAYER = "embedding"
LOGITS_LAYER = "logits"
TUMOR_LOGITS_LAYER = "tumor_logits"
ARCHIVE_MEMBERS = {"metadata.json", "config.json", "model.weights.h5"}


class KerasModel:
    """One Keras model; calls from several threads wait for each other.

    Attributes:
        image_size: side of the input, pixels.

    Example:
        >>> from serving.model.artefact import BUNDLED, KERAS_FILE
        >>> model = KerasModel(BUNDLED / KERAS_FILE)
        >>> model.run(np.zeros((1, model.image_size, model.image_size, 1), np.uint8)).logits.shape
        (1, 4)
    """

    def __init__(self, path: Path):
        """Load `model.keras`; see `load_safely` for what is refused."""
        state = random.getstate()  # Keras takes from it a seed for each layer that it builds
        try:
            model = load_safely(path)
            self._model = build_serving_model(model)
        finally:
            random.setstate(state)
        self.image_size = int(model.input_shape[1])
        self._lock = threading.Lock()

    def run(self, images: np.ndarray) -> Outputs:
        """Score images, uint8 (n, size, size, 1), [0, 255], n at least 1."""
        with self._lock:
            outputs = self._model.predict(images.astype(np.float32), batch_size=MAX_BATCH, verbose=0)
        return collect_outputs({name: np.asarray(output) for name, output in outputs.items()})


def load_safely(path: Path) -> keras.Model:
    """Load a `.keras` file of unknown origin; nothing in it is run.

    Raises:
        ArtefactError: it is damaged, holds more than a model, or would run code.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            others = set(archive.namelist()) - ARCHIVE_MEMBERS
    except (OSError, zipfile.BadZipFile) as error:  # Keras would call it not found
        problem = f"{path.name} is damaged or cut short ({error})"
        raise ArtefactError(f"{problem}. Download or export it again.") from error
    if others:
        names = ", ".join(sorted(others))
        raise ArtefactError(f"{path.name} holds {names} beside a model. It was not loaded; do not use it.")
    try:
        model = keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # of a file from anywhere: Keras raises whatever its parts do
        reason = str(error).strip().partition("\n")[0]
        problem = f"{path.name} was refused or cannot be read by Keras: {reason}"
        raise ArtefactError(f"{problem} It was not loaded; do not use it.") from error
    if not isinstance(model, keras.Model) or len(model.inputs) != 1:
        problem = f"should hold one Keras model with one input; it holds a {type(model).__name__}"
        raise ArtefactError(f"{path.name} {problem}. Export it again.")
    return model


def build_serving_model(model: keras.Model) -> keras.Model:
    """Give the classifier more outputs, computed with the weights that it holds now.

    With pooled features each output is the mean over the picture and its mirror image. The class activation
    maps are exact: their spatial mean plus a term that belongs to no position is the logit. Behind pooled
    features that term is the last layer's bias, behind a dense layer also what that layer's biases add.

    Returns:
        Model with outputs {"logits": (n, classes), "cams": (n, h, w, classes), "embedding": (n, d)}, and
        where the classifier has a decoder, "tumor_map": (n, size / 4, size / 4, 1), the probability that a
        place is tumour.
    """
    is_dense = isinstance(model.get_layer(EMBEDDING_LAYER), keras.layers.Dense)
    last = model.get_layer(LOGITS_LAYER)
    outputs = (_split_dense if is_dense else _split_pooled)(model, last)
    logits = keras.ops.matmul(outputs["embedding"], last.kernel) + last.bias
    return keras.Model(model.input, {"logits": logits, **outputs})


def _split_pooled(model: keras.Model, last: keras.Layer) -> dict[str, keras.KerasTensor]:
    """Embedding and maps averaged over a picture and its mirror image, so that both get the same answer.

    Pooling and the last layer are linear, so the logits are the mean of the two logits, and the last layer
    applied at every position before pooling gives the class activation maps. The logits of the tumour map
    are averaged, too, before they become probabilities.

    Source: Zhou et al. 2016 (arXiv:1512.04150).
    """
    parts = [model.get_layer(EMBEDDING_LAYER).input]
    if any(layer.name == TUMOR_LOGITS_LAYER for layer in model.layers):
        parts.append(model.get_layer(TUMOR_LOGITS_LAYER).output)
    both = keras.ops.concatenate([model.input, keras.ops.flip(model.input, axis=2)], axis=0)
    features, *tumor_logits = (_average_views(part) for part in keras.Model(model.input, parts)(both))
    outputs = {
        "cams": keras.ops.matmul(features, last.kernel),
        "embedding": keras.ops.mean(features, axis=(1, 2)),
    }
    if tumor_logits:
        outputs[TUMOR_MAP_OUTPUT] = keras.ops.sigmoid(tumor_logits[0])
    return outputs


def _average_views(both: keras.KerasTensor) -> keras.KerasTensor:
    """Mean of maps (n, h, w, c) of pictures and of those of their mirror images, which come after them."""
    seen, mirrored = keras.ops.split(both, 2, axis=0)
    return (seen + keras.ops.flip(mirrored, axis=2)) / 2


def _split_dense(model: keras.Model, last: keras.Layer) -> dict[str, keras.KerasTensor]:
    """What each position adds to each logit through flatten, dense, ReLU and dense.

    For a given input a ReLU multiplies by 0 or 1, so the head is linear in its features. The sum over
    positions p and channels i, x[p, i] W1[p, i, j], can therefore be split by position: y[p, j]. Hidden unit
    j is relu(b1[j] + sum of y[p, j] over p), and position p adds the sum over the active j of
    y[p, j] W2[j, c] to logit c. That is gradient times input, and exact. The hidden units are summed up from
    y, so the kernel, nearly all of the network, is stored and multiplied once.
    """
    hidden, features = model.get_layer(EMBEDDING_LAYER), model.get_layer(FLATTEN_LAYER).input
    _, height, width, channels = features.shape
    positions = height * width
    by_position = keras.ops.transpose(keras.ops.reshape(features, (-1, positions, channels)), (1, 0, 2))
    kernel = keras.ops.reshape(hidden.kernel, (positions, channels, hidden.units))
    shares = keras.ops.matmul(by_position, kernel)
    embedding = keras.ops.relu(keras.ops.sum(shares, axis=0) + hidden.bias)
    active = keras.ops.cast(embedding > 0, "float32")
    cams = keras.ops.transpose(keras.ops.matmul(shares * active, last.kernel * positions), (1, 0, 2))
    return {"cams": keras.ops.reshape(cams, (-1, height, width, last.units)), "embedding": embedding}
