"""Kaggle's four classes of Alzheimer's: whom a number shows, and what is left out or refused."""

import re
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from tests.tumor_ds.sources.read_adapter import load_gathered_rows, read_all, refuse
from tumor_ds.sources import alzheimer_oasis

ADAPTER = alzheimer_oasis.ADAPTER
# Two ordered slices a person instead of 25, one person more in an incomplete row, and one picture in `test`.
PEOPLE = {"MildDemented": 3, "ModerateDemented": 2, "NonDemented": 4, "VeryMildDemented": 2}
SLICES = 2


def write_picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (8, 10), 90).save(path)


@pytest.fixture
def download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "Alzheimer_s Dataset"
    counts = {}
    for label, people in PEOPLE.items():
        counts[f"train/{label}"], counts[f"test/{label}"] = people * SLICES + 1, 2
        for number in range(people * SLICES + 1):
            write_picture(root / "train" / label / f"{alzheimer_oasis.NAMES[label]}{number}.jpg")
        for name in ("26 (62).jpg", "27.jpg"):
            write_picture(root / "test" / label / name)
    monkeypatch.setattr(alzheimer_oasis, "PEOPLE", PEOPLE)
    monkeypatch.setattr(alzheimer_oasis, "COUNTS", counts)
    monkeypatch.setattr(alzheimer_oasis, "ORDERED_SLICES", SLICES)
    return tmp_path


def test_numbers_modulo_people_say_who_it_is(download: Path):
    found = read_all(ADAPTER, download)
    patients = {name: piece.patient for name, piece in found.items() if "/MildDemented/" in name}
    assert patients == {
        "train/MildDemented/mildDem0.jpg": "mildDem000",
        "train/MildDemented/mildDem1.jpg": "mildDem001",
        "train/MildDemented/mildDem2.jpg": "mildDem002",
        "train/MildDemented/mildDem3.jpg": "mildDem000",
        "train/MildDemented/mildDem4.jpg": "mildDem001",
        "train/MildDemented/mildDem5.jpg": "mildDem002",
    }


def test_every_person_has_the_same_number_of_slices(download: Path):
    counts = Counter(piece.patient for piece in read_all(ADAPTER, download).values())
    assert len(counts) == sum(PEOPLE.values())
    assert set(counts.values()) == {SLICES}


def test_all_are_without_tumour_and_stripped(download: Path):
    for piece in read_all(ADAPTER, download).values():
        assert (piece.label, piece.tumor, piece.mask_known) == ("notumor", False, "empty")
        assert (piece.sequence, piece.skull) == ("T1", "stripped")


def test_what_is_left_out_is_counted(download: Path, caplog: pytest.LogCaptureFixture):
    read_all(ADAPTER, download)
    # An incomplete row of one picture, and two in `test`, in each of four classes.
    assert "12 of 34 pictures left out" in caplog.text


def test_public_counts_are_those_of_200_people_with_32_slices():
    counts, people = alzheimer_oasis.COUNTS, alzheimer_oasis.PEOPLE
    assert sum(counts.values()) == 6400
    for label, number in people.items():
        assert counts[f"train/{label}"] + counts[f"test/{label}"] == 32 * number
        assert counts[f"train/{label}"] >= alzheimer_oasis.ORDERED_SLICES * number


def test_it_is_recognised(download: Path, tmp_path_factory: pytest.TempPathFactory):
    assert ADAPTER.recognise(download)
    assert ADAPTER.recognise(download / "Alzheimer_s Dataset")
    assert not ADAPTER.recognise(tmp_path_factory.mktemp("other"))


def test_an_unknown_folder(download: Path):
    write_picture(download / "Alzheimer_s Dataset" / "train" / "SevereDemented" / "severeDem0.jpg")
    refuse(ADAPTER, download, "unknown folder train/SevereDemented")


def test_an_unknown_file(download: Path):
    folder = download / "Alzheimer_s Dataset" / "train" / "NonDemented"
    (folder / "nonDem3.jpg").rename(folder / "OAS1_0001.jpg")
    refuse(ADAPTER, download, "train/NonDemented/OAS1_0001.jpg")


def test_a_download_that_is_not_whole(download: Path):
    (download / "Alzheimer_s Dataset" / "test" / "NonDemented" / "27.jpg").unlink()
    refuse(ADAPTER, download, "NonDemented", "1, expected 2")


def test_a_truncated_file(download: Path):
    path = download / "Alzheimer_s Dataset" / "train" / "NonDemented" / "nonDem3.jpg"
    path.write_bytes(path.read_bytes()[:150])
    refuse(ADAPTER, download, "train/NonDemented/nonDem3.jpg")


@pytest.mark.real_data
def test_people_are_those_of_the_gathered_table(real_data_dir: Path):
    """There a file is named by person and public number: `mildDem000_0196_T1.jpg`."""
    rows = load_gathered_rows(real_data_dir, alzheimer_oasis.SOURCE)
    assert len(rows) == 992
    for row in rows:
        label = row["note"].partition(";")[0]
        number = int(re.fullmatch(r".*_(\d+)_T1\.jpg", row["file"])[1])
        path = f"train/{label}/{alzheimer_oasis.NAMES[label]}{number}.jpg"
        assert alzheimer_oasis._find_person(path) == row["patient"]
