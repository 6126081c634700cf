"""Contact sheets: the worst mistakes with their heat maps, and samples of every class, as PNG.

Goes in: a `Gallery`. Comes out: pictures of the dataset, which may not be redistributed: they are kept apart
from the other figures.
"""

import itertools
from collections.abc import Sequence
from pathlib import Path

from trainer.evaluation.gallery import SAMPLES_PER_CLASS, Gallery, GalleryPicture
from trainer.reporting.figures import build_figure, save_figure
from trainer.reporting.wording import format_probability


def save_contact_sheets(gallery: Gallery, protocol: str, folder: Path) -> None:
    """Write `mistakes_PROTOCOL.png` and `samples_PROTOCOL.png`; one that has nothing to show is removed."""
    sheets = ("mistakes", gallery.mistakes, plot_mistakes), ("samples", gallery.samples, plot_samples)
    for name, members, plot in sheets:
        path = folder / f"{name}_{protocol}.png"
        if members and members[0].picture is not None:
            folder.mkdir(exist_ok=True)
            plot(members, path)
        else:
            path.unlink(missing_ok=True)


def plot_mistakes(mistakes: Sequence[GalleryPicture], path: Path) -> None:
    """Draw mistakes (at least one, with pictures) into a PNG, two a row, each beside its heat map."""
    height = (len(mistakes) + 1) // 2
    figure = build_figure(1.6 * height)
    panels = figure.subplots(height, 4, squeeze=False).reshape(-1, 2)
    for axes in panels.flat:
        axes.axis("off")
    for (left, right), one in zip(panels, mistakes, strict=False):
        left.imshow(one.picture, cmap="gray", vmin=0, vmax=255)
        right.imshow(one.overlay)
        said = f"{one.true}, called\n{one.predicted} {format_probability(one.probability, 0)}"
        left.set_title(said, fontsize=7, loc="left")
        right.set_title(f"{Path(one.filename).name[:22]}\n{one.describe_facts()}", fontsize=6, loc="left")
    save_figure(figure, path)


def plot_samples(samples: Sequence[GalleryPicture], path: Path) -> None:
    """Draw samples (at least one, with pictures, class by class) into a PNG, a class a row."""
    by_class = [list(members) for _, members in itertools.groupby(samples, key=lambda one: one.true)]
    figure = build_figure(1.1 * len(by_class))
    panels = figure.subplots(len(by_class), SAMPLES_PER_CLASS, squeeze=False)
    for axes in panels.flat:
        axes.axis("off")
    for row, members in zip(panels, by_class, strict=True):
        row[0].set_title(members[0].true, fontsize=9, loc="left")
        for axes, one in zip(row, members, strict=False):
            axes.imshow(one.picture, cmap="gray", vmin=0, vmax=255)
    save_figure(figure, path)
