"""How a model holds up on worse pictures: ten corruptions at three severities, scored.

Goes in: a loaded `Classifier` and decoded pictures. Comes out: a dictionary, as it stands in
`corruptions.json`. Pictures are changed at native size, before `serving.preprocess.fit_to_square`: that is
how a hospital's export is blurred or shrunk. The evaluation chooses nothing. Training varies its images by
weaker forms of some (by default turns, shifts, zooms, brightness, contrast and gamma), and the guard's
thresholds are fitted on validation slices with these very corruptions (`trainer.fitting.guard`), so the
figures, above all the share refused, say little about changes never seen.

Source: protocol and summary, Hendrycks and Dietterich 2019 (arXiv:1903.12261); each corruption cites its own
model where it has one. Severity 1 is hard to see; 3 is strong, but leaves the lesion recognisable.
"""

import hashlib
import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image
from rich.console import Console
from rich.progress import track
from scipy import ndimage, signal
from sklearn.metrics import f1_score

from serving import Classifier
from serving.model.artefact import NO_TUMOUR
from serving.preprocess import fit_to_square
from trainer.evaluation.bootstrap import GroupBootstrap, compute_interval
from trainer.evaluation.metrics import compute_calibration_error
from trainer.evaluation.predictions import Predictions

if TYPE_CHECKING:  # it imports TensorFlow
    from trainer.data.input_pipeline import Example

WHITE = 255.0
# 800 pictures of four classes take 3.3 CPU minutes at 224 pixels with the bundled model, about 5 at 512; as
# many of each class, so that a frequent one does not hide a rare one.
PICTURES_PER_CLASS = 200
ACQUISITION_MATRIX = 256
# Scored in other batches, the same model's probabilities differ in the last digits; another model's
# calibration error does not fit so well.
SAME_MODEL_TOLERANCE = 2e-3


def change_brightness(grey: np.ndarray, percent: float, rng: np.random.Generator) -> np.ndarray:
    """Add or take away a share of white, as another window level does; black and white are cut off."""
    return _to_uint8(grey + rng.choice([-1, 1]) * percent / 100 * WHITE)


def change_contrast(grey: np.ndarray, slope: float, rng: np.random.Generator) -> np.ndarray:
    """Stretch grey values about their mean by `slope`, at least 1, or shrink them by it, as another window width does."""
    mean = grey.mean()
    return _to_uint8(mean + slope ** rng.choice([-1.0, 1.0]) * (grey - mean))


def change_gamma(grey: np.ndarray, exponent: float, rng: np.random.Generator) -> np.ndarray:
    """Apply 255 (x / 255)^g with g the exponent, at least 1, or one over it: displays and export filters differ. Black and white stay."""
    return _to_uint8(WHITE * (grey / WHITE) ** exponent ** rng.choice([-1.0, 1.0]))


def add_noise(grey: np.ndarray, percent: float, rng: np.random.Generator) -> np.ndarray:
    """Add Rician noise, that of magnitude images: Gaussian of equal strength in the real and the imaginary channel.

    Its standard deviation is a share of the brightest tissue, here the 99th percentile, as in BrainWeb. It is
    drawn at 256 points a side at most and interpolated by Fourier transform, as scanners do: so a large
    picture does not lose it when it is made small.

    Source: Gudbjartsson and Patz 1995, "The Rician distribution of noisy MRI data"
    (doi:10.1002/mrm.1910340618); percentages, https://brainweb.bic.mni.mcgill.ca/faq.html.
    """
    sigma = percent / 100 * np.percentile(grey, 99)
    matrix = [min(side, round(side * ACQUISITION_MATRIX / max(grey.shape)) or 1) for side in grey.shape]
    noise = rng.normal(size=matrix) + 1j * rng.normal(size=matrix)
    for axis, side in enumerate(grey.shape):
        if side != matrix[axis]:
            noise = signal.resample(noise, side, axis=axis)
    return _to_uint8(np.abs(grey + sigma * noise))


def blur(grey: np.ndarray, percent: float, rng: np.random.Generator) -> np.ndarray:
    """Blur by a Gaussian whose standard deviation is a share of the longer side: lower resolution, slight motion. The edge is mirrored."""
    return _to_uint8(
        ndimage.gaussian_filter(grey.astype(np.float32), percent / 100 * max(grey.shape), mode="reflect")
    )


def compress_jpeg(grey: np.ndarray, quality: float, rng: np.random.Generator) -> np.ndarray:
    """Store as JPEG at a quality of libjpeg, 1 to 95, and decode."""
    file = io.BytesIO()
    Image.fromarray(grey).save(file, "JPEG", quality=int(quality))
    return np.asarray(Image.open(file))


def downscale(grey: np.ndarray, pixels: float, rng: np.random.Generator) -> np.ndarray:
    """Shrink until the longer side has so many pixels, with antialiasing (bicubic), and leave it small; smaller pictures stay as they are."""
    scale = pixels / max(grey.shape)
    height, width = (max(1, round(side * scale)) for side in grey.shape)
    return (
        grey
        if scale >= 1
        else np.asarray(Image.fromarray(grey).resize((width, height), Image.Resampling.BICUBIC))
    )


def rotate(grey: np.ndarray, degrees: float, rng: np.random.Generator) -> np.ndarray:
    """Turn about the centre, either way, within the frame; what comes in from outside is black."""
    return np.asarray(Image.fromarray(grey).rotate(degrees * rng.choice([-1, 1]), Image.Resampling.BICUBIC))


def crop(grey: np.ndarray, percent: float, rng: np.random.Generator) -> np.ndarray:
    """Cut off a share of the height and of the width, divided at random between the two sides: a field of view too small, off centre."""
    kept = [max(1, round(side * (1 - percent / 100))) for side in grey.shape]
    top, left = (
        int(place * (side - part) + 0.5)
        for place, side, part in zip(rng.uniform(size=2), grey.shape, kept, strict=True)
    )
    return grey[top : top + kept[0], left : left + kept[1]]


def add_bias_field(grey: np.ndarray, percent: float, rng: np.random.Generator) -> np.ndarray:
    """Multiply with a smooth field, as an uneven coil makes it: over the head from 1 - percent / 200 to 1 + percent / 200, and no further outside.

    Source: polynomial of degree 3, Van Leemput et al. 1999 (doi:10.1109/42.811268); the percentage as in
    BrainWeb, whose 40 % field spans 0.8 to 1.2 (https://brainweb.bic.mni.mcgill.ca/faq.html).
    """
    degrees = np.add.outer(range(4), range(4))
    coefficients = np.where((degrees > 0) & (degrees <= 3), rng.uniform(-1, 1, degrees.shape), 0)
    rows, columns = (np.linspace(-1, 1, side) for side in grey.shape)
    shape = np.polynomial.legendre.leggrid2d(rows, columns, coefficients)
    head = shape[grey >= grey.mean()]  # over the whole square its extremes would lie in the black corners
    share = np.clip((shape - head.min()) / max(np.ptp(head), 1e-12), 0, 1)
    return _to_uint8(grey * (1 + percent / 100 * (share - 0.5)))


@dataclass(frozen=True)
class Corruption:
    """One way in which pictures get worse.

    Attributes:
        apply: changes a picture, uint8 (h, w), by a strength and random numbers; see `corrupt`.
        quantity: what the strength measures, with its unit.
        strengths: at severities 1, 2 and 3.
    """

    apply: Callable[[np.ndarray, float, np.random.Generator], np.ndarray]
    quantity: str
    strengths: tuple[float, float, float]


CORRUPTIONS = {
    "brightness": Corruption(change_brightness, "shift up or down, % of white", (4, 8, 12)),
    "contrast": Corruption(change_contrast, "slope, or one over it", (1.25, 1.5, 2)),
    "gamma": Corruption(change_gamma, "exponent, or one over it", (1.2, 1.4, 1.8)),
    "noise": Corruption(add_noise, "deviation, % of brightest tissue", (3, 5, 9)),
    "blur": Corruption(blur, "deviation, % of longer side", (0.2, 0.4, 0.8)),
    "jpeg": Corruption(compress_jpeg, "quality", (60, 30, 10)),
    "downscale": Corruption(downscale, "longer side, pixels", (128, 96, 64)),
    "rotation": Corruption(rotate, "turn either way, degrees", (5, 15, 30)),
    "crop": Corruption(crop, "cut off height and width, %", (5, 10, 20)),
    "bias_field": Corruption(add_bias_field, "range of the field, %", (40, 80, 120)),
}
SEVERITIES = (1, 2, 3)


def corrupt(grey: np.ndarray, name: str, severity: int, key: str) -> np.ndarray:
    """Make one picture worse, the same way in every process.

    Signs, places, fields and noise are drawn from the key and the name alone, so a picture's three severities
    differ in strength only.

    Args:
        grey: uint8 (h, w), [0, 255], native size.
        name: one of `CORRUPTIONS`.
        severity: 1, 2 or 3.
        key: of the picture, such as its filename.

    Returns:
        uint8 (h, w), [0, 255]; `crop` and `downscale` return fewer pixels.

    Raises:
        ValueError: the picture is not uint8 (h, w), or there is no such corruption or severity.
    """
    if grey.dtype != np.uint8 or grey.ndim != 2 or grey.size == 0:
        raise ValueError(
            f"Expected a grey picture uint8 (h, w), got {grey.dtype} {grey.shape}. Decode it with"
            " serving.preprocess.decode_grey."
        )
    if name not in CORRUPTIONS or severity not in SEVERITIES:
        raise ValueError(
            f"Expected one of {', '.join(CORRUPTIONS)} at severity 1, 2 or 3, got {name!r} at {severity!r}."
        )
    corruption = CORRUPTIONS[name]
    return corruption.apply(
        grey, corruption.strengths[severity - 1], np.random.default_rng(list(f"{name} {key}".encode()))
    )


def choose_filenames(
    filenames: Sequence[str], true: Sequence[int] | np.ndarray, limit: int = PICTURES_PER_CLASS
) -> set[str]:
    """Choose up to `limit` pictures a class, always the same ones: those whose names have the lowest sha256.

    Args:
        filenames: n names.
        true: int (n,), their labels.
        limit: pictures a class.
    """
    chosen: dict[int, list[str]] = {}
    for filename, label in sorted(
        zip(filenames, true, strict=True), key=lambda pair: hashlib.sha256(pair[0].encode()).digest()
    ):
        chosen.setdefault(int(label), []).append(filename)
    return {filename for names in chosen.values() for filename in names[:limit]}


def evaluate_corruptions(
    classifier: Classifier,
    examples: Iterable["Example"],
    total: int | None = None,
    console: Console | None = None,
) -> dict[str, Any]:
    """Score a model on pictures as they are and under every corruption; one picture at a time is in memory.

    Args:
        classifier: a loaded artefact.
        examples: pictures with label, filename and group, each scored once.
        total: their number, for the progress bar.
        console: where the progress shows; None: nowhere.

    Returns:
        For the subset `all` and, where some pictures have a twin in Training, for `unseen`: `count`;
        figures of the `clean` pictures;
        `corruptions`: by name, figures at severities 1 to 3 with the parameter and its value;
            `mean_corruption_accuracy`, the mean over
        corruptions and severities: 1 minus the mean corruption error of Hendrycks and Dietterich 2019,
        section 4, that is not divided by AlexNet's; `relative_drop`, the share of the clean accuracy that is
        lost: 1 minus rPC of Michaelis et al. 2019 (arXiv:1907.07484). Both have a 95 % interval from a
        bootstrap over groups.
        Figures: count, accuracy with its interval, macro F1 over the classes present, tumour sensitivity (of
        pictures with a tumour, the share that is called any tumour; null without a class notumor), share
        refused by the guard, and expected calibration error. Refused pictures are scored all the same.

    Raises:
        ValueError: no pictures, or not uint8.
    """
    probs, refused, true, groups, twins = [], [], [], [], []
    for example in track(
        examples,
        "Corrupting and scoring",
        total=total,
        console=console or Console(quiet=True),
        transient=True,
    ):
        predictions = classifier.score(_make_versions(classifier, example))
        probs.append(
            [[prediction.probabilities[label] for label in classifier.labels] for prediction in predictions]
        )
        refused.append([not prediction.in_domain for prediction in predictions])
        true.append(example.label)
        groups.append(example.group)
        twins.append(example.has_train_twin)
    if not probs:
        raise ValueError("Expected at least one picture to corrupt, got none.")
    twin = np.array(twins)
    subsets = {"all": np.ones_like(twin)} | ({"unseen": ~twin} if twin.any() and not twin.all() else {})
    columns = [np.array(column) for column in (true, probs, refused, groups)]
    return {
        name: _summarise(classifier.labels, *(column[rows] for column in columns))
        for name, rows in subsets.items()
    }


def is_about(result: dict[str, Any], predictions: Predictions) -> bool:
    """Whether figures of worse pictures go with predictions of the same model; another may have left them."""
    chosen = choose_filenames(predictions.filenames, predictions.true)
    part = predictions.take(np.array([name in chosen for name in predictions.filenames]))
    correct = part.predicted == part.true
    expected = (len(correct), correct.mean(), compute_calibration_error(correct, part.probs.max(axis=1)))
    try:
        written = [result["all"]["clean"][name] for name in ("count", "accuracy", "ece")]
    except (KeyError, TypeError):  # of a version that wrote other keys
        return False
    return bool(np.allclose(expected, written, rtol=0, atol=SAME_MODEL_TOLERANCE))


def _make_versions(classifier: Classifier, example: "Example") -> np.ndarray:
    """The clean picture, then every corruption at severities 1 to 3, as the model takes them: uint8 (31, size, size, 1)."""
    grey, config = example.image[..., 0], classifier.config
    worse = [
        corrupt(grey, name, severity, example.filename) for name in CORRUPTIONS for severity in SEVERITIES
    ]
    return np.stack(
        [fit_to_square(version, config.image_size, config.image_fit) for version in [grey, *worse]]
    )


def _summarise(
    labels: tuple[str, ...], true: np.ndarray, probs: np.ndarray, refused: np.ndarray, groups: np.ndarray
) -> dict[str, Any]:
    """Figures from labels and groups int (n,), probabilities (n, 31, classes) and refusals bool (n, 31), in the order of `_make_versions`."""
    bootstrap = GroupBootstrap(groups)
    ones, correct = np.ones(len(true)), probs.argmax(axis=2) == true[:, None]
    clean, *rest = (
        _compute_figures(true, probs[:, version], refused[:, version], bootstrap, labels)
        for version in range(probs.shape[1])
    )
    corruptions: dict[str, list[dict[str, Any]]] = {}
    for name, corruption in CORRUPTIONS.items():
        facts = zip(SEVERITIES, corruption.strengths, strict=True)
        corruptions[name] = [
            {"severity": level, "parameter": corruption.quantity, "value": value, **rest.pop(0)}
            for level, value in facts
        ]
    worse = correct[:, 1:].mean(
        axis=1
    )  # every corruption has three severities, so this is the mean over corruptions as well
    with np.errstate(divide="ignore"):  # a sample of few pictures may hold none that is right when clean
        drops = 1 - bootstrap.compute_ratios(worse, correct[:, 0])
    return {
        "count": len(true),
        "clean": clean,
        "corruptions": corruptions,
        "mean_corruption_accuracy": float(worse.mean()),
        "mean_corruption_accuracy_interval": compute_interval(bootstrap.compute_ratios(worse, ones)),
        "relative_drop": float(1 - worse.mean() / clean["accuracy"]) if clean["accuracy"] else None,
        "relative_drop_interval": compute_interval(drops),
    }


def _compute_figures(
    true: np.ndarray,
    probs: np.ndarray,
    refused: np.ndarray,
    bootstrap: GroupBootstrap,
    labels: tuple[str, ...],
) -> dict[str, Any]:
    predicted, correct = probs.argmax(axis=1), probs.argmax(axis=1) == true
    healthy = labels.index(NO_TUMOUR) if NO_TUMOUR in labels else None
    tumours = true != healthy
    return {
        "count": len(true),
        "accuracy": float(correct.mean()),
        "accuracy_interval": compute_interval(bootstrap.compute_ratios(correct, np.ones(len(true)))),
        "macro_f1": float(
            f1_score(true, predicted, labels=np.unique(true), average="macro", zero_division=0)
        ),
        "tumour_sensitivity": (
            float((predicted[tumours] != healthy).mean()) if healthy is not None and tumours.any() else None
        ),
        "refused": float(refused.mean()),
        "ece": compute_calibration_error(correct, probs.max(axis=1)),
    }


def _to_uint8(values: np.ndarray) -> np.ndarray:
    """Round to whole numbers, half to even, and cut off at black and white."""
    return np.clip(np.rint(values), 0, WHITE).astype(np.uint8)
