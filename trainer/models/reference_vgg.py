"""The published CNN that this project compares itself with, and the variants that its author dropped.

Goes in: which variant, the size of the input. Comes out: grey images and the last feature map, as Keras
tensors of a flat graph. It was published for colour pictures of 224 pixels; one grey channel is repeated
three times inside, so its parameters are exactly those that were published. Its author gives the
variants a name and no figure: what they change here is the plainest reading of the name. What each reaches
in a short training stands in `configs/README.md`.

Four blocks of one convolution (valid padding, ReLU; 32, 64, 128, 128 filters) and 2x2 max-pooling;
`trainer.models.build` puts the rest on top: flatten, dense 512 with ReLU, dropout, dense layer of the
classes. At 224 pixels and four classes the dense layers have 12 x 12 x 128 x 512 + 512 + 512 x 4 + 4 =
9,439,748 parameters behind 3x3 kernels:

| `reference_vgg` | what it changes | parameters of the convolutions | in all |
|---|---|---|---|
| | - | 896 + 18,496 + 73,856 + 147,584 = 240,832 | 9,680,580 |
| `_batchnorm` | batch normalisation (4 a filter) for bias | 240,832 + 3 x 352 filters = 241,888 | 9,681,636 |
| `_inception` | 1x1 to half before blocks 2 to 4 | 896 + 9,808 + 39,072 + 82,112 = 131,888 | 9,571,636 |
| `_large_kernels` | 5x5; leaves 10 x 10 cells | 2,432 + 51,264 + 204,928 + 409,728 = 668,352 | 7,224,516 |
| `_separable` | separable convolutions | 155 + 2,400 + 8,896 + 17,664 = 29,115 | 9,468,863 |
"""

import keras

FILTERS = (32, 64, 128, 128)
HIDDEN_UNITS = 512


def build_features(architecture: str, image_size: int) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """Build the network up to its last feature map.

    Args:
        architecture: a name of the table above.
        image_size: side of the input, pixels.

    Returns:
        Images (n, size, size, 1), [0, 255], and features (n, h, h, 128), not negative; h is 12 at 224
        pixels, 10 with large kernels.
    """
    images = keras.Input((image_size, image_size, 1), name="images")
    features = keras.layers.Concatenate(name="grey_to_colour")([images] * 3)
    features = keras.layers.Rescaling(1 / 255, name="rescaling")(features)
    for number, filters in enumerate(FILTERS, start=1):
        features = convolve(features, filters, architecture, f"block{number}")
        features = keras.layers.MaxPooling2D(2, name=f"block{number}_pool")(features)
    return images, features


def convolve(features: keras.KerasTensor, filters: int, architecture: str, block: str) -> keras.KerasTensor:
    """Apply the one convolution of a block as the variant has it.

    Sources: batch normalisation before the activation, Ioffe and Szegedy 2015 (arXiv:1502.03167), section
    3.2; 1x1 reductions, Szegedy et al. 2015 (arXiv:1409.4842), section 4; separable convolutions, Chollet
    2017 (arXiv:1610.02357).

    Args:
        features: (n, h, w, channels).
        filters: channels of the result.
        architecture: a name of the table above.
        block: prefix of the layers' names.
    """
    name, kernel = f"{block}_conv", 5 if architecture == "reference_vgg_large_kernels" else 3
    if architecture == "reference_vgg_batchnorm":
        features = keras.layers.Conv2D(filters, kernel, use_bias=False, name=name)(features)
        features = keras.layers.BatchNormalization(name=f"{block}_bn")(features)
        return keras.layers.ReLU(name=f"{block}_relu")(features)
    if architecture == "reference_vgg_separable":
        return keras.layers.SeparableConv2D(filters, kernel, activation="relu", name=name)(features)
    if architecture == "reference_vgg_inception" and block != "block1":
        half = features.shape[-1] // 2
        features = keras.layers.Conv2D(half, 1, activation="relu", name=f"{block}_reduce")(features)
    return keras.layers.Conv2D(filters, kernel, activation="relu", name=name)(features)
