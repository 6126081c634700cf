"""Every setting of a run with its range and its reason.

Goes in: nested dictionaries, as `trainer.cli.config_file` reads them from TOML. Comes out: a `Config`, or an
error that names the key, what was expected and what came. Light: no TensorFlow, so a misspelt key is told at
once.
"""

from typing import Annotated, Any, Literal, Self, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ModelWrapValidatorHandler, ValidationError, model_validator
from pydantic.fields import FieldInfo

from serving.files.errors import UserError
from serving.preprocess import Fit

# The config of the dataset that has folds instead of splits, and how many.
FOLDED_DATASET, FOLDS = "tumor_ds/patient", 5
Flip = Literal["none", "horizontal", "vertical", "horizontal_and_vertical"]
Fill = Literal["black", "nearest"]
EFFICIENTNET_LITE = ("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2")
REFERENCE_VGG = (
    "reference_vgg",
    "reference_vgg_batchnorm",
    "reference_vgg_inception",
    "reference_vgg_large_kernels",
    "reference_vgg_separable",
)
KERAS_CV_PREFIX = "keras_cv:"
# numpy takes no larger one.
LARGEST_SEED = 2**32 - 1
# Settings that were taken out in November 2026, because no config used them, each with the value that
# switched it off. Artefacts, run folders and recipes of folds from before still hold them.
REMOVED_SETTINGS: dict[str, dict[str, Any]] = {
    "augmentation": {"mixup": 0.0, "cutmix": 0.0},
    "optimization": {"freeze_epochs": 0, "class_weights": "none"},
}
_LIMITS = {
    "ge": "at least",
    "gt": "above",
    "le": "at most",
    "lt": "below",
    "multiple_of": "a multiple of",
    "min_length": "with a length of at least",
}

Count = Annotated[int, Field(ge=1)]
WholeNumber = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(ge=0, lt=1)]


class ConfigError(UserError):
    """A config that cannot be used; the message names the key, what was expected and what came.

    Example:
        >>> OptimizationConfig(epochs=0)
        Traceback (most recent call last):
        trainer.config.ConfigError: optimization.epochs: expected int at least 1, got 0
    """


def _require(condition: bool, key: str, expected: str, value: Any) -> None:
    if not condition:
        raise ConfigError(f"{key}: expected {expected}, got {value!r}")


class Settings(BaseModel):
    """Base of the sections of a config: they cannot be changed, and a bad value is a `ConfigError`.

    A whole number may stand for a float; nothing else is converted, and no number is infinite or NaN.

    Example:
        >>> OptimizationConfig().replace(epochs=3).epochs
        3
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )

    def replace(self, **changes: Any) -> Self:
        """Copy with other values, which are checked; `model_copy` of pydantic checks nothing.

        Raises:
            ConfigError: a value does not fit.
        """
        return type(self)(**dict(self) | changes)

    @model_validator(mode="wrap")
    @classmethod
    def _name_the_key(cls, values: Any, check: ModelWrapValidatorHandler[Self]) -> Self:
        try:
            return check(values)
        except ValidationError as error:
            raise ConfigError(_explain(cls, dict(error.errors(include_url=False)[0]))) from error


class DataConfig(Settings):
    """What is learnt from.

    Example:
        >>> DataConfig(dataset="tumor_ds/patient", fold=1).image_size
        192
    """

    dataset: Annotated[str, Field(min_length=1)] = "tumor_ds/official"
    """TFDS name with its protocol."""
    mix: dict[str, Annotated[float, Field(gt=0, lt=1)]] = {}
    """Further datasets by TFDS name, each with its share of the pictures of an epoch: `[data.mix]`,
    `"tumor_ds/lgg_tcga" = 0.2`. All their splits are learnt from, without copies of pictures that validation
    or test hold; those two stay as they are. The rest of an epoch is the training split, every picture once.
    Pictures of other hospitals and sequences are what helps there most: 35 % of another hospital's gliomas
    were named without them, 89 % with them. Own pictures are named likewise, and may lack some of the
    classes; built with `--folds`, or from a table, they have a fold of their own, see `fold`."""
    left_out: dict[str, Annotated[tuple[str, ...], Field(strict=False)]] = {}
    """By fold, datasets of `mix` that this fold's run does not learn from, since it is tested on them, too:
    another hospital is one of which nothing was learnt. `[data.left_out]`, `1 = ["tumor_ds/lgg_tcga"]`, so
    that the five runs of `tumor train --folds` answer both questions, and `tumor train --leave-out` for one
    run. The shares of the others stay as they are."""
    balance: Literal["none", "cells"] = "none"
    """`cells`: pictures of rare combinations of class, sequence and skull are drawn more often, by the square
    root, and at most four times as often; `none`: as the shares say."""
    fold: Annotated[int, Field(ge=0, le=FOLDS)] = 0
    """Which of the five folds of `tumor_ds/patient` is the test split; of the others a tenth, in whole
    groups, is validation. The same fold of every dataset that is mixed in is kept out of training, too: these
    are unseen patients of hospitals that were learnt from. 0: not chosen yet, `tumor train --folds` trains
    all five; other datasets have splits of their own."""
    image_size: Annotated[int, Field(ge=32, multiple_of=32)] = 192
    """Side of the model's input, pixels. 192 needs 27 % fewer multiplications than 224."""
    fit: Fit = "pad"
    """`pad` to a square, which keeps proportions, or `stretch`, as the published CNN did; it travels in the
    artefact."""
    validation: Literal["by_group", "by_image"] = "by_group"
    """`by_group`, the split of the dataset, whole groups that training does not see; `by_image`: 15 % of
    train and validation together, drawn by image, as the published CNN had it. Most of its images have a copy
    in train, so it tells how the official test split, which leaks alike, will turn out, and nothing else."""
    cache: Literal["memory", "file"] = "memory"
    """Where preprocessed images are kept, uint8: `memory`, or `file`, in `~/.cache/brain-tumor-mri`, for a
    quicker restart. All of this collection at 192 pixels takes 210 MB, and as much again while it is learnt
    from."""
    progressive_scales: Annotated[tuple[float, ...], Field(strict=False)] = (0.5, 0.67)
    """Shares of that side to begin with, rising, rounded to a multiple of 32 pixels, each for an equal share
    of the epochs (Howard and Gugger 2020, fastai; Tan and Le 2021, arXiv:2104.00298). An epoch at half the
    side takes a third of the time."""
    batch_size: Count = 32
    """Images a step over all replicas."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        scales = list(self.progressive_scales)
        fitting = scales == sorted(scales) and all(0 < scale < 1 for scale in scales)
        _require(fitting, "data.progressive_scales", "rising numbers, each above 0 and below 1", scales)
        _require(sum(self.mix.values()) < 1, "data.mix", "shares that sum up to less than 1", self.mix)
        others = f"other datasets than {self.dataset}, which has the rest"
        _require(self.dataset not in self.mix, "data.mix", others, self.mix)
        folds = [key for key in self.left_out if key not in map(str, range(FOLDS + 1))]
        _require(not folds, "data.left_out", f"folds from 0 to {FOLDS} as keys", folds)
        unknown = [name for names in self.left_out.values() for name in names if name not in self.mix]
        mixed = ", ".join(self.mix) or "none"
        _require(not unknown, "data.left_out", f"datasets of data.mix ({mixed})", unknown)
        return self

    @property
    def left_out_here(self) -> tuple[str, ...]:
        """Datasets of `mix` that this run is tested on."""
        return self.left_out.get(str(self.fold), ())

    @property
    def learnt_mix(self) -> dict[str, float]:
        """What of `mix` is learnt from."""
        return {name: share for name, share in self.mix.items() if name not in self.left_out_here}


class AugmentationConfig(Settings):
    """How training images are varied; 0 switches a step off.

    The intensity steps that KerasCV lacks are off by default, but for gamma: which of them help is for
    experiments to say. Up to the largest values allowed, each step by itself leaves lesions recognisable by
    eye at 192 pixels.

    Example:
        >>> AugmentationConfig(noise=0.12).rotation
        0.04
    """

    flip: Flip = "horizontal_and_vertical"
    """The collection itself holds mirrored copies."""
    fill: Fill = "black"
    """What turns, shifts and zooms bring in from outside the picture: `black`, as scans have it, or
    `nearest`, the closest pixel."""
    rotation: Share = 0.04
    """Largest turn, share of a full turn (.04 is 14 degrees)."""
    zoom: Share = 0.12
    """Largest change of scale, share of the size."""
    translation: Share = 0.06
    """Largest shift, share of the size."""
    brightness: Share = 0.1
    """Largest shift, share of the value range."""
    contrast: Share = 0.25
    """Largest change of contrast, share."""
    intensity_rate: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Share of images that each of the following steps changes; the others are left as they are, so that
    clean scans stay in view."""
    gamma: Annotated[float, Field(ge=0, le=0.6)] = 0.3
    """Exponents from 1 / (1 + gamma) to 1 + gamma; displays and export filters differ by such a curve."""
    bias_field: Annotated[float, Field(ge=0, le=0.6)] = 0.0
    """Largest smooth local change of brightness, share; receive coils shade pictures."""
    blur: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Largest standard deviation, pixels; scans differ in resolution."""
    noise: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    """Largest standard deviation of Rician noise, share of the picture's own; .5 is about 9 % of white in
    this collection."""
    tone_curve: Annotated[float, Field(ge=0, le=0.8)] = 0.0
    """Largest change of the slopes of a rising curve, share; window settings differ."""
    stripping: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of images whose surroundings, skull and background, are made black, roughly and in all classes
    alike. Where one class has other borders than the rest, or is stripped more often, a network learns that
    instead of the brain: one trained on pictures with skulls called 85 % of stripped gliomas healthy. Off by
    default: together with tone curves a quarter cost 3 points at home in a short training."""
    transplants: Annotated[float, Field(ge=0, le=0.6)] = 0.0
    """Share of the pictures known to be without a tumour that get the tumour of another picture of the batch,
    turned, scaled and with another contrast; they teach "a tumour of any kind", and where it is. Needs
    outlines. Without, a network learns which kinds of pictures have tumours."""
    removals: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of the outlined tumours to one side of a symmetric head that are covered by the mirror image of
    the other side; such pictures teach "no tumour". There is hardly any slice with contrast agent and without
    a tumour in public sets."""
    moved_weight: Annotated[float, Field(ge=0, le=1)] = 0.0
    """How much pictures that got or lost a tumour count in the loss of the classes; in that of the map they
    count as any other. At full weight the map held better on sources left out (AUC of tumour or none on
    low-grade gliomas .67 to .71), and the classes worse (.58 to .52, and 91.0 to 87.9 % at home)."""
    degradation: Annotated[float, Field(ge=0, le=0.7)] = 0.0
    """Largest loss of JPEG quality, share; most of the collection was compressed before."""
    calm_epochs: WholeNumber = 0
    """The last epochs, in which place and quality are varied less, so that what is learnt last are pictures
    much like those that the model will meet (He et al. 2019, arXiv:1909.09148). Grey values are varied as
    before: hospitals differ in them."""
    calm_share: Annotated[float, Field(ge=0, le=1)] = 0.5
    """What is left then of the ranges of rotation, zoom, translation, blur, noise and degradation."""


class ModelConfig(Settings):
    """What learns.

    Example:
        >>> ModelConfig(architecture="reference_vgg", pretrained=False).dropout
        0.2
    """

    architecture: str = "efficientnet_lite0"
    """`efficientnet_lite0`: no squeeze-excitation and ReLU6, so it stays fast and exact on LiteRT; its
    weights are bundled. `efficientnet_lite1`, `efficientnet_lite2`: 23 and 43 % more parameters;
    `trainer/models/weights/convert.py` makes their weights. `keras_cv:PRESET`: a KerasCV backbone, as
    `keras_cv:efficientnetv2_b0_imagenet`, or the folder of a saved one; it is downloaded at its first use.
    `reference_vgg`: the published CNN that results are compared with, and the variants its author tried,
    `reference_vgg_batchnorm`, `_inception`, `_large_kernels`, `_separable`. Their convolutions without
    padding need 64 pixels, the large kernels 96."""
    pretrained: bool = True
    """Start from ImageNet weights; there are none for reference_vgg."""
    start: str = ""
    """A model to start from, instead of the ImageNet weights of `pretrained`: `bundled`, the folder of an
    artefact or of a run, or `user/repo`, `user/repo@revision` on the Hub; of the same architecture. Given by
    `tumor train --from`. Its backbone and decoder are taken, and of its last layer the labels that both know.
    It has seen pictures: what it learnt from may hold those that a run is tested on."""
    dropout: Share = 0.2
    """Share of the embedding dropped before the last layer; reference_vgg was published with .5."""
    decoder_channels: WholeNumber = 0
    """Width of the decoder that maps where the tumour is, learnt from outlines. 48 adds 5.5 % to the
    multiplications of efficientnet_lite0, and 2.3 % to its parameters; 96 adds 16 and 5 %. 0: no map, as for
    a dataset without outlines; reference_vgg stays as it was published, without."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        name, names = self.architecture, (*EFFICIENTNET_LITE, *REFERENCE_VGG)
        known = name in names or (name.startswith(KERAS_CV_PREFIX) and name != KERAS_CV_PREFIX)
        _require(known, "model.architecture", f"{', '.join(names)} or {KERAS_CV_PREFIX}PRESET", name)
        has_weights = name not in REFERENCE_VGG
        _require(has_weights or not self.pretrained, "model.pretrained", f"false for {name}", self.pretrained)
        channels = self.decoder_channels
        plain = f"0 for {name}, which stays as it was published"
        _require(name not in REFERENCE_VGG or not channels, "model.decoder_channels", plain, channels)
        return self


class OptimizationConfig(Settings):
    """How it learns.

    Example:
        >>> OptimizationConfig(epochs=30).schedule
        'cosine'
    """

    epochs: Count = 12
    """Most passes over the training split; the cosine ends there."""
    optimizer: Literal["adamw", "adam"] = "adamw"
    """Decoupled decay is what pretrained networks are usually fine-tuned with."""
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    """The peak, reached after the warm-up, at `reference_batch_size` images a step."""
    reference_batch_size: Count = 32
    """The batch that the learning rate is meant for."""
    batch_scaling: Literal["none", "linear", "sqrt"] = "sqrt"
    """How the rate grows with the batch: `linear` (Goyal et al. 2017) or `sqrt`. Adam's steps hardly depend
    on the size of gradients, so the square root is the milder rule."""
    schedule: Literal["cosine", "constant"] = "cosine"
    """`cosine` to zero, or `constant`."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.02
    """Decoupled, not on biases and batch norms; only for `adamw`."""
    warmup_epochs: Annotated[float, Field(ge=0)] = 1.0
    """Linear from near zero; pretrained features survive the first steps. At most half of the epochs."""
    plateau_patience: WholeNumber = 0
    """Epochs without improvement of the validation loss after which the rate is lowered; 0: never, as the
    cosine lowers it already."""
    plateau_factor: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """What it is multiplied with then."""
    plateau_floor: Annotated[float, Field(ge=0)] = 1e-5
    """The rate, at `reference_batch_size` images a step, is not lowered below it."""
    ema_momentum: Share = 0.998
    """Of the averaged weights that are validated and exported (.998: about three epochs at batch 32); it
    grows to this value from the start on; 0: the weights themselves."""
    batch_norm_images: WholeNumber = 1024
    """Unvaried training images at full size from which the statistics of batch norms are computed anew before
    every validation; 0: the moving averages of training, which are of varied and, at first, of smaller
    pictures. After 8 epochs (96 and 128 pixels) 384 validation images of 128 pixels came out at 95.8 % with
    the moving averages, at 95.3 % with fresh statistics of varied pictures, and at 98.7 % with fresh ones of
    unvaried pictures."""
    label_smoothing: Share = 0.05
    """Share of the target spread over all classes; a few labels of the collection are wrong."""
    no_tumor_weight: Annotated[float, Field(ge=0, le=1)] = 0.5
    """How much a slice counts that is known to show no tumour while the kind of its patient's tumour is not
    given: learnt as "notumor". Such slices lie beside those with the tumour and may show pressure or
    swelling, so not as much as a healthy one. At half weight the share of unseen ones that were called
    notumor rose from 26 to 38 % in T1C, and from 69 to 86 % in FLAIR. 0: they teach nothing but the map."""
    map_bce_weight: Annotated[float, Field(ge=0)] = 4.0
    """Of the mean cross-entropy of the map's pixels beside the loss of the classes. Few pixels are tumour, so
    the mean is small: about .1 at the start."""
    map_dice_weight: Annotated[float, Field(ge=0)] = 0.5
    """Of 1 - Dice beside that, where there is a tumour: it counts the overlap, so small tumours weigh as much
    as large ones. With 4 and .5, tried once, 84 % of the peaks lay inside the outline and the classes lost
    nothing (91.6 beside 91.5 % on unseen patients)."""
    monitor: Literal["val_loss", "val_accuracy"] = "val_loss"
    """Which says what the best epoch is. Loss is finer on a few hundred images."""
    early_stopping_patience: WholeNumber = 6
    """Epochs without improvement before it stops; 0: never."""


class TrackingConfig(Settings):
    """Where it is logged, and how often it is saved.

    Example:
        >>> TrackingConfig(log_every=1).checkpoint_minutes
        5.0
    """

    wandb_project: Annotated[str, Field(min_length=1)] = "brain-tumor-mri"
    """Weights & Biases project."""
    log_every: Count = 20
    """Steps between logged losses."""
    checkpoint_minutes: Annotated[float, Field(ge=0)] = 5.0
    """Longest time between two checkpoints within an epoch; one is written after every epoch anyway."""
    tensorboard: bool = False
    """Also write TensorBoard event files."""


class Config(Settings):
    """A whole run.

    Example:
        >>> build_config({"seed": 3, "data": {"batch_size": 4}}).data.batch_size
        4
    """

    seed: Annotated[int, Field(ge=0, le=LARGEST_SEED)] = 0
    """Of initialisation, shuffling and augmentation."""
    precision: Literal["auto", "float32", "mixed_bfloat16", "mixed_float16"] = "auto"
    """Keras dtype policy: `mixed_bfloat16` (TPU, recent GPUs), `mixed_float16` (older GPUs; the loss is
    scaled), or `auto`, which picks by device."""
    data: DataConfig = DataConfig()
    """What is learnt from."""
    augmentation: AugmentationConfig = AugmentationConfig()
    """How training images are varied."""
    model: ModelConfig = ModelConfig()
    """What learns."""
    optimization: OptimizationConfig = OptimizationConfig()
    """How it learns."""
    tracking: TrackingConfig = TrackingConfig()
    """Where it is logged."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        calm, name, data = self.augmentation.calm_epochs, self.model.architecture, self.data
        enough = calm <= self.optimization.epochs
        _require(enough, "augmentation.calm_epochs", "at most optimization.epochs", calm)
        own_splits = f"0 for {data.dataset}, which has splits of its own"
        _require(not data.fold or data.dataset == FOLDED_DATASET, "data.fold", own_splits, data.fold)
        if name in REFERENCE_VGG:
            smallest = 96 if name == "reference_vgg_large_kernels" else 64
            size, scales = data.image_size, list(data.progressive_scales)
            _require(size >= smallest, "data.image_size", f"at least {smallest} for {name}", size)
            fixed = f"[] for {name}, whose dense layer fits one size"
            _require(not scales, "data.progressive_scales", fixed, scales)
        return self


def build_config(values: Any) -> Config:
    """Build a `Config` from nested dictionaries, as in an artefact's or a run's `config.json`.

    Raises:
        ConfigError: an unknown key (the valid ones are listed), or a value that does not fit.
    """
    return Config.model_validate(drop_removed_settings(values))


def drop_removed_settings(values: Any) -> Any:
    """Leave out what `REMOVED_SETTINGS` names where it is off; what is on stays, and is an unknown key."""
    if not isinstance(values, dict):
        return values
    kept = dict(values)
    for section, removed in REMOVED_SETTINGS.items():
        if isinstance(values.get(section), dict):
            pairs = values[section].items()
            kept[section] = {
                key: value for key, value in pairs if key not in removed or value != removed[key]
            }
    return kept


def _explain(section: type[Settings], error: dict[str, Any]) -> str:
    """Say which key pydantic complains of, what was expected and what came."""
    name, value = section.__name__.removesuffix("Config").lower(), error["input"]
    if not error["loc"]:
        where = f"{name} is a section, expected [{name}]" if name else "A config is a table of settings"
        return f"{where}, got {value!r}"
    prefix, key, fields = f"{name}." if name else "", error["loc"][0], section.model_fields
    if error["type"] == "extra_forbidden":
        valid = ", ".join(prefix + field for field in fields)
        return f"Unknown key {prefix}{key}. Valid keys here: {valid}"
    return f"{prefix}{key}: expected {_describe(fields[key])}, got {value!r}"


def _describe(field: FieldInfo) -> str:
    """Say in words what a field takes, as `float at least 0, below 1`."""
    kind: Any = field.annotation
    if get_origin(kind) is Literal:
        return " or ".join(get_args(kind))
    if get_origin(kind) is tuple:
        return "a list of numbers"
    if get_origin(kind) is dict:
        return "a table of shares above 0 and below 1"
    found = ((limit, name) for limit in field.metadata for name in _LIMITS if hasattr(limit, name))
    limits = ", ".join(f"{_LIMITS[name]} {getattr(limit, name)}" for limit, name in found)
    return f"{kind.__name__} {limits}".rstrip()
