"""`lgg_tcga`: low-grade glioma with masks, as Kaggle's LGG segmentation dataset comes.

What: 3,929 axial slices of 110 patients, 256 x 256, skull kept, of five hospitals. Three channels of a TIFF
are three sequences: T1, FLAIR and T1 with contrast agent. A mask of each slice lies beside it.
From: https://www.kaggle.com/datasets/mateuszbuda/lgg-mri-segmentation; pixels of The Cancer Imaging Archive.
Licence: CC BY-NC-SA 4.0 as Kaggle states it; TCIA TCGA-LGG CC BY 3.0.
Citation: Buda, Saha, Mazurowski (2019), doi 10.1016/j.compbiomed.2019.05.002; TCIA TCGA-LGG.

A slice gives up to three pictures. A sequence that was not taken repeats FLAIR in its channel: then only
FLAIR is stored. A slice with tumour is `glioma`; one without has no label, `tumor` 0 and an empty mask.

Left out and logged: channels that are nearly black, above the head and below it. They show no brain, and a
classifier would learn from them that black means no tumour.

Known faults: the mask is of the FLAIR abnormality. Few of these tumours take up contrast agent, so in T1C the
mask is larger than what can be seen. A slice without tumour may show swelling or pressure. Two of the people
are in `brats_samples`, too, under the same names.

Two folders of one patient with different dates are two scans: both are read, and share `patient`. A second
copy of all folders, which lies deeper in Kaggle's zip, is not read.
"""

import io
import logging
import re
from pathlib import Path

import numpy as np
from PIL import Image

from tumor_ds.collection.errors import DatasetError, PictureError
from tumor_ds.sources.folders import check_count, find_below, read_picture
from tumor_ds.sources.slices import Adapter, Slice

SOURCE = "lgg_tcga"
HOMEPAGE = "https://www.kaggle.com/datasets/mateuszbuda/lgg-mri-segmentation"
SCANS, SLICES = 110, 3929
# By channel, in the order of the TIFF.
CHANNELS = ("T1", "FLAIR", "T1C")
# A channel shows a head where this share of it is brighter than this level. Measured on 3,494 pictures of
# this source: the share is .10 or more where there is a head, and .02 or less in three that are nearly black.
BRIGHT_LEVEL, BRIGHT_SHARE = 20, 0.05
_SCAN = re.compile(r"(TCGA_[A-Z0-9]{2}_[A-Z0-9]{4})_\d{8}")

logger = logging.getLogger(__name__)


def _find_scans(folder: Path) -> list[Path]:
    return [path for path in find_below(folder, "TCGA_*") if path.is_dir()]


def _list_scans(folder: Path) -> list[str]:
    """Folders of scans, after a check that every slice has its mask."""
    seen: dict[str, Path] = {}
    slices = 0
    for path in _find_scans(folder):
        if not _SCAN.fullmatch(path.name):
            raise DatasetError(f"{SOURCE}: unknown folder {path}, expected TCGA_XX_XXXX_DATE. Take it out.")
        if (twin := seen.setdefault(path.name, path)) != path:
            raise DatasetError(f"{SOURCE}: one scan in two folders, {twin} and {path}. Remove one of them.")
        slices += len(_list_slices(path))
    check_count(f"{SOURCE}: folders TCGA_* in {folder}", len(seen), SCANS, HOMEPAGE)
    check_count(f"{SOURCE}: slices in {folder}", slices, SLICES, HOMEPAGE)
    return [path.relative_to(folder).as_posix() for path in seen.values()]


def _list_slices(scan: Path) -> list[str]:
    """Names of the slices of a scan, without `.tif`, in their order in the head."""
    names = sorted(path.name for path in scan.iterdir() if not path.name.startswith("."))
    slices: set[str] = set()
    masks: set[str] = set()
    for name in names:
        found = re.fullmatch(rf"({scan.name}_\d+)(_mask)?\.tif", name)
        if found is None:
            raise DatasetError(
                f"{SOURCE}: unknown file {scan / name}, expected {scan.name}_N.tif. Take it out."
            )
        (masks if found[2] else slices).add(found[1])
    if alone := sorted(slices ^ masks):
        missing = f"{alone[0]}_mask.tif" if alone[0] in slices else f"{alone[0]}.tif"
        raise DatasetError(f"{SOURCE}: there is no {missing} in {scan}. Download it again from {HOMEPAGE}.")
    return sorted(slices, key=lambda name: int(name.rpartition("_")[2]))


def _read_scan(folder: Path, scan: str) -> list[Slice]:
    pictures, dark = [], 0
    name = Path(scan).name
    patient = name.rpartition("_")[0]
    for stem in _list_slices(folder / scan):
        channels = _read_channels(folder, f"{scan}/{stem}.tif")
        mask = np.where(read_picture(folder, f"{scan}/{stem}_mask.tif").grey > 0, 255, 0).astype(np.uint8)
        tumor = bool(mask.any())
        label = "glioma" if tumor else None
        for sequence, image in channels.items():
            if (image > BRIGHT_LEVEL).mean() < BRIGHT_SHARE:
                dark += 1
                continue
            filename = f"{name}/{stem}.tif#{sequence}"
            pictures.append(
                Slice(filename, image, label, tumor, SOURCE, sequence, "kept", patient, mask=mask)
            )
    logger.info("%s: %d pictures of %s left out: nearly black", SOURCE, dark, name)
    return pictures


def _read_channels(folder: Path, name: str) -> dict[str, np.ndarray]:
    """Pixels by sequence, uint8 (h, w); a channel that repeats FLAIR is left out."""
    read_picture(folder, name)  # It refuses what is damaged; its pixels are one channel.
    with Image.open(io.BytesIO((folder / name).read_bytes())) as image:
        if image.mode != "RGB":
            raise PictureError(name, f"its pixels are {image.mode}, expected RGB, a sequence a channel")
        channels = dict(zip(CHANNELS, np.moveaxis(np.asarray(image), -1, 0), strict=True))
    flair = channels["FLAIR"]
    return {key: pixels for key, pixels in channels.items() if key == "FLAIR" or (pixels != flair).any()}


ADAPTER = Adapter(lambda folder: bool(_find_scans(folder)), _list_scans, _read_scan)
