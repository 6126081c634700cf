"""Ten ways in which pictures get worse, at three severities.

Goes in: a decoded picture. Comes out: the picture, worse. It is changed at native size, before
`serving.preprocess.fit_to_square`: that is how a hospital's export is blurred or shrunk.

Source: Hendrycks and Dietterich 2019 (arXiv:1903.12261); each corruption cites its own model where it has
one. Severity 1 is hard to see; 3 is strong, but leaves the lesion recognisable.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy import ndimage, signal

WHITE = 255.0
ACQUISITION_MATRIX = 256


def change_brightness(grey: np.ndarray, percent: float, rng: np.random.Generator) -> np.ndarray:
    """Add or take away a share of white, as another window level does; black and white are cut off."""
    return _to_uint8(grey + rng.choice([-1, 1]) * percent / 100 * WHITE)


def change_contrast(grey: np.ndarray, slope: float, rng: np.random.Generator) -> np.ndarray:
    """Stretch grey values about their mean by `slope`, at least 1, or shrink them: another window width."""
    mean = grey.mean()
    return _to_uint8(mean + slope ** rng.choice([-1.0, 1.0]) * (grey - mean))


def change_gamma(grey: np.ndarray, exponent: float, rng: np.random.Generator) -> np.ndarray:
    """Apply 255 (x / 255)^g with g the exponent, at least 1, or one over it: displays differ."""
    return _to_uint8(WHITE * (grey / WHITE) ** exponent ** rng.choice([-1.0, 1.0]))


def add_noise(grey: np.ndarray, percent: float, rng: np.random.Generator) -> np.ndarray:
    """Add Rician noise, that of magnitude images: Gaussian in the real and in the imaginary channel.

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
    """Blur by a Gaussian whose deviation is a share of the longer side; the edge is mirrored."""
    sigma = percent / 100 * max(grey.shape)
    return _to_uint8(ndimage.gaussian_filter(grey.astype(np.float32), sigma, mode="reflect"))


def compress_jpeg(grey: np.ndarray, quality: float, rng: np.random.Generator) -> np.ndarray:
    """Store as JPEG at a quality of libjpeg, 1 to 95, and decode."""
    file = io.BytesIO()
    Image.fromarray(grey).save(file, "JPEG", quality=int(quality))
    return np.asarray(Image.open(file))


def downscale(grey: np.ndarray, pixels: float, rng: np.random.Generator) -> np.ndarray:
    """Shrink until the longer side has so many pixels, bicubic with antialiasing; never enlarge."""
    scale = pixels / max(grey.shape)
    if scale >= 1:
        return grey
    height, width = (max(1, round(side * scale)) for side in grey.shape)
    return np.asarray(Image.fromarray(grey).resize((width, height), Image.Resampling.BICUBIC))


def rotate(grey: np.ndarray, degrees: float, rng: np.random.Generator) -> np.ndarray:
    """Turn about the centre, either way, within the frame; what comes in from outside is black."""
    return np.asarray(Image.fromarray(grey).rotate(degrees * rng.choice([-1, 1]), Image.Resampling.BICUBIC))


def crop(grey: np.ndarray, percent: float, rng: np.random.Generator) -> np.ndarray:
    """Cut off a share of the height and of the width, divided at random between the two sides."""
    height, width = (max(1, round(side * (1 - percent / 100))) for side in grey.shape)
    places = rng.uniform(size=2)
    top = int(places[0] * (grey.shape[0] - height) + 0.5)
    left = int(places[1] * (grey.shape[1] - width) + 0.5)
    return grey[top : top + height, left : left + width]


def add_bias_field(grey: np.ndarray, percent: float, rng: np.random.Generator) -> np.ndarray:
    """Multiply with a smooth field, as an uneven coil makes it: 1 - percent / 200 to 1 + percent / 200.

    Source: polynomial of degree 3, Van Leemput et al. 1999 (doi:10.1109/42.811268); the percentage as in
    BrainWeb, whose 40 % field spans 0.8 to 1.2 (https://brainweb.bic.mni.mcgill.ca/faq.html).
    """
    degrees = np.add.outer(range(4), range(4))
    coefficients = np.where((degrees > 0) & (degrees <= 3), rng.uniform(-1, 1, degrees.shape), 0)
    rows, columns = (np.linspace(-1, 1, side) for side in grey.shape)
    shape = np.polynomial.legendre.leggrid2d(rows, columns, coefficients)
    # Over the whole square, not the head alone, its extremes would lie in the black corners.
    head = shape[grey >= grey.mean()]
    share = np.clip((shape - head.min()) / max(np.ptp(head), 1e-12), 0, 1)
    return _to_uint8(grey * (1 + percent / 100 * (share - 0.5)))


@dataclass(frozen=True)
class Corruption:
    """One way in which pictures get worse.

    Attributes:
        apply: changes a picture, uint8 (h, w), by a strength and random numbers; see `corrupt`.
        quantity: what the strength measures, with its unit.
        strengths: at severities 1, 2 and 3.

    Example:
        >>> CORRUPTIONS["crop"].strengths
        (5, 10, 20)
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
    corruption, rng = CORRUPTIONS[name], np.random.default_rng(list(f"{name} {key}".encode()))
    return corruption.apply(grey, corruption.strengths[severity - 1], rng)


def _to_uint8(values: np.ndarray) -> np.ndarray:
    """Round to whole numbers, half to even, and cut off at black and white."""
    return np.clip(np.rint(values), 0, WHITE).astype(np.uint8)
