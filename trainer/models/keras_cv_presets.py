"""Any backbone of KerasCV by the name of its preset, made flat and grey, so that plain Keras reloads it.

Goes in: a preset's name, or a folder that KerasCV saved. Comes out: grey images and feature maps, as Keras
tensors of a flat graph. KerasCV downloads a preset, layout and weights, from Kaggle or Google Cloud at
its first use, and keeps it in ~/.cache/kagglehub or ~/.keras. EfficientNet, MobileNetV3, ResNet, DenseNet and
YOLOV8 can be made flat; CSPDarkNet, MiT and ViTDet cannot and are refused.
"""

import inspect
from pathlib import Path
from typing import Any

import keras
import keras_cv

from trainer.config import ConfigError

# KerasCV's names of the last layers at strides 4, 8 and 16.
INNER_LEVELS = ("P2", "P3", "P4")


def build_backbone(
    preset: str, image_size: int, pretrained: bool
) -> tuple[keras.KerasTensor, tuple[keras.KerasTensor, ...]]:
    """Build the network up to its last feature map.

    Args:
        preset: a name, as `efficientnetv2_b0_imagenet`, or the folder of a saved preset.
        image_size: side of the input, pixels.
        pretrained: load the preset's weights; without them its layout is downloaded all the same.

    Returns:
        Images (n, size, size, 1), [0, 255], repeated to three channels inside, and the last features
        (n, h, w, channels) at strides 4, 8 and 16, where the preset has them, and of the whole network.

    Raises:
        ConfigError: an unknown preset, one that cannot be had, or one that plain Keras could not reload.
    """
    backbone = load_backbone(preset, image_size, pretrained)
    try:
        flat = flatten_backbone(_expose_levels(backbone), image_size)
    except (TypeError, ValueError) as error:
        raise _not_plain(preset, type(backbone).__name__) from error
    custom = sorted(_find_custom_classes(keras.saving.serialize_keras_object(flat)))
    if custom:
        raise _not_plain(preset, ", ".join(custom))
    return flat.input, tuple(flat.outputs)


def _expose_levels(backbone: keras.Model) -> keras.Model:
    """View a backbone with its inner levels as further outputs, before the last."""
    levels = backbone.pyramid_level_inputs
    inner = [backbone.get_layer(levels[level]).output for level in INNER_LEVELS if level in levels]
    return keras.Model(backbone.input, [*inner, backbone.output])


def load_backbone(preset: str, image_size: int, pretrained: bool) -> keras.Model:
    """Load a preset for colour input in [0, 255]; KerasCV's weights were all trained with x / 255 inside.

    Raises:
        ConfigError: the preset is unknown, has no weights although they are asked for, or cannot be
            downloaded.
    """
    presets = list_presets()
    if preset not in presets and not Path(preset).is_dir():
        raise ConfigError(
            f"KerasCV has no preset {preset!r}. Choose one of: {', '.join(presets)}; or name the folder of a"
            " saved preset."
        )
    try:
        return keras_cv.models.Backbone.from_preset(
            presets.get(preset, preset),
            load_weights=pretrained,
            include_rescaling=True,
            input_shape=(image_size, image_size, 3),
        )
    # Keras raises a bare Exception for a failed download, kagglehub those of requests.
    except Exception as error:
        raise ConfigError(
            f"Cannot load the KerasCV preset {preset!r}: {error}\nA preset is downloaded at its first use:"
            " train once where Kaggle and Google Cloud can be reached, or copy ~/.cache/kagglehub or"
            " ~/.keras from there. If the preset has no weights, set model.pretrained=false or choose one"
            " whose name ends in _imagenet. Without a network, efficientnet_lite0 is bundled."
        ) from error


def list_presets() -> dict[str, str]:
    """List where each preset comes from, by its name, without asking the network."""
    classes: list[Any] = [cls for _, cls in inspect.getmembers(keras_cv.models, inspect.isclass)]
    backbones = [cls for cls in classes if issubclass(cls, keras_cv.models.Backbone)]
    handles = {name: entry.get("kaggle_handle") for cls in backbones for name, entry in cls.presets.items()}
    return {name: handle for name, handle in sorted(handles.items()) if handle}


def flatten_backbone(backbone: keras.Model, image_size: int) -> keras.Model:
    """Rebuild a backbone on grey input, KerasCV's own layers taken apart into those of Keras.

    Args:
        backbone: (n, size, size, 3) -> features, one map or several.
        image_size: side of the input, pixels.

    Returns:
        (n, size, size, 1) -> the same features for the grey channel three times; it shares the
        backbone's weights.
    """
    images = keras.Input((image_size, image_size, 1), name="images")
    colour = keras.layers.Concatenate(name="grey_to_colour")([images] * 3)

    def call(layer: Any, *arguments: Any, **options: Any) -> Any:
        arguments = tuple(colour if argument is images else argument for argument in arguments)
        return layer.call(*arguments, **options) if _is_custom(layer) else layer(*arguments, **options)

    flat = keras.models.clone_model(
        backbone, input_tensors=images, clone_function=lambda layer: layer, call_function=call
    )
    for layer in flat.layers:
        # MobileNetV3 passes a layer as activation; Keras has the same function, relu6(x + 3) / 6.
        if type(getattr(layer, "activation", None)).__name__ == "HardSigmoidActivation":
            layer.activation = keras.activations.hard_sigmoid
    return flat


def _is_custom(layer: Any) -> bool:
    return isinstance(layer, keras.layers.Layer) and not type(layer).__module__.startswith("keras.")


def _find_custom_classes(config: Any) -> set[str]:
    """Classes in a serialised model that `load_model(safe_mode=True)` refuses or cannot import."""
    if isinstance(config, dict):
        module = config.get("module")
        is_custom = isinstance(module, str) and module != "builtins" and module.split(".")[0] != "keras"
        found = {config["class_name"]} if is_custom or config.get("class_name") == "Lambda" else set()
        return found.union(*(_find_custom_classes(value) for value in config.values()))
    if isinstance(config, list | tuple):
        return set().union(*(_find_custom_classes(value) for value in config))
    return set()


def _not_plain(preset: str, classes: str) -> ConfigError:
    return ConfigError(
        f"The KerasCV preset {preset!r} cannot be made flat ({classes}), so plain Keras could not reload the"
        " model. Choose an EfficientNet, MobileNetV3, ResNet, DenseNet or YOLOV8 preset."
    )
