"""Kaggle's folders of TIFFs with three channels: sequences, masks, patients; what is refused by name."""

import logging
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.tumor_ds.sources.read_adapter import load_gathered_rows, read_all, refuse
from tumor_ds.sources import lgg_tcga

ADAPTER = lgg_tcga.ADAPTER
SIDE = 32
FIRST, SECOND = "TCGA_CS_4941_19960909", "TCGA_DU_A5TT_19980318"
HEAD = slice(6, 26)


def draw_head(level: int) -> np.ndarray:
    image = np.zeros((SIDE, SIDE), np.uint8)
    image[HEAD, HEAD] = level
    return image


T1, FLAIR, T1C, BLACK = draw_head(90), draw_head(140), draw_head(200), draw_head(8)
TUMOUR, EMPTY = np.zeros((SIDE, SIDE), np.uint8), np.zeros((SIDE, SIDE), np.uint8)
TUMOUR[10:14, 12:18] = 255


def write_slice(
    folder: Path, number: int, channels=(T1, FLAIR, T1C), mask: np.ndarray | None = TUMOUR
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{folder.name}_{number}"
    Image.fromarray(np.stack(channels, axis=-1)).save(folder / f"{name}.tif")
    if mask is not None:
        Image.fromarray(mask).save(folder / f"{name}_mask.tif")


@pytest.fixture
def download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two patients, two slices each, in a folder of a zip."""
    monkeypatch.setattr(lgg_tcga, "SCANS", 2)
    monkeypatch.setattr(lgg_tcga, "SLICES", 4)
    root = tmp_path / "kaggle_3m"
    write_slice(root / FIRST, 2)
    write_slice(root / FIRST, 10, mask=EMPTY)
    write_slice(root / SECOND, 1, (FLAIR, FLAIR, T1C))
    write_slice(root / SECOND, 2, (T1, FLAIR, FLAIR), EMPTY)
    (root / "data.csv").write_text("Patient,RNASeqCluster\n")
    (root / "README.md").write_text("LGG\n")
    return tmp_path


# What it reads


def test_three_channels_are_three_sequences(download: Path):
    found = read_all(ADAPTER, download)
    for sequence, pixels in (("T1", T1), ("FLAIR", FLAIR), ("T1C", T1C)):
        piece = found[f"{FIRST}/{FIRST}_2.tif#{sequence}"]
        assert (piece.sequence, piece.patient, piece.skull) == (sequence, "TCGA_CS_4941", "kept")
        np.testing.assert_array_equal(piece.image, pixels)


def test_a_slice_with_tumour_is_glioma_and_has_its_mask(download: Path):
    piece = read_all(ADAPTER, download)[f"{FIRST}/{FIRST}_2.tif#FLAIR"]
    assert (piece.label, piece.tumor, piece.mask_known) == ("glioma", True, "outlined")
    np.testing.assert_array_equal(piece.mask, TUMOUR)


def test_a_slice_without_tumour_has_no_label_and_an_empty_mask(download: Path):
    piece = read_all(ADAPTER, download)[f"{FIRST}/{FIRST}_10.tif#T1C"]
    assert (piece.label, piece.tumor, piece.mask_known) == (None, False, "empty")


def test_a_channel_that_repeats_flair_is_not_stored(download: Path):
    names = {name.partition("/")[2] for name in read_all(ADAPTER, download) if name.startswith(SECOND)}
    stored = {"1.tif#FLAIR", "1.tif#T1C", "2.tif#T1", "2.tif#FLAIR"}
    assert names == {f"{SECOND}_{name}" for name in stored}


def test_slices_are_in_the_order_of_the_head(download: Path):
    unit = ADAPTER.list_units(download)[0]
    numbers = [piece.filename.split("_")[-1].split(".")[0] for piece in ADAPTER.read_unit(download, unit)]
    assert numbers == ["2"] * 3 + ["10"] * 3


def test_nearly_black_channels_are_left_out_and_counted(download: Path, caplog: pytest.LogCaptureFixture):
    write_slice(download / "kaggle_3m" / FIRST, 10, (BLACK, FLAIR, BLACK), EMPTY)
    with caplog.at_level(logging.INFO):
        names = [name for name in read_all(ADAPTER, download) if f"{FIRST}_10." in name]
    assert names == [f"{FIRST}/{FIRST}_10.tif#FLAIR"]
    assert f"2 pictures of {FIRST} left out" in caplog.text


@pytest.mark.parametrize("above", ["", "kaggle_3m", "archive/lgg-mri-segmentation/kaggle_3m"])
def test_it_is_found_below_the_folders_of_a_zip(download: Path, tmp_path: Path, above: str):
    moved = tmp_path / "moved"
    (moved / above).parent.mkdir(parents=True, exist_ok=True)
    (download / "kaggle_3m").rename(moved / above)
    assert ADAPTER.recognise(moved)
    assert len(read_all(ADAPTER, moved)) == 10


def test_a_second_copy_deeper_in_the_zip_is_not_read(download: Path):
    for name in (FIRST, SECOND):
        write_slice(download / "lgg-mri-segmentation" / "kaggle_3m" / name, 1)
    assert len(read_all(ADAPTER, download)) == 10


def test_two_dates_of_one_patient_share_the_patient(download: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(lgg_tcga, "SCANS", 3)
    monkeypatch.setattr(lgg_tcga, "SLICES", 5)
    later = "TCGA_CS_4941_19970101"
    write_slice(download / "kaggle_3m" / later, 1)
    assert {piece.patient for piece in read_all(ADAPTER, download).values()} == {
        "TCGA_CS_4941",
        "TCGA_DU_A5TT",
    }
    assert f"{later}/{later}_1.tif#T1" in read_all(ADAPTER, download)


def test_other_folders_are_not_recognised(tmp_path: Path):
    (tmp_path / "Training" / "glioma").mkdir(parents=True)
    assert not ADAPTER.recognise(tmp_path)


# What it refuses


def test_a_missing_mask(download: Path):
    (download / "kaggle_3m" / FIRST / f"{FIRST}_2_mask.tif").unlink()
    refuse(ADAPTER, download, f"{FIRST}_2_mask.tif")


def test_a_missing_picture(download: Path):
    (download / "kaggle_3m" / FIRST / f"{FIRST}_2.tif").unlink()
    refuse(ADAPTER, download, f"there is no {FIRST}_2.tif")


@pytest.mark.parametrize("name", [f"{FIRST}_2.tif", f"{FIRST}_2_mask.tif"])
def test_a_truncated_file(download: Path, name: str):
    path = download / "kaggle_3m" / FIRST / name
    path.write_bytes(path.read_bytes()[:300])
    refuse(ADAPTER, download, name)


def test_a_mask_of_another_size(download: Path):
    write_slice(download / "kaggle_3m" / FIRST, 2, mask=TUMOUR[:16])
    refuse(ADAPTER, download, f"{FIRST}_2.tif", "(16, 32)")


def test_a_picture_of_one_channel(download: Path):
    Image.fromarray(FLAIR).save(download / "kaggle_3m" / FIRST / f"{FIRST}_2.tif")
    refuse(ADAPTER, download, f"{FIRST}_2.tif", "expected RGB")


def test_an_unknown_file(download: Path):
    (download / "kaggle_3m" / FIRST / f"{SECOND}_7.tif").write_bytes(b"")
    refuse(ADAPTER, download, f"{SECOND}_7.tif")


def test_an_unknown_folder(download: Path):
    (download / "kaggle_3m" / "TCGA_CS_4941").mkdir()
    refuse(ADAPTER, download, "unknown folder", "TCGA_CS_4941")


def test_a_scan_in_two_folders(download: Path):
    write_slice(download / "copy" / FIRST, 2)
    refuse(ADAPTER, download, "one scan in two folders", str(download / "copy" / FIRST))


def test_a_download_that_is_not_whole(download: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(lgg_tcga, "SLICES", 5)
    refuse(ADAPTER, download, "4, expected 5")


# The gathered copy


@pytest.mark.real_data
def test_gathered_slices_are_read_back(real_data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Three sequences of one patient, written as the public TIFFs are, come back with their masks."""
    rows = load_gathered_rows(real_data_dir, lgg_tcga.SOURCE)
    by_number: dict[int, dict[str, dict]] = defaultdict(dict)
    for row in rows:
        if row["patient"] == "TCGA_CS_4941" and row["mask"]:
            by_number[int(row["file"].split("_")[-2])][row["sequence"]] = row

    def read(name: str) -> np.ndarray:
        with Image.open(real_data_dir / "sources" / name) as image:
            return np.asarray(image.convert("L"))

    for number, named in by_number.items():
        channels = [read(named[sequence]["file"]) for sequence in lgg_tcga.CHANNELS]
        write_slice(tmp_path / FIRST, number, channels, read(named["FLAIR"]["mask"]))
    monkeypatch.setattr(lgg_tcga, "SCANS", 1)
    monkeypatch.setattr(lgg_tcga, "SLICES", len(by_number))
    found = read_all(ADAPTER, tmp_path)
    assert len(found) == 3 * len(by_number) == 21
    assert {piece.label for piece in found.values()} == {"glioma"}
    for number, named in by_number.items():
        for sequence, row in named.items():
            piece = found[f"{FIRST}/{FIRST}_{number}.tif#{sequence}"]
            assert piece.patient == row["patient"]
            assert f"mask_px={np.count_nonzero(piece.mask)}/65536" == row["note"]
