"""The configs besides `official`, Kaggle's version 2, other file formats, and what TFDS users expect."""

import io
import json
import shutil
import unicodedata
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
from tumor_ds.collection import kaggle
from tumor_ds.collection.errors import DatasetError
from tumor_ds.grouping import splits
from tumor_ds.grouping.facts import load_facts
from tumor_ds.sources.own_pictures import PicturesConfig, check_name, find_healthy_label

BuildDataset = Callable[..., Path]


def read_records(data_dir: Path, name: str) -> dict[str, list[dict]]:
    """All records of a dataset by split, each with its file name as text."""
    datasets = tfds.load(name, data_dir=data_dir, shuffle_files=False)
    found = {split: list(tfds.as_numpy(dataset)) for split, dataset in datasets.items()}
    return {
        split: [record | {"filename": record["filename"].decode()} for record in records]
        for split, records in found.items()
    }


def draw(seed: int, side: int = 40) -> Image.Image:
    noise = np.random.default_rng(seed).integers(30, 200, (7, 7), dtype=np.uint8)
    return Image.fromarray(noise).resize((side, side), Image.Resampling.BICUBIC)


def save(image: Image.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


@pytest.fixture(scope="module")
def own_pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of 20 pictures; every one in `test` is a mirrored or resized copy of one in `train`."""
    root = tmp_path_factory.mktemp("own") / "pictures"
    for label, first in (("ill", 0), ("well", 100)):
        for number in range(10):
            original = draw(first + number)
            save(original, root / "train" / label / f"{number}.png")
            copy = (
                original.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
                if number % 2
                else original.resize((64, 64))
            )
            save(copy, root / "test" / label / f"{number}.JPG")
    return root


@pytest.fixture(scope="module")
def own_dataset_dir(
    own_pictures: Path, build_dataset: BuildDataset, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    return build_dataset(own_pictures, tmp_path_factory.mktemp("own_dataset"), config="folder")


# Protocols


@pytest.mark.parametrize(
    ("config", "names"),
    [("grouped", ["test", "train", "validation"]), ("patient", sorted(splits.PATIENT_SHARES))],
)
def test_protocols_use_every_picture_and_keep_groups_whole(
    dummy_data_dir: Path, build_dataset: BuildDataset, tmp_path: Path, config: str, names: list[str]
):
    records = read_records(build_dataset(dummy_data_dir, tmp_path, config=config), f"tumor_ds/{config}")
    assert sorted(records) == names
    assert sum(map(len, records.values())) == 48
    groups = [group for rows in records.values() for group in {row["group"] for row in rows}]
    assert len(groups) == len(set(groups))
    facts = load_facts()
    assert all(row["group"] == facts[row["filename"]].group for rows in records.values() for row in rows)
    assert not any(row["has_train_twin"] for rows in records.values() for row in rows)
    if config == "patient":
        assert all(row["fold"] in (0, int(name[-1])) for name, rows in records.items() for row in rows)


def test_version_2_is_built_as_itself_with_computed_groups(build_dataset: BuildDataset, tmp_path: Path):
    """No table knows its files: every first test picture is a turned training picture by its pixels alone."""
    collection = tmp_path / "collection"
    for number, label in enumerate(LABELS):
        for index in range(10):
            save(
                draw(100 * number + index),
                collection / "Training" / label / f"Tr-aug-{label[:2]}_{index:04}.jpg",
            )
        save(
            draw(100 * number).transpose(Image.Transpose.ROTATE_90),
            collection / "Testing" / label / f"Te-{label[:2]}_0000.jpg",
        )
        save(draw(100 * number + 50), collection / "Testing" / label / f"Te-{label[:2]}_0001.jpg")
    with mock.patch.object(Builder, "EXPECTED_TOTALS", {"Training": 40, "Testing": 8}):
        data_dir = build_dataset(collection, tmp_path / "built", version="2.*.*")
    assert (data_dir / "tumor_ds" / "official" / "2.1.0").is_dir()
    records = read_records(data_dir, "tumor_ds/official:2.1.0")
    assert {split: len(rows) for split, rows in records.items()} == {"train": 36, "validation": 4, "test": 8}
    assert {row["filename"]: bool(row["has_train_twin"]) for row in records["test"]} == {
        f"Testing/{label}/Te-{label[:2]}_{index:04}.jpg": index == 0 for label in LABELS for index in range(2)
    }
    assert all(row["fold"] == 0 for rows in records.values() for row in rows)
    assert len({row["group"] for rows in records.values() for row in rows}) == 44


def test_patients_of_version_2_are_unknown():
    with pytest.raises(AssertionError, match=r"cannot be loaded at version 2\.1\.0"):
        Builder(config="patient", version="2.1.0")


# A user's own pictures


def test_own_pictures_are_grouped_and_split_by_what_they_show(own_dataset_dir: Path):
    records = read_records(own_dataset_dir, "tumor_ds/folder")
    assert {split: len(rows) for split, rows in records.items()} == {"train": 28, "validation": 4, "test": 8}
    for rows in records.values():
        assert Counter(row["label"] for row in rows) == {0: len(rows) // 2, 1: len(rows) // 2}
        shown = Counter(Path(row["filename"]).stem + "ab"[row["label"]] for row in rows)
        assert set(shown.values()) == {2}  # a picture and its copy, whatever split their owner gave them
    assert len({row["group"] for rows in records.values() for row in rows}) == 20


def test_own_classes_are_known_when_the_dataset_is_loaded_again(own_dataset_dir: Path):
    label = tfds.builder("tumor_ds/folder", data_dir=own_dataset_dir).info.features["label"]
    assert label.names == ["ill", "well"]
    assert label.num_classes == 2
    record = read_records(own_dataset_dir, "tumor_ds/folder")["train"][0]
    assert label.int2str(record["label"]) == record["filename"].split("/")[1]


def test_own_zip_without_splits(
    own_pictures: Path, own_dataset_dir: Path, build_dataset: BuildDataset, tmp_path: Path
):
    """The pictures of `train` alone, zipped below two folders: CLASS/FILE."""
    manual_dir = tmp_path / "manual"
    manual_dir.mkdir()
    with zipfile.ZipFile(manual_dir / "mine.zip", "w") as archive:
        for path in (own_pictures / "train").rglob("*.png"):
            archive.write(path, f"a/b/{path.parent.name}/{path.name}")
    records = read_records(build_dataset(manual_dir, tmp_path / "built", config="folder"), "tumor_ds/folder")
    assert {split: len(rows) for split, rows in records.items()} == {"train": 14, "validation": 2, "test": 4}
    assert {row["filename"] for rows in records.values() for row in rows} == {
        f"{label}/{n}.png" for label in ("ill", "well") for n in range(10)
    }


def test_own_pictures_must_be_named(build_dataset: BuildDataset, tmp_path: Path):
    with pytest.raises(DatasetError, match=r"tumor build folder --manual-dir DIR .* --manual_dir DIR"):
        build_dataset(None, tmp_path, config="folder")


def test_own_pictures_are_not_taken_from_the_directory_of_all_datasets(
    build_dataset: BuildDataset, own_pictures: Path, tmp_path: Path
):
    shutil.copytree(own_pictures, tmp_path / "downloads" / "manual")
    with pytest.raises(DatasetError, match="name their zip or folder"):
        build_dataset(None, tmp_path, config="folder")


def test_own_pictures_that_cannot_be_split_leave_nothing(build_dataset: BuildDataset, tmp_path: Path):
    for number in range(5):
        save(draw(1).rotate(90 * number), tmp_path / "own" / "ill" / f"{number}.png")
    with pytest.raises(DatasetError, match="Class ill has 1 groups"):
        build_dataset(tmp_path / "own", tmp_path / "built", config="folder")
    assert not tfds.builder("tumor_ds/folder", data_dir=tmp_path / "built").is_prepared()


def bomb() -> bytes:
    """A PNG of 100 megapixels in a few kilobytes."""
    buffer = io.BytesIO()
    Image.new("1", (10_000, 10_000)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("ill/cut.jpg", b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01\x01\x00", "Cannot decode ill/cut.jpg"),
        ("ill/empty.png", b"", "Cannot decode ill/empty.png: it is empty"),
        ("ill/bomb.png", bomb(), "Cannot decode ill/bomb.png"),
        ("ill/slice.dcm", b"DICM", "ill/slice.dcm lies among the pictures"),
        ("../ill/evil.png", b"", "../ill/evil.png"),
        ("ill/0.PNG", b"", "differ only in case"),
        ("ill/0.png", b"", "ill/0.png twice"),
        ("ill/deeper/0.png", b"", "different depths"),
    ],
)
def test_a_bad_archive_never_becomes_a_dataset(
    own_pictures: Path, build_dataset: BuildDataset, tmp_path: Path, name: str, content: bytes, complaint: str
):
    manual_dir = tmp_path / "manual"
    manual_dir.mkdir()
    with zipfile.ZipFile(manual_dir / "mine.zip", "w") as archive:
        for path in (own_pictures / "train").rglob("*.png"):
            archive.write(path, f"{path.parent.name}/{path.name}")
        if name == "ill/0.png":
            with pytest.warns(UserWarning, match="Duplicate name"):
                archive.writestr(name, content)
        else:
            archive.writestr(name, content)
    with pytest.raises(DatasetError) as caught:
        build_dataset(manual_dir, tmp_path / "built", config="folder")
    assert complaint in str(caught.value)
    assert not tfds.builder("tumor_ds/folder", data_dir=tmp_path / "built").is_prepared()
    assert not list((tmp_path / "built").rglob("*.tfrecord*"))


# Where the pictures come from


@pytest.fixture
def downloads(dummy_data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Versions asked for; Kaggle is the dummy collection."""
    asked: list[int] = []

    def download(version: int) -> Path:
        asked.append(version)
        return dummy_data_dir

    monkeypatch.setattr(kaggle, "download_collection", download)
    return asked


def test_without_a_manual_directory_the_collection_is_downloaded(
    build_dataset: BuildDataset, downloads: list[int], tmp_path: Path
):
    records = read_records(build_dataset(None, tmp_path), "tumor_ds/official")
    assert downloads == [1]
    assert sum(map(len, records.values())) == 48


def test_a_named_manual_directory_that_is_empty_is_no_reason_to_download(
    build_dataset: BuildDataset, downloads: list[int], tmp_path: Path
):
    (tmp_path / "manual").mkdir()
    with pytest.raises(DatasetError, match="does not exist or is empty"):
        build_dataset(tmp_path / "manual", tmp_path / "built")
    assert downloads == []


def test_files_of_other_datasets_in_the_shared_directory_are_left_alone(
    build_dataset: BuildDataset, downloads: list[int], tmp_path: Path
):
    manual_dir = tmp_path / "downloads" / "manual"
    save(draw(0), manual_dir / "other" / "ill" / "0.png")
    for name in ("imagenet.zip", "other.zip"):
        (manual_dir / name).write_bytes(b"of another dataset")
    records = read_records(build_dataset(None, tmp_path), "tumor_ds/official")
    assert downloads == [1]
    assert sum(map(len, records.values())) == 48


@pytest.mark.parametrize("zipped", [False, True])
def test_kaggles_files_are_taken_from_the_shared_directory(
    dummy_data_dir: Path, build_dataset: BuildDataset, downloads: list[int], tmp_path: Path, zipped: bool
):
    manual_dir = tmp_path / "downloads" / "manual"
    if zipped:
        manual_dir.mkdir(parents=True)
        shutil.make_archive(str(manual_dir / "brain-tumor-mri-dataset"), "zip", dummy_data_dir)
        (manual_dir / "imagenet.zip").write_bytes(b"of another dataset")
    else:
        shutil.copytree(dummy_data_dir, manual_dir)
    records = read_records(build_dataset(None, tmp_path), "tumor_ds/official")
    assert downloads == []
    assert sum(map(len, records.values())) == 48


@pytest.mark.parametrize("content", [None, b"no picture"])
def test_wrong_files_in_the_cache_are_told_with_the_folder_to_delete(
    dummy_data_dir: Path,
    build_dataset: BuildDataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    content: bytes | None,
):
    """The client takes its cache for complete for ever: a missing file, and one that cannot be decoded."""
    cache = Path(shutil.copytree(dummy_data_dir, tmp_path / "cache"))
    path = min(cache.glob("Testing/glioma/*.jpg"))
    path.unlink()
    if content:
        path.write_bytes(content)
    monkeypatch.setattr(kaggle, "download_collection", lambda version: cache)
    with pytest.raises(DatasetError) as caught:
        build_dataset(None, tmp_path / "built")
    assert str(caught.value).endswith(f" Delete {cache} and run the same command again.")


# What TFDS users expect


def test_each_version_and_config_describes_itself(own_dataset_dir: Path, tmp_path: Path):
    first, second = (
        Builder(config="official", version=version, data_dir=tmp_path).info for version in ("1.2.0", "2.1.0")
    )
    assert (first.description.startswith("7,023 slices"), "2645886" in first.citation) == (True, True)
    assert "version 2 of Kaggle's" in second.description
    assert "7,023" not in second.description
    assert "Version 2" in second.citation
    assert "1512427" in second.citation
    assert "2645886" not in second.citation  # the DOI of version 1
    assert first.homepage == second.homepage
    stored = json.loads(next(own_dataset_dir.rglob("dataset_info.json")).read_text())
    del stored["releaseNotes"]  # of the builder
    assert stored["description"].startswith("Pictures of one's own in class folders")
    assert "kaggle" not in json.dumps(stored).lower()


@pytest.fixture(scope="module")
def array_record_dir(
    dummy_data_dir: Path, build_dataset: BuildDataset, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    return build_dataset(dummy_data_dir, tmp_path_factory.mktemp("array_record"), file_format="array_record")


def test_array_record_holds_the_same(array_record_dir: Path, dummy_dataset_dir: Path):
    """TFDS reads it at random through `data_source`; `tf.data` cannot."""
    assert len(list(array_record_dir.rglob("*.array_record*"))) == 3
    theirs = read_records(dummy_dataset_dir, "tumor_ds/official")
    for split, records in theirs.items():
        source = tfds.data_source("tumor_ds/official", data_dir=array_record_dir, split=split)
        assert len(source) == len(records)
        for one, other in zip(source, records, strict=True):
            np.testing.assert_array_equal(one["image"], other["image"])
            assert one["filename"].decode() == other["filename"]
            assert all(one[name] == other[name] for name in ("label", "group", "fold", "has_train_twin"))


def test_as_supervised(dummy_dataset_dir: Path):
    image, label = next(
        iter(
            tfds.as_numpy(
                tfds.load("tumor_ds/official", data_dir=dummy_dataset_dir, split="test", as_supervised=True)
            )
        )
    )
    assert image.dtype == np.uint8
    assert image.shape[-1] == 1
    assert 0 <= label < 4


def test_slices_add_up_to_the_split(dummy_dataset_dir: Path):
    def names(split: str) -> list[str]:
        return [
            record["filename"].decode()
            for record in tfds.as_numpy(
                tfds.load("tumor_ds/official", data_dir=dummy_dataset_dir, split=split)
            )
        ]

    assert len(names("train[:25%]")) == 9
    assert names("train[:25%]") + names("train[25%:]") == names("train")
    assert sorted(names("train+validation")) == sorted(names("train") + names("validation"))


def test_as_dataframe(dummy_dataset_dir: Path):
    dataset, info = tfds.load("tumor_ds/official", data_dir=dummy_dataset_dir, split="test", with_info=True)
    frame = tfds.as_dataframe(dataset, info)
    assert len(frame) == 8
    assert {"image", "mask", "label", "sequence", "fold", "has_train_twin"} < set(frame.columns)
    assert Counter(frame["label"]) == dict.fromkeys(range(4), 2)
    assert "<img" in frame._repr_html_()


def test_batching_with_a_fixed_size(dummy_dataset_dir: Path):
    """Pictures differ in size, so users resize; everything else batches as it is."""
    dataset = tfds.load("tumor_ds/official", data_dir=dummy_dataset_dir, split="train")
    sized = dataset.map(
        lambda record: {name: record[name] for name in record if name not in ("image", "mask")}
    )
    batch = next(iter(tfds.as_numpy(sized.batch(36))))
    assert {name: values.shape for name, values in batch.items()} == dict.fromkeys(batch, (36,))


def test_labels_of_kaggles_configs_are_fixed(dummy_counts: Mapping[tuple[str, str], int], tmp_path: Path):
    for config in ("official", "grouped", "patient"):
        assert Builder(config=config, data_dir=tmp_path).info.features["label"].names == list(LABELS)


# Own pictures under names of their own


@pytest.mark.parametrize("is_decomposed", [False, True])
def test_several_own_datasets_lie_side_by_side(
    build_dataset: BuildDataset, tmp_path: Path, is_decomposed: bool
):
    """Each with its healthy class, found however its accents are stored; TFDS loads them by name."""
    folder = unicodedata.normalize("NFD" if is_decomposed else "NFC", "sans lésion")
    for number in range(20):
        save(draw(number), tmp_path / "own" / ("lésion", folder)[number % 2] / f"{number}.png")
    mine = PicturesConfig(name="mine", healthy_label="sans lésion")
    build_dataset(tmp_path / "own", tmp_path / "data", config=mine)
    build_dataset(tmp_path / "own", tmp_path / "data", config=PicturesConfig(name="others", in_folds=True))
    records = read_records(tmp_path / "data", "tumor_ds/mine")
    assert sorted(records) == ["test", "train", "validation"]
    for record in (one for rows in records.values() for one in rows):
        is_healthy = record["filename"].startswith(folder)
        assert (record["tumor"], record["mask_known"]) == ((0, 2) if is_healthy else (1, 0))
        assert record["source"] == b"mine"
    assert set(read_records(tmp_path / "data", "tumor_ds/others")) <= set(splits.PATIENT_SHARES)
    found = [tfds.builder(f"tumor_ds/{name}", data_dir=tmp_path / "data") for name in ("mine", "others")]
    assert [find_healthy_label(one) for one in found] == [folder, None]


def test_a_healthy_label_that_is_no_class_is_told(
    build_dataset: BuildDataset, tmp_path: Path, own_pictures: Path
):
    config = PicturesConfig(name="mine", healthy_label="wel")
    with pytest.raises(DatasetError, match="one of the classes as healthy label, ill, well; got wel"):
        build_dataset(own_pictures, tmp_path, config=config)


@pytest.mark.parametrize("name", ["official", "figshare", "gathered", "My Hospital", "1st", "../up", ""])
def test_names_that_cannot_be_are_refused(name: str):
    with pytest.raises(DatasetError, match="--name"):
        check_name(name, tuple(Builder.builder_configs))
