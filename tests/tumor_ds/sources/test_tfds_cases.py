"""The checks that TFDS makes of every builder, for three sources: a table, volumes, three-channel scans."""

import csv
import tempfile
from pathlib import Path
from unittest import mock

import nibabel
import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from tumor_ds import Builder
from tumor_ds.sources import lgg_tcga


def draw(seed: int, side: int = 32) -> np.ndarray:
    noise = np.random.default_rng(seed).integers(30, 200, (6, 6), dtype=np.uint8)
    return np.asarray(Image.fromarray(noise).resize((side, side), Image.Resampling.BICUBIC))


class SourceCase(tfds.testing.DatasetBuilderTestCase):
    """What the three have in common: dummy data that the test draws itself."""

    __test__ = False
    DATASET_CLASS = Builder

    @classmethod
    def setUpClass(cls):
        cls.draw_examples(Path(cls.EXAMPLE_DIR))
        super().setUpClass()


class GatheredCase(SourceCase):
    """Three pictures of three patients in a table."""

    __test__ = True
    # TFDS looks for it as soon as the class is there; it goes with the class.
    FOLDER = tempfile.TemporaryDirectory()
    EXAMPLE_DIR = FOLDER.name
    BUILDER_CONFIG_NAMES_TO_TEST = ["gathered"]
    SPLITS = {"fold1": 1, "fold2": 1, "fold4": 1}

    @classmethod
    def draw_examples(cls, folder: Path):
        with (folder / "sources.csv").open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["file", "class", "patient", "fold", "sequence"])
            for number, label in enumerate(("glioma", "notumor", "other_tumor")):
                Image.fromarray(draw(number)).save(folder / f"{number}.png")
                rows.writerow([f"{number}.png", label, f"p{number}", 2**number, "T1"])


class VolumesCase(SourceCase):
    """A volume of one patient, cut in one plane."""

    __test__ = True
    # TFDS looks for it as soon as the class is there; it goes with the class.
    FOLDER = tempfile.TemporaryDirectory()
    EXAMPLE_DIR = FOLDER.name
    BUILDER_CONFIG_NAMES_TO_TEST = ["ixi_small"]
    SPLITS = {"fold3": 4}

    @classmethod
    def draw_examples(cls, folder: Path):
        data = np.stack([draw(number) for number in range(4)], axis=-1)
        data[:3] = data[-3:] = 0  # air
        nibabel.save(nibabel.Nifti1Image(data, np.diag([5.0, 5.0, 5.0, 1.0])), folder / "head.nii.gz")
        (folder / "volumes.csv").write_text(
            "file,patient,label,sequence,planes,fold\nhead.nii.gz,p1,notumor,T1,axial,3\n"
        )


class ScansCase(SourceCase):
    """Two slices of one patient: one with tumour, one without; the third channel repeats the second."""

    __test__ = True
    # TFDS looks for it as soon as the class is there; it goes with the class.
    FOLDER = tempfile.TemporaryDirectory()
    EXAMPLE_DIR = FOLDER.name
    BUILDER_CONFIG_NAMES_TO_TEST = ["lgg_tcga"]
    SPLITS = {"fold2": 4}

    @classmethod
    def draw_examples(cls, folder: Path):
        scan = folder / "kaggle_3m" / "TCGA_CS_4941_19960909"
        scan.mkdir(parents=True)
        for number in (1, 2):
            first, second = draw(number, 256), draw(10 + number, 256)
            name = f"TCGA_CS_4941_19960909_{number}"
            Image.fromarray(np.stack([first, second, second], axis=-1)).save(scan / f"{name}.tif")
            mask = np.zeros((256, 256), np.uint8)
            mask[60:120, 60:120] = 255 * (number - 1)
            Image.fromarray(mask).save(scan / f"{name}_mask.tif")

    def setUp(self):
        super().setUp()
        for name, count in (("SCANS", 1), ("SLICES", 2)):
            patcher = mock.patch.object(lgg_tcga, name, count)
            patcher.start()
            self.addCleanup(patcher.stop)
