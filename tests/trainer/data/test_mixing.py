"""Several datasets in one epoch: how many pictures of each, of rare cells, and what must stay out."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from trainer.config import ConfigError, DataConfig, build_config
from trainer.data.batches import draw_images, plan_epoch
from trainer.data.input_pipeline import (
    DatasetMissingError,
    RecordFacts,
    iterate_examples,
    list_all_filenames,
    list_filenames,
    load_builder,
)
from trainer.data.mixing import (
    MOST_OFTEN,
    Addition,
    MixError,
    balance_cells,
    compute_draws,
    find_additions,
    list_own_fold,
    load_mix,
)
from tumor_ds.sources.own_pictures import PicturesConfig

OTHER = "tumor_ds/grouped"


@pytest.fixture(scope="module")
def builder(build_dataset, dummy_data_dir, tmp_path_factory):
    """The collection by two protocols: each picture of one is a copy of a picture of the other."""
    folder = tmp_path_factory.mktemp("mixed")
    for config in ("official", "grouped"):
        build_dataset(dummy_data_dir, folder, config=config)
    return load_builder("tumor_ds/official", folder)


def count(draws: np.ndarray, epochs: int = 1) -> np.ndarray:
    """How often each image is drawn."""
    plans = [draw_images(draws, np.random.default_rng((5, epoch))) for epoch in range(epochs)]
    return np.bincount(np.concatenate(plans), minlength=len(draws))


def test_an_epoch_has_the_main_dataset_once_and_the_others_by_their_shares():
    main, one, two = compute_draws([70, 100, 4], [0.2, 0.1])
    assert main.tolist() == [1] * 70
    assert (one.sum(), two.sum()) == (pytest.approx(20), pytest.approx(10))
    drawn = count(np.concatenate([main, one, two]))
    assert drawn[:70].tolist() == [1] * 70
    assert drawn[70:170].sum() == 20
    assert drawn[70:170].max() == 1
    assert drawn[170:].sum() == 10
    assert set(drawn[170:]) == {2, 3}  # 2.5 times each


def test_every_epoch_has_as_many_and_each_image_its_part_in_the_long_run():
    draws = np.random.default_rng(0).uniform(0, 3, 50)
    draws *= 80 / draws.sum()
    assert {len(draw_images(draws, np.random.default_rng(epoch))) for epoch in range(50)} == {80}
    np.testing.assert_allclose(count(draws, 600) / 600, draws, atol=0.08)


def test_a_plan_is_a_function_of_seed_and_epoch():
    draws = np.concatenate(compute_draws([20, 30], [0.4]))
    plans = [plan_epoch(draws, 8, *moment) for moment in ((1, 0), (1, 0), (1, 1), (2, 0))]
    np.testing.assert_array_equal(plans[0], plans[1])
    assert plans[0].shape == (5, 8)  # 20 of 33
    assert not np.array_equal(plans[0], plans[2])
    assert not np.array_equal(plans[0], plans[3])


def test_rare_cells_are_drawn_more_often_by_the_square_root_and_not_without_end():
    kinds = [(0, 1)] * 400 + [(1, 1)] * 100 + [(-1, 0)] * 1
    records = [RecordFacts(str(n), label, n, False, tumor=tumor) for n, (label, tumor) in enumerate(kinds)]
    draws = balance_cells(np.ones(501), records)
    assert draws.sum() == pytest.approx(501)
    assert draws[400] / draws[0] == pytest.approx(2)
    assert draws[500] / draws[0] < 20  # the square root alone would say 20
    factors = 1 / np.sqrt(np.repeat([400, 100, 1], [400, 100, 1]))
    expected = np.minimum(factors / factors.mean(), MOST_OFTEN)
    np.testing.assert_allclose(draws, expected * 501 / expected.sum())


@pytest.mark.parametrize("name", ["label", "tumor", "sequence", "skull"])
def test_cells_are_told_apart_by_each_of(name):
    common = {"label": 0, "tumor": 1, "sequence": 0, "skull": 0}
    rows = [common] * 9 + [common | {name: 2}]
    records = [RecordFacts(str(n), group=n, has_train_twin=False, **row) for n, row in enumerate(rows)]
    draws = balance_cells(np.ones(10), records)
    assert draws[9] / draws[0] == pytest.approx(3)


def test_without_a_mix_there_is_the_training_split_once(builder):
    data = DataConfig()
    mix = load_mix(builder, data, find_additions(builder, data), 32)
    assert mix.split.filenames == list_filenames(builder, "train", data)
    assert mix.draws.tolist() == [1] * len(mix.split.filenames)


def test_no_picture_of_validation_or_test_comes_in_through_another_dataset(builder):
    data = DataConfig(mix={OTHER: 0.25})
    [addition] = find_additions(builder, data)
    held_out = {name for split in ("validation", "test") for name in list_filenames(builder, split, data)}
    assert held_out <= addition.left_out
    mix = load_mix(builder, data, [addition], 32, with_masks=True)
    own = len(list_filenames(builder, "train", data))
    assert not set(mix.split.filenames[own:]) & held_out
    assert set(mix.split.filenames[own:]) <= set(mix.split.filenames[:own])
    assert mix.split.images.shape == mix.split.masks.shape == (len(mix.draws), 32, 32, 1)
    assert mix.draws[own:].sum() == pytest.approx(round(own / 0.75 * 0.25))


def test_groups_are_found_once_where_images_are_kept(builder, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    data = DataConfig(mix={OTHER: 0.25})
    [expected] = find_additions(builder, data)
    [first] = find_additions(builder, data.replace(cache="file"))
    monkeypatch.setattr("trainer.data.mixing.read_grouped", None)
    [again] = find_additions(builder, data.replace(cache="file"))
    assert first.left_out == again.left_out == expected.left_out
    assert expected.left_out


def test_the_fold_of_the_test_split_stays_out_of_every_dataset(build_dataset, dummy_data_dir, tmp_path):
    build_dataset(dummy_data_dir, tmp_path, config="patient")
    patient = load_builder("tumor_ds/patient", tmp_path)
    for fold in (2, 3):
        expected = {example.facts.filename for example in iterate_examples(patient, f"fold{fold}")}
        assert list_own_fold(patient, fold) == expected
    assert list_own_fold(patient, 0) == frozenset()


@pytest.mark.parametrize("cache", ["memory", "file"])
def test_a_dataset_of_which_everything_stays_out_adds_nothing(builder, tmp_path, monkeypatch, cache):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    data = DataConfig(cache=cache)
    other = load_builder(OTHER, Path(builder.data_dir).parents[2])
    nothing = Addition(OTHER, 0.5, other, frozenset(list_all_filenames(other)))
    alone, mixed = (load_mix(builder, data, additions, 16) for additions in ((), (nothing,)))
    assert np.array_equal(mixed.split.images, alone.split.images)
    assert np.array_equal(mixed.draws, alone.draws)


def test_a_dataset_without_that_fold_gives_all_that_it_has(builder):
    assert list_own_fold(builder, 2) == frozenset()


def test_nothing_of_what_is_left_out_comes_in(builder):
    data = DataConfig(mix={OTHER: 0.25}, left_out={"0": (OTHER,), "1": ()})
    assert find_additions(builder, data) == ()
    assert [one.name for one in find_additions(builder, data.replace(left_out={"1": (OTHER,)}))] == [OTHER]


def test_a_dataset_that_is_not_built_is_told(builder):
    with pytest.raises(DatasetMissingError, match="tumor_ds/patient is not built"):
        find_additions(builder, DataConfig(mix={"tumor_ds/patient": 0.1}))


@pytest.mark.parametrize(
    ("mix", "message"),
    [
        ({OTHER: 1.0}, r"data\.mix: expected a table of shares above 0 and below 1, got 1\.0"),
        ({OTHER: 0.5, "tumor_ds/lgg_tcga": 0.5}, r"data\.mix: expected shares that sum up to less than 1"),
        ({"tumor_ds/official": 0.5}, r"data\.mix: expected other datasets than tumor_ds/official"),
    ],
)
def test_impossible_shares_are_refused(mix, message):
    with pytest.raises(ConfigError, match=message):
        build_config({"data": {"mix": mix}})


@pytest.mark.parametrize(
    ("left_out", "message"),
    [
        (
            {"1": ["tumor_ds/lgg_tcga"]},
            r"datasets of data\.mix \(tumor_ds/grouped\), got \['tumor_ds/lgg_tcga'\]",
        ),
        ({"6": [OTHER]}, r"data\.left_out: expected folds from 0 to 5 as keys, got \['6'\]"),
    ],
)
def test_what_cannot_be_left_out_is_refused(left_out, message):
    with pytest.raises(ConfigError, match=message):
        build_config({"data": {"mix": {OTHER: 0.5}, "left_out": left_out}})


def draw_own(root: Path, classes: dict[str, range]) -> Path:
    """Class folders of own pictures, all different."""
    for label, numbers in classes.items():
        (root / label).mkdir(parents=True)
        for number in numbers:
            noise = np.random.default_rng(number).integers(30, 200, (7, 7), np.uint8)
            picture = Image.fromarray(noise).resize((40, 40), Image.Resampling.BICUBIC)
            picture.save(root / label / f"{number}.png")
    return root


@pytest.mark.parametrize("in_folds", [False, True])
def test_own_pictures_of_some_classes_mix_in_and_touch_no_split(
    build_dataset, dummy_data_dir, tmp_path, in_folds
):
    """For training only; or in folds, then the fold of the test split stays out."""
    own = draw_own(tmp_path / "own", {"meningioma": range(100, 120), "pituitary": range(200, 220)})
    root, config = tmp_path / "data", "patient" if in_folds else "official"
    build_dataset(dummy_data_dir, root, config=config)
    build_dataset(own, root, config=PicturesConfig(name="clinic", in_folds=in_folds))
    main = load_builder(f"tumor_ds/{config}", root)
    data = DataConfig(
        dataset=f"tumor_ds/{config}", fold=int(in_folds), mix={"tumor_ds/clinic": 0.5}, image_size=32
    )
    additions = find_additions(main, data)
    split = load_mix(main, data, additions, 32).split
    alone = load_mix(main, data.replace(mix={}), (), 32).split
    assert split.filenames[: len(alone.filenames)] == alone.filenames
    mixed = [one for one in split.records if one.source == "clinic"]
    # Numbered as the four classes are.
    names = main.info.features["label"].names
    assert {names[one.label] for one in mixed} == {"meningioma", "pituitary"}
    assert all(one.filename.startswith(names[one.label]) for one in mixed)
    held_out = list_own_fold(load_builder("tumor_ds/clinic", root), data.fold)
    assert (len(held_out) > 0) == in_folds
    assert len(mixed) == 40 - len(held_out)
    assert not held_out & {one.filename for one in mixed}


def test_own_pictures_of_a_strange_class_are_refused(build_dataset, dummy_data_dir, tmp_path):
    own = draw_own(tmp_path / "own", {"glioma": range(10), "abcès": range(20, 30)})
    build_dataset(dummy_data_dir, tmp_path / "data")
    build_dataset(own, tmp_path / "data", config=PicturesConfig(name="clinic"))
    main = load_builder("tumor_ds/official", tmp_path / "data")
    with pytest.raises(MixError, match="tumor_ds/clinic also has abcès"):
        find_additions(main, DataConfig(mix={"tumor_ds/clinic": 0.5}))
