"""Compressed frames: what size and offset their streams state."""

import struct

import numpy as np
import pytest
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless

from serving import ImageError
from serving.pictures.codestreams import check_frame
from serving.preprocess import decode_grey
from tests.bad_inputs import encode
from tests.bad_volumes import make_dicom, save_dicom


def make_stream(left: int = 0, top: int = 0) -> bytes:
    """A JPEG 2000 picture of 30 x 20 that starts at (left, top) of its grid."""
    grey = np.random.default_rng(0).integers(0, 256, (20, 30), np.uint8)
    stream = encode(Image.fromarray(grey), "JPEG2000", no_jp2=True, offset=(left, top), tile_size=(99, 99))
    # ITU-T T.800 A.5.1: Xsiz, Ysiz, XOsiz and YOsiz follow SOC, SIZ, Lsiz and Rsiz.
    assert struct.unpack_from(">4I", stream, 8) == (30 + left, 20 + top, left, top)
    return stream


def test_size_of_jpeg_2000_is_compared_with_the_header():
    check_frame(make_stream(), JPEG2000Lossless, 20, 30, 1)
    for rows, columns in ((20, 31), (21, 30), (30, 20)):
        with pytest.raises(ImageError, match=f"is 30 x 20, its header says {columns} x {rows}"):
            check_frame(make_stream(), JPEG2000Lossless, rows, columns, 1)


@pytest.mark.parametrize("offset", [(7, 0), (0, 5), (7, 5)])
def test_offset_of_jpeg_2000_is_refused_by_name(offset):
    left, top = offset
    # Whether the header states the size of the picture or that of the grid.
    for rows, columns in ((20, 30), (20 + top, 30 + left)):
        dataset = make_dicom(np.zeros((rows, columns), np.uint8), JPEG2000Lossless)
        dataset.PixelData = encapsulate([make_stream(left, top)])
        with pytest.raises(ImageError, match=f"starts at {left}, {top} of its grid.*Export it uncompressed"):
            decode_grey(save_dicom(dataset))
