"""The builder on the synthetic collection in `tumor_ds/dummy_data`: what it stores, and what it refuses."""

import csv
import os
import shutil
import subprocess
import sys
import zipfile
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from tumor_ds import LABELS, Builder
from tumor_ds.collection import archive
from tumor_ds.collection.errors import DatasetError
from tumor_ds.collection.layout import SPLIT_FOLDERS
from tumor_ds.grouping import facts

BuildDataset = Callable[..., Path]
SameDataset = Callable[[Path, Path], None]
ROOT = Path(__file__).resolve().parents[2]
FEATURES = {
    *("image", "label", "tumor", "filename", "source", "sequence", "skull", "patient", "fold", "group"),
    *("has_train_twin", "mask", "mask_known"),
}
SPLIT_SIZES = {"train": 36, "validation": 4, "test": 8}
A_FILE = "Training/glioma/Tr-glTr_0000.jpg"
LAST_SPLIT_FILE = "Testing/pituitary/Te-piTr_0007.jpg"


class TumorDsTest(tfds.testing.DatasetBuilderTestCase):
    """The checks that TFDS makes of every builder."""

    DATASET_CLASS = Builder
    BUILDER_CONFIG_NAMES_TO_TEST = ["official"]
    SPLITS = SPLIT_SIZES

    def setUp(self):
        super().setUp()
        counts = {
            (split, label): count for split, count in (("Training", 10), ("Testing", 2)) for label in LABELS
        }
        patcher = mock.patch.object(Builder, "EXPECTED_COUNTS", counts)
        patcher.start()
        self.addCleanup(patcher.stop)


def read_records(data_dir: Path, split: str) -> list[dict]:
    """All records of a split, in the order on disk."""
    return list(
        tfds.as_numpy(tfds.load("tumor_ds/official", data_dir=data_dir, split=split, shuffle_files=False))
    )


def read_all(data_dir: Path) -> list[dict]:
    return [record for split in SPLIT_SIZES for record in read_records(data_dir, split)]


def read_tfrecords(data_dir: Path) -> dict[str, bytes]:
    return {
        path.relative_to(data_dir).as_posix(): path.read_bytes()
        for path in sorted(data_dir.rglob("*.tfrecord*"))
    }


def write_zip(folder: Path, target: Path, compression: int = zipfile.ZIP_DEFLATED) -> None:
    """Zip the pictures in an order unlike the sorted one."""
    with zipfile.ZipFile(target, "w", compression) as zipped:
        for path in sorted(folder.rglob("*.jpg"), reverse=True):
            zipped.write(path, path.relative_to(folder).as_posix())


def damage_member(target: Path, name: str) -> None:
    """Overwrite the data of one member of a zip; the directory of the zip stays whole."""
    with zipfile.ZipFile(target) as zipped:
        start = zipped.getinfo(name).header_offset + 30 + len(name)
    content = bytearray(target.read_bytes())
    content[start : start + 16] = b"\xff" * 16
    target.write_bytes(content)


@pytest.fixture
def collection(dummy_data_dir: Path, tmp_path: Path) -> Path:
    """A copy of the dummy collection that a test may damage."""
    return Path(shutil.copytree(dummy_data_dir, tmp_path / "collection"))


@pytest.fixture
def assert_same_dataset(digest_examples: Callable[[Path], dict[str, list[str]]]) -> SameDataset:
    """Function `check(one, other)`: the same records in the same order, as read and as stored."""

    def check(one: Path, other: Path) -> None:
        for split, size in SPLIT_SIZES.items():
            ours, theirs = read_records(one, split), read_records(other, split)
            assert len(ours) == len(theirs) == size
            for mine, yours in zip(ours, theirs, strict=True):
                assert mine.keys() == yours.keys() == FEATURES
                for name in ("image", "mask"):
                    np.testing.assert_array_equal(mine[name], yours[name])
                assert all(mine[name] == yours[name] for name in FEATURES - {"image", "mask"})
        assert len(digest_examples(one)) == len(SPLIT_SIZES)
        assert digest_examples(one) == digest_examples(other)

    return check


@pytest.fixture
def assert_refused(build_dataset: BuildDataset, tmp_path: Path) -> Callable[..., str]:
    """Function `check(manual_dir, offender)`: the build fails, says what to do, leaves nothing to load."""

    def check(manual_dir: Path, offender: str) -> str:
        data_dir = tmp_path / "refused"
        with pytest.raises(DatasetError) as caught:
            build_dataset(manual_dir, data_dir)
        message = str(caught.value)
        assert offender in message
        assert archive.DOWNLOAD_URL in message or "Move or remove one." in message
        assert not tfds.builder("tumor_ds/official", data_dir=data_dir).is_prepared()
        with pytest.raises(AssertionError, match="could not find data"):
            tfds.load("tumor_ds/official", data_dir=data_dir, download=False)
        assert read_tfrecords(data_dir) == {}
        return message

    return check


# What it stores


def test_expected_counts_are_those_of_groups_csv():
    """Fails also where a test leaves the dummy counts behind."""
    known = facts.load_facts()
    assert Counter((path.split("/")[0], row.label) for path, row in known.items()) == Builder.EXPECTED_COUNTS


def test_loads_by_name(dummy_dataset_dir: Path):
    datasets, info = tfds.load("tumor_ds/official", data_dir=dummy_dataset_dir, with_info=True)
    assert {split: len(dataset) for split, dataset in datasets.items()} == SPLIT_SIZES
    assert info.full_name == "tumor_ds/official/1.2.0"
    assert info.features["label"].names == list(LABELS)
    assert set(info.features) == FEATURES
    assert "near-duplicate" in info.description
    assert "1512427" in info.citation


def test_every_file_is_stored_once_in_its_split(dummy_dataset_dir: Path, dummy_data_dir: Path):
    stored = [record["filename"].decode() for record in read_all(dummy_dataset_dir)]
    assert sorted(stored) == sorted(
        path.relative_to(dummy_data_dir).as_posix() for path in dummy_data_dir.rglob("*.jpg")
    )
    for split, folder in (("train", "Training"), ("validation", "Training"), ("test", "Testing")):
        records = read_records(dummy_dataset_dir, split)
        assert {record["filename"].decode().split("/")[0] for record in records} == {folder}
        assert Counter(record["label"] for record in records) == dict.fromkeys(
            range(4), SPLIT_SIZES[split] // 4
        )


def test_labels_groups_folds_and_twins_are_those_of_groups_csv(dummy_dataset_dir: Path):
    with facts.GROUPS_CSV.open(newline="", encoding="utf-8") as file:
        rows = {row["path"]: row for row in csv.DictReader(file)}
    records = {record["filename"].decode(): record for record in read_all(dummy_dataset_dir)}
    for path, record in records.items():
        assert LABELS[record["label"]] == path.split("/")[1]
        assert record["group"] == int(rows[path]["group"])
        assert record["fold"] == int(rows[path]["patient_fold"] or 0)
        assert record["has_train_twin"] == bool(rows[path]["train_twin"])
    assert Counter(
        record["has_train_twin"] for path, record in records.items() if path.startswith("Testing/")
    ) == {True: 4, False: 4}
    assert not any(
        record["has_train_twin"] for path, record in records.items() if path.startswith("Training/")
    )
    assert len({record["fold"] for record in records.values()}) > 2  # known folds and 0


def test_no_group_in_both_train_and_validation(dummy_dataset_dir: Path):
    train = {record["group"] for record in read_records(dummy_dataset_dir, "train")}
    validation = {record["group"] for record in read_records(dummy_dataset_dir, "validation")}
    assert train
    assert validation
    assert not train & validation


def test_a_group_of_several_files_stays_whole(collection: Path, build_dataset: BuildDataset, tmp_path: Path):
    """More slices of a patient in validation go there too, or the group goes to train: never one of each."""
    known = facts.load_facts()
    present = {path.relative_to(collection).as_posix() for path in collection.rglob("*.jpg")}
    in_glioma = [path for path in present if path.startswith("Training/glioma/")]
    groups = {known[path].group for path in in_glioma}
    siblings = sorted(
        path
        for path, row in known.items()
        if path.startswith("Training/glioma/") and row.group in groups and path not in present
    )
    assert len(siblings) > 10
    for path in siblings:
        shutil.copy(collection / A_FILE, collection / path)
    counts = {
        (split, label): len(list((collection / split / label).iterdir()))
        for split in SPLIT_FOLDERS
        for label in LABELS
    }
    data_dir = build_dataset(collection, tmp_path / "built", counts)
    train = {record["group"] for record in read_records(data_dir, "train")}
    validation = [record["group"] for record in read_records(data_dir, "validation")]
    assert max(Counter(validation).values()) > 1
    assert not train & set(validation)


def test_pictures_are_grey_at_native_size_and_lossless(dummy_dataset_dir: Path, dummy_data_dir: Path):
    modes, sizes = Counter(), Counter()
    for record in read_all(dummy_dataset_dir):
        with Image.open(dummy_data_dir / record["filename"].decode()) as image:
            modes[image.mode] += 1
            sizes[image.size] += 1
            expected = np.asarray(image.convert("L"))[..., None]
        assert record["image"].dtype == np.uint8
        assert record["image"].shape == expected.shape
        np.testing.assert_array_equal(record["image"], expected)
    assert modes["L"] > 4
    assert modes["RGB"] > 4
    assert set(sizes) == {(20, 24), (24, 20), (22, 22)}


def test_zip_and_folder_give_the_same_dataset(
    dummy_dataset_dir: Path,
    dummy_data_dir: Path,
    build_dataset: BuildDataset,
    assert_same_dataset: SameDataset,
    tmp_path: Path,
):
    for name in archive.ZIP_NAMES:
        manual_dir = tmp_path / name.removesuffix(".zip")
        manual_dir.mkdir()
        write_zip(dummy_data_dir, manual_dir / name)
        assert_same_dataset(dummy_dataset_dir, build_dataset(manual_dir, tmp_path / f"built_{name}"))


def test_building_twice_gives_the_same_dataset(
    dummy_dataset_dir: Path,
    dummy_data_dir: Path,
    build_dataset: BuildDataset,
    assert_same_dataset: SameDataset,
    tmp_path: Path,
):
    again = build_dataset(dummy_data_dir, tmp_path / "again")
    assert_same_dataset(dummy_dataset_dir, again)


def test_another_process_builds_the_same_dataset(
    dummy_dataset_dir: Path,
    dummy_data_dir: Path,
    dummy_counts: Mapping[tuple[str, str], int],
    assert_same_dataset: SameDataset,
    tmp_path: Path,
):
    """Another process hashes strings differently: no order may come from a set or a dictionary of hashes."""
    script = f"""
import tensorflow_datasets as tfds
from tumor_ds import Builder
Builder.EXPECTED_COUNTS = {dict(dummy_counts)!r}
builder = Builder(config="official", data_dir={str(tmp_path)!r})
builder.download_and_prepare(download_config=tfds.download.DownloadConfig(manual_dir={str(dummy_data_dir)!r}))
"""
    seed = "1" if os.environ.get("PYTHONHASHSEED") == "0" else "0"
    environment = os.environ | {"PYTHONHASHSEED": seed, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert_same_dataset(dummy_dataset_dir, tmp_path)


def test_what_desktops_leave_behind_is_ignored(
    collection: Path,
    dummy_dataset_dir: Path,
    build_dataset: BuildDataset,
    assert_same_dataset: SameDataset,
    tmp_path: Path,
):
    clutter = (
        ".DS_Store",
        "Training/.DS_Store",
        "Training/glioma/.DS_Store",
        "Testing/glioma/Thumbs.db",
        f"__MACOSX/{A_FILE}",
    )
    for name in clutter:
        (collection / name).parent.mkdir(parents=True, exist_ok=True)
        (collection / name).write_bytes(b"no picture")
    assert_same_dataset(dummy_dataset_dir, build_dataset(collection, tmp_path / "from_folder"))

    manual_dir = tmp_path / "zipped"
    manual_dir.mkdir()
    write_zip(collection, manual_dir / archive.ZIP_NAMES[0])  # includes the file in __MACOSX
    with zipfile.ZipFile(manual_dir / archive.ZIP_NAMES[0], "a") as zipped:
        zipped.writestr("Training/", b"")
        for name in clutter[:-1]:
            zipped.writestr(name, b"no picture")
    assert_same_dataset(dummy_dataset_dir, build_dataset(manual_dir, tmp_path / "from_zip"))


# What it refuses


def test_a_missing_image_is_refused(collection: Path, assert_refused: Callable[..., str]):
    (collection / A_FILE).unlink()
    assert "Training/glioma has 9 images, expected 10" in assert_refused(collection, "Training/glioma")


def test_a_surplus_image_is_refused(collection: Path, assert_refused: Callable[..., str]):
    shutil.copy(collection / A_FILE, collection / "Testing/notumor/Te-no_0010.jpg")
    assert "Testing/notumor has 3 images, expected 2" in assert_refused(collection, "Testing/notumor")


def test_kaggles_own_counts_are_the_default(dummy_data_dir: Path, tmp_path: Path):
    builder = Builder(config="official", data_dir=tmp_path)
    with pytest.raises(DatasetError, match="Training/glioma has 10 images, expected 1321"):
        builder.download_and_prepare(download_config=tfds.download.DownloadConfig(manual_dir=dummy_data_dir))


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("Training/astrocytoma/Tr-as_0010.jpg", "Unknown class folder"),
        ("Training/glioma/more/Tr-gl_0010.jpg", "different depths"),
        ("Testing/Te-gl_0010.jpg", "different depths"),
    ],
)
def test_an_unknown_folder_is_refused(
    collection: Path, assert_refused: Callable[..., str], name: str, complaint: str
):
    (collection / name).parent.mkdir(exist_ok=True)
    shutil.copy(collection / A_FILE, collection / name)
    assert complaint in assert_refused(collection, name)


@pytest.mark.parametrize("name", [A_FILE, LAST_SPLIT_FILE])
@pytest.mark.parametrize("share_kept", [0.0, 0.8])
def test_a_truncated_image_is_refused(
    collection: Path, assert_refused: Callable[..., str], name: str, share_kept: float
):
    content = (collection / name).read_bytes()
    (collection / name).write_bytes(content[: int(share_kept * len(content))])
    assert "Cannot decode" in assert_refused(collection, name)


def test_a_file_that_is_not_in_groups_csv_is_refused(collection: Path, assert_refused: Callable[..., str]):
    (collection / A_FILE).rename(collection / "Training/glioma/Tr-gl_9999.jpg")
    assert "not a file of Kaggle's version 1" in assert_refused(collection, "Training/glioma/Tr-gl_9999.jpg")


def test_files_of_version_2_are_refused_by_name(collection: Path, assert_refused: Callable[..., str]):
    (collection / A_FILE).rename(collection / "Training/glioma/Tr-aug-gl_0001.jpg")
    assert "--kaggle-version 2" in assert_refused(collection, "files of Kaggle's version 2")


@pytest.mark.parametrize("state", ["absent", "empty", "other files"])
def test_a_missing_collection_is_refused(assert_refused: Callable[..., str], tmp_path: Path, state: str):
    manual_dir = tmp_path / "downloads"
    if state != "absent":
        manual_dir.mkdir()
    if state == "other files":
        (manual_dir / "notes.txt").write_text("nothing here")
    assert archive.ZIP_NAMES[0] in assert_refused(manual_dir, str(manual_dir))


def test_half_a_collection_is_refused(collection: Path, assert_refused: Callable[..., str]):
    shutil.rmtree(collection / "Testing")
    assert "Expected Training|Testing/" in assert_refused(collection, "Unknown class folder: glioma/")


@pytest.mark.parametrize("share_kept", [0.0, 0.5, 0.99])
def test_a_truncated_zip_is_refused(
    dummy_data_dir: Path, assert_refused: Callable[..., str], tmp_path: Path, share_kept: float
):
    manual_dir = tmp_path / "zipped"
    manual_dir.mkdir()
    target = manual_dir / archive.ZIP_NAMES[0]
    write_zip(dummy_data_dir, target)
    content = target.read_bytes()
    target.write_bytes(content[: int(share_kept * len(content))])
    assert "no readable zip" in assert_refused(manual_dir, str(target))


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("name", [A_FILE, LAST_SPLIT_FILE])
def test_a_zip_with_a_damaged_member_is_refused(
    dummy_data_dir: Path, assert_refused: Callable[..., str], tmp_path: Path, compression: int, name: str
):
    manual_dir = tmp_path / "zipped"
    manual_dir.mkdir()
    write_zip(dummy_data_dir, manual_dir / archive.ZIP_NAMES[0], compression)
    damage_member(manual_dir / archive.ZIP_NAMES[0], name)
    assert "Cannot decode" in assert_refused(manual_dir, name)


def test_a_refused_build_leaves_an_earlier_one_alone(
    collection: Path, build_dataset: BuildDataset, dummy_counts: Mapping[tuple[str, str], int], tmp_path: Path
):
    """TFDS does not build again what is built; the good dataset stays as it is."""
    data_dir = build_dataset(collection, tmp_path / "built")
    before = read_tfrecords(data_dir)
    (collection / A_FILE).unlink()
    build_dataset(collection, data_dir, dummy_counts)
    assert read_tfrecords(data_dir) == before
