"""Which files of Kaggle's are which version, and whether all are there."""

import pytest

from tumor_ds.collection import versions
from tumor_ds.collection.errors import DatasetError

FOLDERS = [f"{folder}/{label}" for folder in ("Training", "Testing") for label in versions.LABELS]
COUNTS = {tuple(folder.split("/")): 2 for folder in FOLDERS}
TOTALS = {"Training": 20, "Testing": 12}
VERSION_1 = [f"{folder}/{number}.jpg" for folder in FOLDERS for number in range(2)]
VERSION_2 = [
    f"{folder}/{number}.jpg"
    for folder in FOLDERS
    for number in range(5 if folder.startswith("Training") else 3)
]
AUGMENTED = [*VERSION_2[1:], "Training/glioma/Tr-aug-gl_0001.jpg"]


def check(paths: list[str], version: int) -> None:
    versions.check_version(paths, version, COUNTS, TOTALS)


def test_the_counts_published_for_version_1():
    assert sum(versions.VERSION_1_COUNTS.values()) == 7023
    assert sum(versions.VERSION_2_COUNTS.values()) == 7200


@pytest.mark.parametrize(("paths", "version"), [(VERSION_1, 1), (VERSION_2, 2), (AUGMENTED, 2)])
def test_each_version_is_recognised(paths: list[str], version: int):
    check(paths, version)
    with pytest.raises(
        DatasetError, match=f"files of Kaggle's version {version} .* expected version {3 - version}"
    ) as caught:
        check(paths, 3 - version)
    assert f"--kaggle-version {version}" in str(caught.value)
    assert f"datasetVersionNumber={3 - version}" in str(caught.value)


def test_one_augmented_name_makes_version_2():
    with pytest.raises(DatasetError, match="version 2"):
        check([*VERSION_1[:-1], "Testing/pituitary/Te-aug-pi_0001.jpg"], 1)


@pytest.mark.parametrize(
    ("paths", "version", "complaint"),
    [
        (VERSION_1[1:], 1, "Training/glioma has 1 images, expected 2"),
        ([*VERSION_1, "Testing/notumor/9.jpg"], 1, "Testing/notumor has 3 images, expected 2"),
        (AUGMENTED[1:], 2, "Training has 19 images, expected 20"),
        ([*VERSION_1, "Training/astrocytoma/1.jpg"], 1, "Unknown class folder: Training/astrocytoma/1.jpg"),
        (["glioma/1.jpg"], 1, "Unknown class folder: glioma/1.jpg"),
        (["Validation/glioma/1.jpg"], 2, "Unknown class folder: Validation/glioma/1.jpg"),
    ],
)
def test_incomplete_or_foreign_files_are_refused(paths: list[str], version: int, complaint: str):
    with pytest.raises(DatasetError) as caught:
        check(paths, version)
    assert complaint in str(caught.value)
    assert f"datasetVersionNumber={version}" in str(caught.value)
