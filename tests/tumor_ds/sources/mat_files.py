"""MATLAB 7.3 files as figshare 1512427 has them, for tests.

Goes in: what a slice shows. Comes out: a file with the header of MATLAB, `cjdata` as a group with the classes
of its fields, and matrices in MATLAB's order, so that HDF5 gives them transposed.
"""

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

HEADER = b"MATLAB 7.3 MAT-file, Platform: PCWIN64, Created on: Mon Jan 05 10:00:00 2015 HDF5 schema 1.00 ."
LABELS = {"meningioma": 1, "glioma": 2, "pituitary": 3}
CLASSES = {np.dtype(np.int16): "int16", np.dtype(np.float64): "double"}


def build_fields(image: np.ndarray, mask: np.ndarray, label: str, patient: str) -> dict[str, np.ndarray]:
    """Fields of `cjdata`, as MATLAB shows them: matrices with rows first, text as numbers of characters."""
    rows, columns = np.nonzero(mask)
    return {
        "PID": np.array([[ord(sign) for sign in patient]], np.uint16),
        "image": image,
        "label": np.array([[LABELS[label]]], np.float64),
        "tumorBorder": np.array([[columns.min(), rows.min(), columns.max(), rows.max()]], np.float64).T,
        "tumorMask": mask.astype(np.uint8),
    }


def build_mat(fields: Mapping[str, Any]) -> bytes:
    """The file that holds these fields."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", userblock_size=512) as file:
        data = file.create_group("cjdata")
        data.attrs["MATLAB_class"] = np.bytes_("struct")
        for name, value in fields.items():
            is_grid = name in ("image", "tumorMask") and value.ndim == 2
            packing = {"compression": "gzip", "compression_opts": 3} if is_grid else {}
            field = data.create_dataset(name, data=value.T, **packing)
            kind = {"PID": "char", "tumorMask": "logical"}.get(name, CLASSES.get(value.dtype, "double"))
            field.attrs["MATLAB_class"] = np.bytes_(kind)
            if kind in ("char", "logical"):
                field.attrs["MATLAB_int_decode"] = np.int32(value.dtype.itemsize)
    content = buffer.getvalue()
    return HEADER.ljust(116) + bytes(8) + b"\x00\x02IM" + content[128:]


def save_zip(files: Mapping[str, bytes], path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
