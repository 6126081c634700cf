"""The network of a run, whatever its architecture: flat, grey input, float32 logits.

Goes in: images float32 (n, size, size, 1), [0, 255]. Comes out: logits float32 (n, classes), and from a model
with a decoder also tumour logits float32 (n, size / 4, size / 4, 1); softmax and sigmoid are applied outside.
Flat, because a flat model reloads with plain Keras. Everything in front of the head is the
backbone, and the head is one of two:
    pooled   average pooling, dropout, dense; class activation maps are exact. EfficientNet-Lite, KerasCV
    dense    flatten, dense 512 with ReLU, dropout, dense, as it was published. reference_vgg, its variants
"""

import contextlib
import re
from collections.abc import Iterator

import keras

from serving.model.keras_runtime import EMBEDDING_LAYER, FLATTEN_LAYER, LOGITS_LAYER, TUMOR_LOGITS_LAYER
from trainer.config import KERAS_CV_PREFIX, REFERENCE_VGG, ModelConfig
from trainer.models import efficientnet_lite, keras_cv_presets, reference_vgg
from trainer.models.decoder import build_tumor_logits


@contextlib.contextmanager
def use_dtype_policy(name: str) -> Iterator[None]:
    """Build layers under a dtype policy of Keras, and leave that of the process as it was."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def build_model(config: ModelConfig, image_size: int, classes: int) -> keras.Model:
    """Build the classifier, with pretrained weights where the config asks for them.

    Args:
        config: architecture, pretrained, dropout, decoder.
        image_size: side of the input, pixels.
        classes: number of labels.

    Returns:
        A functional model: float32 (n, size, size, 1), [0, 255] -> float32 logits (n, classes); with a
        decoder -> {"logits": the same, "tumor_logits": float32 (n, size / 4, size / 4, 1)}. Its layer
        `embedding` gives what the guard measures distances in: pooled features, or the 512 hidden units of
        reference_vgg.

    Raises:
        ConfigError: weights or a preset that cannot be had here, or a preset without the feature maps that
            a decoder needs; the message says what to do.
    """
    images, feature_maps = build_backbone(config, image_size)
    features = feature_maps[-1]
    if config.architecture in REFERENCE_VGG:
        flat = keras.layers.Flatten(name=FLATTEN_LAYER)(features)
        hidden = keras.layers.Dense(reference_vgg.HIDDEN_UNITS, activation="relu", name=EMBEDDING_LAYER)
        embedding = hidden(flat)
    else:
        embedding = keras.layers.GlobalAveragePooling2D(name=EMBEDDING_LAYER)(features)
    dropped = keras.layers.Dropout(config.dropout, name="dropout")(embedding)
    logits = keras.layers.Dense(classes, dtype="float32", name=LOGITS_LAYER)(dropped)
    outputs = logits
    if config.decoder_channels:
        tumor_logits = build_tumor_logits(feature_maps, config.decoder_channels, image_size)
        outputs = {LOGITS_LAYER: logits, TUMOR_LOGITS_LAYER: tumor_logits}
    return keras.Model(images, outputs, name=re.sub(r"\W+", "_", config.architecture))


def build_backbone(
    config: ModelConfig, image_size: int
) -> tuple[keras.KerasTensor, tuple[keras.KerasTensor, ...]]:
    """Build the backbone: grey images and feature maps (n, h, w, channels); the classes see the last one."""
    name, pretrained = config.architecture, config.pretrained
    if name in REFERENCE_VGG:
        images, features = reference_vgg.build_features(name, image_size)
        return images, (features,)
    if name.startswith(KERAS_CV_PREFIX):
        preset = name.removeprefix(KERAS_CV_PREFIX)
        return keras_cv_presets.build_backbone(preset, image_size, pretrained)
    return efficientnet_lite.build_backbone(name, image_size, pretrained)
