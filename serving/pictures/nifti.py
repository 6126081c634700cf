"""NIfTI: from a `.nii` or `.nii.gz` file to oriented grey slices of one plane.

Goes in: a `serving.files.entries.Entry` that holds NIfTI, and the plane wanted. Comes out: slices in
anatomical order, each windowed by its own percentiles as a 16-bit picture is. A mask is cut in the same way,
so that it lies on its scan. No text of the header is shown: people write names into it.
"""

import gzip
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

import numpy as np
from PIL import Image

from serving.files.entries import DAMAGE, MAX_SLICES, MAX_VOLUME_BYTES, MAX_VOXELS, Entry
from serving.files.errors import ImageError
from serving.pictures.anatomy import Volume, orient_slice, square_pixels
from serving.pictures.cuts import find_axes, measure_spacing, plan_cut
from serving.pictures.image_files import Picture, decode_image
from serving.pictures.windows import apply_percentile_window

if TYPE_CHECKING:
    from nibabel import Nifti1Header

GZIP_MAGIC = b"\x1f\x8b"
# nifti1.h: NIFTI_INTENT_RGB_VECTOR and NIFTI_INTENT_RGBA_VECTOR.
_COLOUR_VECTORS = (2003, 2004)
_HEADER_BYTES = {1: 348, 2: 540}
# NIfTI's world has x to the right and y to the front; that of DICOM, to the left and to the back.
_RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0])
# Two files of one grid may round its numbers differently; up to a tenth of a voxel is rounding.
_GRID_TOLERANCE = 0.1


@dataclass(frozen=True, eq=False)
class Grid:
    """The voxels of a NIfTI file and where they lie.

    Attributes:
        name: of the file, fit to show.
        data: (x, y, z), as stored; the first volume where the file holds several.
        affine: float (3, 4), from voxel numbers to the patient coordinates of DICOM, mm.
        slope: by which stored values are multiplied.
        intercept: which is then added to them.
        facts: harmless technical facts, by name.

    Example:
        >>> grid = Grid("scan.nii", np.ones((2, 3, 4)), np.eye(3, 4), 1.0, 0.0, {})
        >>> len(cut_grey(grid, "axial").slices)
        4
    """

    name: str
    data: np.ndarray
    affine: np.ndarray
    slope: float
    intercept: float
    facts: dict[str, str]


def is_nifti(head: bytes) -> bool:
    """Tell NIfTI, plain or compressed, by its first bytes."""
    return _find_version(_unpack_head(head)) is not None


def _unpack_head(head: bytes) -> bytes:
    """The first bytes of what a gzip holds, from its own first bytes; other bytes stay as they are."""
    if not head.startswith(GZIP_MAGIC):
        return head
    try:
        return zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(head, 1024)
    except zlib.error:
        return b""


def _find_version(head: bytes) -> int | None:
    if head[344:348] in (b"n+1\0", b"ni1\0"):
        return 1
    return 2 if head[4:8] in (b"n+2\0", b"ni2\0") else None


def read_nifti(entry: Entry, plane: str | None) -> Volume:
    """Cut a volume into slices of one of the `PLANES`, see `cut_grey`.

    Raises:
        ImageError: the file is damaged, too large, or holds no picture.
    """
    return cut_grey(read_grid(entry), plane)


def read_grid(entry: Entry) -> Grid:
    """Read the voxels of a file, to be cut once or several times.

    Raises:
        ImageError: the file is damaged, too large, or holds no picture.
    """
    header, end = read_header(entry)
    data, facts = _shape_data(header, _read_content(entry, end), entry.name)
    affine = find_affine(header)
    if find_axes(affine) is None:
        raise ImageError(f"{entry.name} has a damaged header: its axes point nowhere. Export it again.")
    facts["pixel spacing"] = " x ".join(f"{side:.3g}" for side in measure_spacing(affine)) + " mm"
    slope, intercept = header.get_slope_inter()
    return Grid(entry.name, data, affine, slope or 1.0, intercept or 0.0, facts)


def cut_grey(grid: Grid, plane: str | None) -> Volume:
    """Cut a scan into grey slices, each windowed by its own percentiles.

    Args:
        grid: the scan.
        plane: one of the `PLANES`. None stands for the plane that it was taken in, across which pixels lie
            farthest apart; axial where they lie equally far.

    Raises:
        ImageError: there are too many pixels, or slices are too long and thin.
    """
    return _cut(
        grid, plane, lambda values: _to_grey(values, grid.slope, grid.intercept), Image.Resampling.BICUBIC
    )


def cut_mask(grid: Grid, plane: str | None) -> Volume:
    """Cut a mask as `cut_grey` cuts its scan: the same order, orientation and size of slices, not smoothed.

    Args:
        grid: the mask, one number a voxel; above one half is inside, whichever the number.
        plane: as for `cut_grey`.

    Returns:
        Slices are uint8 (h, w), 0 or 255.

    Raises:
        ImageError: there are too many pixels, or slices are too long and thin.
    """

    def draw(values: np.ndarray) -> Picture:
        return Picture(np.where(values * grid.slope + grid.intercept > 0.5, 255, 0).astype(np.uint8))

    return _cut(grid, plane, draw, Image.Resampling.NEAREST)


def is_same_grid(one: Grid, other: Grid) -> bool:
    """Tell whether the voxels of two files are as many and lie in the same places."""
    if one.data.shape != other.data.shape:
        return False
    corners = np.array(list(np.ndindex(2, 2, 2))) * (np.array(one.data.shape) - 1)
    shift = one.affine - other.affine
    apart = np.linalg.norm(corners @ shift[:, :3].T + shift[:, 3], axis=1)
    return bool(apart.max() <= _GRID_TOLERANCE * measure_spacing(one.affine).min())


def _cut(
    grid: Grid, plane: str | None, draw: Callable[[np.ndarray], Picture], resample: Image.Resampling
) -> Volume:
    """Cut across one axis, draw each slice, and turn it into the radiological view."""
    cut = plan_cut(grid.name, grid.data.shape, grid.affine, plane)
    data, slices, coloured = grid.data.transpose(cut.order), [], []
    for number in cut.numbers:
        drawn = draw(data[number])
        square = square_pixels(drawn.grey, cut.rows, cut.columns, resample)
        slices.append(np.ascontiguousarray(orient_slice(square, cut.right, cut.down, cut.plane)))
        coloured.append(drawn.coloured)
    places, shares = tuple(cut.positions.tolist()), tuple(coloured)
    return Volume(tuple(slices), "NIfTI", cut.plane, places, grid.facts, (), shares, cut.pixel_mm2)


def find_affine(header: "Nifti1Header") -> np.ndarray:
    """Give the `affine` of a `Grid`, float (3, 4)."""
    return _RAS_TO_LPS @ header.get_best_affine()[:3]


def read_header(entry: Entry) -> tuple["Nifti1Header", int]:
    """Read the header, and how many bytes the header and the data take together.

    Raises:
        ImageError: it is damaged, or its data lie in another file.
    """
    try:
        import nibabel
    except ImportError as error:
        raise ImageError("Reading NIfTI needs the extra `medical`: pip install '.[medical]'") from error
    head = _unpack_head(entry.head)
    version = _find_version(head) or 1
    try:
        make = nibabel.Nifti1Header if version == 1 else nibabel.Nifti2Header
        header = make(head[: _HEADER_BYTES[version]], check=False)
        shape, dtype = header.get_data_shape(), header.get_data_dtype()
        header.get_slope_inter()
        start = int(header.get_data_offset())
        if start < _HEADER_BYTES[version]:
            raise ValueError(f"the data start at {start}")
        end = start + int(np.prod(shape, dtype=object)) * dtype.itemsize
    except (*DAMAGE, nibabel.spatialimages.HeaderDataError, nibabel.wrapstruct.WrapStructError) as error:
        raise ImageError(f"{entry.name} has a damaged NIfTI header. Export it again.") from error
    if head[344:348] == b"ni1\0" or head[4:8] == b"ni2\0":
        what = "is one half of a pair of files, .hdr and .img, which is not read"
        raise ImageError(f"{entry.name} {what}: convert the pair to one NIfTI file (.nii.gz).")
    if int(header["intent_code"]) in _COLOUR_VECTORS:
        what = "is a colour picture whose channels are volumes of their own, and MRI slices are grey"
        raise ImageError(f"{entry.name} {what}. Send the scan that it was made from.")
    return header, end


def _read_content(entry: Entry, end: int) -> bytes:
    """Everything up to the end of the data: what a gzip holds beyond is never unpacked."""
    if not 0 < end <= MAX_VOLUME_BYTES:
        limit = f"at most {MAX_VOLUME_BYTES:,} are accepted"
        raise ImageError(f"{entry.name} unpacks to {end:,} bytes; {limit}. Send one volume.")
    try:
        with entry.open() as stream:
            packed: IO[bytes] = stream
            if entry.head.startswith(GZIP_MAGIC):
                packed = gzip.GzipFile(fileobj=stream)  # type: ignore[assignment]
            content = packed.read(end)
            packed.read(1)  # where the data end with the file, this compares the check sum
    except (OSError, EOFError, zlib.error) as error:
        raise ImageError(f"{entry.name} is damaged or cut short. Export it again.") from error
    if len(content) < end:
        sizes = f"its header says {end:,} bytes, it holds {len(content):,}"
        raise ImageError(f"{entry.name} is cut short: {sizes}. Export it again.")
    return content


def _shape_data(header: "Nifti1Header", content: bytes, name: str) -> tuple[np.ndarray, dict[str, str]]:
    """The first volume as a view (x, y, z) of the content, and what there is to say of it."""
    shape, dtype = header.get_data_shape(), header.get_data_dtype()
    if len(shape) < 2 or min(shape) < 1 or not (dtype.kind in "uifc" or dtype.names):
        found = f"its data are {dtype} {tuple(shape)}"
        raise ImageError(f"{name} holds no picture: {found}. Expected numbers of two or three dimensions.")
    shape = (*shape, 1) if len(shape) == 2 else tuple(shape)
    count, matrix = int(np.prod(shape[:3], dtype=object)), " x ".join(map(str, shape[:3]))
    if max(shape[:3]) > MAX_SLICES or count > MAX_VOXELS:
        limits = f"at most {MAX_VOXELS:,}, and {MAX_SLICES:,} a side, are accepted"
        raise ImageError(f"{name} has {matrix} voxels; {limits}. Send one volume.")
    data = np.frombuffer(content, dtype, count, int(header.get_data_offset())).reshape(shape[:3], order="F")
    facts = {"matrix": matrix, "stored as": "colour" if dtype.names else dtype.newbyteorder("=").name}
    volumes = int(np.prod(shape[3:], dtype=object))
    if volumes > 1:
        facts["volumes"] = f"the first of {volumes:,}"
    if header["qform_code"] == 0 and header["sform_code"] == 0:
        default = "its first axis is taken to run to the left, as the format's first version did"
        facts["orientation"] = f"not stated in the file; {default}"
    return data, facts


def _to_grey(values: np.ndarray, slope: float, intercept: float) -> Picture:
    """One slice: colour becomes luma, complex numbers their magnitude."""
    if values.dtype.names:
        return decode_image(np.stack([values[name] for name in values.dtype.names[:3]], axis=-1))
    if values.dtype.kind == "c":
        values = np.abs(values)
    with np.errstate(over="ignore", invalid="ignore"):
        scaled = values.astype(np.float32) * np.float32(slope) + np.float32(intercept)
    return Picture(apply_percentile_window(scaled))
