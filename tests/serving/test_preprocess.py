import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from serving.files.errors import ImageError
from serving.pictures import image_files
from serving.preprocess import FITS, decode, decode_grey, fit_to_square, preprocess


def encode(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.fixture
def ramp() -> np.ndarray:
    """uint8 (20, 30), rising to the right."""
    return np.tile(np.linspace(0, 255, 30).astype(np.uint8), (20, 1))


def test_grey_png_is_untouched(ramp):
    np.testing.assert_array_equal(decode_grey(encode(Image.fromarray(ramp))), ramp)


def test_rgb_becomes_bt601_luma():
    image = Image.new("RGB", (2, 2), (200, 100, 50))
    assert decode_grey(encode(image))[0, 0] == round(0.299 * 200 + 0.587 * 100 + 0.114 * 50)


def test_share_of_coloured_pixels_is_noted(ramp):
    rgb = np.dstack([ramp, ramp, ramp])
    assert (
        decode(encode(Image.fromarray(rgb))).coloured == decode(encode(Image.fromarray(ramp))).coloured == 0
    )
    rgb[:5, :, 0], rgb[:5, :, 2] = 200, 60
    assert decode(encode(Image.fromarray(rgb))).coloured == 0.25
    greyish = np.dstack([ramp, np.minimum(ramp, 235) + 20, ramp]).astype(np.uint8)
    assert decode(encode(Image.fromarray(greyish))).coloured == 0


def test_decoded_picture_passes_through(ramp):
    picture = decode(encode(Image.fromarray(ramp)))
    assert decode(picture) is picture
    np.testing.assert_array_equal(preprocess(picture, 64), preprocess(encode(Image.fromarray(ramp)), 64))


def test_transparency_is_laid_over_black(ramp):
    alpha = np.full_like(ramp, 255)
    alpha[:10] = 0
    rgba = np.dstack([ramp, ramp, ramp, alpha])
    decoded = decode_grey(encode(Image.fromarray(rgba)))
    assert (decoded[:10] == 0).all()
    np.testing.assert_array_equal(decoded[10:], ramp[10:])


def test_transparent_palette_entry_becomes_black():
    image = Image.fromarray(np.array([[0, 1], [1, 0]], np.uint8), "P")
    image.putpalette([200, 200, 200, 90, 90, 90])
    np.testing.assert_array_equal(decode_grey(encode(image, transparency=0)), [[0, 90], [90, 0]])


def test_cmyk_jpeg_equals_its_rgb(ramp):
    rgb = Image.fromarray(np.dstack([ramp] * 3))
    decoded = decode_grey(encode(rgb.convert("CMYK"), "JPEG", quality=100))
    assert np.abs(decoded.astype(int) - ramp).max() <= 3


@pytest.mark.parametrize(
    ("orientation", "turned"),
    [(1, lambda a: a), (3, lambda a: a[::-1, ::-1]), (6, lambda a: np.rot90(a, -1)), (8, np.rot90)],
)
def test_exif_orientation_is_applied(ramp, orientation, turned):
    exif = Image.Exif()
    exif[274] = orientation
    np.testing.assert_array_equal(decode_grey(encode(Image.fromarray(ramp), exif=exif)), turned(ramp))


def test_sixteen_bit_is_windowed_by_percentiles():
    deep = np.linspace(1000, 3000, 10_000).astype(np.uint16).reshape(100, 100)
    deep[0, 0] = 65_535  # a hot pixel must not darken the rest
    decoded = decode_grey(encode(Image.fromarray(deep)))
    assert decoded.min() == 0
    assert decoded.max() == 255
    assert int(decoded[50, 50]) == pytest.approx(128, abs=3)


def test_flat_sixteen_bit_is_black():
    assert (decode_grey(np.full((5, 5), 700, np.uint16)) == 0).all()


def test_float_array_with_nan_and_infinity():
    deep = np.linspace(-1, 1, 100, dtype=np.float32).reshape(10, 10)
    deep[0, :2] = np.nan, np.inf
    assert decode_grey(deep).dtype == np.uint8


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF"])
def test_path_bytes_image_and_array_agree(tmp_path, ramp, kind):
    path = tmp_path / f"slice.{kind.lower()}"
    path.write_bytes(encode(Image.fromarray(ramp), kind))
    for source in (
        path,
        str(path),
        path.read_bytes(),
        Image.fromarray(ramp),
        ramp,
        ramp[..., None],
        np.dstack([ramp] * 3),
    ):
        np.testing.assert_array_equal(decode_grey(source), ramp)


def test_padding_centres_and_keeps_the_aspect():
    tall = np.full((40, 20), 200, np.uint8)
    square = fit_to_square(tall, 40)[..., 0]
    assert square.shape == (40, 40)
    assert (square[:, 10:30] == 200).all()
    assert (square[:, :10] == 0).all()
    assert (square[:, 30:] == 0).all()


def test_stretching_fills_the_square():
    halves = np.repeat(np.array([50, 200], np.uint8), 10)[:, np.newaxis].repeat(40, axis=1)
    square = fit_to_square(halves, 40, "stretch")[..., 0]
    assert square.shape == (40, 40)
    assert (square[:16] == 50).all()
    assert (square[24:] == 200).all()


def test_native_size_is_not_resampled(ramp):
    square = fit_to_square(ramp, 30)[..., 0]
    np.testing.assert_array_equal(square[5:25], ramp)


def test_downscaling_is_antialiased():
    stripes = np.tile(np.array([0, 255], np.uint8), (256, 128))
    small = fit_to_square(stripes, 64)[8:-8, 8:-8, 0]
    assert small.min() > 110
    assert small.max() < 145


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("name", ["grey", "rgb", "rgba", "deep", "odd"])
def test_preprocessing_is_pinned(name, fit):
    """Noise of 17 x 24, 9 x 16 x 3, 20 x 14 x 4, 25 x 18 (16 bits, a hot pixel) and 13 x 8, at 12 x 12.

    The arrays were compared once, to a level, with a bicubic filter (Keys 1981, a = -0.5) written in NumPy.
    """
    with np.load(Path(__file__).with_name("preprocessed.npz")) as pinned:
        stored, expected = pinned[name], pinned[f"{name}_{fit}"]
    for source in (stored, Image.fromarray(stored), encode(Image.fromarray(stored))):
        np.testing.assert_array_equal(preprocess(source, 12, fit)[..., 0], expected)


def test_image_of_the_caller_stays_as_it_is(ramp):
    exif = Image.Exif()
    exif[274] = 6
    image = Image.open(io.BytesIO(encode(Image.fromarray(ramp), exif=exif)))
    for _ in range(2):
        np.testing.assert_array_equal(decode_grey(image), np.rot90(ramp, -1))
        assert image.size == (30, 20)
        assert image.getexif()[274] == 6
        np.testing.assert_array_equal(np.asarray(image), ramp)


@pytest.mark.parametrize("name", ["grey", "rgb", "rgba", "deep", "odd"])
def test_arrays_of_the_caller_stay_as_they_are(name):
    with np.load(Path(__file__).with_name("preprocessed.npz")) as pinned:
        array = pinned[name]
    before = array.copy()
    preprocess(array, 12, "stretch")
    np.testing.assert_array_equal(array, before)
    for result in (decode_grey(array), preprocess(array, 12)):
        assert not np.shares_memory(result, array)


@pytest.mark.parametrize("fit", FITS)
def test_the_square_is_no_view_of_the_picture(fit):
    grey = np.full((12, 12), 9, np.uint8)
    assert not np.shares_memory(fit_to_square(grey, 12, fit), grey)


def test_preprocess_shape_and_type(ramp):
    result = preprocess(encode(Image.fromarray(ramp)), 64)
    assert result.shape == (64, 64, 1)
    assert result.dtype == np.uint8


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b"this is no picture", "not a picture"),
        (
            encode(Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8)), "JPEG")[
                :700
            ],
            "damaged",
        ),
        (
            encode(Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8)))[:2000],
            "damaged",
        ),
    ],
)
def test_bad_content_is_refused(content, message):
    with pytest.raises(ImageError, match=message):
        decode_grey(content)


@pytest.mark.parametrize("kind", ["EPS", "GIF", "PPM"])
def test_formats_that_were_not_promised_are_not_opened(ramp, kind):
    with pytest.raises(ImageError, match=r"is not read|not a picture in a format known here"):
        decode_grey(encode(Image.fromarray(ramp), kind))


def test_missing_file_is_named_without_its_folder(tmp_path):
    with pytest.raises(ImageError, match=r"nothing\.png cannot be read") as caught:
        decode_grey(tmp_path / "nothing.png")
    assert str(tmp_path) not in str(caught.value)


def test_pixel_limit_is_checked_before_decoding(monkeypatch):
    bomb = encode(Image.new("1", (9000, 9000)))
    assert len(bomb) < 100_000
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("decoded"))
    with pytest.raises(ImageError, match="9000 x 9000 pixels"):
        decode_grey(bomb)


def test_more_pixels_than_pillow_opens_is_refused():
    with pytest.raises(ImageError, match="pixels"):
        decode_grey(encode(Image.new("1", (20_000, 20_000))))


def test_byte_limit(monkeypatch, ramp):
    monkeypatch.setattr(image_files, "MAX_BYTES", 50)
    with pytest.raises(ImageError, match="bytes; at most 50"):
        decode_grey(encode(Image.fromarray(ramp)))


@pytest.mark.parametrize(
    "array",
    [np.zeros((3,), np.uint8), np.zeros((4, 4, 2), np.uint8), np.zeros((0, 4), np.uint8), np.array([["a"]])],
)
def test_array_of_wrong_shape_is_refused(array):
    with pytest.raises(ImageError, match="Expected an array"):
        decode_grey(array)
