"""The network: EfficientNet-Lite0 from KerasCV, flat, grey input, global average pooling and one dense layer.

Goes in: images float32 (n, size, size, 1), [0, 255]. Comes out: logits float32 (n, classes).
Flat, because a flat model reloads with plain Keras; global average pooling and dense, because then class activation maps are exact.
"""

from pathlib import Path

import keras
import keras_cv
import numpy as np

from trainer.config import ModelConfig

WEIGHTS = Path(__file__).parent / "weights" / "efficientnet_lite0_imagenet.npz"
# The ImageNet weights expect (x - 127) / 128: tensorflow/tpu, models/official/efficientnet/lite.
MEAN, STDDEV = 127.0, 128.0
FEATURES_LAYER = "top_activation"
EMBEDDING_LAYER = "embedding"
LOGITS_LAYER = "logits"


def build_model(config: ModelConfig, image_size: int, classes: int) -> keras.Model:
    """Build the classifier, with ImageNet weights where the config asks for them.

    Args:
        config: architecture, pretrained, dropout.
        image_size: side of the input, pixels.
        classes: number of labels.

    Returns:
        A functional model: float32 (n, size, size, 1), [0, 255] -> float32 logits (n, classes).
    """
    # Tan and Le 2019 (arXiv:1905.11946), Lite variant: https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite
    backbone = keras_cv.models.EfficientNetLiteBackbone(
        stackwise_kernel_sizes=[3, 3, 5, 3, 5, 5, 3],
        stackwise_num_repeats=[1, 2, 2, 3, 3, 4, 1],
        stackwise_input_filters=[32, 16, 24, 40, 80, 112, 192],
        stackwise_output_filters=[16, 24, 40, 80, 112, 192, 320],
        stackwise_expansion_ratios=[1, 6, 6, 6, 6, 6, 6],
        stackwise_strides=[1, 2, 2, 2, 1, 2, 1],
        width_coefficient=1.0,
        depth_coefficient=1.0,
        include_rescaling=True,
        input_shape=(image_size, image_size, 1),
    )
    rescaling = next(layer for layer in backbone.layers if isinstance(layer, keras.layers.Rescaling))
    rescaling.scale, rescaling.offset = 1 / STDDEV, -MEAN / STDDEV
    if config.pretrained:
        load_imagenet_weights(backbone)
    features = backbone.get_layer(FEATURES_LAYER).output
    embedding = keras.layers.GlobalAveragePooling2D(name=EMBEDDING_LAYER)(features)
    dropped = keras.layers.Dropout(config.dropout, name="dropout")(embedding)
    logits = keras.layers.Dense(classes, dtype="float32", name=LOGITS_LAYER)(dropped)
    return keras.Model(backbone.input, logits, name=config.architecture)


def load_imagenet_weights(backbone: keras.Model) -> None:
    """Fill a one-channel EfficientNet-Lite0 with the bundled ImageNet weights.

    The first kernel is summed over red, green and blue, which equals feeding the grey channel three times because all channels
    are normalised alike.

    Raises:
        ValueError: the archive does not fit the model.
    """
    with np.load(WEIGHTS, allow_pickle=False) as archive:
        arrays = [archive[name].astype(np.float32) for name in sorted(archive.files)]
    arrays[0] = arrays[0].sum(axis=2, keepdims=True)
    variables = _weights_in_source_order(backbone)
    if [array.shape for array in arrays] != [tuple(variable.shape) for variable in variables]:
        raise ValueError(f"{WEIGHTS.name} holds {len(arrays)} arrays that do not fit the backbone's {len(variables)} weights.")
    for variable, array in zip(variables, arrays, strict=True):
        variable.assign(array)


def _weights_in_source_order(backbone: keras.Model) -> list[keras.Variable]:
    return [variable for layer in backbone.layers for variable in layer.weights if "seed" not in variable.path]
