"""Kaggle's two versions of the collection: how to tell them apart, and whether all files are there.

Goes in: the picture paths of a collection. Comes out: nothing, or an error that says which files these are
and what to do. Version 1 has 7,023 pictures, and every published figure is about it. Version 2 (February
2026, Kaggle's default since) has 7,200, among them augmented ones (`Tr-aug-me_*`).
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from tumor_ds.collection.archive import DOWNLOAD_URL
from tumor_ds.collection.errors import DatasetError
from tumor_ds.collection.layout import SPLIT_FOLDERS, split_and_label

VERSIONS = (1, 2)
LABELS = ("glioma", "meningioma", "notumor", "pituitary")
VERSION_1_COUNTS = {
    ("Training", "glioma"): 1321,
    ("Training", "meningioma"): 1339,
    ("Training", "notumor"): 1595,
    ("Training", "pituitary"): 1457,
    ("Testing", "glioma"): 300,
    ("Testing", "meningioma"): 306,
    ("Testing", "notumor"): 405,
    ("Testing", "pituitary"): 300,
}
# Of version 2 only the totals are known.
VERSION_2_COUNTS = {"Training": 5600, "Testing": 1600}
AUGMENTED = "-aug-"


def check_version(
    paths: Sequence[str], version: int, counts: Mapping[tuple[str, str], int], totals: Mapping[str, int]
) -> None:
    """Check that these are all files of one version.

    Args:
        paths: picture paths in the collection.
        version: the version that is to be built, 1 or 2.
        counts: version 1's number of pictures by (split folder, class).
        totals: version 2's number of pictures by split folder.

    Raises:
        DatasetError: an unknown folder, the other version, or a count that does not agree.
    """
    found = _count(paths, version)
    by_folder = Counter(folder for folder, _ in found.elements())
    augmented = any(AUGMENTED in path.rpartition("/")[2] for path in paths)
    actual = 2 if augmented or by_folder == totals else 1
    if actual != version:
        raise DatasetError(
            f"These are the files of Kaggle's version {actual} ({by_folder.total():,} pictures), expected"
            f" version {version}. Build them as version {actual}.x of the dataset (tumor build"
            f" --kaggle-version {actual}), or: {explain_download(version)}"
        )
    expected: Mapping = counts if version == 1 else totals
    got: Mapping = found if version == 1 else by_folder
    wrong = [
        f"{key if isinstance(key, str) else '/'.join(key)} has {got.get(key, 0)} images, expected {number}"
        for key, number in expected.items()
        if got.get(key, 0) != number
    ]
    if wrong:
        raise DatasetError(
            f"{'; '.join(wrong)}. These are not the files of Kaggle's version {version}."
            f" {explain_download(version)}"
        )


def explain_download(version: int) -> str:
    """Say how to get the files of a version again."""
    return f"Download version {version} again from {build_url(version)} and leave the zip as it is."


def build_url(version: int) -> str:
    """Address of a version's zip; no account is needed."""
    return DOWNLOAD_URL.replace("datasetVersionNumber=1", f"datasetVersionNumber={version}")


def _count(paths: Iterable[str], version: int) -> Counter[tuple[str, str]]:
    found = {path: split_and_label(path) for path in paths}
    for path, (folder, label) in found.items():
        if folder not in SPLIT_FOLDERS or label not in LABELS:
            expected = f"{'|'.join(SPLIT_FOLDERS)}/{'|'.join(LABELS)}/FILE"
            raise DatasetError(
                f"Unknown class folder: {path}. Expected {expected}. {explain_download(version)}"
            )
    return Counter(found.values())
