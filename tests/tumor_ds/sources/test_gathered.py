"""Pictures that a table describes: what is stored of them, and what is refused by name."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from tumor_ds import LABELS
from tumor_ds.collection.errors import DatasetError
from tumor_ds.sources.slices import MASK_STATES, SEQUENCES, SKULLS, deal_fold

Build = Callable[..., Path]


@pytest.fixture
def build(build_dataset: Build, tmp_path: Path) -> Callable[[Path], dict[str, dict]]:
    """Function that builds `gathered` of a folder and gives its records by file name, with their splits."""

    def run(folder: Path, config: str = "gathered") -> dict[str, dict]:
        data_dir = build_dataset(folder, tmp_path / "data", config=config)
        datasets = tfds.load(f"tumor_ds/{config}", data_dir=data_dir)
        return {
            record["filename"].decode(): record | {"split": split}
            for split, dataset in datasets.items()
            for record in tfds.as_numpy(dataset)
        }

    return run


def test_every_row_is_stored_as_the_table_says(build, gathered_dir: Path, gathered_rows: list[dict]):
    records = build(gathered_dir)
    assert sorted(records) == [row["file"] for row in gathered_rows]
    label = {number: names for number, names in enumerate(LABELS)} | {-1: None}
    facts = [
        (
            label[record["label"]],
            record["tumor"],
            SEQUENCES[record["sequence"]],
            SKULLS[record["skull"]],
            MASK_STATES[record["mask_known"]],
        )
        for _, record in sorted(records.items())
    ]
    assert facts == [
        ("glioma", 1, "T1C", "kept", "outlined"),
        ("glioma", 1, "FLAIR", "kept", "unknown"),
        ("meningioma", 1, "T2", "stripped", "unknown"),
        ("notumor", 0, "T1", "kept", "empty"),
        ("notumor", 0, "T1", "kept", "empty"),
        ("pituitary", 1, "unknown", "unknown", "unknown"),
        (None, 1, "unknown", "unknown", "unknown"),
        (None, 1, "T1", "kept", "outlined"),
        (None, 0, "T1C", "kept", "empty"),
        (None, 0, "FLAIR", "kept", "empty"),
    ]
    assert {record["source"] for record in records.values()} == {b"mine"}
    assert not any(record["has_train_twin"] for record in records.values())


def test_folds_are_those_of_the_table_or_dealt_by_patient(build, gathered_dir: Path, gathered_rows):
    records = build(gathered_dir)
    for row in gathered_rows:
        record, fold = records[row["file"]], int(row["fold"] or deal_fold(row["patient"]))
        assert (record["split"], record["fold"]) == (f"fold{fold}", fold)
        assert record["patient"].decode() == row["patient"]


def test_pixels_and_masks_are_those_of_the_files(build, gathered_dir: Path):
    record = build(gathered_dir)["pictures/7.png"]
    with Image.open(gathered_dir / "pictures/7.png") as image:
        np.testing.assert_array_equal(record["image"][..., 0], np.asarray(image))
    expected = np.zeros((40, 40), np.uint8)
    expected[5:17, 6:12] = 255
    np.testing.assert_array_equal(record["mask"][..., 0], expected)


def test_a_row_without_source_has_the_name_of_the_folder(
    build, gathered_dir: Path, gathered_rows, save_table
):
    save_table(gathered_dir, [row | {"source": ""} for row in gathered_rows])
    assert {record["source"] for record in build(gathered_dir).values()} == {b"gathered"}


def test_the_config_of_a_source_takes_its_rows_alone(
    build, gathered_dir: Path, gathered_rows, save_table, monkeypatch
):
    from tumor_ds import Builder

    monkeypatch.setitem(Builder.EXPECTED_SOURCE_COUNTS, "ms_iraq", {"notumor": 2})
    chosen = {"pictures/3.png", "pictures/4.png"}
    rows = [row | {"source": "ms_iraq"} if row["file"] in chosen else row for row in gathered_rows]
    save_table(gathered_dir, rows)
    assert set(build(gathered_dir, "ms_iraq")) == chosen


def test_counts_of_a_source_must_be_whole(build, gathered_dir: Path, gathered_rows, save_table):
    save_table(gathered_dir, [row | {"source": "ms_iraq"} for row in gathered_rows[3:5]])
    with pytest.raises(DatasetError, match=r"ms_iraq in .* holds 2 of notumor, expected 61"):
        build(gathered_dir, "ms_iraq")


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"class": "astrocytoma"}, "line 2: class 'astrocytoma', expected one of glioma"),
        ({"sequence": "PD"}, "line 2: sequence 'PD', expected one of T1, T1C"),
        ({"skull": "half"}, "line 2: skull 'half', expected one of kept"),
        ({"fold": "6"}, "line 2: fold '6', expected one of , 1, 2"),
        ({"patient": ""}, "line 2: no patient, expected a value"),
        ({"file": "pictures/none.png"}, "line 2: file pictures/none.png, and there is no such file"),
        ({"mask": "masks/none.png"}, "line 2: mask masks/none.png, and there is no such file"),
        ({"file": "../0.png"}, "line 2: file '../0.png', expected a path below"),
        ({"mask": "/etc/hosts"}, "line 2: mask '/etc/hosts', expected a path below"),
        ({"file": "pictures/1.png"}, "pictures/1.png is there 2 times"),
    ],
)
def test_a_bad_row_is_refused_by_name(
    build, gathered_dir: Path, gathered_rows, save_table, tmp_path: Path, change: dict, complaint: str
):
    save_table(gathered_dir, [gathered_rows[0] | change, *gathered_rows[1:]])
    with pytest.raises(DatasetError, match=complaint):
        build(gathered_dir)
    assert not list((tmp_path / "data").rglob("*.tfrecord*"))


def test_a_misspelt_column_is_refused(build, gathered_dir: Path):
    table = gathered_dir / "sources.csv"
    table.write_text(table.read_text().replace("mask", "maks", 1))
    with pytest.raises(DatasetError, match="Rename or remove 'maks'"):
        build(gathered_dir)


def test_damaged_files_are_refused_by_name(build, gathered_dir: Path):
    picture = gathered_dir / "pictures/5.png"
    picture.write_bytes(picture.read_bytes()[:200])
    with pytest.raises(DatasetError, match=r"Cannot decode pictures/5\.png"):
        build(gathered_dir)


def test_a_mask_of_another_size_is_refused(build, gathered_dir: Path):
    Image.new("L", (39, 40)).save(gathered_dir / "masks/7.png")
    with pytest.raises(DatasetError, match=r"pictures/7.png has a mask uint8 \(40, 39\), expected"):
        build(gathered_dir)


def test_an_empty_mask_of_a_tumour_is_refused(build, gathered_dir: Path):
    Image.new("L", (40, 40)).save(gathered_dir / "masks/0.png")
    with pytest.raises(DatasetError, match=r"pictures/0.png has tumor True and a mask that is empty"):
        build(gathered_dir)


def test_a_folder_without_a_table_is_refused(build, gathered_dir: Path):
    (gathered_dir / "sources.csv").unlink()
    with pytest.raises(
        DatasetError, match=r"Expected sources.csv beside pictures, volumes.csv .* found masks, pictures"
    ):
        build(gathered_dir)


def test_a_source_that_the_table_has_not_is_refused(build, gathered_dir: Path):
    with pytest.raises(DatasetError, match="has no row of nins, but of mine"):
        build(gathered_dir, "nins")


@pytest.mark.real_data
def test_the_real_table_holds_the_counts_of_the_catalogue(real_data_dir: Path):
    from collections import Counter

    from tumor_ds.sources.catalogue import SOURCES
    from tumor_ds.sources.gathered import CLASSES, make_adapter

    folder = real_data_dir / "sources"
    kinds: dict[str, Counter] = {}
    for row in make_adapter().list_units(folder):
        label, tumor = CLASSES[row["class"]]
        kind = label or ("other_tumor" if tumor else "no_tumor_in_slice")
        kinds.setdefault(row["source"], Counter())[kind] += 1
    assert kinds == {name: Counter(source.counts) for name, source in SOURCES.items()}


@pytest.mark.real_data
@pytest.mark.parametrize("source", ["jammu_gbm", "ms_iraq"])
def test_real_sources_are_built_twice_alike(
    real_data_dir: Path, build_dataset: Build, digest_examples, tmp_path: Path, source: str
):
    for name in ("one", "two"):
        build_dataset(real_data_dir / "sources", tmp_path / name, config=source)
    assert digest_examples(tmp_path / "one") == digest_examples(tmp_path / "two")


def test_a_zip_alone_is_unpacked(build, gathered_dir: Path, tmp_path: Path):
    (tmp_path / "zipped").mkdir()
    zipped = Path(shutil.make_archive(str(tmp_path / "zipped" / "pictures"), "zip", gathered_dir))
    assert len(build(zipped.parent)) == 10


def test_a_damaged_zip_is_refused(build, gathered_dir: Path, tmp_path: Path):
    (tmp_path / "zipped").mkdir()
    zipped = Path(shutil.make_archive(str(tmp_path / "zipped" / "pictures"), "zip", gathered_dir))
    zipped.write_bytes(zipped.read_bytes()[:400])
    with pytest.raises(DatasetError, match=r"Cannot unpack .*pictures\.zip: .* Download it again"):
        build(zipped.parent)
