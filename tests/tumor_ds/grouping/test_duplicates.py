"""Near twins: which are found, under which flip or turn, what is tolerated, and what is not merged."""

import io
import weakref

import numpy as np
import pytest
from PIL import Image

from tumor_ds.grouping import duplicates, similarity

SIDE = 64
# What each of `similarity.TRANSFORMS` does to an array.
ACTIONS = (
    lambda a: a,
    lambda a: np.rot90(a, 1),
    lambda a: np.rot90(a, 2),
    lambda a: np.rot90(a, 3),
    np.fliplr,
    np.flipud,
    np.transpose,
    lambda a: np.rot90(a, 2).T,
)


def draw(seed: int, shape: tuple[int, int] = (SIDE, SIDE)) -> np.ndarray:
    """Smooth random picture without any symmetry."""
    noise = np.random.default_rng(seed).integers(30, 200, (7, 7), dtype=np.uint8)
    return np.asarray(Image.fromarray(noise).resize(shape[::-1], Image.Resampling.BICUBIC))


def compress(picture: np.ndarray, quality: int) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


def resize(picture: np.ndarray, width: int, height: int) -> np.ndarray:
    return np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.BICUBIC))


def list_pairs(pictures: list[np.ndarray]) -> list[tuple[int, int, int]]:
    pairs = duplicates.find_duplicates(pictures).pairs
    return list(zip(pairs.first.tolist(), pairs.second.tolist(), pairs.transform.tolist(), strict=True))


# What is found


@pytest.mark.parametrize("transform", range(8))
@pytest.mark.parametrize("shape", [(64, 64), (50, 70), (91, 37)])
def test_each_flip_and_turn_is_found_and_named(transform: int, shape: tuple[int, int]):
    original = draw(1, shape)
    # No exact copy, also for "none".
    copy = np.clip(ACTIONS[transform](original).astype(int) + 1, 0, 255).astype(np.uint8)
    assert list_pairs([draw(2), original, draw(3), copy]) == [(1, 3, transform)]


@pytest.mark.parametrize(
    "alter",
    [
        lambda a: compress(a, 30),
        lambda a: resize(a, 96, 96),
        lambda a: resize(a, 201, 137),
        lambda a: (0.85 * a).astype(np.uint8),
        lambda a: np.minimum(a.astype(int) + 25, 255).astype(np.uint8),
        lambda a: compress(resize((0.9 * a + 8).astype(np.uint8), 100, 90), 40),
    ],
    ids=["JPEG 30", "96 px", "other aspect", "darker", "brighter", "all"],
)
@pytest.mark.parametrize("transform", [0, 1, 4])
def test_copies_are_found_after_resizing_compression_and_brightness(alter, transform: int):
    original = draw(1, (224, 224))
    assert list_pairs([original, draw(2), alter(np.ascontiguousarray(ACTIONS[transform](original)))]) == [
        (0, 2, transform)
    ]


def test_correlation_is_that_of_the_block_means():
    """Against numpy's own, on 32x32 pictures, whose block means are their pixels."""
    first, second = draw(1, (32, 32)), draw(2, (32, 32))
    got = similarity._correlate(similarity.describe(first)[None], similarity.describe(second)[None])[0]
    expected = [np.corrcoef(action(first).ravel(), second.ravel())[0, 1] for action in ACTIONS]
    np.testing.assert_allclose(got, expected, atol=1e-5)


def test_no_pair_is_lost_by_the_search():
    """Against every pair compared: 60 pictures and three altered copies of each, in mixed order."""
    random = np.random.default_rng(0)
    pictures = [draw(seed) for seed in range(60)]
    for picture in list(pictures):
        for _ in range(3):
            noisy = ACTIONS[random.integers(8)](picture) + random.normal(
                0, random.uniform(0, 12), picture.shape
            )
            pictures.append(np.clip(noisy, 0, 255).astype(np.uint8))
    pictures = [pictures[index] for index in random.permutation(len(pictures))]
    spectra = np.stack([similarity.describe(picture) for picture in pictures])
    first, second = np.triu_indices(len(pictures), 1)
    near = similarity._correlate(spectra[first], spectra[second]).max(axis=1) >= similarity.MIN_CORRELATION
    found = similarity.find_pairs(spectra)
    assert set(zip(found.first.tolist(), found.second.tolist(), strict=True)) == set(
        zip(first[near].tolist(), second[near].tolist(), strict=True)
    )
    assert 100 < near.sum() < 500


@pytest.mark.parametrize("share", [0.55, 0.75, 0.95])
def test_pairs_up_to_the_limit_are_found(share: float):
    """A coarse ripple moves what the search compares as far as the pictures themselves.

    Noise, as in the test above, hardly moves it: there half the radius would find all pairs as well.
    """
    distance = share * np.sqrt(2 - 2 * similarity.MIN_CORRELATION)
    angle = 2 * np.arcsin(distance / 2)
    position = (np.arange(SIDE) + 0.5) * np.pi / SIDE
    coarse, ripple = np.outer(np.cos(position), np.cos(2 * position)), np.outer(*[np.cos(3 * position)] * 2)
    waves = coarse, np.cos(angle) * coarse + np.sin(angle) * ripple
    first, second = (np.round(127 + 80 * wave).astype(np.uint8) for wave in waves)
    spectra = np.stack([similarity.describe(first), similarity.describe(second)])
    keys = similarity._invariant_keys(spectra)
    assert np.linalg.norm(spectra[0] - spectra[1]) == pytest.approx(distance, rel=0.02)
    assert np.linalg.norm(keys[0] - keys[1]) == pytest.approx(distance, rel=0.02)
    found = list_pairs([first, *(draw(seed) for seed in range(40)), second])
    assert [pair[:2] for pair in found] == [(0, 41)]


def test_a_copy_with_another_contrast_is_in_the_group_but_no_near_twin():
    original = draw(1, (128, 128))
    curve = (255 * (np.arange(256) / 255) ** 3).astype(np.uint8)
    found = duplicates.find_duplicates([original, draw(2, (128, 128)), np.fliplr(curve[original])])
    assert found.groups.tolist() == [0, 1, 0]
    assert len(found.pairs.first) == 0


def test_equalising_makes_brightness_a_rank():
    picture = np.array([[10, 10], [20, 200]], np.uint8)
    np.testing.assert_array_equal(duplicates.equalise(picture), [[127, 127], [191, 255]])
    blank = np.full((3, 3), 7, np.uint8)
    np.testing.assert_array_equal(duplicates.equalise(blank), blank)


def test_a_dense_cluster_is_one_group_with_bounded_pairs(monkeypatch):
    """Every picture a copy of every other: not all pairs are listed, but enough of each."""
    monkeypatch.setattr(similarity, "_MAX_PAIRS", 1000)
    monkeypatch.setattr(similarity, "_BLOCK", 50)
    random = np.random.default_rng(0)
    original = draw(1).astype(float)
    pictures = [
        np.clip(original + random.normal(0, 4, original.shape), 0, 255).astype(np.uint8) for _ in range(400)
    ]
    pictures += [draw(seed) for seed in range(2, 40)] + [np.fliplr(draw(5))]
    order = random.permutation(len(pictures))
    found = duplicates.find_duplicates([pictures[index] for index in order])
    sizes = sorted(np.bincount(found.groups).tolist())
    assert sizes == [1] * 37 + [2, 400]
    listed = np.bincount(np.concatenate([found.pairs.first, found.pairs.second]), minlength=len(pictures))
    dense = np.flatnonzero(found.groups == np.bincount(found.groups).argmax())
    assert listed[dense].min() >= similarity.MAX_TWINS
    assert len(found.pairs.first) < 400 * 399 / 2


# What is not merged


def test_other_pictures_are_no_twins():
    found = duplicates.find_duplicates([draw(seed) for seed in range(200)])
    assert len(found.pairs.first) == 0
    np.testing.assert_array_equal(found.groups, np.arange(200))


def test_blank_pictures_are_copies_only_pixel_by_pixel():
    """Every blank picture would correlate with every other by chance or by rounding."""
    pictures = [np.full((40, 40), level, np.uint8) for level in (0, 0, 9, 255)]
    pictures.append(np.random.default_rng(0).integers(0, 2, (40, 40), dtype=np.uint8))
    found = duplicates.find_duplicates(pictures)
    assert found.identical.tolist() == [0, 0, 2, 3, 4]
    assert found.groups.tolist() == [0, 0, 1, 2, 3]
    assert len(found.pairs.first) == 0


def test_the_same_bytes_in_another_shape_are_another_picture():
    flat = np.arange(64, dtype=np.uint8)
    assert duplicates.find_duplicates([flat.reshape(8, 8), flat.reshape(4, 16)]).identical.tolist() == [0, 1]


# Identical pictures, groups, twins


def test_a_channel_axis_makes_no_difference():
    assert duplicates.find_duplicates([draw(1), draw(1)[..., None]]).identical.tolist() == [0, 0]


def test_identical_pictures_are_compared_once():
    """A thousand copies must not make a million pairs."""
    found = duplicates.find_duplicates([draw(1)] * 1000 + [np.fliplr(draw(1))] * 1000)
    assert list(zip(found.pairs.first, found.pairs.second, strict=True)) == [(0, 1000)]
    assert set(found.identical.tolist()) == {0, 1000}
    assert set(found.groups.tolist()) == {0}


def test_groups_are_chains_numbered_by_first_appearance():
    edges = np.array([[5, 1], [1, 3], [4, 4]])
    assert similarity.join_groups(edges, 6).tolist() == [0, 1, 2, 1, 3, 1]


def test_order_of_the_pictures_does_not_change_the_groups():
    pictures = [
        (
            draw(seed // 3)
            if seed % 3 == 0
            else compress(np.ascontiguousarray(ACTIONS[seed % 8](draw(seed // 3))), 60)
        )
        for seed in range(30)
    ]
    order = np.random.default_rng(1).permutation(30)
    groups = duplicates.find_duplicates(pictures).groups
    shuffled = duplicates.find_duplicates([pictures[index] for index in order]).groups
    assert len(set(groups.tolist())) == 10
    assert len(set(zip(groups[order].tolist(), shuffled.tolist(), strict=True))) == 10


@pytest.mark.parametrize("count", [0, 1])
def test_nothing_to_compare(count: int):
    found = duplicates.find_duplicates([draw(1)] * count)
    assert found.groups.tolist() == [0] * count
    assert len(found.pairs.first) == 0


def test_pictures_are_not_kept():
    living: list[weakref.ref] = []

    def pictures():
        for seed in range(20):
            picture = np.array(draw(seed))
            living.append(weakref.ref(picture))
            assert sum(reference() is not None for reference in living) <= 2
            yield picture

    duplicates.find_duplicates(pictures())
    assert len(living) == 20


@pytest.mark.parametrize("transform", range(8))
@pytest.mark.parametrize("picture_first", [True, False])
def test_a_twin_is_named_with_what_turns_it_into_the_picture(transform: int, picture_first: bool):
    """Also where the picture stands before its twin, and for quarter turns, whose inverse is another one."""
    twin = draw(1)
    picture = compress(np.ascontiguousarray(ACTIONS[transform](twin)), 90)
    pictures = [picture, draw(2), twin] if picture_first else [twin, draw(2), picture]
    here, there = (0, 2) if picture_first else (2, 0)
    twins = duplicates.match_twins(
        duplicates.find_duplicates(pictures), np.arange(3) == here, np.arange(3) == there
    )
    assert twins.partner[here] == there
    assert twins.transform[here] == transform
    assert np.delete(twins.partner, here).tolist() == [-1, -1]


def test_the_most_similar_twin_is_named():
    """Identical before near, near before nearer to the limit, and of identical ones the first."""
    original = draw(1)
    mirrored = np.ascontiguousarray(np.fliplr(original))
    rough = compress(original, 10)
    training = [rough, mirrored, original, original]
    asked = np.array([False] * 4 + [True] * 3)
    among = ~asked
    found = duplicates.find_duplicates([*training, original, compress(mirrored, 95), draw(9)])
    twins = duplicates.match_twins(found, asked, among)
    assert twins.partner[4:].tolist() == [2, 1, -1]
    assert twins.transform[4:].tolist() == [0, 0, -1]


def test_twins_elsewhere_do_not_count():
    """The copy stands in neither set, or in the set that asks."""
    pictures = [draw(1), np.fliplr(draw(1)), np.flipud(draw(1))]
    found = duplicates.find_duplicates(pictures)
    nobody, first, last = np.zeros(3, bool), np.arange(3) == 0, np.arange(3) == 2
    assert duplicates.match_twins(found, ~last, nobody).partner.tolist() == [-1, -1, -1]
    assert duplicates.match_twins(found, first, last).partner.tolist() == [2, -1, -1]


def test_twins_within_one_set_are_other_pictures():
    """Of three equal ones each names another; a picture whose equal stands outside names its near twin."""
    original, mirrored = draw(1), np.fliplr(draw(1))
    found = duplicates.find_duplicates([original, original, original, mirrored, mirrored, draw(2)])
    everyone, some = np.ones(6, bool), np.array([True, False, False, True, False, True])
    twins = duplicates.match_twins(found, everyone, everyone)
    assert twins.partner.tolist() == [2, 0, 0, 4, 3, -1]
    assert twins.transform.tolist() == [0, 0, 0, 0, 0, -1]
    twins = duplicates.match_twins(found, some, some)
    assert twins.partner.tolist() == [3, -1, -1, 0, -1, -1]
    assert twins.transform[[0, 3]].tolist() == [4, 4]
