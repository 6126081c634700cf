"""A model seen in another way while it learns: at another size, or without dropout.

Goes in: a functional model. Comes out: another one that shares every weight with it.
"""

import keras
import keras_cv


def resize_model(model: keras.Model, size: int) -> keras.Model:
    """View a model at another input size; both share every weight.

    Args:
        model: functional, without a layer that depends on the size.
        size: side of the new input, pixels.
    """
    if model.input_shape[1] == size:
        return model
    inputs = keras.Input((size, size, model.input_shape[-1]))
    return keras.models.clone_model(model, input_tensors=inputs, clone_function=lambda layer: layer)


def remove_dropout(model: keras.Model) -> keras.Model:
    """View a functional model without dropout, which would add to the variances; both share every weight."""

    def clone(layer: keras.layers.Layer) -> keras.layers.Layer:
        drops = isinstance(layer, keras.layers.Dropout | keras_cv.layers.DropPath)
        return keras.layers.Identity(name=layer.name) if drops else layer

    return keras.models.clone_model(model, clone_function=clone)
