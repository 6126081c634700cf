"""Files that `tumor predict` writes beside its answers: heat maps and masks.

Goes in: answers, and folders. Comes out: PNGs, and NIfTI for NIfTI, under names that no two of one run share.
"""

import errno
import io
import re
from pathlib import Path

import numpy as np
from PIL import Image

from serving.cli.terminal import describe_os_error
from serving.files.writing import cut_name, write_whole
from serving.model.explain import overlay_heatmap
from serving.model.prediction import Prediction

# Of an input's name, in UTF-8: file systems take 255 bytes, and a number and an ending are added.
_MOST_BYTES = 150
_NIFTI_ENDINGS = (".gz", ".nii")


class PictureWriter:
    """Writes what was asked for of each scored picture or slice.

    Attributes:
        fit: how the model's input is made square, one of `serving.preprocess.FITS`.
        heatmaps: folder for overlays of the class activation map; None: none are wanted.
        outlines: folder for masks of what a model with a tumour map outlines; None: none are wanted.

    Example:
        >>> writer = PictureWriter("pad", None, None)
        >>> writer.write("slice.png", np.zeros((9, 9), np.uint8), prediction)  # doctest: +SKIP
        {}
    """

    def __init__(self, fit: str, heatmaps: Path | None, outlines: Path | None):
        self.fit, self.heatmaps, self.outlines, self._count = fit, heatmaps, outlines, 0

    def write(
        self, name: str, grey: np.ndarray, prediction: Prediction, with_mask: bool = True
    ) -> dict[str, str]:
        """Write the heat map and, unless its volume has one, the mask of a picture; none of a refused one.

        Returns:
            Paths by field of the answer: `heatmap` and `mask`; `error` in place of what cannot be written.

        Raises:
            OSError: the disk is full.
        """
        outlines = self.outlines if with_mask else None
        if prediction.label is None or (self.heatmaps is None and outlines is None):
            return {}
        self._count += 1
        written: dict[str, str] = {}
        if self.heatmaps is not None:
            path = self.heatmaps / self._name(name, f"{prediction.label}.png")
            overlay = overlay_heatmap(grey, prediction.heatmap, self.fit)
            written |= _write("heatmap", path, _encode_png(overlay))
        if outlines is not None:
            mask = prediction.tumor_mask
            assert mask is not None, "masks are wanted of a model that makes none"
            path = outlines / self._name(name, "mask.png")
            written |= _write("mask", path, _encode_png(np.where(mask, 255, 0).astype(np.uint8)))
        return written

    def write_volume(self, name: str, content: bytes) -> dict[str, str]:
        """Write the mask of a whole volume, a `.nii.gz`, into the folder for masks.

        Returns:
            Its path, as `mask`, or an `error`.

        Raises:
            OSError: the disk is full.
        """
        assert self.outlines is not None
        self._count += 1
        for ending in _NIFTI_ENDINGS:
            name = name.removesuffix(ending)
        return _write("mask", self.outlines / self._name(name, "mask.nii.gz"), content)

    def _name(self, name: str, ending: str) -> str:
        stem = cut_name(re.sub(r"[^\w.-]", "_", Path(name).name), _MOST_BYTES)
        return f"{self._count:04d}_{stem}_{ending}"


def _write(field: str, path: Path, content: bytes) -> dict[str, str]:
    """Write one file, and give its field of the answer; one that cannot be written stops no others."""
    try:
        write_whole(path, content)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):  # the next would fail as well
            raise
        what = {"heatmap": "heat map", "mask": "mask"}[field]
        return {"error": f"Its {what} cannot be written. {describe_os_error(error)}"}
    return {field: str(path)}


def _encode_png(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()
