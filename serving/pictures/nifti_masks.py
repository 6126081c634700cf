"""Masks of a NIfTI scan: from its slices as they are shown back to its own voxels.

Goes in: the scan's file, and a mask a slice as `serving.pictures.nifti.cut_grey` cuts it. Comes out: a NIfTI
file with the scan's grid, so that any viewer lays it over the scan. Of the scan's header only what says where
voxels lie is copied: people write names into its texts.
"""

import gzip
from collections.abc import Sequence

import numpy as np
from PIL import Image

from serving.files.entries import Entry
from serving.pictures.anatomy import compute_square_shape, restore_slice
from serving.pictures.cuts import Cut, plan_cut
from serving.pictures.nifti import find_affine, read_header

# Fields of NIfTI 1 and 2 that say where voxels lie: zooms, qform and sform with their codes, and units.
_PLACE_FIELDS = (
    *("pixdim", "xyzt_units", "qform_code", "sform_code"),
    *("quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z"),
    *("srow_x", "srow_y", "srow_z"),
)


def encode_mask(entry: Entry, plane: str | None, masks: Sequence[np.ndarray]) -> bytes:
    """Make the NIfTI file of a mask on the grid of a scan.

    Args:
        entry: the scan.
        plane: in which its slices were cut; None: the one that it was taken in.
        masks: bool (h, w), of each slice as shown.

    Returns:
        A `.nii.gz` of uint8, 0 or 1, in the shape of the scan, or of its first volume.

    Raises:
        ImageError: the scan cannot be read.
        ValueError: the masks are not those of its slices.
    """
    import nibabel

    header, _ = read_header(entry)
    shape = header.get_data_shape()
    space = (*shape, 1, 1)[:3]
    voxels = restore_mask(plan_cut(entry.name, space, find_affine(header), plane), space, masks)
    # A scan of one volume keeps its shape, whatever its number of axes.
    kept = shape if int(np.prod(shape)) == voxels.size else space
    fresh = type(header)(endianness=header.endianness)
    fresh.set_data_dtype(np.uint8)
    fresh.set_data_shape(kept)
    for field in _PLACE_FIELDS:
        fresh[field] = header[field]
    make = nibabel.Nifti2Image if isinstance(header, nibabel.Nifti2Header) else nibabel.Nifti1Image
    image = make(voxels.reshape(kept, order="F"), header.get_best_affine(), fresh)
    return gzip.compress(image.to_bytes(), mtime=0)


def restore_mask(cut: Cut, shape: tuple[int, ...], masks: Sequence[np.ndarray]) -> np.ndarray:
    """Put masks of slices as they are shown back to where their voxels are stored.

    Where slices are shown larger than they are stored, because pixels were not square, a voxel is inside
    where at least half of what is shown around its centre is. The mean has triangular weights: Pillow's box
    filter is off by half a pixel where sizes are no multiples.

    Args:
        cut: how the slices were cut.
        shape: of the voxels, (x, y, z).
        masks: bool (h, w), of each slice in the order shown.

    Returns:
        uint8 (x, y, z), 0 or 1.

    Raises:
        ValueError: there are more or fewer masks than slices, or of another size.
    """
    turned = np.zeros([shape[axis] for axis in cut.order], np.uint8)
    stored = turned.shape[1:]
    shown = compute_square_shape(stored, cut.rows, cut.columns)
    for number, mask in zip(cut.numbers, masks, strict=True):
        restored = restore_slice(mask, cut.right, cut.down, cut.plane)
        if restored.shape != shown:
            raise ValueError(f"Expected a mask of {shown}, as the slice is stored; got {restored.shape}.")
        if shown != stored:
            drawn = Image.fromarray(np.where(restored, 255, 0).astype(np.uint8))
            restored = np.asarray(drawn.resize(stored[::-1], Image.Resampling.BILINEAR)) >= 128
        turned[number] = restored
    return turned.transpose(np.argsort(cut.order))
