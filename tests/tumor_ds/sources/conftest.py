"""A synthetic source in the layout of `gathered`, which tests may damage."""

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

COLUMNS = ("source", "file", "class", "patient", "fold", "sequence", "skull", "mask", "note")
Row = dict[str, str]
SaveTable = Callable[[Path, list[Row]], None]


def draw(seed: int, side: int = 40) -> np.ndarray:
    """A picture that is unlike those of other seeds: uint8 (side, side)."""
    noise = np.random.default_rng(seed).integers(30, 200, (7, 7), dtype=np.uint8)
    return np.asarray(Image.fromarray(noise).resize((side, side), Image.Resampling.BICUBIC))


def save(pixels: np.ndarray, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture(scope="session")
def save_table() -> SaveTable:
    """Function that writes `sources.csv` into a folder."""

    def write(folder: Path, rows: list[Row]) -> None:
        with (folder / "sources.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS, restval="")
            writer.writeheader()
            writer.writerows(rows)

    return write


@pytest.fixture
def gathered_rows() -> list[Row]:
    """Ten pictures of six patients, of every class that a table may name."""
    plan = [
        ("glioma", "a", "1", "T1C", "kept", "masks/0.png"),
        ("glioma", "a", "1", "FLAIR", "kept", ""),
        ("meningioma", "b", "2", "T2", "stripped", ""),
        ("notumor", "c", "", "T1", "kept", ""),
        ("notumor", "c", "", "T1", "kept", ""),
        ("pituitary", "d", "2", "", "", ""),
        ("other_tumor", "e", "3", "unknown", "unknown", ""),
        ("glioma_other", "e", "3", "T1", "kept", "masks/7.png"),
        ("glioma_patient_no_tumor_in_slice", "f", "1", "T1C", "kept", ""),
        ("no_tumor_in_slice", "f", "1", "FLAIR", "kept", ""),
    ]
    columns = ("class", "patient", "fold", "sequence", "skull", "mask")
    return [
        {"source": "mine", "file": f"pictures/{number}.png"} | dict(zip(columns, row, strict=True))
        for number, row in enumerate(plan)
    ]


@pytest.fixture
def gathered_dir(gathered_rows: list[Row], save_table: SaveTable, tmp_path: Path) -> Path:
    """Folder with those pictures, two masks and the table."""
    folder = tmp_path / "gathered"
    for number, row in enumerate(gathered_rows):
        save(draw(number), folder / row["file"])
        if row["mask"]:
            mask = np.zeros((40, 40), np.uint8)
            mask[5 : 10 + number, 6:12] = 1 + number
            save(mask, folder / row["mask"])
    save_table(folder, gathered_rows)
    return folder
