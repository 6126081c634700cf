"""Draw the tiny stand-in for Kaggle's collection that the tests build: real names, invented pixels.

Goes in: `tumor_ds/groups.csv`. Comes out: `tumor_ds/dummy_data/`, 10 training and 2 test JPEGs a class. Run
it from the repository root:

    python tests/make_dummy_data.py

The names exist in the collection, so that groups, folds and twins can be looked up. The 10 training files of
a class belong to 10 groups, so that exactly one becomes validation. Of the two test files one has a twin in
training (drawn as its mirror image, like the real one), one has none.
"""

import csv
import zlib

import numpy as np
from PIL import Image

from tumor_ds import LABELS
from tumor_ds.grouping.facts import GROUPS_CSV

DUMMY_DATA = GROUPS_CSV.parent / "dummy_data"
TRAINING_PER_CLASS = 10
SIZES = ((20, 24), (24, 20), (22, 22))  # width, height
RGB_EVERY = 4  # Kaggle stores some pictures as RGB, some as grey
MAX_BYTES = 1536
# `twin_transform` in groups.csv; the other values do not occur among the names chosen here.
TRANSFORMS = {
    "2": Image.Transpose.ROTATE_180,
    "4": Image.Transpose.FLIP_LEFT_RIGHT,
    "5": Image.Transpose.FLIP_TOP_BOTTOM,
}


def choose_rows(rows: list[dict[str, str]], label: str) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """Choose the training and the test rows of one class from the rows of `groups.csv`.

    Returns:
        Ten training rows of ten groups, the first one the twin of the first test row; two test rows, the
        second without a twin.
    """
    of_other_classes = {row["group"] for row in rows if _label(row) != label}
    of_class = sorted(
        (row for row in rows if row["group"] not in of_other_classes), key=lambda row: row["path"]
    )
    training = {row["path"]: row for row in of_class if row["path"].startswith("Training/")}
    testing = [row for row in of_class if row["path"].startswith("Testing/")]
    with_twin = next(row for row in testing if row["train_twin"])
    without_twin = next(row for row in testing if not row["train_twin"])
    chosen = {with_twin["group"]: training[with_twin["train_twin"]]}
    for row in training.values():
        if len(chosen) < TRAINING_PER_CLASS:
            chosen.setdefault(row["group"], row)
    return list(chosen.values()), [with_twin, without_twin]


def draw_slice(path: str, size: tuple[int, int], rgb: bool) -> Image.Image:
    """Draw a noisy ellipse with a bright spot, the same for the same path.

    Args:
        path: seeds the noise; the class folder in it decides where the spot lies.
        size: width, height.
        rgb: store three slightly different channels rather than one.
    """
    random = np.random.default_rng(zlib.crc32(path.encode()))
    width, height = size
    y, x = np.mgrid[0:height, 0:width]
    head = ((x / (width - 1) - 0.5) / 0.42) ** 2 + ((y / (height - 1) - 0.5) / 0.46) ** 2 < 1
    label = LABELS.index(path.split("/")[1])
    spot = (x - width * (0.35 + 0.1 * label)) ** 2 + (y - height * 0.45) ** 2 < 6
    grey = head * random.normal(110, 12, (height, width)) + spot * 90
    channels = grey[..., None] + (np.array([8, 0, -8]) if rgb else np.zeros(1))
    pixels = np.clip(np.round(channels), 0, 255).astype(np.uint8)
    return Image.fromarray(pixels if rgb else pixels[..., 0])


def main() -> None:
    """Write `tumor_ds/dummy_data/` anew."""
    with GROUPS_CSV.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for old in DUMMY_DATA.rglob("*.jpg"):
        old.unlink()
    for label in LABELS:
        training, testing = choose_rows(rows, label)
        images = {}
        for number, row in enumerate([*training, testing[1]]):
            images[row["path"]] = draw_slice(
                row["path"], SIZES[number % len(SIZES)], rgb=number % RGB_EVERY == 1
            )
        twin = images[testing[0]["train_twin"]]
        transform = testing[0]["twin_transform"]
        images[testing[0]["path"]] = twin if transform == "0" else twin.transpose(TRANSFORMS[transform])
        for path, image in images.items():
            target = DUMMY_DATA / path
            target.parent.mkdir(parents=True, exist_ok=True)
            image.save(target, quality=75)
            if target.stat().st_size > MAX_BYTES:
                raise ValueError(
                    f"{target} has {target.stat().st_size} bytes, expected at most {MAX_BYTES}; draw it"
                    " smaller or with less noise."
                )


def _label(row: dict[str, str]) -> str:
    return row["path"].split("/")[1]


if __name__ == "__main__":
    main()
