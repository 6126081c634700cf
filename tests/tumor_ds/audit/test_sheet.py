"""The contact sheet: where the outline is drawn, and which pictures are shown."""

import io

import numpy as np
from PIL import Image

from tumor_ds.audit.inputs import PictureFacts
from tumor_ds.audit.sheet import build_cells, draw_thumbnail, find_edge


def build_facts(patients: list[str | None]) -> list[PictureFacts]:
    return [
        PictureFacts("mine", "mine", f"{index}.png", "glioma", True, patient=patient)
        for index, patient in enumerate(patients)
    ]


def test_edge_lies_just_outside_the_mask():
    mask = np.zeros((7, 9), np.uint8)
    mask[2:5, 3:6] = 255
    edge = find_edge(mask, (9, 7))
    assert not (edge & (mask > 0)).any()
    assert edge.sum() == 4 * 3
    assert edge[1, 3:6].all()
    assert edge[2:5, 6].all()


def test_mask_at_the_frame_of_a_picture_has_an_edge_inside():
    mask = np.zeros((6, 6), np.uint8)
    mask[:, :2] = 1
    assert find_edge(mask, (6, 6)).sum() == 6


def test_outline_follows_the_picture_when_it_is_made_smaller():
    """In the lower right quarter of a wide picture, and nowhere else."""
    picture, mask = np.full((200, 400), 90, np.uint8), np.zeros((200, 400), np.uint8)
    mask[120:180, 240:360] = 255
    pixels = np.asarray(Image.open(io.BytesIO(draw_thumbnail(picture, mask))))
    assert pixels.shape == (56, 112, 3)
    rows, columns = np.nonzero(pixels[..., 0].astype(int) - pixels[..., 2] > 80)
    assert abs(rows.min() - 33) <= 1
    assert abs(rows.max() - 51) <= 1
    assert abs(columns.min() - 66) <= 1
    assert abs(columns.max() - 101) <= 1


def test_pictures_without_outline_stay_grey():
    picture = np.full((20, 20), 90, np.uint8)
    assert Image.open(io.BytesIO(draw_thumbnail(picture, None))).mode == "L"
    assert Image.open(io.BytesIO(draw_thumbnail(picture, np.zeros_like(picture)))).mode == "L"


def test_outlined_pictures_and_other_patients_are_shown_first():
    facts = build_facts(["a", "a", "a", "b", "b", "c"])
    (cell,) = build_cells(facts, [False, True, True, False, False, True])
    assert set(cell.shown[:2]) <= {"1.png", "2.png", "5.png"}
    assert "5.png" in cell.shown[:2]
    assert set(cell.shown) >= {"1.png", "2.png", "5.png"}
    assert (cell.pictures, cell.patients, cell.outlined, len(cell.shown)) == (6, 3, 3, 4)


def test_unknown_patients_are_none():
    (cell,) = build_cells(build_facts([None] * 3), [False] * 3)
    assert (cell.patients, len(cell.shown)) == (0, 3)
