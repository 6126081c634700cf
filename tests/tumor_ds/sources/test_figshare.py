"""The download of figshare 1512427 as it comes: MATLAB files in a folder, in several, or in zips."""

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from tests.tumor_ds.sources.mat_files import build_fields, build_mat, save_zip
from tests.tumor_ds.sources.read_adapter import read_all, refuse
from tumor_ds import Builder
from tumor_ds.collection.errors import DatasetError
from tumor_ds.grouping.facts import load_facts
from tumor_ds.outlines import draw_mask, load_outlines
from tumor_ds.sources import building, figshare

COUNTS = {"glioma": 4, "meningioma": 8, "pituitary": 4}
SLICES = sum(COUNTS.values())
LABELS = ["meningioma"] * 8 + ["glioma"] * 4 + ["pituitary"] * 4
# Slices 1 to 5 are in the published fold 3, 6 to 15 in 1, 16 in 5.
PATIENTS = ["100360"] * 5 + ["MR040241B"] * 10 + ["7"]
FOLDS = [3] * 5 + [1] * 10 + [5]
HEIGHT, WIDTH = 24, 30
# As TFDS names a file that it downloaded.
TFDS_NAME = "ndownloader.figshare.com_files_3381290w3VCsWBwLzC-Y9mEsBTTxUXZnYrLXNQpOhIR_2b6Jyo"

ADAPTER = figshare.make_adapter(COUNTS)


def draw_slice(number: int) -> tuple[np.ndarray, np.ndarray]:
    """Picture and mask, neither of them symmetric: int16 and uint8 0 or 1, (HEIGHT, WIDTH)."""
    noise = np.random.default_rng(number).integers(0, 255, (5, 6), dtype=np.uint8)
    soft = np.asarray(Image.fromarray(noise).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC))
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[3:8, 4 : 6 + number] = 1
    return soft.astype(np.int16) * 7 - 20, mask


def build_slice(number: int, **changes: object) -> bytes:
    image, mask = draw_slice(number)
    fields = build_fields(image, mask, LABELS[number - 1], PATIENTS[number - 1]) | changes
    return build_mat({name: value for name, value in fields.items() if value is not None})


FILES = {f"{number}.mat": build_slice(number) for number in range(1, SLICES + 1)}


def lay_out(folder: Path, layout: str) -> Path:
    """Lay out all files as somebody may have them."""
    folder.mkdir()
    halves = [dict(list(FILES.items())[:9]), dict(list(FILES.items())[9:])]
    if layout == "zips":
        for number, half in enumerate(halves):
            save_zip(half | {"__MACOSX/._1.mat": b"x"}, folder / f"brainTumorDataPublic_{number}.zip")
    elif layout == "tfds":
        save_zip(FILES, folder / TFDS_NAME)
        (folder / f"{TFDS_NAME}.INFO").write_text("{}")
        (folder / f"{TFDS_NAME}.tmp.0123").mkdir()
        save_zip(FILES, folder / f"{TFDS_NAME}.tmp.0123" / "brainTumorDataPublic_1-766.zip")
    else:
        for number, half in enumerate(halves):
            below = folder / f"part{number}" if layout == "folders" else folder
            below.mkdir(exist_ok=True)
            for name, content in half.items():
                (below / name).write_bytes(content)
    (folder / "cvind.mat").write_bytes(b"folds")
    (folder / "README.txt").write_text("notes")
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return lay_out(tmp_path / "unpacked", "folder")


# What it gives


@pytest.mark.parametrize("layout", ["folder", "folders", "zips", "tfds"])
def test_every_layout_gives_all_slices(tmp_path: Path, layout: str):
    folder = lay_out(tmp_path / layout, layout)
    assert ADAPTER.recognise(folder)
    slices = read_all(ADAPTER, folder)
    assert list(slices) == list(FILES)
    assert [one.label for one in slices.values()] == LABELS
    assert [one.patient for one in slices.values()] == PATIENTS
    assert [one.fold for one in slices.values()] == FOLDS
    kinds = {(one.source, one.sequence, one.skull, one.tumor, one.mask_known) for one in slices.values()}
    assert kinds == {("figshare", "T1C", "kept", True, "outlined")}


def test_picture_and_mask_are_those_that_matlab_shows(folder: Path):
    for number, one in enumerate(read_all(ADAPTER, folder).values(), 1):
        image, mask = draw_slice(number)
        low, high = int(image.min()), int(image.max())
        expected = np.rint((image - low) * 255.0 / (high - low)).astype(np.uint8)
        np.testing.assert_array_equal(one.image, expected)
        assert (one.image.min(), one.image.max()) == (0, 255)
        np.testing.assert_array_equal(one.mask, mask * 255)


def test_slices_of_256_pixels_and_the_full_range_are_fine(folder: Path):
    image = np.random.default_rng(0).integers(-32768, 32767, (256, 256), dtype=np.int16)
    image[0, :2] = -32768, 32767
    (folder / "3.mat").write_bytes(build_slice(3, image=image, tumorMask=np.eye(256, dtype=np.uint8)))
    one = read_all(ADAPTER, folder)["3.mat"]
    assert one.image.shape == (256, 256)
    assert one.image[0, :2].tolist() == [0, 255]


def test_the_published_set_is_expected():
    assert figshare.ADAPTER.counts == {"glioma": 1426, "meningioma": 708, "pituitary": 930}
    folds = {row.figshare_slice: row.patient_fold for row in load_facts().values() if row.figshare_slice}
    assert sorted(folds) == list(range(1, 3065))
    assert set(folds.values()) == set(range(1, 6))


def test_other_folders_are_not_taken_for_it(tmp_path: Path):
    (tmp_path / "cvind.mat").write_bytes(b"folds")
    (tmp_path / "archive.zip").write_bytes(b"PK")
    (tmp_path / "sources.csv").write_text("file,class,patient\n")
    assert not ADAPTER.recognise(tmp_path)


# What it refuses


@pytest.mark.parametrize(
    ("changes", "mentions"),
    [
        ({"tumorMask": None}, "tumorMask"),
        ({"PID": None}, "PID"),
        ({"PID": np.array([[100360.0]])}, "PID is float64, expected text, as uint16"),
        ({"label": np.array([[4.0]])}, "label 4.0, expected 1 to 3"),
        ({"label": np.array([[np.nan]])}, "label holds NaN or infinity"),
        ({"image": np.zeros((4, 5, 6), np.int16)}, "image is int16 (6, 5, 4), expected numbers"),
        ({"image": np.full((HEIGHT, WIDTH), 9, np.int16)}, "all pixels are 9"),
        ({"tumorMask": np.ones((WIDTH, HEIGHT), np.uint8)}, "a mask uint8 (30, 24)"),
        ({"tumorMask": np.zeros((HEIGHT, WIDTH), np.uint8)}, "a mask that is empty"),
    ],
)
def test_a_damaged_slice_is_named(folder: Path, changes: dict[str, object], mentions: str):
    (folder / "12.mat").write_bytes(build_slice(12, **changes))
    refuse(ADAPTER, folder, "12.mat", mentions)


@pytest.mark.parametrize("keep", [0, 600, 2000, -1])
@pytest.mark.parametrize("is_zipped", [True, False])
def test_a_truncated_file_is_named(tmp_path: Path, keep: int, is_zipped: bool):
    folder = tmp_path / "cut"
    folder.mkdir()
    files = FILES | {"12.mat": FILES["12.mat"][:keep]}
    if is_zipped:
        save_zip(files, folder / "brainTumorDataPublic_1-16.zip")
    else:
        for name, content in files.items():
            (folder / name).write_bytes(content)
    refuse(ADAPTER, folder, "cannot read 12.mat", str(folder), "tumor build figshare")


def test_a_file_with_flipped_bits_in_a_zip_is_named(tmp_path: Path):
    folder = lay_out(tmp_path / "flipped", "zips")
    path = folder / "brainTumorDataPublic_0.zip"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)
    refuse(ADAPTER, folder, "cannot read", ".mat", path.name)


def test_a_zip_that_is_none_is_named(folder: Path):
    (folder / "brainTumorDataPublic_9.zip").write_bytes(b"<html>")
    refuse(ADAPTER, folder, "brainTumorDataPublic_9.zip is no readable zip", "tumor build figshare")


def test_missing_slices_are_named_before_any_is_read(folder: Path):
    for number in (7, 9):
        (folder / f"{number}.mat").unlink()
    (folder / "1.mat").write_bytes(b"")
    refuse(ADAPTER, folder, f"7.mat is not in {folder} (2 of 16 are missing)")


def test_a_slice_that_is_there_twice_is_named(folder: Path):
    save_zip({"5.mat": FILES["5.mat"]}, folder / "brainTumorDataPublic_1.zip")
    refuse(ADAPTER, folder, "5.mat is there twice", str(folder / "brainTumorDataPublic_1.zip"))


@pytest.mark.parametrize("name", ["17.mat", "0.mat", "1 (1).mat", "01.mat", "tumor.mat"])
def test_a_file_that_is_no_slice_is_named(folder: Path, name: str):
    (folder / name).write_bytes(FILES["1.mat"])
    refuse(ADAPTER, folder, name, "expected 1.mat to 16.mat")


# What is built of it


@pytest.fixture
def build(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[Path], Builder]:
    """Function that builds the small set of a folder."""
    monkeypatch.setitem(building.ADAPTERS, "figshare", ADAPTER)

    def build(folder: Path) -> Builder:
        builder = Builder(config="figshare", data_dir=tmp_path / "data")
        builder.download_and_prepare(download_config=tfds.download.DownloadConfig(manual_dir=folder))
        return builder

    return build


def test_it_builds_with_the_published_folds_and_the_groups_of_the_collection(
    build: Callable[[Path], Builder], folder: Path
):
    builder = build(folder)
    assert {name: split.num_examples for name, split in builder.info.splits.items()} == {
        "fold1": 10,
        "fold3": 5,
        "fold5": 1,
    }
    groups = {row.figshare_slice: row.group for row in load_facts().values()}
    for record in tfds.as_numpy(builder.as_dataset(split="all")):
        number = int(record["filename"].decode().removesuffix(".mat"))
        assert record["group"] == groups[number]
        assert record["fold"] == FOLDS[number - 1]
        assert record["patient"].decode() == PATIENTS[number - 1]
        assert builder.info.features["label"].int2str(record["label"]) == LABELS[number - 1]
        np.testing.assert_array_equal(record["mask"][..., 0], draw_slice(number)[1] * 255)


@pytest.mark.parametrize(
    ("number", "changes", "mentions"),
    [
        (
            16,
            {"PID": np.array([[ord(sign) for sign in "100360"]], np.uint16)},
            "patient 100360 has 1.mat in fold 3 and 16.mat in fold 5",
        ),
        (2, {"label": np.array([[3.0]])}, "7 of meningioma, expected 8; 5 of pituitary, expected 4"),
        (2, {"tumorMask": None}, "2.mat"),
    ],
)
def test_a_set_that_does_not_reconcile_builds_nothing(
    build: Callable[[Path], Builder],
    folder: Path,
    tmp_path: Path,
    number: int,
    changes: dict[str, object],
    mentions: str,
):
    (folder / f"{number}.mat").write_bytes(build_slice(number, **changes))
    with pytest.raises(DatasetError, match=mentions):
        build(folder)
    assert not [path for path in (tmp_path / "data" / "tumor_ds" / "figshare").rglob("*") if path.is_file()]


@pytest.mark.real_data
def test_a_published_picture_comes_back_as_it_is(real_data_dir: Path, tmp_path: Path):
    """Published pictures and outlines, written as MATLAB stores them, read as they were."""
    sources = real_data_dir / "sources"
    if not (sources / "figshare").is_dir():
        pytest.skip(f"no {sources / 'figshare'}")
    with (sources / "figshare_outlines.csv").open(newline="", encoding="utf-8") as file:
        labels = {int(row["figshare_slice"]): row["label"] for row in csv.DictReader(file)}
    chosen = [1, 59, 709, 955, 2000]  # 955 has 256 x 256 pixels
    for number in chosen:
        path = sources / "figshare" / labels[number] / f"{number:04}_T1C.jpg"
        grey = np.asarray(Image.open(path).convert("L"))
        mask = draw_mask(load_outlines()[number], *grey.shape)
        stretched = np.rint((grey - float(grey.min())) * 255 / (int(grey.max()) - int(grey.min())))
        fields = build_fields(grey.astype(np.int16) * 11, mask // 255, labels[number], f"P{number}")
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / f"{number}.mat").write_bytes(build_mat(fields))
        for other in range(1, number):
            (folder / f"{other}.mat").touch()
        adapter = figshare.make_adapter({labels[number]: number})
        [one] = adapter.read_unit(folder, adapter.list_units(folder)[-1])
        assert (one.label, one.filename) == (labels[number], f"{number}.mat")
        np.testing.assert_array_equal(one.image, stretched.astype(np.uint8))
        np.testing.assert_array_equal(one.mask, mask)
