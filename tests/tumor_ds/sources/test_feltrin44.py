"""Kaggle's 44 folders by kind and sequence: labels and sequences; what is refused by name."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.tumor_ds.sources.read_adapter import load_gathered_rows, read_all, refuse
from tumor_ds.sources import feltrin44

ADAPTER = feltrin44.ADAPTER


def write_picture(path: Path, level: int = 90) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (20, 24), (level,) * 3).save(path)


@pytest.fixture
def download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One picture in each of the 44 folders; they have the same name in all."""
    monkeypatch.setattr(feltrin44, "PICTURES", 44)
    for name in feltrin44.FOLDERS:
        write_picture(tmp_path / name / "005_big_gallery.jpeg")
    return tmp_path


@pytest.mark.parametrize(
    ("folder", "label", "tumor", "sequence", "mask_known"),
    [
        ("_NORMAL T2", "notumor", False, "T2", "empty"),
        ("Meningioma T1C+", "meningioma", True, "T1C", "unknown"),
        ("Astrocitoma T1", "glioma", True, "T1", "unknown"),
        ("Ependimoma T2", None, True, "T2", "unknown"),
        ("Tuberculoma T1C+", None, True, "T1C", "unknown"),
    ],
)
def test_the_folder_says_kind_and_sequence(download: Path, folder, label, tumor, sequence, mask_known):
    piece = read_all(ADAPTER, download)[f"{folder}/005_big_gallery.jpeg"]
    assert (piece.label, piece.tumor, piece.sequence) == (label, tumor, sequence)
    assert (piece.mask_known, piece.skull, piece.image.shape) == (mask_known, "kept", (24, 20))


def test_every_picture_is_a_patient_of_its_own(download: Path):
    assert len({piece.patient for piece in read_all(ADAPTER, download).values()}) == 44


@pytest.mark.parametrize("above", ["archive", "a/b"])
def test_it_is_found_below_the_folders_of_a_zip(download: Path, tmp_path: Path, above: str):
    names = set(read_all(ADAPTER, download))
    moved = tmp_path.parent / f"{tmp_path.name}_moved"
    (moved / above).mkdir(parents=True)
    for name in feltrin44.FOLDERS:
        (download / name).rename(moved / above / name)
    assert ADAPTER.recognise(moved)
    assert set(read_all(ADAPTER, moved)) == names


def test_other_folders_are_not_recognised(tmp_path: Path):
    (tmp_path / "Training" / "notumor").mkdir(parents=True)
    assert not ADAPTER.recognise(tmp_path)


def test_an_unknown_folder(download: Path):
    write_picture(download / "Pinealoma T1" / "a.jpg")
    refuse(ADAPTER, download, "'Pinealoma T1'")


def test_a_missing_folder(download: Path):
    (download / "Papiloma T2" / "005_big_gallery.jpeg").unlink()
    refuse(ADAPTER, download, "'Papiloma T2'")


def test_a_download_that_is_not_whole(download: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(feltrin44, "PICTURES", 45)
    refuse(ADAPTER, download, "44, expected 45")


def test_a_truncated_file(download: Path):
    path = download / "Papiloma T2" / "005_big_gallery.jpeg"
    path.write_bytes(path.read_bytes()[:200])
    refuse(ADAPTER, download, "Papiloma T2/005_big_gallery.jpeg")


@pytest.mark.real_data
def test_folders_mean_what_the_gathered_table_says(real_data_dir: Path):
    rows = load_gathered_rows(real_data_dir, feltrin44.SOURCE)
    assert {row["note"] for row in rows} == set(feltrin44.FOLDERS)
    for row in rows:
        label = None if row["class"] in ("other_tumor", "glioma_other") else row["class"]
        assert feltrin44.FOLDERS[row["note"]] == (label, row["sequence"])


def test_the_mask_of_a_healthy_picture_has_its_size(download: Path):
    piece = read_all(ADAPTER, download)["_NORMAL T1/005_big_gallery.jpeg"]
    np.testing.assert_array_equal(piece.mask, np.zeros((24, 20), np.uint8))
