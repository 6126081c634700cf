"""Where the tumour map points, picture by picture, and what that amounts to.

Goes in: tumour maps and true outlines. Comes out: `Localisation`, columns of `predictions.csv`, and from
those alone the section `localisation` of `metrics.json`.

All is measured in one frame: the square that the model sees, padded or stretched, at the model's input size.
True outlines are made square and resized as for training (`trainer.data.input_pipeline`). In the frame of
each file, a distance in pixels would mean something else in every source.

Two floors stand beside the map. The middle of the picture is where most tumours are not far from; a map that
does no better has learnt nothing. The class activation map is what a classifier without a map can show.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.ndimage import distance_transform_edt

from trainer.evaluation.bootstrap import GroupBootstrap, compute_interval
from trainer.evaluation.image_columns import ImageColumns
from trainer.evaluation.origins import Origins

# "Near": 15 pixels of a picture of 224, as a share of the side. The same distance has been measured for the
# class activation map of the model released in November 2026.
NEAR = 15 / 224
OUTLINED, EMPTY, UNKNOWN_OUTLINE = "outlined", "empty", "unknown"
POINTERS = {"map": "", "cam": "cam_", "centre": "centre_"}
POINTED = tuple(f"{prefix}{name}" for prefix in POINTERS.values() for name in ("inside", "near"))


@dataclass(frozen=True, eq=False)
class Localisation(ImageColumns):
    """How n tumour maps lie to the true outlines; NaN where the figure is not defined.

    Attributes:
        outline: str (n,), `outlined`, `empty` (known to show no tumour) or `unknown`. An outline so small
            that nothing of it is left at the model's input size is `unknown`.
        tumor_share: float64 (n,), [0, 1], share of the head's area inside the outline that was found; where
            the true outline is `empty`, all of it is false.
        dice: float64 (n,), [0, 1], `compute_overlap`; only where outlined.
        iou: float64 (n,), the same.
        inside: float64 (n,), 1 where the highest value of the map lies inside the outline, else 0; only where
            outlined, like the following.
        near: float64 (n,), 1 where it lies inside, or at most `NEAR` of the side away.
        cam_inside: float64 (n,), `inside` of the highest value of the class activation map of the most
            probable kind of tumour.
        cam_near: float64 (n,), `near` of that.
        centre_inside: float64 (n,), `inside` of the middle of the picture.
        centre_near: float64 (n,), `near` of that.

    Example:
        >>> masks = np.zeros((1, 8, 8), bool)
        >>> masks[0, 4:6, 4:6] = True
        >>> maps, cams, shares = np.where(masks, 0.9, 0.1), np.ones((1, 2, 2)), np.array([0.1])
        >>> found = measure_localisation(maps, maps > 0.5, masks, np.array(["outlined"]), shares, cams)
        >>> found.dice[0], found.inside[0], found.cam_inside[0], found.centre_inside[0]
        (np.float64(1.0), np.float64(1.0), np.float64(0.0), np.float64(1.0))
    """

    outline: np.ndarray = field(metadata={"is_text": True})
    tumor_share: np.ndarray
    dice: np.ndarray
    iou: np.ndarray
    inside: np.ndarray
    near: np.ndarray
    cam_inside: np.ndarray
    cam_near: np.ndarray
    centre_inside: np.ndarray
    centre_near: np.ndarray


def measure_localisation(
    maps: np.ndarray,
    regions: np.ndarray,
    masks: np.ndarray,
    outline: np.ndarray,
    tumor_share: np.ndarray,
    cams: np.ndarray,
) -> Localisation:
    """Hold maps against true outlines.

    Args:
        maps: float (n, m, m), [0, 1], probability that a place is tumour, at the map's own resolution.
        regions: bool (n, s, s), where the map, brought to that size, reaches its threshold.
        masks: bool (n, s, s), the true outline, filled; says nothing where `outline` is `unknown`.
        outline: str (n,), as in `Localisation`.
        tumor_share: float (n,), share of the head inside the outline that was found.
        cams: float (n, h, w), class activation maps at their own resolution, over the same square.
    """
    is_lost = (outline == OUTLINED) & ~masks.any(axis=(1, 2))
    outline = np.where(is_lost, UNKNOWN_OUTLINE, outline)
    known = outline == OUTLINED
    overlaps = np.full((len(maps), 2), np.nan)
    overlaps[known] = np.transpose(compute_overlap(regions[known], masks[known]))
    points = {"map": find_peaks(maps), "cam": find_peaks(cams), "centre": np.full((len(maps), 2), 0.5)}
    pointed = {}
    for name, prefix in POINTERS.items():
        for what, values in zip(("inside", "near"), point_at(points[name], masks), strict=True):
            pointed[prefix + what] = np.where(known, values, np.nan)
    return Localisation(outline, tumor_share.astype(float), *overlaps.T, **pointed)


def compute_overlap(found: np.ndarray, true: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Compute Dice and intersection over union of regions.

    Source: Dice 1945 (doi:10.2307/1932409), 2 |A and B| / (|A| + |B|); Jaccard 1912, |A and B| / |A or B|.
    Each is of one picture. Nothing found where there is something, and the other way round, is 0; nothing
    found where nothing is has no overlap to speak of, and is NaN.

    Args:
        found: bool (n, s, s).
        true: bool (n, s, s).

    Returns:
        float64 (n,) each, [0, 1].
    """
    both = (found & true).sum(axis=(1, 2)).astype(float)
    sizes = found.sum(axis=(1, 2)) + true.sum(axis=(1, 2))
    with np.errstate(invalid="ignore"):
        return 2 * both / sizes, both / (sizes - both)


def find_peaks(maps: np.ndarray) -> np.ndarray:
    """Find the centre of the cell with the highest value; of equal ones, the first row by row.

    Args:
        maps: float (n, h, w), of any resolution.

    Returns:
        float64 (n, 2), x and y as shares of the sides, (0, 1).
    """
    _, height, width = maps.shape
    rows, columns = np.divmod(maps.reshape(len(maps), -1).argmax(axis=1), width)
    return np.stack([(columns + 0.5) / width, (rows + 0.5) / height], axis=1)


def point_at(points: np.ndarray, masks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Say whether points lie inside masks, and whether they lie inside or near.

    The distance is that from the pixel that holds the point to the nearest pixel of the mask, centre to
    centre, as a share of the side.

    Args:
        points: float (n, 2), x and y as shares of the side, [0, 1).
        masks: bool (n, s, s).

    Returns:
        bool (n,) each; False where the mask is empty.
    """
    side = masks.shape[1]
    columns, rows = (points * side).astype(int).clip(0, side - 1).T
    inside = masks[np.arange(len(masks)), rows, columns]
    distances = np.array(
        [
            distance_transform_edt(~mask)[row, column] if mask.any() else np.inf
            for mask, row, column in zip(masks, rows, columns, strict=True)
        ]
    )
    return inside, distances <= NEAR * side


def summarise_localisation(
    localisation: Localisation,
    kinds: np.ndarray,
    groups: np.ndarray,
    origins: Origins | None,
    threshold: float | None,
) -> dict[str, Any]:
    """Compute the section `localisation` of `metrics.json`.

    Args:
        localisation: of n pictures.
        kinds: str (n,), their true kinds, and other words where the kind is unknown.
        groups: int (n,).
        origins: of the same pictures; None: figures are not told by source.
        threshold: that the outlines were found with; None where each fold had its own.

    Returns:
        `threshold`, and figures of `all` pictures, `by_class`, `by_source`, and of `cells`, the combinations
        of source, class and sequence. Each has, where there are such pictures, `outlined` (count, groups, the
        mean of each column of `Localisation`, with its 95 % interval over groups) and `empty` (count, groups;
        `false_area`: mean share of the head inside the outlines that were found, `false_outlines`: share of
        slices with any, with their intervals).
    """

    def describe(rows_by_name: Iterator[tuple[str, np.ndarray]]) -> dict[str, Any]:
        found = ((name, _describe(localisation.take(rows), groups[rows])) for name, rows in rows_by_name)
        return {name: figures for name, figures in found if figures}

    return {
        "threshold": threshold,
        "all": _describe(localisation, groups),
        "by_class": describe(_split(kinds)),
        "by_source": describe(_split(origins.source)) if origins else {},
        "cells": list(_describe_cells(localisation, kinds, groups, origins)) if origins else [],
    }


def _split(names: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Each different text of (n,), and its rows, bool (n,)."""
    for name in np.unique(names):
        yield str(name), names == name


def _describe_cells(
    localisation: Localisation, kinds: np.ndarray, groups: np.ndarray, origins: Origins
) -> Iterator[dict[str, Any]]:
    for source, of_source in _split(origins.source):
        for kind, of_kind in _split(kinds):
            for sequence, of_sequence in _split(origins.sequence):
                rows = of_source & of_kind & of_sequence
                if rows.any() and (figures := _describe(localisation.take(rows), groups[rows])):
                    yield {"source": source, "class": kind, "sequence": sequence, **figures}


def _describe(localisation: Localisation, groups: np.ndarray) -> dict[str, Any]:
    """Figures of some pictures; empty where no outline of them is known."""
    figures, outlined, empty = {}, localisation.outline == OUTLINED, localisation.outline == EMPTY
    if outlined.any():
        columns = {name: getattr(localisation, name)[outlined] for name in ("dice", "iou", *POINTED)}
        figures["outlined"] = _average(columns, groups[outlined])
    if empty.any():
        shares = localisation.tumor_share[empty]
        columns = {"false_area": shares, "false_outlines": shares > 0}
        figures["empty"] = _average(columns, groups[empty])
    return figures


def _average(columns: dict[str, np.ndarray], groups: np.ndarray) -> dict[str, Any]:
    """Means of (m,) columns with their intervals over groups."""
    bootstrap = GroupBootstrap(groups)
    figures: dict[str, Any] = {"count": len(groups), "groups": len(np.unique(groups))}
    for name, values in columns.items():
        figures[name] = float(values.mean())
        figures[f"{name}_interval"] = compute_interval(bootstrap.compute_means(values))
    return figures
