"""One run as frozen dataclasses: every default is visible here with its reason; a TOML file says only what differs.

Goes in: a TOML file and `--set section.key=value` pairs. Comes out: a `Config`, or an error that names the
    valid keys.
"""

import dataclasses
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_type_hints

from serving.files.errors import UserError
from serving.preprocess import FITS

PRECISIONS = ("auto", "float32", "mixed_bfloat16", "mixed_float16")
VALIDATIONS = ("by_group", "by_image")
CACHES = ("memory", "file")
# The config of the dataset that has folds instead of splits, and how many.
FOLDED_DATASET, FOLDS = "tumor_ds/patient", 5
FILLS = ("black", "nearest")
FLIPS = ("none", "horizontal", "vertical", "horizontal_and_vertical")
EFFICIENTNET_LITE = ("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2")
REFERENCE_VGG = (
    "reference_vgg",
    "reference_vgg_batchnorm",
    "reference_vgg_inception",
    "reference_vgg_large_kernels",
    "reference_vgg_separable",
)
KERAS_CV_PREFIX = "keras_cv:"


class ConfigError(UserError):
    """A config that cannot be used; the message names the key, what was expected and what came."""


@dataclass(frozen=True)
class DataConfig:
    """What is learnt from.

    Attributes:
        dataset: TFDS name with its protocol.
        fold: which of the five folds of `tumor_ds/patient` is the test split, 1 to 5; of the others a tenth,
            in whole groups, is validation.
            0: not chosen yet, `tumor train --folds` trains all five; other datasets have splits of their own.
        image_size: side of the model's input, pixels. 192 needs 27 % fewer multiplications than 224.
        progressive_scales: shares of that side to begin with, rounded to a multiple of 32 pixels, each for an
            equal share of the epochs (Howard and Gugger 2020, fastai; Tan and Le 2021, arXiv:2104.00298). An
            epoch at half the side takes a third of the time.
        fit: `pad` to a square, which keeps proportions, or `stretch`, as the published CNN did; it travels in
            the artefact.
        validation: `by_group`, the split of the dataset, whole groups that training does not see; `by_image`:
            15 % of train and validation together, drawn by image, as the published CNN had it. Most of its
            images have a copy in train, so it tells how the official test split, which leaks alike, will turn
            out, and nothing else.
        cache: where preprocessed images are kept, uint8: `memory`, or `file`, in `~/.cache/brain-tumor-mri`,
            for a quicker restart. All of this collection at 192 pixels takes 210 MB, and as much again while
            it is learnt from.
        batch_size: images a step over all replicas.
    """

    dataset: str = "tumor_ds/official"
    fold: int = 0
    image_size: int = 192
    fit: str = "pad"
    validation: str = "by_group"
    cache: str = "memory"
    progressive_scales: tuple[float, ...] = (0.5, 0.67)
    batch_size: int = 32


@dataclass(frozen=True)
class AugmentationConfig:
    """How training images are varied; 0 switches a step off.

    The intensity steps that KerasCV lacks are off by default, but for gamma: which of them help is for
    experiments to say. Up to the largest values allowed, each step by itself leaves lesions recognisable by
    eye at 192 pixels.

    Attributes:
        flip: `none`, `horizontal`, `vertical` or `horizontal_and_vertical`. The collection itself holds
            mirrored copies.
        fill: what turns, shifts and zooms bring in from outside the picture: `black`, as scans have it, or
            `nearest`, the closest pixel.
        rotation: largest turn, share of a full turn (.04 is 14 degrees).
        zoom: largest change of scale, share of the size.
        translation: largest shift, share of the size.
        brightness: largest shift, share of the value range.
        contrast: largest change of contrast, share.
        intensity_rate: share of images that each of the following steps changes, up to the mixing; the others
            are left as they are, so that clean scans stay in view.
        gamma: exponents from 1 / (1 + gamma) to 1 + gamma, at most .6; displays and export filters differ by
            such a curve.
        bias_field: largest smooth local change of brightness, share, at most .6; receive coils shade
            pictures.
        blur: largest standard deviation, pixels, at most 1; scans differ in resolution.
        noise: largest standard deviation of Rician noise, share of the picture's own, at most .5, which is
            about 9 % of white in this collection.
        tone_curve: largest change of the slopes of a rising curve, share, at most .8; window settings differ.
        degradation: largest loss of JPEG quality, share, at most .7; most of the collection was compressed
            before.
        mixup: alpha of MixUp, at most 1; it mixes whole pictures and their labels.
        cutmix: alpha of CutMix, at most 1, not together with MixUp. A patch of background takes a share of
            the label along.
        calm_epochs: the last epochs, in which place and quality are varied less, so that what is learnt last
            are pictures much like those that the model will meet (He et al. 2019, arXiv:1909.09148). Grey
            values are varied as before: hospitals differ in them.
        calm_share: what is left then of the ranges of rotation, zoom, translation, blur, noise and
            degradation. Nothing is mixed then.
    """

    flip: str = "horizontal_and_vertical"
    fill: str = "black"
    rotation: float = 0.04
    zoom: float = 0.12
    translation: float = 0.06
    brightness: float = 0.1
    contrast: float = 0.25
    intensity_rate: float = 0.5
    gamma: float = 0.3
    bias_field: float = 0.0
    blur: float = 0.0
    noise: float = 0.0
    tone_curve: float = 0.0
    degradation: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0
    calm_epochs: int = 0
    calm_share: float = 0.5


@dataclass(frozen=True)
class ModelConfig:
    """What learns.

    Attributes:
        architecture: `efficientnet_lite0`: no squeeze-excitation and ReLU6, so it stays fast and exact on
            LiteRT; its weights are bundled. `efficientnet_lite1`, `efficientnet_lite2`: 23 and 43 % more
            parameters; `trainer/models/weights/convert.py` makes their weights. `keras_cv:PRESET`: a KerasCV
            backbone, as `keras_cv:efficientnetv2_b0_imagenet`, or the folder of a saved one; it is downloaded
            at its first use.
            `reference_vgg`: the published CNN that results are compared with, and the variants its author
            tried, `reference_vgg_batchnorm`, `_inception`, `_large_kernels`, `_separable`. Their convolutions
            without padding need 64 pixels, the large kernels 96.
        pretrained: start from ImageNet weights; there are none for reference_vgg.
        dropout: share of the embedding dropped before the last layer; reference_vgg was published with .5.
    """

    architecture: str = "efficientnet_lite0"
    pretrained: bool = True
    dropout: float = 0.2

    def __post_init__(self) -> None:
        is_preset = self.architecture.startswith(KERAS_CV_PREFIX) and self.architecture != KERAS_CV_PREFIX
        names = ", ".join((*EFFICIENTNET_LITE, *REFERENCE_VGG))
        known = is_preset or self.architecture in (*EFFICIENTNET_LITE, *REFERENCE_VGG)
        _require(known, "model.architecture", f"{names} or {KERAS_CV_PREFIX}PRESET", self.architecture)
        _require(
            not (self.pretrained and self.architecture in REFERENCE_VGG),
            "model.pretrained",
            f"false for {self.architecture}",
            self.pretrained,
        )
        _require(0 <= self.dropout < 1, "model.dropout", "in [0, 1)", self.dropout)


@dataclass(frozen=True)
class OptimizationConfig:
    """How it learns.

    Attributes:
        epochs: most passes over the training split; the cosine ends there.
        optimizer: `adamw` or `adam`; decoupled decay is what pretrained networks are usually fine-tuned with.
        learning_rate: the peak, reached after the warm-up, at `reference_batch_size` images a step.
        reference_batch_size: the batch that the learning rate is meant for.
        batch_scaling: how the rate grows with the batch: `none`, `linear` (Goyal et al. 2017) or `sqrt`.
            Adam's steps hardly depend on the size of gradients, so the square root is the milder rule.
        schedule: `cosine` to zero, or `constant`.
        weight_decay: decoupled, not on biases and batch norms; only for `adamw`.
        warmup_epochs: linear from near zero; pretrained features survive the first steps.
        plateau_patience: epochs without improvement of the validation loss after which the rate is lowered;
            0: never, as the cosine lowers it already.
        plateau_factor: what it is multiplied with then.
        plateau_floor: the rate, at `reference_batch_size` images a step, is not lowered below it.
        freeze_epochs: epochs in which only the last layers learn, before everything does. 0: the warm-up does
            the same job.
        ema_momentum: of the averaged weights that are validated and exported (.998: about three epochs at
            batch 32); it grows to this value from the start on; 0: the weights themselves.
        batch_norm_images: unvaried training images at full size from which the statistics of batch norms are
            computed anew before every validation; 0: the moving averages of training, which are of varied
            and, at first, of smaller pictures. After 8 epochs (96 and 128 pixels) 384 validation images of
            128 pixels came out at 95.8 % with the moving averages, at 95.3 % with fresh statistics of varied
            pictures, and at 98.7 % with fresh ones of unvaried pictures.
        label_smoothing: share of the target spread over all classes; a few labels of the collection are
            wrong.
        class_weights: `none`, or `balanced`: rare classes count more; the classes here are nearly even.
        monitor: `val_loss` or `val_accuracy`, which says what the best epoch is. Loss is finer on a few
            hundred images.
        early_stopping_patience: epochs without improvement before it stops; 0: never.
    """

    epochs: int = 12
    optimizer: str = "adamw"
    learning_rate: float = 1e-3
    reference_batch_size: int = 32
    batch_scaling: str = "sqrt"
    schedule: str = "cosine"
    weight_decay: float = 0.02
    warmup_epochs: float = 1.0
    plateau_patience: int = 0
    plateau_factor: float = 0.5
    plateau_floor: float = 1e-5
    freeze_epochs: int = 0
    ema_momentum: float = 0.998
    batch_norm_images: int = 1024
    label_smoothing: float = 0.05
    class_weights: str = "none"
    monitor: str = "val_loss"
    early_stopping_patience: int = 6


@dataclass(frozen=True)
class TrackingConfig:
    """Where it is logged, and how often it is saved.

    Attributes:
        wandb_project: Weights & Biases project.
        log_every: steps between logged losses.
        checkpoint_minutes: longest time between two checkpoints within an epoch; one is written after every
            epoch anyway.
        tensorboard: also write TensorBoard event files.
    """

    wandb_project: str = "brain-tumor-mri"
    log_every: int = 20
    checkpoint_minutes: float = 5.0
    tensorboard: bool = False


@dataclass(frozen=True)
class Config:
    """A whole run.

    Attributes:
        seed: of initialisation, shuffling and augmentation.
        precision: Keras dtype policy: `float32`, `mixed_bfloat16` (TPU, recent GPUs), `mixed_float16` (older
            GPUs; the loss is scaled), or `auto`, which picks by device.
    """

    seed: int = 0
    precision: str = "auto"
    data: DataConfig = field(default_factory=DataConfig)
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    optimization: OptimizationConfig = field(default_factory=OptimizationConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)

    def __post_init__(self) -> None:
        _check_choice("precision", self.precision, PRECISIONS)
        _check_augmentation(self.augmentation)
        _check_data(self.data)
        _check_sizes(self.data, self.model.architecture)
        _check_optimization(self.optimization)
        calm = self.augmentation.calm_epochs
        _require(
            0 <= calm <= self.optimization.epochs,
            "augmentation.calm_epochs",
            "from 0 to optimization.epochs",
            calm,
        )


def load_config(path: Path, overrides: list[str] | None = None) -> Config:
    """Read a TOML file over the defaults, then the overrides over both.

    Args:
        path: TOML with the fields that differ from the defaults, or from another file beside it: `extends =
            "NAME.toml"`.
        overrides: `section.key=value` or `key=value`, the value in TOML syntax; a bare word counts as a
            string.

    Raises:
        ConfigError: no such file, bad TOML, an unknown key (the valid ones are listed) or a value of the
            wrong kind.
    """
    values = _read_toml(path)
    for override in overrides or []:
        _apply_override(values, override)
    return build_config(values)


def build_config(values: dict[str, Any]) -> Config:
    """Build a `Config` from nested dictionaries, as in TOML or in an artefact's `config.json`."""
    return _build(Config, values, "")


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"Cannot read the config {path}: {error.strerror}") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from error
    if "extends" not in values:
        return values
    base = path.parent / _check_type("extends", values.pop("extends"), str)
    if base.resolve() == path.resolve():
        raise ConfigError(f"{path} extends itself; name another file.")
    return _merge(_read_toml(base), values)


def _merge(base: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    """Lay values over a base, section by section."""
    merged = dict(base)
    for key, value in values.items():
        below = base.get(key)
        merged[key] = _merge(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged


def _apply_override(values: dict[str, Any], override: str) -> None:
    name, separator, text = override.partition("=")
    if not separator:
        raise ConfigError(f"Expected --set key=value, got --set {override}")
    *sections, key = name.strip().split(".")
    for section in sections:
        values = values.setdefault(section, {})
        if not isinstance(values, dict):
            raise ConfigError(f"--set {override}: {section} is a value, not a section")
    try:
        values[key] = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        values[key] = text.strip()


def _build(cls: Any, values: dict[str, Any], prefix: str) -> Any:
    hints = get_type_hints(cls)
    for key in values:
        if key not in hints:
            raise ConfigError(
                f"Unknown key {prefix}{key}. Valid keys here: {', '.join(prefix + name for name in hints)}"
            )
    built = {}
    for key, value in values.items():
        if dataclasses.is_dataclass(hints[key]):
            if not isinstance(value, dict):
                raise ConfigError(f"{prefix}{key} is a section, expected [{prefix}{key}], got {value!r}")
            built[key] = _build(hints[key], value, f"{prefix}{key}.")
        else:
            built[key] = _check_type(f"{prefix}{key}", value, hints[key])
    return cls(**built)


def _check_type(name: str, value: Any, expected: Any) -> Any:
    if expected == tuple[float, ...]:
        if not isinstance(value, list | tuple) or not all(type(item) in (int, float) for item in value):
            raise ConfigError(f"{name}: expected a list of numbers, got {value!r}")
        return tuple(map(float, value))
    if expected is float and type(value) is int:
        return float(value)
    if type(value) is not expected:
        raise ConfigError(f"{name}: expected {expected.__name__}, got {value!r}")
    return value


def _check_augmentation(augmentation: AugmentationConfig) -> None:
    _check_choice("augmentation.flip", augmentation.flip, FLIPS)
    _check_choice("augmentation.fill", augmentation.fill, FILLS)
    for name in ("rotation", "zoom", "translation", "brightness", "contrast"):
        value = getattr(augmentation, name)
        _require(0 <= value < 1, f"augmentation.{name}", "in [0, 1)", value)
    largest = {
        "gamma": 0.6,
        "bias_field": 0.6,
        "blur": 1,
        "noise": 0.5,
        "tone_curve": 0.8,
        "degradation": 0.7,
    }
    largest.update({"intensity_rate": 1, "mixup": 1, "cutmix": 1, "calm_share": 1})
    for name, limit in largest.items():
        value = getattr(augmentation, name)
        _require(0 <= value <= limit, f"augmentation.{name}", f"in [0, {limit}]", value)
    _require(
        not (augmentation.mixup and augmentation.cutmix),
        "augmentation.cutmix",
        "0 where mixup is on",
        augmentation.cutmix,
    )


def _check_data(data: DataConfig) -> None:
    _require(0 <= data.fold <= FOLDS, "data.fold", f"from 0 to {FOLDS}", data.fold)
    _require(
        not data.fold or data.dataset == FOLDED_DATASET,
        "data.fold",
        f"0 for {data.dataset}, which has splits of its own",
        data.fold,
    )
    _check_choice("data.fit", data.fit, FITS)
    _check_choice("data.validation", data.validation, VALIDATIONS)
    _check_choice("data.cache", data.cache, CACHES)
    size = data.image_size
    _require(size >= 32 and size % 32 == 0, "data.image_size", "a positive multiple of 32", size)
    for scale in data.progressive_scales:
        _require(0 < scale < 1, "data.progressive_scales", "each in (0, 1)", scale)
    _require(data.batch_size >= 1, "data.batch_size", "at least 1", data.batch_size)


def _check_sizes(data: DataConfig, architecture: str) -> None:
    smallest = {"reference_vgg_large_kernels": 96}.get(
        architecture, 64 if architecture in REFERENCE_VGG else 32
    )
    _require(
        data.image_size >= smallest,
        "data.image_size",
        f"at least {smallest} for {architecture}",
        data.image_size,
    )
    fixed = architecture in REFERENCE_VGG and data.progressive_scales
    _require(
        not fixed,
        "data.progressive_scales",
        f"[] for {architecture}, whose dense layer fits one size",
        list(data.progressive_scales),
    )


def _check_optimization(optimization: OptimizationConfig) -> None:
    choices = {
        "optimizer": ("adamw", "adam"),
        "batch_scaling": ("none", "linear", "sqrt"),
        "schedule": ("cosine", "constant"),
        "class_weights": ("none", "balanced"),
        "monitor": ("val_loss", "val_accuracy"),
    }
    for name, allowed in choices.items():
        _check_choice(f"optimization.{name}", getattr(optimization, name), allowed)
    for name, least in {
        "epochs": 1,
        "reference_batch_size": 1,
        "plateau_patience": 0,
        "batch_norm_images": 0,
        "early_stopping_patience": 0,
    }.items():
        _require(
            getattr(optimization, name) >= least,
            f"optimization.{name}",
            f"at least {least}",
            getattr(optimization, name),
        )
    _require(
        optimization.learning_rate > 0, "optimization.learning_rate", "above 0", optimization.learning_rate
    )
    for name in ("ema_momentum", "label_smoothing"):
        _require(
            0 <= getattr(optimization, name) < 1,
            f"optimization.{name}",
            "in [0, 1)",
            getattr(optimization, name),
        )
    for name in ("warmup_epochs", "freeze_epochs"):
        value = getattr(optimization, name)
        _require(0 <= value < optimization.epochs, f"optimization.{name}", "from 0 to below epochs", value)
    _require(
        0 < optimization.plateau_factor < 1,
        "optimization.plateau_factor",
        "in (0, 1)",
        optimization.plateau_factor,
    )


def _check_choice(name: str, value: str, allowed: tuple[str, ...]) -> None:
    _require(value in allowed, name, " or ".join(allowed), value)


def _require(condition: bool, name: str, expected: str, value: Any) -> None:
    if not condition:
        raise ConfigError(f"{name}: expected {expected}, got {value!r}")
