"""What the files of a collection are: counts, sizes, formats, and which are not what they seem.

Goes in: one decoded picture after the other, and the reason where a file cannot be decoded. Comes out:
`Files`, and the small features of each picture that the baselines need.
"""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import PurePosixPath

import numpy as np

from serving.pictures.image_files import FileFacts, Picture
from tumor_ds.audit.baselines import describe_border, shrink
from tumor_ds.collection.layout import FORMATS, split_and_label

COMMON_SIZES = 10


@dataclass(frozen=True)
class Files:
    """What the files are; all counts but `listed` are of those that can be decoded.

    Attributes:
        listed: number of pictures by their names.
        counts: by split folder (`""` where there is none) and class.
        sizes: number of different sizes.
        common_sizes: the most frequent ones as (width, height, count).
        widths: smallest and largest.
        heights: smallest and largest.
        formats: count by format as Pillow names it.
        modes: count by stored mode.
        bytes: `total`, `smallest`, `median` and `largest` file.
        unreadable: files that cannot be decoded, as (path, reason).
        misnamed: files whose suffix names another format than they have, as (path, format).

    Example:
        >>> from serving.preprocess import decode
        >>> scan = Scan()
        >>> scan.add("Testing/glioma/a.png", decode(np.zeros((24, 20), np.uint8)))
        >>> describe_files(scan).counts
        {'Testing': {'glioma': 1}}
    """

    listed: int
    counts: dict[str, dict[str, int]]
    sizes: int
    common_sizes: tuple[tuple[int, int, int], ...]
    widths: tuple[int, int]
    heights: tuple[int, int]
    formats: dict[str, int]
    modes: dict[str, int]
    bytes: dict[str, int]
    unreadable: tuple[tuple[str, str], ...]
    misnamed: tuple[tuple[str, str], ...]


@dataclass
class Scan:
    """What is kept of each picture that can be decoded; the pixels are not.

    Example:
        >>> scan = Scan(unreadable=[("glioma/a.jpg", "it is empty (0 bytes)")])
        >>> scan.paths
        []
    """

    paths: list[str] = field(default_factory=list)
    facts: list[FileFacts] = field(default_factory=list)
    shapes: list[tuple[int, ...]] = field(default_factory=list)  # height, width
    thumbnails: bytearray = field(default_factory=bytearray)
    borders: list[np.ndarray] = field(default_factory=list)
    unreadable: list[tuple[str, str]] = field(default_factory=list)

    def add(self, path: str, picture: Picture) -> None:
        """Keep what the audit needs of a picture."""
        assert picture.facts  # as always where the picture comes from bytes
        self.paths.append(path)
        self.facts.append(picture.facts)
        self.shapes.append(picture.grey.shape)
        self.thumbnails += shrink(picture.grey).tobytes()
        self.borders.append(describe_border(picture.grey))


def describe_files(scan: Scan) -> Files:
    """Summarise the files of a collection, of which at least one can be decoded."""
    heights, widths = zip(*scan.shapes, strict=True)
    by_size = Counter(zip(widths, heights, strict=True)).items()
    sizes = [facts.bytes or 0 for facts in scan.facts]
    counts: dict[str, dict[str, int]] = {}
    for (split, label), number in sorted(Counter(split_and_label(path) for path in scan.paths).items()):
        counts.setdefault(split, {})[label] = number
    misnamed = [
        (path, facts.format)
        for path, facts in zip(scan.paths, scan.facts, strict=True)
        # MPO is a JPEG with a second picture in it.
        if facts.format.replace("MPO", "JPEG").lower() != FORMATS[PurePosixPath(path).suffix.lower()]
    ]
    common = sorted(by_size, key=lambda item: (-item[1], item[0]))
    return Files(
        listed=len(scan.paths) + len(scan.unreadable),
        counts=counts,
        sizes=len(by_size),
        common_sizes=tuple((*size, number) for size, number in common[:COMMON_SIZES]),
        widths=(min(widths), max(widths)),
        heights=(min(heights), max(heights)),
        formats=dict(sorted(Counter(facts.format for facts in scan.facts).items())),
        modes=dict(sorted(Counter(facts.mode for facts in scan.facts).items())),
        bytes=dict(total=sum(sizes), smallest=min(sizes), median=int(np.median(sizes)), largest=max(sizes)),
        unreadable=tuple(scan.unreadable),
        misnamed=tuple(misnamed),
    )
