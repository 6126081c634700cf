"""How finding near twins grows with the number of pictures, and how many planted twins it finds.

Draws brain-like phantoms and altered copies of them (flipped or turned, resized, brightened or darkened,
compressed as JPEG again), so the truth is known. Each size runs in a process of its own; drawing happens in
others and is not counted.

    python tests/benchmarks/benchmark_duplicates.py --sizes 7000 30000 100000

Prints CPU time an image from JPEG bytes to groups, peak memory, recall of planted twins and false merges, and
fails where a bound is broken.
"""

import argparse
import io
import json
import multiprocessing
import resource
import subprocess
import sys
import time
from collections.abc import Iterator

import numpy as np
from PIL import Image

from serving.preprocess import decode_grey
from tumor_ds.grouping.duplicates import find_duplicates

COPIES = 2  # of every other phantom
MAX_GROWTH, MAX_MEGABYTES, MIN_RECALL, MAX_FALSE_MERGES = 2.0, 2000, 0.99, 0.001


def draw_phantom(seed: int) -> np.ndarray:
    """Draw a head with skull, ventricles, lesions and tissue texture: uint8 (128, 128).

    Shape, place and contrast vary so much that two phantoms differ about as two slices of the Kaggle
    collection do: the distance of their search keys has median .40 (there .42) and lowest tenth .29 (there
    .29).
    """
    random = np.random.default_rng(seed)
    y, x = np.mgrid[-1:1:128j, -1:1:128j]
    turn = random.normal(0, 0.15)
    centre = random.normal(0, 0.05, 2)
    u = (x - centre[0]) * np.cos(turn) + (y - centre[1]) * np.sin(turn)
    v = (y - centre[1]) * np.cos(turn) - (x - centre[0]) * np.sin(turn)
    width, height = random.uniform(0.55, 0.9, 2)
    squareness = random.uniform(1.8, 2.5)
    radius = (np.abs(u / width) ** squareness + np.abs(v / height) ** squareness) ** (1 / squareness)
    tissue = random.uniform(40, 150)
    picture = np.where(radius < 1, tissue, random.uniform(0, 12))
    picture += random.uniform(20, 120) * np.exp(-(((radius - 0.95) / random.uniform(0.02, 0.1)) ** 2))
    for side in (-1, 1):
        distance = np.hypot(
            (u - side * random.uniform(0.08, 0.2)) / random.uniform(0.05, 0.16),
            (v + 0.05) / random.uniform(0.15, 0.4),
        )
        picture += np.where(distance < 1, random.uniform(-0.9, 0.9) * tissue, 0)
    for _ in range(random.integers(1, 6)):
        where, size = random.uniform(-0.6, 0.6, 2), random.uniform(0.05, 0.3)
        picture += random.uniform(-50, 90) * np.exp(-((u - where[0]) ** 2 + (v - where[1]) ** 2) / size**2)
    for cells, strength in ((6, 10), (14, 14), (40, 14)):
        noise = Image.fromarray(random.normal(0, strength, (cells, cells)).astype(np.float32)).resize(
            (128, 128), Image.Resampling.BICUBIC
        )
        picture += np.where(radius < 1, np.asarray(noise), 0)
    return np.clip(picture, 0, 255).astype(np.uint8)


def alter(picture: np.ndarray, seed: int) -> bytes:
    """Make a near twin: flipped or turned, 96 to 224 pixels, a tenth brighter or darker, JPEG 30 to 95."""
    random = np.random.default_rng(seed)
    copy = np.rot90(picture.T if random.random() < 0.5 else picture, random.integers(4))
    copy = np.clip(copy * random.uniform(0.9, 1.1) + random.uniform(-5, 10), 0, 255).astype(np.uint8)
    side = int(random.integers(96, 225))
    return _encode(
        Image.fromarray(copy).resize((side, side), Image.Resampling.BICUBIC), int(random.integers(30, 96))
    )


def draw(number: int) -> bytes:
    """Draw the picture of that number as a JPEG; every second phantom has `COPIES` altered copies."""
    phantom = draw_phantom(family_of(number))
    member = number % (COPIES + 2)
    return alter(phantom, number) if 0 < member <= COPIES else _encode(Image.fromarray(phantom), 95)


def family_of(number: int) -> int:
    """Name the phantom a picture shows."""
    family, member = divmod(number, COPIES + 2)
    return 2 * family + (member == COPIES + 1)


def measure(count: int) -> dict[str, float]:
    """Draw and search that many pictures, in mixed order."""
    order = np.random.default_rng(0).permutation(count)
    with multiprocessing.get_context("fork").Pool(2) as pool:
        started = time.process_time()
        files = _progress(pool.imap(draw, order, chunksize=64), count)
        found = find_duplicates(decode_grey(content) for content in files)
        seconds = time.process_time() - started
    families = np.array([family_of(number) for number in order])
    joined = set(zip(found.pairs.first.tolist(), found.pairs.second.tolist(), strict=True))
    position = np.argsort(order)
    planted = [
        (number - number % (COPIES + 2), number)
        for number in range(count)
        if 0 < number % (COPIES + 2) <= COPIES
    ]
    pairs = [(found.identical[position[one]], found.identical[position[two]]) for one, two in planted]
    hits = sum(one == two or (min(one, two), max(one, two)) in joined for one, two in pairs)
    first_family = np.full(found.groups.max() + 1, -1)
    first_family[found.groups[::-1]] = families[::-1]
    mixed = np.isin(found.groups, found.groups[first_family[found.groups] != families])
    return {
        "images": count,
        "ms_per_image": 1000 * seconds / count,
        "peak_megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "recall": hits / len(planted),
        "false_merges": float(mixed.mean()),
    }


def _encode(image: Image.Image, quality: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def _progress(files: Iterator[bytes], count: int) -> Iterator[bytes]:
    for number, content in enumerate(files):
        if number % 5000 == 0:
            print(f"{number:,} of {count:,}", file=sys.stderr, flush=True)
        yield content


def main() -> None:
    """Measure each size in a fresh process and compare with the bounds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[7000, 30000, 100000])
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measure(arguments.one)))
        return
    rows = []
    for size in arguments.sizes:
        command = [sys.executable, __file__, "--one", str(size)]
        rows.append(json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout))
        print(json.dumps(rows[-1]), flush=True)
    broken = [name for name, holds in check(rows).items() if not holds]
    sys.exit(f"Broken: {', '.join(broken)}" if broken else 0)


def check(rows: list[dict[str, float]]) -> dict[str, bool]:
    """Compare the measurements with the bounds."""
    return {
        "growth": rows[-1]["ms_per_image"] < MAX_GROWTH * rows[0]["ms_per_image"],
        "memory": all(row["peak_megabytes"] < MAX_MEGABYTES for row in rows),
        "recall": all(row["recall"] >= MIN_RECALL for row in rows),
        "false merges": all(row["false_merges"] < MAX_FALSE_MERGES for row in rows),
    }


if __name__ == "__main__":
    main()
