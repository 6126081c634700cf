"""TFDS builder of the Kaggle brain tumour MRI collection, with the facts that its own split hides.

Goes in: Kaggle's zip (or its unzipped folder) in the manual directory. Comes out: records of grey pictures at native size
with label, near-duplicate group, patient fold, and whether a test image is a copy of a training image.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from tumor_ds import archive, splits

LABELS = ("glioma", "meningioma", "notumor", "pituitary")


class Builder(tfds.core.GeneratorBasedBuilder):
    """Brain tumour MRI, config `official`: Kaggle's own folders, validation carved out of Training by whole groups."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "Version 1 of the Kaggle collection (7,023 images), with groups, patient folds and twins."}
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        f"Download version 1 of the collection (no account needed) from {archive.DOWNLOAD_URL} and put it into the manual "
        f"directory as {archive.ZIP_NAMES[0]}; or put its unzipped folders {' and '.join(archive.SPLIT_FOLDERS)} there."
    )
    BUILDER_CONFIGS = [tfds.core.BuilderConfig(name="official", description="Kaggle's Training and Testing folders")]
    # Kaggle version 1; version 2 has 5,600 + 1,600 images and is another dataset.
    EXPECTED_COUNTS = {
        ("Training", "glioma"): 1321,
        ("Training", "meningioma"): 1339,
        ("Training", "notumor"): 1595,
        ("Training", "pituitary"): 1457,
        ("Testing", "glioma"): 300,
        ("Testing", "meningioma"): 306,
        ("Testing", "notumor"): 405,
        ("Testing", "pituitary"): 300,
    }

    def _info(self) -> tfds.core.DatasetInfo:
        features = {
            "image": tfds.features.Image(shape=(None, None, 1), encoding_format="png", doc="grey slice, native size, lossless"),
            "label": tfds.features.ClassLabel(names=LABELS),
            "filename": tfds.features.Text(doc="path in Kaggle's zip"),
            "group": tfds.features.Scalar(dtype=np.int64, doc="near-duplicates and neighbouring slices share it"),
            "patient_fold": tfds.features.Scalar(dtype=np.int64, doc="1..5: patient-disjoint folds of figshare 1512427; 0: unknown"),
            "has_train_twin": tfds.features.Scalar(dtype=np.bool_, doc="test image that is a flipped or turned training image"),
        }
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(features),
            supervised_keys=("image", "label"),
            homepage="https://www.kaggle.com/datasets/masoudnickparvar/brain-tumor-mri-dataset",
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator]:
        try:
            manual_dir = Path(dl_manager.manual_dir)
        except AssertionError as error:  # TFDS: the folder is missing or empty; the message names it and the instructions
            raise archive.DatasetError(str(error)) from error
        facts = splits.load_facts()
        with archive.open_collection(manual_dir) as (paths, _):
            archive.check_listing(paths, LABELS, self.EXPECTED_COUNTS)
        strangers = [path for path in paths if path not in facts]
        if strangers:
            raise archive.DatasetError(f"{strangers[0]} is not a file of Kaggle's version 1 ({len(strangers)} such). {archive.REMEDY}")
        training = [facts[path] for path in paths if path.startswith("Training/")]
        testing = [facts[path] for path in paths if path.startswith("Testing/")]
        held_out = splits.choose_validation_groups(training)
        return {
            "train": self._generate_examples(manual_dir, [row for row in training if row.group not in held_out]),
            "validation": self._generate_examples(manual_dir, [row for row in training if row.group in held_out]),
            "test": self._generate_examples(manual_dir, testing),
        }

    def _generate_examples(self, manual_dir: Path, rows: list[splits.ImageFacts]) -> Iterator[tuple[str, dict[str, Any]]]:
        with archive.open_collection(manual_dir) as (_, read):
            for row in rows:
                yield (
                    row.path,
                    {
                        "image": archive.read_grey(row.path, read),
                        "label": row.label,
                        "filename": row.path,
                        "group": row.group,
                        "patient_fold": row.patient_fold,
                        "has_train_twin": row.has_train_twin,
                    },
                )
