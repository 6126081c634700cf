"""Masks beside the pictures of a collection: which files are masks, what they say, and what is refused."""

import io
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tumor_ds.audit.audit import run_audit
from tumor_ds.collection.archive import open_collection
from tumor_ds.collection.errors import DatasetError, PictureError
from tumor_ds.grouping.facts import compute_facts

Build = Callable[[Mapping[str, bytes]], Path]
WIDTH, HEIGHT = 6, 4
INSIDE = np.zeros((HEIGHT, WIDTH), bool)
INSIDE[1:3, 2] = True


def encode(image: Image.Image, image_format: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def draw(inside: int, outside: int = 0, dtype: type = np.uint8) -> Image.Image:
    return Image.fromarray(np.where(INSIDE, inside, outside).astype(dtype))


def draw_palette() -> Image.Image:
    image = draw(3)
    image.putpalette([*(0, 0, 0), *(9, 9, 9), *(9, 9, 9), *(0, 0, 1)])
    return image


def draw_alpha() -> Image.Image:
    """White everywhere, and transparent outside the tumour."""
    return Image.merge("LA", (draw(255, 255), draw(255)))


PICTURE = encode(Image.new("L", (WIDTH, HEIGHT), 90), "JPEG")
MASK = encode(draw(255))


@pytest.fixture(params=["zip", "folder"])
def build(request: pytest.FixtureRequest, tmp_path: Path) -> Build:
    """Function `build(contents)`: a zip, and then a folder, with the given files."""

    def build_zip(contents: Mapping[str, bytes]) -> Path:
        with zipfile.ZipFile(tmp_path / "own.zip", "w") as zipped:
            for name, content in contents.items():
                zipped.writestr(name, content)
        return tmp_path / "own.zip"

    def build_folder(contents: Mapping[str, bytes]) -> Path:
        for name, content in contents.items():
            path = tmp_path / "own" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return tmp_path / "own"

    return build_zip if request.param == "zip" else build_folder


def list_masks(source: Path) -> dict[str, str]:
    with open_collection(source) as collection:
        return dict(collection.masks)


def read_mask(source: Path, path: str = "glioma/a.jpg") -> np.ndarray | None:
    with open_collection(source) as collection:
        return collection.read_mask(path)


# Which files are masks


def test_a_mask_is_no_picture_of_its_own(build: Build):
    source = build(
        {
            "mine/Training/glioma/a.jpg": PICTURE,
            "mine/Training/glioma/a_mask.png": MASK,
            "mine/Training/glioma/b.jpg": PICTURE,
            "mine/Testing/notumor/a.jpg": PICTURE,
        }
    )
    with open_collection(source) as collection:
        assert collection.paths == ("Testing/notumor/a.jpg", "Training/glioma/a.jpg", "Training/glioma/b.jpg")
        assert collection.masks == {"Training/glioma/a.jpg": "Training/glioma/a_mask.png"}
        assert collection.prefix == "mine/"
        np.testing.assert_array_equal(collection.read_mask("Training/glioma/a.jpg") > 0, INSIDE)
        assert collection.read_mask("Training/glioma/b.jpg") is None
        assert collection.read_mask("Testing/notumor/a.jpg") is None


@pytest.mark.parametrize(
    ("picture", "mask"),
    [
        ("a.jpg", "a_mask.png"),
        ("a.png", "a_mask.png"),
        ("A.JPG", "A_MASK.PNG"),
        ("a.TIFF", "A_Mask.png"),
        ("a.b.webp", "a.b_mask.png"),
        ("é.bmp", "e\u0301_mask.png"),
        ("unmask.jpg", "unmask_mask.png"),
        ("_mask.png", "_mask_mask.png"),
    ],
)
def test_a_mask_has_the_name_of_its_picture(build: Build, picture: str, mask: str):
    content = encode(draw(90, 80))
    assert list_masks(build({f"glioma/{picture}": content, f"glioma/{mask}": MASK})) == {
        f"glioma/{picture}": f"glioma/{mask}"
    }


@pytest.mark.parametrize(
    "name", ["mask.png", "a-mask.png", "amask.png", "a_mask2.png", "mask_a.png", "_mask.png"]
)
def test_other_names_are_pictures(build: Build, name: str):
    source = build({"glioma/a.jpg": PICTURE, f"glioma/{name}": PICTURE})
    with open_collection(source) as collection:
        assert set(collection.paths) == {"glioma/a.jpg", f"glioma/{name}"}
        assert not collection.masks


@pytest.mark.parametrize(
    ("names", "mentions"),
    [
        (["glioma/x_mask.png"], ["glioma/x_mask.png in", "taken for a mask", "rename"]),
        (
            ["glioma/a.jpg", "glioma/x_mask.png"],
            ["glioma/x_mask.png in", "taken for a mask", "glioma/x with"],
        ),
        (["glioma/a.jpg", "pituitary/a_mask.png"], ["pituitary/a_mask.png in", "beside it"]),
        (["glioma/a.jpg", "a_mask.png"], ["a_mask.png in", "beside it"]),
        (["glioma/a.jpg", "glioma/a_mask_mask.png"], ["glioma/a_mask_mask.png in", "taken for a mask"]),
        (["glioma/a.jpg", "glioma/a_mask.jpg"], ["glioma/a_mask.jpg in", "glioma/a_mask.png", "as PNG"]),
        (["glioma/a.jpg", "glioma/a_mask.tif"], ["glioma/a_mask.tif in", "glioma/a_mask.png", "as PNG"]),
        (
            ["glioma/a.jpg", "glioma/a.png", "glioma/a_mask.png"],
            ["mask of both glioma/a.jpg and glioma/a.png"],
        ),
        (
            ["glioma/a.jpg", "glioma/a_mask.png", "glioma/A_MASK.png"],
            ["glioma/A_MASK.png and glioma/a_mask.png", "differ only in case"],
        ),
    ],
)
def test_a_mask_without_one_picture_is_refused(build: Build, names: list[str], mentions: list[str]):
    source = build(dict.fromkeys(names, PICTURE))
    with pytest.raises(DatasetError) as caught:
        list_masks(source)
    for mention in (*mentions, str(source)):
        assert mention in str(caught.value)


# What a mask says


@pytest.mark.parametrize(
    "image",
    [
        draw(255),
        draw(1),
        draw(255).convert("1"),
        draw(1, dtype=np.uint16),
        draw(40_000, dtype=np.uint16),
        Image.merge("RGB", (draw(0), draw(0), draw(1))),
        draw_palette(),
        draw_alpha(),
        Image.merge("RGBA", (draw(200), draw(0), draw(0), draw(255, 255))),
    ],
    ids=["255", "1", "bits", "16 bits, 1", "16 bits", "faint blue", "palette", "alpha", "opaque red"],
)
def test_every_pixel_that_is_not_black_is_tumour(build: Build, image: Image.Image):
    mask = read_mask(build({"glioma/a.jpg": PICTURE, "glioma/a_mask.png": encode(image)}))
    assert mask is not None
    assert mask.dtype == np.uint8
    np.testing.assert_array_equal(mask, np.where(INSIDE, 255, 0))


def test_a_soft_edge_is_tumour(build: Build):
    soft = np.where(INSIDE, 255, 0).astype(np.uint8)
    soft[1:3, 3] = (128, 1)
    mask = read_mask(build({"glioma/a.jpg": PICTURE, "glioma/a_mask.png": encode(Image.fromarray(soft))}))
    np.testing.assert_array_equal(mask, np.where(soft > 0, 255, 0))


def test_a_black_mask_says_that_there_is_none(build: Build):
    mask = read_mask(build({"glioma/a.jpg": PICTURE, "glioma/a_mask.png": encode(draw(0))}))
    np.testing.assert_array_equal(mask, np.zeros((HEIGHT, WIDTH), np.uint8))


def test_a_mask_lies_in_the_frame_in_which_the_picture_is_shown(build: Build):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    turned = encode(Image.new("L", (HEIGHT, WIDTH), 90), "JPEG", exif=exif)
    mask = read_mask(build({"glioma/a.jpg": turned, "glioma/a_mask.png": MASK}))
    np.testing.assert_array_equal(mask, np.where(INSIDE, 255, 0))


# What is refused when it is read


@pytest.mark.parametrize(
    ("content", "mentions"),
    [
        (b"", ["empty (0 bytes)"]),
        (MASK[: len(MASK) // 2], ["damaged"]),
        (b"no picture", ["not a picture"]),
        (PICTURE, ["JPEG by its content, expected PNG"]),
        (encode(Image.new("L", (HEIGHT, WIDTH))), ["4 x 6 pixels, expected 6 x 4 as in glioma/a.jpg"]),
        (encode(draw(255, 1)), ["no pixel is black"]),
    ],
    ids=["empty", "cut short", "text", "JPEG", "another size", "nothing black"],
)
def test_a_mask_that_says_nothing_is_refused_by_its_name(build: Build, content: bytes, mentions: list[str]):
    source = build({"glioma/a.jpg": PICTURE, "glioma/a_mask.png": content})
    with pytest.raises(PictureError) as caught:
        read_mask(source)
    assert str(caught.value).startswith("Cannot decode glioma/a_mask.png: ")
    assert "upload" not in str(caught.value)
    for mention in mentions:
        assert mention in str(caught.value)


# Who counts pictures


def test_groups_and_audit_are_of_pictures_only(build: Build):
    noise = np.random.default_rng(0).integers(0, 256, (4, 24, 24), dtype=np.uint8)
    contents = {
        f"{name}.png": encode(Image.fromarray(noise[index]))
        for index, name in enumerate(("glioma/a", "glioma/b", "notumor/a", "notumor/b"))
    }
    mask = np.zeros((24, 24), np.uint8)
    mask[3:9, 3:9] = 255
    source = build(contents | {"glioma/a_mask.png": encode(Image.fromarray(mask))})
    with open_collection(source) as collection:
        assert [facts.path for facts in compute_facts(collection)] == sorted(contents)
    assert run_audit(source).files.counts == {"": {"glioma": 2, "notumor": 2}}
