"""Contact sheets: the worst mistakes with their heat maps, and samples of every class, as PNG.

Goes in: a `Gallery`. Comes out: pictures of the dataset, which may not be redistributed: they are kept apart
from the other figures.
"""

from collections.abc import Sequence
from pathlib import Path

from trainer.evaluation.gallery import SAMPLES_PER_CLASS, Gallery, Shown, describe_facts
from trainer.reporting.figures import build_figure, save_figure


def save_contact_sheets(gallery: Gallery, protocol: str, folder: Path) -> None:
    """Write `mistakes_PROTOCOL.png` and `samples_PROTOCOL.png` into a folder; one that has nothing to show is removed."""
    mistakes, samples = (folder / f"{name}_{protocol}.png" for name in ("mistakes", "samples"))
    for members, path, plot in (
        (gallery.mistakes, mistakes, plot_mistakes),
        (gallery.samples, samples, plot_samples),
    ):
        if not members or members[0].picture is None:
            path.unlink(missing_ok=True)
            continue
        folder.mkdir(exist_ok=True)
        draft = path.with_name(f"partial_{path.name}")
        plot(members, draft)
        draft.replace(path)


def plot_mistakes(mistakes: Sequence[Shown], path: Path) -> None:
    """Draw a contact sheet, two mistakes a row, each beside its heat map.

    Args:
        mistakes: with pictures, at least one.
        path: the PNG to write.
    """
    height = (len(mistakes) + 1) // 2
    figure = build_figure(1.6 * height)
    panels = figure.subplots(height, 4, squeeze=False)
    for axes in panels.flat:
        axes.axis("off")
    for place, one in enumerate(mistakes):
        left, right = panels[place // 2, 2 * (place % 2) : 2 * (place % 2) + 2]
        left.imshow(one.picture, cmap="gray", vmin=0, vmax=255)
        right.imshow(one.overlay)
        left.set_title(f"{one.true}, called\n{one.predicted} {one.probability:.0%}", fontsize=7, loc="left")
        right.set_title(f"{Path(one.filename).name[:22]}\n{describe_facts(one)}", fontsize=6, loc="left")
    save_figure(figure, path)


def plot_samples(samples: Sequence[Shown], path: Path) -> None:
    """Draw a contact sheet, a class a row.

    Args:
        samples: with pictures, at least one, class by class.
        path: the PNG to write.
    """
    by_class: dict[str, list[Shown]] = {}
    for one in samples:
        by_class.setdefault(one.true, []).append(one)
    figure = build_figure(1.1 * len(by_class))
    panels = figure.subplots(len(by_class), SAMPLES_PER_CLASS, squeeze=False)
    for axes in panels.flat:
        axes.axis("off")
    for row, (label, members) in zip(panels, by_class.items(), strict=True):
        row[0].set_title(label, fontsize=9, loc="left")
        for axes, one in zip(row, members, strict=False):
            axes.imshow(one.picture, cmap="gray", vmin=0, vmax=255)
    save_figure(figure, path)
