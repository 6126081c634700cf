"""TFDS builder of the Kaggle brain tumour MRI collection, with the facts that its own split hides, and of a user's own pictures.

Goes in: Kaggle's zip, its unzipped folder, or nothing (then it is downloaded); or any folder of pictures in class folders. Comes
out: records of grey pictures at native size with label, group, patient fold, and whether a test image is a copy of a training image.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from tumor_ds import archive, splits, versions
from tumor_ds.facts import ImageFacts, compute_facts, load_facts
from tumor_ds.pictures import DatasetError, read_grey
from tumor_ds.versions import LABELS

FOLDER = "folder"
SPLITTERS = {
    "official": splits.split_official,
    "grouped": splits.split_grouped,
    "patient": splits.split_patient,
    FOLDER: splits.split_grouped,
}


class Builder(tfds.core.GeneratorBasedBuilder):
    """Brain tumour MRI under three protocols, and any other class-named pictures; the major version is Kaggle's."""

    VERSION = tfds.core.Version("1.1.0")
    RELEASE_NOTES = {
        "1.0.0": "Version 1 of the Kaggle collection (7,023 images), with groups, patient folds and twins.",
        "1.1.0": (
            "Groups also join copies with another contrast (1,043 groups, before 1,089), which moves 14 images between train and validation of "
            "`official`; configs `grouped`, `patient` and `folder`."
        ),
        "2.0.0": "Version 2 of the Kaggle collection (7,200 images), with groups and twins computed from the pictures.",
    }
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        f"Download version 1 of the collection (no account needed) from {archive.DOWNLOAD_URL} and put it into the manual "
        f"directory as {archive.ZIP_NAMES[0]}; or put its unzipped folders {' and '.join(archive.SPLIT_FOLDERS)} there. "
        "For the config `folder`: a zip or folder of your own, CLASS/FILE or SPLIT/CLASS/FILE."
    )
    BUILDER_CONFIGS = [
        tfds.core.BuilderConfig(name="official", description="Kaggle's Training and Testing folders", supported_versions=["2.0.0"]),
        tfds.core.BuilderConfig(name="grouped", description="all images, whole groups, 70/10/20 of each class", supported_versions=["2.0.0"]),
        tfds.core.BuilderConfig(name="patient", description="all images in five folds, whole groups, published patient folds where known"),
        tfds.core.BuilderConfig(name=FOLDER, description="your own class folders, grouped by what they show, 70/10/20 of each class"),
    ]
    EXPECTED_COUNTS = versions.VERSION_1_COUNTS
    EXPECTED_TOTALS = versions.VERSION_2_COUNTS

    def _info(self) -> tfds.core.DatasetInfo:
        # The classes of a user's folder are known once it is read; TFDS stores them with the dataset.
        names = None if self.builder_config.name == FOLDER else LABELS
        features = {
            "image": tfds.features.Image(shape=(None, None, 1), encoding_format="png", doc="grey slice, native size, lossless"),
            "label": tfds.features.ClassLabel(names=names),
            "filename": tfds.features.Text(doc="path in the collection"),
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
        config = self.builder_config.name
        source = _find_manual_source(dl_manager)
        if source is None and config == FOLDER:
            raise DatasetError("The config `folder` builds your own pictures: name their zip or folder with --manual_dir DIR.")
        if source is None:
            from tumor_ds.kaggle import download_collection  # kagglehub sets up logging on import

            source = download_collection(self.version.major)
        with archive.open_collection(source) as collection:
            facts = compute_facts(collection) if config == FOLDER else self._load_facts(collection)
        if config == FOLDER:
            self.info.features["label"].names = sorted({row.label for row in facts})
        return {name: self._generate_examples(source, rows) for name, rows in SPLITTERS[config](facts).items()}

    def _load_facts(self, collection: archive.Collection) -> list[ImageFacts]:
        version = int(self.version.major)
        versions.check_version(collection.paths, version, self.EXPECTED_COUNTS, self.EXPECTED_TOTALS)
        if version != 1:
            return compute_facts(collection)
        facts = load_facts()
        strangers = [path for path in collection.paths if path not in facts]
        if strangers:
            remedy = versions.explain_download(version)
            raise DatasetError(f"{strangers[0]} is not a file of Kaggle's version 1 ({len(strangers)} such). {remedy}")
        return [facts[path] for path in collection.paths]

    def _generate_examples(self, source: Path, rows: list[ImageFacts]) -> Iterator[tuple[str, dict[str, Any]]]:
        with archive.open_collection(source) as collection:
            for row in rows:
                try:
                    image = read_grey(row.path, collection.read)
                except DatasetError as error:
                    if self.builder_config.name == FOLDER:
                        raise
                    raise DatasetError(f"{error} {versions.explain_download(self.version.major)}") from error
                yield (
                    row.path,
                    {
                        "image": image,
                        "label": row.label,
                        "filename": row.path,
                        "group": row.group,
                        "patient_fold": row.patient_fold,
                        "has_train_twin": row.has_train_twin,
                    },
                )


def _find_manual_source(dl_manager: tfds.download.DownloadManager) -> Path | None:
    """The zip or folder that the user put into the manual directory; None where none was named and TFDS's own one is empty."""
    try:
        return archive.find_source(Path(dl_manager.manual_dir))
    except AssertionError as error:  # TFDS: the folder is missing or empty; the message names it and the instructions
        if f"{dl_manager.download_dir / 'manual'} " in str(error):
            return None
        raise DatasetError(str(error)) from error
