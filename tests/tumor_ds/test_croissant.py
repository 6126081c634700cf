"""Croissant metadata: mlcroissant reads what TFDS stores, for each config and kind of source."""

import csv
import functools
import hashlib
import json
import shutil
import zipfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import mlcroissant as mlc
import numpy as np
import pytest
import tensorflow_datasets as tfds
from etils import epath
from mlcroissant._src.operation_graph.operations import extract
from PIL import Image

from tumor_ds import Builder, croissant
from tumor_ds.collection.archive import ZIP_NAMES
from tumor_ds.collection.errors import DatasetError
from tumor_ds.collection.versions import build_url

FACTS = (
    *("split", "label", "group", "fold", "has_train_twin"),
    *("patient", "source", "sequence", "skull", "tumor", "mask_known"),
)
CLASSES, TEXTS = ("label", "sequence", "skull", "mask_known"), ("patient", "source")
SPLITS = ("train", "validation", "test")
# A person's own pictures have no paper and no date.
OWN_WARNINGS = {
    f'[Metadata(tumor_ds/folder)] Property "{url}" is recommended, but does not exist.'
    for url in ("http://mlcommons.org/croissant/citeAs", "https://schema.org/datePublished")
}


@dataclass
class Built:
    """A dataset, the zip that it was built from, and its records in TFDS."""

    builder: Builder
    source: Path

    @functools.cached_property
    def records(self) -> dict[str, dict]:
        """By file name, with the split, the names of classes, and text for bytes."""
        found, features = {}, self.builder.info.features
        for split in self.builder.info.splits:
            for record in tfds.as_numpy(self.builder.as_dataset(split=split)):
                names = {name: features[name].int2str(record[name]) for name in CLASSES}
                texts = {name: record[name].decode() for name in TEXTS}
                found[record["filename"].decode()] = record | {"split": split} | names | texts
        return found

    @functools.cached_property
    def path(self) -> Path:
        return Path(croissant.write_croissant(self.builder, self.source))

    @property
    def document(self) -> dict:
        return json.loads(self.path.read_text())

    @property
    def is_own(self) -> bool:
        return self.builder.builder_config.name == "folder"


def build(config: str, source: Path, data_dir: Path, version: str = "1.2.0") -> Built:
    builder = Builder(config=config, version=version, data_dir=data_dir)
    builder.download_and_prepare(download_config=tfds.download.DownloadConfig(manual_dir=source.parent))
    return Built(builder, source)


def write_zip(folder: Path, target: Path, prefix: str = "") -> Path:
    """Zip the pictures in an order unlike the sorted one."""
    target.parent.mkdir()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as zipped:
        for path in sorted((path for path in folder.rglob("*.*") if path.is_file()), reverse=True):
            zipped.write(path, f"{prefix}{path.relative_to(folder).as_posix()}")
    return target


def write_own_zip(dummy_data_dir: Path, folder: Path) -> Path:
    """Classes that pandas takes for "missing" and for a number, several formats, and what macOS adds."""
    for label, name in (("None", "glioma"), ("01", "pituitary")):
        (folder / label).mkdir(parents=True)
        for path in sorted(dummy_data_dir.glob(f"*/{name}/*.jpg")):
            shutil.copy(path, folder / label)
    first, second = sorted((folder / "None").iterdir())[:2]
    Image.open(first).convert("RGB").save(first.with_suffix(".PNG"), "PNG")
    mask = Image.new("L", Image.open(first).size)
    mask.putpixel((2, 2), 255)
    mask.save(first.with_name(f"{first.stem}_mask.PNG"))
    Image.open(second).save(second.with_name("a, b [1].tif"))
    first.unlink()
    second.unlink()
    target = write_zip(folder, folder.parent / "manual" / "mine.zip", "my pictures [new]/")
    with zipfile.ZipFile(target, "a") as zipped:
        zipped.writestr("my pictures [new]/None/.hidden.jpg", b"no picture")
        for name in ("01/._x.jpg", f"01/{next((folder / '01').iterdir()).name}"):
            zipped.writestr(f"__MACOSX/my pictures [new]/{name}", b"no picture")
    return target


@pytest.fixture(scope="module", params=["official", "grouped", "patient", "version 2", "folder"])
def built(
    request: pytest.FixtureRequest,
    dummy_data_dir: Path,
    dummy_counts: Mapping,
    tmp_path_factory: pytest.TempPathFactory,
) -> Built:
    """Each config built from a zip of the dummy pictures."""
    folder, name = tmp_path_factory.mktemp("built"), request.param
    if name == "folder":
        return build(name, write_own_zip(dummy_data_dir, folder / "pictures"), folder / "data")
    pictures = shutil.copytree(dummy_data_dir, folder / "pictures")
    if name == "version 2":
        path = min(pictures.glob("Training/glioma/*.jpg"))
        path.rename(path.with_name("Tr-aug-gl_0001.jpg"))
    source = write_zip(pictures, folder / "manual" / ZIP_NAMES[0])
    if name != "version 2":
        with mock.patch.object(Builder, "EXPECTED_COUNTS", dummy_counts):
            return build(name, source, folder / "data")
    totals = {
        split: sum(count for (of, _), count in dummy_counts.items() if of == split)
        for split in ("Training", "Testing")
    }
    with mock.patch.object(Builder, "EXPECTED_TOTALS", totals):
        return build("official", source, folder / "data", "2.1.0")


@pytest.fixture
def official(dummy_dataset_dir: Path, tmp_path: Path) -> Builder:
    """A copy of the dummy dataset that a test may write into."""
    return Builder(config="official", data_dir=shutil.copytree(dummy_dataset_dir, tmp_path / "official"))


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """mlcroissant unpacks by the address of a zip alone, and the dummy zips have one file name."""
    monkeypatch.setattr(extract, "EXTRACT_PATH", epath.Path(tmp_path / "cache"))


def load(path: Path, zipped: Path | None = None) -> mlc.Dataset:
    return mlc.Dataset(path, mapping={"pictures.zip": zipped} if zipped else None)


def read_croissant(dataset: mlc.Dataset) -> list[dict]:
    """The records as mlcroissant gives them, with text for bytes and short names."""
    records = [
        {name.removeprefix("pictures/"): value for name, value in record.items()}
        for record in dataset.records("pictures")
    ]
    return [
        {name: value.decode() if isinstance(value, bytes) else value for name, value in record.items()}
        for record in records
    ]


def test_mlcroissant_reads_what_tfds_stores(built: Built):
    assert built.path == Path(built.builder.data_dir) / "croissant.json"
    dataset = load(built.path, built.source)
    assert dataset.metadata.ctx.issues.errors == set()
    assert dataset.metadata.ctx.issues.warnings == (OWN_WARNINGS if built.is_own else set())

    records = read_croissant(dataset)
    assert sorted(record["filename"] for record in records) == sorted(built.records)
    for record in records:
        stored = built.records[record["filename"]]
        assert {name: record[name] for name in FACTS} == {name: stored[name] for name in FACTS}
        np.testing.assert_array_equal(np.asarray(record["image"].convert("L")), stored["image"][..., 0])


def test_labels_and_splits_are_listed(built: Built):
    dataset = load(built.path, built.source)
    labels = {record["labels/index"]: record["labels/name"] for record in dataset.records("labels")}
    assert labels == dict(enumerate(built.builder.info.features["label"].names))
    splits = list(dataset.records("splits"))
    assert [split["splits/name"] for split in splits] == list(built.builder.info.splits)
    # Croissant has no address for a fold.
    assert all(("splits/url" in split) == (split["splits/name"] in SPLITS) for split in splits)
    listed = {record_set.id: record_set for record_set in dataset.metadata.record_sets}
    assert [str(kind) for kind in listed["labels"].data_types] == ["https://schema.org/Enumeration"]
    assert mlc.DataType.SPLIT in listed["splits"].data_types
    references = {field.name: field.references.field for field in listed["pictures"].fields}
    assert (references["label"], references["split"]) == ("labels/name", "splits/name")
    assert all(field.description for record_set in listed.values() for field in record_set.fields)


def test_records_csv_counts_as_tfds_does(built: Built):
    with built.path.with_name("records.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["filename", *FACTS]
    assert [row["filename"] for row in rows] == sorted(built.records)
    assert Counter(row["split"] for row in rows) == {
        name: split.num_examples for name, split in built.builder.info.splits.items()
    }
    assert {row["filename"]: row["label"] for row in rows} == {
        name: record["label"] for name, record in built.records.items()
    }


def test_files_are_named_with_their_checksums(built: Built):
    table, zipped, pictures = load(built.path, built.source).metadata.distribution
    assert table.sha256 == hashlib.sha256(built.path.with_name("records.csv").read_bytes()).hexdigest()
    assert table.content_size == f"{built.path.with_name('records.csv').stat().st_size} B"
    assert zipped.sha256 == hashlib.sha256(built.source.read_bytes()).hexdigest()
    assert zipped.content_size == f"{built.source.stat().st_size} B"
    assert zipped.content_url == built.source.name  # not Kaggle's: the checksum is that of this zip
    assert (build_url(int(built.builder.version.major)) in zipped.description) == (not built.is_own)
    assert pictures.encoding_formats == (
        ["image/jpeg", "image/png", "image/tiff"] if built.is_own else ["image/jpeg"]
    )


def test_metadata(built: Built):
    document = built.document
    assert document["name"] == f"tumor_ds/{built.builder.builder_config.name}"
    assert document["version"] == str(built.builder.version)
    assert document["isLiveDataset"] is False
    assert document["conformsTo"][0] == "http://mlcommons.org/croissant/1.0"
    assert document["rai:dataUseCases"][1] == "Not a medical device; not for diagnosis."
    assert (
        ", ".join(f"{name} {split.num_examples}" for name, split in built.builder.info.splits.items())
        in document["description"]
    )
    if built.is_own:
        assert "kaggle" not in built.path.read_text().lower()
        assert document["license"] == "As given by the owner of the pictures."
        assert not document.keys() & {"url", "citeAs", "datePublished", "rai:dataBiases"}
        return
    version = int(built.builder.version.major)
    assert document["datePublished"] == {1: "2021-09-24", 2: "2026-02"}[version]
    assert [person["name"] for person in document["creator"]] == ["Msoud Nickparvar", "Jun Cheng"]
    assert document["citeAs"] == built.builder.info.citation
    assert "Check it there" in document["license"][0]["description"]
    assert f"version {version} of https://www.kaggle.com/" in document["description"]
    leak = any("training picture up to a flip" in limit for limit in document["rai:dataLimitations"])
    assert leak == any(record["has_train_twin"] for record in built.records.values())


def test_without_a_zip_the_facts_stand_alone(built: Built, tmp_path: Path):
    """And the records are the same; afterwards the same bytes come as before."""
    before = {name: built.path.with_name(name).read_bytes() for name in ("croissant.json", "records.csv")}
    dataset = load(croissant.write_croissant(built.builder, tmp_path))
    assert dataset.metadata.ctx.issues.errors == set()
    assert [file.id for file in dataset.metadata.distribution] == ["records.csv"]
    facts = {record.pop("filename"): record for record in read_croissant(dataset)}
    assert facts == {
        filename: {name: record[name] for name in FACTS} for filename, record in built.records.items()
    }
    croissant.write_croissant(built.builder, built.source)
    assert {name: built.path.with_name(name).read_bytes() for name in before} == before


def test_the_folder_may_be_moved(official: Builder, tmp_path: Path):
    path = croissant.write_croissant(official, None)
    assert str(tmp_path) not in path.read_text()
    moved = path.parent.rename(tmp_path / "moved")
    assert len(read_croissant(load(moved / "croissant.json"))) == 48


@pytest.mark.parametrize("failing", ["records.csv", "croissant.json"])
def test_half_a_file_never_stays(official: Builder, monkeypatch: pytest.MonkeyPatch, failing: str):
    folder = croissant.write_croissant(official, None).parent
    for name in ("croissant.json", "records.csv"):
        (folder / name).write_text("earlier")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    write_bytes = type(folder).write_bytes

    def fill_the_disk(path: Path, content: bytes) -> int:
        if not path.name.startswith(f"{failing}."):
            return write_bytes(path, content)
        write_bytes(path, content[:100])
        raise OSError("No space left on device")

    monkeypatch.setattr(type(folder), "write_bytes", fill_the_disk)
    with pytest.raises(OSError, match="No space left"):
        croissant.write_croissant(official, None)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_another_zip_is_refused(official: Builder, dummy_data_dir: Path, tmp_path: Path):
    pictures = shutil.copytree(dummy_data_dir, tmp_path / "pictures")
    min(pictures.glob("Training/glioma/*.jpg")).rename(pictures / "Training/glioma/strange.jpg")
    with pytest.raises(DatasetError, match="Name the other zip"):
        croissant.write_croissant(official, write_zip(pictures, tmp_path / "manual" / "other.zip"))
    assert not Path(official.data_dir, "croissant.json").exists()


def test_a_dataset_that_is_not_built_is_refused(tmp_path: Path):
    with pytest.raises(DatasetError, match="Build it first"):
        croissant.write_croissant(Builder(config="official", data_dir=tmp_path), None)


def test_tfds_reads_the_features(official: Builder):
    """It cannot build from it: mlcroissant 1.1 filters by split only where a file's path has it."""
    path = croissant.write_croissant(official, None)
    builder = tfds.dataset_builders.CroissantBuilder(
        jsonld=path, file_format="array_record", data_dir=path.parent
    )
    assert str(builder.version) == "1.2.0"
    assert set(builder.info.features) == {"filename", *FACTS}


@pytest.mark.real_data
def test_real_collection(real_dataset_dir: Path, real_data_dir: Path, tmp_path: Path):
    zipped = real_data_dir / ZIP_NAMES[0]
    if not zipped.is_file():
        pytest.skip(f"no zip in {real_data_dir}")
    builder = Builder(config="official", data_dir=shutil.copytree(real_dataset_dir, tmp_path / "real"))
    path = croissant.write_croissant(builder, zipped)
    assert "992 of 1,311 test pictures are a training picture" in path.read_text()
    records = read_croissant(load(path, zipped))
    assert Counter(record["split"] for record in records) == {"train": 5141, "validation": 571, "test": 1311}
    assert all(record["image"].size for record in records)
