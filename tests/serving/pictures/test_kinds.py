"""A table kind x instance: every file that was once read wrongly, by kind, and what is right."""

import io
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from serving import ImageError
from serving.model.guard import COLOURED_LIMIT
from serving.pictures.windows import apply_percentile_window
from serving.preprocess import decode
from tests.bad_inputs import encode
from tests.picture_kinds import AS_DEEP, AS_GREY, COLOURED, build_instances
from tests.slice_files import DEEP, GREY, OUTSIDE, frames

INSTANCES = build_instances()
# Four bits have a shade for sixteen, which the window draws apart; other instances differ by rounding alone.
COARSE = 30


@pytest.fixture(scope="module")
def as_deep() -> np.ndarray:
    """The slice as a scanner's 12 bits are windowed, uint8 (h, w)."""
    return apply_percentile_window(DEEP.astype(np.float32))


def test_every_kind_has_three_instances():
    counts = Counter(one.kind for one in INSTANCES)
    assert len(counts) == 12
    assert min(counts.values()) >= 3
    assert len({(one.kind, one.name) for one in INSTANCES}) == len(INSTANCES)


@pytest.mark.parametrize("one", INSTANCES, ids=lambda one: f"{one.kind}: {one.name}")
def test_what_is_right(tmp_path, as_deep, one):
    source = one.build()
    if isinstance(source, bytes):
        path = tmp_path / one.filename
        path.write_bytes(source)
        source = path
    if one.right in (AS_DEEP, AS_GREY):
        picture = decode(source)
        apart = np.abs(picture.grey.astype(int) - (as_deep if one.right == AS_DEEP else GREY))
        # Padding is black, whatever lies there in the slice.
        apart[OUTSIDE] = picture.grey[OUTSIDE] if one.kind == "padding" else apart[OUTSIDE]
        assert picture.coloured == 0
        assert apart.max() <= (COARSE if "4 bits" in one.name else 2)
    elif one.right == COLOURED:
        assert decode(source).coloured > COLOURED_LIMIT
    else:
        with pytest.raises(ImageError, match=one.right):
            decode(source)


def test_a_smaller_copy_and_a_single_frame_are_no_further_picture():
    thumbnail = frames(2)[1]
    thumbnail.encoderinfo = {"tiffinfo": {254: 1}}
    with_copy = encode(frames(1)[0], "TIFF", save_all=True, append_images=[thumbnail])
    single = encode(frames(1)[0], "PNG", save_all=True)
    for content in (with_copy, single):
        np.testing.assert_array_equal(decode(content).grey, GREY)
    aid = frames(1)[0].resize((56, 56))
    with_aid = encode(frames(1)[0], "MPO", save_all=True, append_images=[aid], quality=95)
    assert Image.open(io.BytesIO(with_aid)).n_frames == 2
    assert np.abs(decode(with_aid).grey.astype(int) - GREY).mean() < 3


def test_an_image_that_was_opened_is_read_as_its_file(tmp_path, as_deep):
    for one in INSTANCES:
        if one.kind in ("depth", "several pictures", "polarity") and one.filename.endswith(("png", "tif")):
            path = tmp_path / one.filename
            path.write_bytes(one.build())
            try:
                opened = Image.open(path)
            except OSError:
                continue
            if one.right in (AS_DEEP, AS_GREY):
                np.testing.assert_array_equal(decode(opened).grey, decode(path).grey, one.name)
            else:
                with pytest.raises(ImageError, match=one.right):
                    decode(opened)
