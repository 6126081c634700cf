"""Groups across datasets: mirrored copies join, chains join, equal numbers of two datasets do not."""

from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image

from tumor_ds.grouping.mixing import GroupedPicture, join_groups_across, join_keys, read_grouped


def draw(seed: int) -> np.ndarray:
    """Smooth random picture without any symmetry."""
    noise = np.random.default_rng(seed).integers(30, 200, (7, 7), dtype=np.uint8)
    return np.asarray(Image.fromarray(noise).resize((64, 64), Image.Resampling.BICUBIC))


def build_two() -> list[GroupedPicture]:
    """Two datasets: b/1 is a/1 mirrored and smaller, b/2 is of the group of b/1, a/0 and b/3 are alone."""
    mirrored = np.asarray(Image.fromarray(np.fliplr(draw(1))).resize((48, 48), Image.Resampling.BICUBIC))
    return [
        GroupedPicture("a", "0.png", 1, draw(0)),
        GroupedPicture("a", "1.png", 2, draw(1)),
        GroupedPicture("a", "2.png", 2, draw(2)),
        GroupedPicture("b", "1.png", 1, mirrored),
        GroupedPicture("b", "2.png", 1, draw(3)[..., None]),
        GroupedPicture("b", "3.png", 2, draw(4)),
    ]


def test_mirrored_copies_and_their_groups_share_a_number():
    assert join_groups_across(build_two()) == {
        ("a", "0.png"): 0,
        ("a", "1.png"): 1,
        ("a", "2.png"): 1,
        ("b", "1.png"): 1,
        ("b", "2.png"): 1,
        ("b", "3.png"): 2,
    }


def test_equal_numbers_of_two_datasets_mean_nothing():
    pictures = [GroupedPicture(name, "0.png", 5, draw(seed)) for seed, name in enumerate("ab")]
    assert set(join_groups_across(pictures).values()) == {0, 1}


def test_order_changes_numbers_and_not_groups():
    forward, back = join_groups_across(build_two()), join_groups_across(build_two()[::-1])
    assert forward != back
    pairs = [(left, right) for left in forward for right in forward]
    assert [forward[left] == forward[right] for left, right in pairs] == [
        back[left] == back[right] for left, right in pairs
    ]


def test_pictures_are_read_once_and_not_kept():
    alive: list[int] = []

    def stream() -> Iterator[GroupedPicture]:
        for picture in build_two():
            alive.append(1)
            yield picture

    assert len(join_groups_across(stream())) == len(alive) == 6


def test_no_pictures_have_no_groups():
    assert join_groups_across([]) == {}


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ((["a", "b", "a"],), [0, 1, 0]),
        ((["a", "b", "c"], [1, 2, 2]), [0, 1, 1]),
        ((["a", "a", "b"], [1, 2, 2]), [0, 0, 0]),
        (([None, None, "b"],), [0, 1, 2]),
        (([None, "b", None], [3, 4, 3]), [0, 1, 0]),
    ],
)
def test_rows_are_joined_by_any_column(columns, expected):
    assert join_keys(*columns).tolist() == expected


def test_built_datasets_are_read_whole(dummy_dataset_dir):
    import tensorflow_datasets as tfds

    builder = tfds.builder("tumor_ds/official", data_dir=dummy_dataset_dir)
    pictures = list(read_grouped("official", builder))
    assert len({picture.filename for picture in pictures}) == 48
    groups = join_groups_across([*pictures, *(mirror(picture) for picture in pictures)])
    for picture in pictures:
        assert groups[picture.dataset, picture.filename] == groups["other", picture.filename]


def mirror(picture: GroupedPicture) -> GroupedPicture:
    return GroupedPicture("other", picture.filename, picture.group, np.fliplr(picture.image))
