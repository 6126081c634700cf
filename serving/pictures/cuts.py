"""How the voxels of a grid are cut into slices: geometry alone, no pixels.

Goes in: the shape and the affine of a grid, and the plane wanted. Comes out: a `Cut`, by which
`serving.pictures.nifti` makes slices of voxels, and `serving.pictures.nifti_masks` voxels of slices.
"""

from dataclasses import dataclass

import numpy as np

from serving.files.entries import MAX_VOXELS
from serving.files.errors import ImageError
from serving.pictures.anatomy import PLANES, compute_square_shape, measure_pixel


@dataclass(frozen=True, eq=False)
class Cut:
    """How the voxels of a grid are cut into slices.

    Attributes:
        plane: one of the `PLANES`.
        order: axes of the data: across the slices, along their columns, along their rows.
        rows: distance of two rows of a stored slice, mm.
        columns: distance of two of its columns, mm.
        right: float (3,), patient direction in which its column number grows.
        down: float (3,), patient direction in which its row number grows.
        numbers: int (n,), along the first of the axes, in the order in which slices are shown.
        positions: float (n,), of the shown slices along their normal, mm, rising.
        pixel_mm2: area of a pixel of a shown slice, mm².

    Example:
        >>> cut = plan_cut("scan.nii", (2, 3, 4), np.eye(3, 4), "axial")
        >>> cut.order, cut.numbers.tolist(), cut.pixel_mm2
        ((2, 0, 1), [0, 1, 2, 3], 1.0)
    """

    plane: str
    order: tuple[int, ...]
    rows: float
    columns: float
    right: np.ndarray
    down: np.ndarray
    numbers: np.ndarray
    positions: np.ndarray
    pixel_mm2: float


def plan_cut(name: str, shape: tuple[int, ...], affine: np.ndarray, plane: str | None) -> Cut:
    """Find how voxels are cut into slices.

    Args:
        name: of the file, fit to show.
        shape: of the voxels, (x, y, z).
        affine: of the `Grid`.
        plane: as for `cut_grey`.

    Raises:
        ImageError: there are too many pixels, slices are too long and thin, or the axes span no volume.
    """
    spacing, axes = measure_spacing(affine), find_axes(affine)
    if axes is None:
        raise ImageError(f"{name} has axes that point nowhere. Export it again.")
    across = _find_cut(plane, axes, spacing)
    plane = PLANES[axes[across]]
    order = [across, *(axis for axis in range(3) if axis != across)]
    count, *stored = (shape[axis] for axis in order)
    _, rows, columns = spacing[order].tolist()
    height, width = compute_square_shape((stored[0], stored[1]), rows, columns)
    if count * height * width > MAX_VOXELS:
        what = f"too many pixels to be cut so: at most {MAX_VOXELS:,} are accepted"
        raise ImageError(f"{name} has {what}. Choose another plane.")
    step, down, right = affine[:, order].T
    normal = np.cross(right, down)
    normal *= np.sign(step[axes[across]]) * np.sign(normal @ step) / np.linalg.norm(normal)
    centre = affine[:, 3] + down * (stored[0] - 1) / 2 + right * (stored[1] - 1) / 2
    positions = (centre + np.outer(np.arange(count), step)) @ normal
    stored_mm2 = float(np.linalg.norm(np.cross(right, down)))
    area = measure_pixel(stored_mm2, (stored[0], stored[1]), (height, width))
    ranks = np.argsort(positions)
    return Cut(plane, tuple(order), rows, columns, right, down, ranks, positions[ranks], area)


def measure_spacing(affine: np.ndarray) -> np.ndarray:
    """Millimetres from one voxel to the next, by axis of the data."""
    return np.linalg.norm(affine[:, :3], axis=0)


def find_axes(affine: np.ndarray) -> list[int] | None:
    """By axis of the data its closest patient axis, each taken once; None where these span no volume."""
    from nibabel.orientations import io_orientation

    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:, :3])) < 1e-6:
        return None
    axes = io_orientation(np.vstack([affine, [0.0, 0.0, 0.0, 1.0]]))[:, 0]
    return [int(axis) for axis in axes] if np.isfinite(axes).all() else None


def _find_cut(plane: str | None, axes: list[int], spacing: np.ndarray) -> int:
    """The axis of the data to cut across."""
    if plane is not None:
        return axes.index(PLANES.index(plane))
    # Scanners take slices that are thicker than their pixels are wide; a tenth more may be rounding.
    thickest = int(np.argmax(spacing))
    return thickest if spacing[thickest] > 1.1 * np.median(spacing) else axes.index(PLANES.index("axial"))
