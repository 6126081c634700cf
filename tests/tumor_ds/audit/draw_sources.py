"""Two drawn sources in one table, and a folder of class pictures that copies one of them."""

import csv
from pathlib import Path

import numpy as np
from PIL import Image

COLUMNS = ("source", "file", "class", "patient", "sequence", "skull", "mask")
PATIENTS = 6


def draw(seed: int, border: int = 0, size: tuple[int, int] = (48, 40)) -> np.ndarray:
    """Draw a picture of its own for every seed: soft blobs in a frame of one grey level."""
    blobs = np.random.default_rng(seed).integers(40, 255, (6, 6), np.uint8)
    picture = np.full(size, border, np.uint8)
    inner = Image.fromarray(blobs).resize((size[1] - 8, size[0] - 8), Image.Resampling.BICUBIC)
    picture[4:-4, 4:-4] = np.asarray(inner)
    return picture


def save(path: Path, picture: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(path)


def write_sources(folder: Path) -> Path:
    """Write a table of 36 pictures of two sources.

    north: T1C with skull; glioma on a black frame, meningioma on a grey one, both with an outline. south:
    FLAIR without skull, white frame; notumor, and another tumour. Six patients a class, two pictures
    each in north, one in south. The picture of south's last patient without tumour is that of its first one,
    mirrored.
    """
    rows = []
    kinds = (("north", "glioma", 0), ("north", "meningioma", 60), ("south", "notumor", 250))
    for number, (source, kind, border) in enumerate(kinds):
        for index in range(2 * PATIENTS):
            patient = f"{kind}{index // 2}"
            seed = 100 * number + index
            picture = draw(seed, border)
            if (kind, index) == ("notumor", 2 * PATIENTS - 2):
                picture = np.fliplr(draw(100 * number, border))
            if kind == "notumor" and index % 2:
                kind_here, patient = "other_tumor", f"other{index // 2}"
            else:
                kind_here = kind
            name = f"{source}/{kind_here}/{index}.png"
            save(folder / name, picture)
            mask = f"{source}/masks/{kind}_{index}.png" if source == "north" else ""
            if mask:
                outline = np.zeros_like(picture)
                outline[16:32, 10:20] = 255
                save(folder / mask, outline)
            sequence, skull = ("T1C", "kept") if source == "north" else ("FLAIR", "stripped")
            rows.append((source, name, kind_here, patient, sequence, skull, mask))
    with (folder / "sources.csv").open("w", newline="") as file:
        csv.writer(file).writerows([COLUMNS, *rows])
    return folder


def write_classes(folder: Path) -> Path:
    """Write six gliomas: three of north's mirrored, one of them turned, two of their own."""
    for index in range(3):
        save(folder / "glioma" / f"m{index}.png", np.fliplr(draw(index)))
    save(folder / "glioma" / "t.png", np.rot90(draw(3)))
    for index in range(2):
        save(folder / "glioma" / f"own{index}.png", draw(900 + index))
    return folder
