"""Outlines of figshare's tumours: as shipped, as drawn, and against the pictures of the collection."""

import csv
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.make_groups import add_mirrored
from tumor_ds.collection.archive import find_source, open_collection
from tumor_ds.grouping.facts import GROUPS_CSV
from tumor_ds.outlines import OUTLINES_CSV, draw_mask, load_outlines

CORNER = np.array([[0.1, 0.2], [0.5, 0.2], [0.1, 0.6]])  # a triangle in the upper left
SIDE = 64
# Published at 256 x 256 pixels, all others at 512 x 512.
SMALL_SLICES = (*range(955, 958), *range(1070, 1077), *range(1203, 1208))


@pytest.fixture(scope="module")
def outlines() -> dict[int, np.ndarray]:
    return load_outlines()


@pytest.fixture(scope="module")
def rows() -> list[dict[str, str]]:
    with GROUPS_CSV.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def compute_area(outline: np.ndarray) -> float:
    """Share of the picture that lies inside (the shoelace formula)."""
    x, y = outline.T
    return abs(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2


# As shipped


def test_every_slice_has_an_outline_inside_the_picture(outlines: dict[int, np.ndarray]):
    assert list(outlines) == list(range(1, 3065))
    for outline in outlines.values():
        assert outline.dtype == float
        assert outline.shape == (len(outline), 2)
        assert len(outline) >= 3
        assert outline.min() > 0
        assert outline.max() < 1


def test_pituitary_tumours_lie_in_the_middle(outlines: dict[int, np.ndarray]):
    """Divided by 512, the outlines of slices that are 256 pixels wide lay at the forehead."""
    with OUTLINES_CSV.open(newline="", encoding="utf-8") as file:
        labels = {int(row["figshare_slice"]): row["label"] for row in csv.DictReader(file)}
    centres = {number: outlines[number].mean(axis=0) for number in labels if labels[number] == "pituitary"}
    assert len(centres) == 930
    assert centres.keys() >= set(SMALL_SLICES)
    assert [number for number, centre in centres.items() if (centre < 0.3).any()] == []
    assert [number for number, centre in centres.items() if (centre > 0.7).any()] == []


def test_every_file_of_a_slice_says_whether_it_is_mirrored(rows: list[dict[str, str]]):
    assert [row["mirrored"] != "" for row in rows] == [row["figshare_slice"] != "" for row in rows]
    mirrored = [row["mirrored"] for row in rows]
    assert (mirrored.count("1"), mirrored.count("0"), mirrored.count("")) == (3064, 1686, 2273)


# How a table of mirrored files comes into groups.csv


def write_table(path: Path, content: str) -> Path:
    path.write_text(f"path,figshare_slice,mirrored\n{content}")
    return path


ROWS = [
    {"path": "a.jpg", "figshare_slice": "7", "patient_fold": "1"},
    {"path": "b.jpg", "figshare_slice": "", "patient_fold": ""},
]


def test_the_column_is_added_once(tmp_path: Path):
    table = write_table(tmp_path / "table.csv", "a.jpg,7,1\n")
    added = add_mirrored(ROWS, table)
    assert list(added[0].items())[1:3] == [("figshare_slice", "7"), ("mirrored", "1")]
    assert [row["mirrored"] for row in added] == ["1", ""]
    assert add_mirrored(added, table) == added


@pytest.mark.parametrize(
    "content", ["", "a.jpg,8,1\n", "a.jpg,7,1\nb.jpg,7,0\n", "c.jpg,7,1\n", "a.jpg,7,\n"]
)
def test_a_table_that_does_not_fit_is_refused(tmp_path: Path, content: str):
    with pytest.raises(SystemExit, match=r"table\.csv"):
        add_mirrored(ROWS, write_table(tmp_path / "table.csv", content))


# As drawn


def test_a_mask_is_zero_or_255_in_the_size_that_was_asked_for():
    mask = draw_mask(CORNER, 30, 50)
    assert mask.dtype == np.uint8
    assert mask.shape == (30, 50)
    assert set(np.unique(mask)) == {0, 255}
    assert mask[7:9, 6:15].all()
    assert not mask[:, 26:].any()
    assert not mask[:5].any()


def test_a_mirrored_mask_is_the_mirror_image():
    plain = draw_mask(CORNER, 30, 50)
    mirrored = draw_mask(CORNER, 30, 50, mirrored=True)
    np.testing.assert_array_equal(mirrored, plain[:, ::-1])
    assert (plain != mirrored).any()


@pytest.mark.parametrize("size", [(512, 512), (224, 224), (150, 600), (3000, 2100)])
def test_the_area_is_that_of_the_outline_at_any_size(size: tuple[int, int]):
    for mirrored in (False, True):
        assert (draw_mask(CORNER, *size, mirrored) > 0).mean() == pytest.approx(
            compute_area(CORNER), rel=0.02
        )


@pytest.mark.parametrize("side", [2, 8, 33])
def test_the_smallest_tumour_does_not_vanish(outlines: dict[int, np.ndarray], side: int):
    smallest = min(outlines.values(), key=compute_area)
    assert draw_mask(smallest, side, side).any()


# Against the pictures


@pytest.fixture(scope="module")
def figshare_dir(real_data_dir: Path) -> Path:
    """Folder with figshare's slices, CLASS/NNNN_T1C.jpg."""
    folder = real_data_dir / "sources" / "figshare"
    if not folder.is_dir():
        pytest.skip(f"figshare's slices not found in {folder}")
    return folder


@pytest.fixture(scope="module")
def slices(figshare_dir: Path) -> dict[int, np.ndarray]:
    return {int(path.name[:4]): shrink(path.read_bytes()) for path in sorted(figshare_dir.rglob("*_T1C.jpg"))}


@pytest.fixture(scope="module")
def files(real_data_dir: Path, rows: list[dict[str, str]]) -> list[tuple[dict[str, str], np.ndarray]]:
    """The rows of the 4,750 files, each with its thumbnail."""
    with open_collection(find_source(real_data_dir)) as collection:
        return [(row, shrink(collection.read(row["path"]))) for row in rows if row["figshare_slice"]]


def shrink(content: bytes) -> np.ndarray:
    """Thumbnail, float64 (SIDE, SIDE)."""
    image = Image.open(io.BytesIO(content)).convert("L")
    return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BOX), float)


def standardise(pixels: np.ndarray) -> np.ndarray:
    """Mean 0 and length 1, so that the product of two is their correlation."""
    centred = pixels.astype(float).ravel() - pixels.mean()
    return centred / np.linalg.norm(centred)


def correlate(first: np.ndarray, second: np.ndarray) -> float:
    return float(standardise(first) @ standardise(second))


def compare(files: list, slices: dict[int, np.ndarray]) -> Iterator[tuple[float, float]]:
    """Correlation of each file with its slice, turned as the table says, and turned the other way."""
    for row, picture in files:
        plain = slices[int(row["figshare_slice"])]
        turned = plain[:, ::-1]
        told, other = (turned, plain) if row["mirrored"] == "1" else (plain, turned)
        yield correlate(picture, told), correlate(picture, other)


@pytest.mark.real_data
def test_every_file_is_its_slice_on_the_side_that_is_told(files: list, slices: dict[int, np.ndarray]):
    told, other = np.array(list(compare(files, slices))).T
    assert len(told) == 4750
    assert told.min() >= 0.99  # .9932
    assert (told - other).min() > 0.02  # .0212; a head is nearly symmetric
    assert np.median(told - other) > 0.2


@pytest.mark.real_data
def test_the_mask_of_a_file_covers_what_the_mask_of_its_slice_covers(
    files: list, slices: dict[int, np.ndarray], outlines: dict[int, np.ndarray]
):
    """Mean grey level inside: equal in file and slice, unless one of both masks is on the wrong side."""
    of_slices = {number: draw_mask(outline, SIDE, SIDE) > 0 for number, outline in outlines.items()}
    gaps = []
    for row, picture in files:
        number = int(row["figshare_slice"])
        inside = slices[number][of_slices[number]].mean()
        mask = draw_mask(outlines[number], SIDE, SIDE, row["mirrored"] == "1") > 0
        gaps.append((abs(picture[mask].mean() - inside), abs(picture[mask[:, ::-1]].mean() - inside)))
    told, other = np.array(gaps).T
    assert told.max() < 10  # grey levels; 6.7
    assert np.median(told) < 1  # .4
    assert np.median(other) > 10  # 15.9
    assert (told < other).mean() > 0.95


@pytest.mark.real_data
def test_outlines_lie_on_the_tumours(slices: dict[int, np.ndarray], outlines: dict[int, np.ndarray]):
    """Tumours take up contrast: on average the outlined part is bright, in no other frame as much."""
    found = []
    for number, picture in slices.items():
        mask = draw_mask(outlines[number], SIDE, SIDE)
        frames = [np.rot90(frame, turns) for frame in (mask, mask[:, ::-1]) for turns in range(4)]
        found.append(np.stack([standardise(frame) for frame in frames]) @ standardise(picture))
    right, *wrong = np.mean(found, axis=0)
    assert right > max(wrong) + 0.02  # .139 and .108


@pytest.mark.real_data
def test_outlines_of_small_slices_lie_on_the_tumour(
    slices: dict[int, np.ndarray], outlines: dict[int, np.ndarray]
):
    """Those published at 256 x 256: brighter than at half the coordinates, where they once lay."""
    for number in SMALL_SLICES:
        right, wrong = (
            slices[number][draw_mask(outline, SIDE, SIDE) > 0].mean()
            for outline in (outlines[number], outlines[number] / 2)
        )
        assert right > wrong + 5, number
