"""TFDS builder of Kaggle's brain tumour MRI collection, and of a user's own pictures.

Goes in: Kaggle's zip, its unzipped folder, or nothing (then it is downloaded); or any folder of pictures in
class folders. Comes out: records of grey pictures at native size with label, group, patient fold, and whether
a test image is a copy of a training image.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from tumor_ds.collection import archive, versions
from tumor_ds.collection.errors import DatasetError
from tumor_ds.collection.layout import SPLIT_FOLDERS
from tumor_ds.collection.versions import LABELS
from tumor_ds.grouping import splits
from tumor_ds.grouping.facts import ImageFacts, compute_facts, load_facts

FOLDER = "folder"
SPLITTERS = {
    "official": splits.split_official,
    "grouped": splits.split_grouped,
    "patient": splits.split_patient,
    FOLDER: splits.split_grouped,
}
# README.md and CITATIONS.bib are about version 1.
VERSION_2_DESCRIPTION = (
    "7,200 slices of brain MRI in four classes (glioma, meningioma, notumor, pituitary): version 2 of"
    " Kaggle's `masoudnickparvar/brain-tumor-mri-dataset` (February 2026), among them augmented ones (`-aug-`"
    " in their name). The groups of near-duplicates and the twins are computed from the pixels; which"
    " pictures are of one patient is unknown. Published figures are about version 1, and no figure of this"
    " package is about version 2."
)
VERSION_2_CITATION = f"""@misc{{nickparvar2026brain,
  title     = {{Brain Tumor {{MRI}} Dataset}},
  author    = {{Nickparvar, Msoud}},
  year      = {{2026}},
  publisher = {{Kaggle}},
  note      = {{Version 2}},
  url       = {{{archive.HOMEPAGE}}},
}}"""
FOLDER_DESCRIPTION = (
    "Pictures of one's own in class folders, with the groups of near-duplicates that are computed from their"
    " pixels; split 70/10/20 in whole groups. Where they come from and what may be done with them is as their"
    " owner says."
)


class Builder(tfds.core.GeneratorBasedBuilder):
    """Brain tumour MRI under three protocols, and other class-named pictures; the major version is Kaggle's.

    Example:
        >>> builder = Builder(config="official", data_dir="tensorflow_datasets")
        >>> builder.info.features["label"].names
        ['glioma', 'meningioma', 'notumor', 'pituitary']
    """

    VERSION = tfds.core.Version("1.1.0")
    RELEASE_NOTES = {
        "1.0.0": "Version 1 of the Kaggle collection (7,023 images), with groups, patient folds and twins.",
        "1.1.0": (
            "Groups also join copies with another contrast (993 groups, before 1,089), which exchanges 39"
            " images between train and validation of `official`; configs `grouped`, `patient` and `folder`."
        ),
        "2.0.0": (
            "Version 2 of the Kaggle collection (7,200 images), with groups and twins computed from the"
            " pictures."
        ),
    }
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        f"Download version 1 of the collection (no account needed) from {archive.DOWNLOAD_URL} and put it"
        f" into the manual directory as {archive.ZIP_NAMES[0]}; or put its unzipped folders"
        f" {' and '.join(SPLIT_FOLDERS)} there. For the config `folder`: a zip or folder of your own,"
        " CLASS/FILE or SPLIT/CLASS/FILE."
    )
    BUILDER_CONFIGS = [
        tfds.core.BuilderConfig(name=name, description=description, supported_versions=supported)
        for name, description, supported in (
            ("official", "Kaggle's Training and Testing folders", ["2.0.0"]),
            ("grouped", "all images, whole groups, 70/10/20 of each class", ["2.0.0"]),
            ("patient", "all images in five folds, whole groups, published patient folds where known", []),
            (FOLDER, "your own class folders, grouped by what they show, 70/10/20 of each class", []),
        )
    ]
    EXPECTED_COUNTS = versions.VERSION_1_COUNTS
    EXPECTED_TOTALS = versions.VERSION_2_COUNTS
    is_manual_dir_named = False

    def _info(self) -> tfds.core.DatasetInfo:
        # The classes of a user's folder are known once it is read; TFDS stores them with the dataset.
        names = None if self.builder_config.name == FOLDER else LABELS
        number, image_doc = tfds.features.Scalar, "grey slice, native size, lossless"
        fold_doc = "1..5: patient-disjoint folds of figshare 1512427; 0: unknown"
        twin_doc = "test image that is a flipped or turned training image"
        features = {
            "image": tfds.features.Image(shape=(None, None, 1), encoding_format="png", doc=image_doc),
            "label": tfds.features.ClassLabel(names=names),
            "filename": tfds.features.Text(doc="path in the collection"),
            "group": number(dtype=np.int64, doc="near-duplicates and neighbouring slices share it"),
            "patient_fold": number(dtype=np.int64, doc=fold_doc),
            "has_train_twin": number(dtype=np.bool_, doc=twin_doc),
        }
        about: dict[str, Any] = {
            "features": tfds.features.FeaturesDict(features),
            "supervised_keys": ("image", "label"),
        }
        if self.builder_config.name == FOLDER:
            return tfds.core.DatasetInfo(builder=self, description=FOLDER_DESCRIPTION, **about)
        if int(self.version.major) == 1:
            return self.dataset_info_from_configs(homepage=archive.HOMEPAGE, **about)
        _, figshare = self.get_metadata().citation.split("\n\n")
        about |= {"citation": f"{VERSION_2_CITATION}\n\n{figshare}", "homepage": archive.HOMEPAGE}
        return tfds.core.DatasetInfo(builder=self, description=VERSION_2_DESCRIPTION, **about)

    def download_and_prepare(self, **arguments: Any) -> None:
        """Build as TFDS does; remembers whether a manual directory was named, which TFDS does not tell."""
        download_config = arguments.get("download_config")
        self.is_manual_dir_named = bool(download_config and download_config.manual_dir)
        super().download_and_prepare(**arguments)

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator]:
        config = self.builder_config.name
        source, remedy = self._find_manual_source(dl_manager), ""
        if source is None and config == FOLDER:
            raise DatasetError(
                "The config `folder` builds your own pictures: name their zip or folder, "
                "tumor build folder --manual-dir DIR (with TFDS's own command --manual_dir DIR)."
            )
        if source is None:
            from tumor_ds.collection.kaggle import download_collection  # kagglehub sets up logging on import

            source = download_collection(self.version.major)
            remedy = f"Delete {source} and run the same command again."
        with _add_remedy(remedy), archive.open_collection(source) as collection:
            facts = compute_facts(collection) if config == FOLDER else self._load_facts(collection)
        if config == FOLDER:
            self.info.features["label"].names = sorted({row.label for row in facts})
        else:
            remedy = remedy or versions.explain_download(self.version.major)
        return {
            name: self._generate_examples(source, rows, remedy)
            for name, rows in SPLITTERS[config](facts).items()
        }

    def _find_manual_source(self, dl_manager: tfds.download.DownloadManager) -> Path | None:
        """The zip or folder in the manual directory; None where that is TFDS's own and has no collection."""
        try:
            manual_dir = Path(dl_manager.manual_dir)
        # TFDS: the folder is missing or empty; the message names it and the instructions.
        except AssertionError as error:
            if self.is_manual_dir_named:
                raise DatasetError(str(error)) from error
            return None
        if self.is_manual_dir_named or manual_dir != Path(dl_manager.download_dir) / "manual":
            return archive.find_source(manual_dir)
        # All datasets share this directory; only what is Kaggle's by its name is taken from it.
        if self.builder_config.name == FOLDER:
            return None
        zips = [manual_dir / name for name in archive.ZIP_NAMES if (manual_dir / name).is_file()]
        has_folders = all((manual_dir / name).is_dir() for name in SPLIT_FOLDERS)
        return zips[0] if zips else manual_dir if has_folders else None

    def _load_facts(self, collection: archive.Collection) -> list[ImageFacts]:
        version = int(self.version.major)
        versions.check_version(collection.paths, version, self.EXPECTED_COUNTS, self.EXPECTED_TOTALS)
        if version != 1:
            return compute_facts(collection)
        facts = load_facts()
        strangers = [path for path in collection.paths if path not in facts]
        if strangers:
            remedy = versions.explain_download(version)
            raise DatasetError(
                f"{strangers[0]} is not a file of Kaggle's version 1 ({len(strangers)} such). {remedy}"
            )
        return [facts[path] for path in collection.paths]

    def _generate_examples(
        self, source: Path, rows: list[ImageFacts], remedy: str
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        with _add_remedy(remedy), archive.open_collection(source) as collection:
            for row in rows:
                facts = {name: getattr(row, name) for name in ("group", "patient_fold", "has_train_twin")}
                picture = {"image": collection.read_grey(row.path), "label": row.label, "filename": row.path}
                yield row.path, picture | facts


@contextlib.contextmanager
def _add_remedy(remedy: str) -> Iterator[None]:
    """Say at the end of an error what to do about it where the pictures come from."""
    try:
        yield
    except DatasetError as error:
        raise DatasetError(f"{error} {remedy}".rstrip()) from error
