"""TFDS builder of Kaggle's brain tumour MRI collection, of other public sources, and of own pictures.

Goes in: Kaggle's zip, its unzipped folder, or nothing (then it is downloaded); the download of another
source; or any folder of pictures in class folders. Comes out: records of grey pictures at native size with
label, group, fold, outline where there is one, and whether a test image is a copy of a training image.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds
from tensorflow_datasets.core.download.extractor import ExtractError

from tumor_ds.collection import archive, versions
from tumor_ds.collection.errors import DatasetError
from tumor_ds.collection.layout import SPLIT_FOLDERS, is_clutter
from tumor_ds.collection.versions import LABELS
from tumor_ds.grouping import splits
from tumor_ds.grouping.facts import ImageFacts, compute_facts, load_facts
from tumor_ds.sources import building
from tumor_ds.sources.building import GATHERED
from tumor_ds.sources.catalogue import SOURCES
from tumor_ds.sources.classified import COLLECTION, read_records
from tumor_ds.sources.download import KAGGLE_DATASETS, download_source
from tumor_ds.sources.own_pictures import FOLDER, HEALTHY_LABEL, PicturesConfig, match_label
from tumor_ds.sources.records import build_features

# Protocols of Kaggle's collection.
SPLITTERS = {
    "official": splits.split_official,
    "grouped": splits.split_grouped,
    "patient": splits.split_patient,
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
    " pixels; split in whole groups. Where they come from and what may be done with them is as their"
    " owner says."
)
GATHERED_DESCRIPTION = (
    "Pictures of any origin that a table `sources.csv` describes, in five folds of whole patients. Licences"
    " are those of the pictures, as the table names them."
)
# Records that one worker of a Beam pipeline reads at a time; a zip is opened once for them.
_BATCH = 64


class Builder(tfds.core.GeneratorBasedBuilder):
    """Brain tumour MRI under three protocols, other sources, own pictures; the major version is Kaggle's.

    Example:
        >>> builder = Builder(config="official", data_dir="tensorflow_datasets")
        >>> builder.info.features["label"].names
        ['glioma', 'meningioma', 'notumor', 'pituitary']
    """

    VERSION = tfds.core.Version("1.2.0")
    RELEASE_NOTES = {
        "1.0.0": "Version 1 of the Kaggle collection (7,023 images), with groups, patient folds and twins.",
        "1.1.0": (
            "Groups also join copies with another contrast (993 groups, before 1,089), which exchanges 39"
            " images between train and validation of `official`; configs `grouped`, `patient` and `folder`."
        ),
        "1.2.0": (
            "A config for each of 20 other sources, and `gathered`. Every record also has the outline of the"
            " tumour, whether there is one, source, sequence, skull and patient; `patient_fold` is now called"
            " `fold`. Pictures, labels, groups and splits of the old configs are those of 1.1.0."
        ),
        "2.0.0": (
            "Version 2 of the Kaggle collection (7,200 images), with groups and twins computed from the"
            " pictures."
        ),
        "2.1.0": "Version 2 of the Kaggle collection with the features of 1.2.0.",
    }
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        f"Download version 1 of the collection (no account needed) from {archive.DOWNLOAD_URL} and put it"
        f" into the manual directory as {archive.ZIP_NAMES[0]}; or put its unzipped folders"
        f" {' and '.join(SPLIT_FOLDERS)} there. For the config `folder`: a zip or folder of your own,"
        " CLASS/FILE or SPLIT/CLASS/FILE; several of them each as a `PicturesConfig` with a name of its own."
        " For another source: its download, or a folder with sources.csv."
    )
    BUILDER_CONFIGS = [
        PicturesConfig(name=name, description=description, supported_versions=supported)
        for name, description, supported in (
            ("official", "Kaggle's Training and Testing folders", ["2.1.0"]),
            ("grouped", "all images, whole groups, 70/10/20 of each class", ["2.1.0"]),
            ("patient", "all images in five folds, whole groups, published patient folds where known", []),
            (FOLDER, "your own class folders, grouped by what they show, 70/10/20 of each class", []),
            *((name, source.title, []) for name, source in SOURCES.items()),
        )
    ] + [
        PicturesConfig(
            name=GATHERED,
            description="pictures that a table describes, in five folds of whole patients",
            layout="gathered",
        )
    ]
    EXPECTED_COUNTS = versions.VERSION_1_COUNTS
    EXPECTED_TOTALS = versions.VERSION_2_COUNTS
    EXPECTED_SOURCE_COUNTS = {name: source.counts for name, source in SOURCES.items()}
    is_manual_dir_named = False
    is_beam_wanted = False

    @property
    def _is_folder(self) -> bool:
        """Whether these are own pictures in class folders."""
        config = self.builder_config
        return config.layout == "folder" and config.name not in (*SPLITTERS, *SOURCES)

    def _info(self) -> tfds.core.DatasetInfo:
        name, is_gathered = self.builder_config.name, self.builder_config.layout == GATHERED
        about: dict[str, Any] = {
            # The classes of a user's folder are known once it is read; TFDS stores them with the dataset.
            "features": build_features(None if self._is_folder else LABELS),
            "supervised_keys": ("image", "label"),
        }
        if self._is_folder or is_gathered:
            description = GATHERED_DESCRIPTION if is_gathered else FOLDER_DESCRIPTION
            # What of it TFDS shall store is known once the folder is read, too.
            about["metadata"] = tfds.core.MetadataDict() if self._is_folder else None
            return tfds.core.DatasetInfo(builder=self, description=description, **about)
        if name in SOURCES:
            source = SOURCES[name]
            text = f"{source.title[0].upper()}{source.title[1:]}. {source.faults}".strip()
            about |= {"citation": source.citation, "homepage": source.homepage, "license": source.licence}
            return tfds.core.DatasetInfo(builder=self, description=text, **about)
        if int(self.version.major) == 1:
            return self.dataset_info_from_configs(homepage=archive.HOMEPAGE, **about)
        _, figshare = self.get_metadata().citation.split("\n\n")
        about |= {"citation": f"{VERSION_2_CITATION}\n\n{figshare}", "homepage": archive.HOMEPAGE}
        return tfds.core.DatasetInfo(builder=self, description=VERSION_2_DESCRIPTION, **about)

    def download_and_prepare(self, **arguments: Any) -> None:
        """Build as TFDS does; remembers what TFDS does not tell: a named manual directory, wanted Beam."""
        download_config = arguments.get("download_config")
        self.is_manual_dir_named = bool(download_config and download_config.manual_dir)
        self.is_beam_wanted = bool(
            download_config and (download_config.beam_runner or download_config.beam_options)
        )
        super().download_and_prepare(**arguments)

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        config = self.builder_config
        if config.name in SOURCES or config.layout == GATHERED:
            return self._split_source(GATHERED if config.layout == GATHERED else config.name, dl_manager)
        source, remedy = self._find_manual_source(dl_manager), ""
        if source is None and self._is_folder:
            raise DatasetError(
                f"The config `{config.name}` builds your own pictures: name their zip or folder, "
                "tumor build folder --manual-dir DIR (with TFDS's own command --manual_dir DIR)."
            )
        if source is None:
            from tumor_ds.collection.kaggle import download_collection  # kagglehub sets up logging on import

            source = download_collection(self.version.major)
            remedy = f"Delete {source} and run the same command again."
        with _add_remedy(remedy), archive.open_collection(source) as collection:
            facts = compute_facts(collection) if self._is_folder else self._load_facts(collection)
        labels = sorted({row.label for row in facts})
        healthy_label = match_label(config.healthy_label, labels)
        source_name = config.name if self._is_folder else COLLECTION
        if self._is_folder:
            self.info.features["label"].names = labels
            self.info.metadata[HEALTHY_LABEL] = healthy_label
            split = splits.split_patient if config.in_folds else splits.split_grouped
        else:
            remedy, split = remedy or versions.explain_download(self.version.major), SPLITTERS[config.name]
        read = partial(
            _read_collection,
            source=source,
            remedy=remedy,
            healthy_label=healthy_label,
            source_name=source_name,
        )
        return {name: self._generate_examples(read, rows) for name, rows in split(facts).items()}

    def _split_source(self, name: str, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        folder = self._find_source_folder(name, dl_manager)
        is_by_kaggle = name in KAGGLE_DATASETS and self._find_manual_dir(dl_manager)[0] is None
        with _add_remedy(f"Delete {folder} and run the same command again." if is_by_kaggle else ""):
            adapter = building.choose_adapter(name, folder)
            is_selection = adapter is not building.ADAPTERS.get(name)
            counts = self.EXPECTED_SOURCE_COUNTS.get(name) if is_selection else adapter.counts
            splits = building.plan_splits(name, adapter, folder, counts)
        read = partial(building.read_records, adapter=adapter, folder=folder)
        return {fold: self._generate_examples(read, units) for fold, units in splits.items()}

    def _find_source_folder(self, name: str, dl_manager: tfds.download.DownloadManager) -> Path:
        """The folder that holds a source, downloaded where none is named; a zip alone in it is unpacked."""
        folder, _ = self._find_manual_dir(dl_manager)
        if folder is None:
            return download_source(name, dl_manager)
        names = sorted(path.name for path in folder.iterdir() if not is_clutter(path.name))
        if len(names) != 1 or not names[0].lower().endswith(".zip"):
            return folder
        try:
            return Path(dl_manager.extract(folder / names[0]))
        except ExtractError as error:
            raise DatasetError(f"Cannot unpack {folder / names[0]}: {error}. Download it again.") from error

    def _find_manual_dir(self, dl_manager: tfds.download.DownloadManager) -> tuple[Path | None, Path | None]:
        """The folder that a person named, and the one that all datasets share; of each, None if it is not."""
        try:
            manual_dir = Path(dl_manager.manual_dir)
        # TFDS: the folder is missing or empty; the message names it and the instructions.
        except AssertionError as error:
            if self.is_manual_dir_named:
                raise DatasetError(str(error)) from error
            return None, None
        if self.is_manual_dir_named or manual_dir != Path(dl_manager.download_dir) / "manual":
            return manual_dir, None
        return None, manual_dir

    def _find_manual_source(self, dl_manager: tfds.download.DownloadManager) -> Path | None:
        """The zip or folder in the manual directory; None where that is TFDS's own and has no collection."""
        named, shared = self._find_manual_dir(dl_manager)
        if named is not None:
            return archive.find_source(named)
        # All datasets share this directory; only what is Kaggle's by its name is taken from it.
        if shared is None or self._is_folder:
            return None
        zips = [shared / name for name in archive.ZIP_NAMES if (shared / name).is_file()]
        has_folders = all((shared / name).is_dir() for name in SPLIT_FOLDERS)
        return zips[0] if zips else shared if has_folders else None

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

    def _generate_examples(self, read: Callable[[Any], Iterator], items: Sequence[Any]) -> Any:
        """Records of the items that `read` reads: one after the other, or by Beam where that is wanted."""
        if not self.is_beam_wanted:
            return read(items)
        import apache_beam as beam

        batches = [items[start : start + _BATCH] for start in range(0, len(items), _BATCH)]
        return beam.Create(batches) | beam.FlatMap(read)


def _read_collection(
    rows: Sequence[ImageFacts], source: Path, remedy: str, healthy_label: str | None, source_name: str
) -> Iterator[tuple[str, dict[str, Any]]]:
    with _add_remedy(remedy), archive.open_collection(source) as collection:
        yield from read_records(collection, rows, healthy_label, source_name)


@contextlib.contextmanager
def _add_remedy(remedy: str) -> Iterator[None]:
    """Say at the end of an error what to do about it where the pictures come from."""
    try:
        yield
    except DatasetError as error:
        raise DatasetError(f"{error} {remedy}".rstrip()) from error
