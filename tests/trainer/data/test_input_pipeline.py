import errno
import hashlib
import io
import os
import re
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from serving.preprocess import FITS, PREPROCESSING_VERSION, decode_grey, fit_to_square
from trainer.config import DataConfig
from trainer.data import cache
from trainer.data.cache import CacheError
from trainer.data.input_pipeline import (
    DatasetMissingError,
    compute_fingerprint,
    iterate_examples,
    load_builder,
    load_learning_split,
    load_split,
)
from tumor_ds.collection.archive import Collection


@pytest.fixture(scope="module")
def builder(dummy_dataset_dir):
    return load_builder("tumor_ds/official", dummy_dataset_dir)


@pytest.mark.parametrize("fit", FITS)
def test_a_split_holds_every_image_once_sorted_by_name(builder, fit):
    split = load_split(builder, "train", 64, fit)
    examples = sorted(iterate_examples(builder, "train"), key=lambda example: example.facts.filename)
    assert len(split.filenames) == 36
    assert list(split.filenames) == [example.facts.filename for example in examples]
    np.testing.assert_array_equal(
        split.images, [fit_to_square(example.image[..., 0], 64, fit) for example in examples]
    )
    np.testing.assert_array_equal(split.true, [example.facts.label for example in examples])
    np.testing.assert_array_equal(split.groups, [example.facts.group for example in examples])
    assert not split.has_train_twin.any()


def test_validation_by_group_is_the_split_of_the_dataset(builder):
    split = load_learning_split(builder, "validation", DataConfig(), 64)
    assert split.filenames == load_split(builder, "validation", 64).filenames


def test_validation_by_image_is_15_percent_of_both_splits(builder):
    data = DataConfig(validation="by_image")
    train, validation = (load_learning_split(builder, name, data, 64) for name in ("train", "validation"))
    both = load_split(builder, "train+validation", 64)
    assert len(validation.filenames) == 6  # 15 % of 40
    assert sorted(train.filenames + validation.filenames) == list(both.filenames)
    rows = [both.filenames.index(name) for name in validation.filenames]
    np.testing.assert_array_equal(validation.images, both.images[rows])
    np.testing.assert_array_equal(validation.true, both.true[rows])
    again = load_learning_split(builder, "validation", data, 64)
    assert again.filenames == validation.filenames


def test_a_cached_file_holds_what_memory_holds_and_is_made_once(builder, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    data = DataConfig(cache="file")
    split = load_learning_split(builder, "train", data, 64)
    np.testing.assert_array_equal(split.images, load_split(builder, "train", 64).images)
    assert isinstance(split.images, np.memmap)
    assert not split.images.flags.writeable
    [file] = (tmp_path / "brain-tumor-mri").iterdir()
    before = file.stat().st_ino
    load_learning_split(builder, "train", data, 64)
    assert file.stat().st_ino == before
    load_learning_split(builder, "train", DataConfig(cache="file", fit="stretch"), 64)
    load_learning_split(builder, "train", data, 96)
    assert len(list((tmp_path / "brain-tumor-mri").iterdir())) == 3


def test_a_cached_file_cut_short_is_made_anew(builder, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    load_learning_split(builder, "validation", DataConfig(cache="file"), 64)
    [file] = (tmp_path / "brain-tumor-mri").iterdir()
    file.write_bytes(file.read_bytes()[:100])
    again = load_learning_split(builder, "validation", DataConfig(cache="file"), 64)
    np.testing.assert_array_equal(again.images, load_split(builder, "validation", 64).images)


def test_another_preprocessing_makes_other_files(builder, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    load_learning_split(builder, "validation", DataConfig(cache="file"), 64)
    monkeypatch.setattr("trainer.data.input_pipeline.PREPROCESSING_VERSION", PREPROCESSING_VERSION + 1)
    load_learning_split(builder, "validation", DataConfig(cache="file"), 64)
    assert len(list((tmp_path / "brain-tumor-mri").iterdir())) == 2


def test_the_version_of_preprocessing_belongs_to_its_pixels():
    """Who changes the resize raises the version beside it, and writes the new pair here."""
    pixels = np.random.default_rng(0).integers(0, 256, (70, 50), np.uint8)
    squares = [fit_to_square(pixels, size, fit).tobytes() for size in (32, 96) for fit in FITS]
    assert (PREPROCESSING_VERSION, hashlib.sha256(b"".join(squares)).hexdigest()) == (
        1,
        "0db24518929e6066cb98708ed29f552fb26494e59635c3df205ead99420efb80",
    )


def fill_cache(folder, names, monkeypatch, largest: int = 2500) -> None:
    """A cache of files of 1,000 bytes, the first the oldest, and a limit."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder.parent))
    monkeypatch.setattr(cache, "LARGEST_BYTES", largest)
    folder.mkdir()
    for age, name in enumerate(names):
        (folder / name).write_bytes(b"a" * 1000)
        os.utime(folder / name, (1000 + age, 1000 + age))


def map_one(content: str = "new") -> np.ndarray:
    return cache.map_images(content, (1, 10, 10, 1), iter([(0, np.ones((10, 10, 1), np.uint8))]))


def test_the_least_recently_used_files_go_first_and_no_others(tmp_path, monkeypatch):
    oldest, older, young = (f"{number:032x}.uint8" for number in range(3))
    left_by_a_killed_writer = f"{3:032x}.uint8.17.partial"
    folder = tmp_path / "brain-tumor-mri"
    foreign = ["notes.txt", "0.uint8", f"{4:032x}.uint8.bak"]
    fill_cache(folder, [*foreign, oldest, left_by_a_killed_writer, older, young], monkeypatch)
    map_one()
    names = {path.name for path in folder.iterdir()}
    assert {*foreign, older, young} < names
    assert not {oldest, left_by_a_killed_writer} & names
    assert len(names) == 6


def test_a_file_that_is_used_again_is_young_again(tmp_path, monkeypatch):
    folder = tmp_path / "brain-tumor-mri"
    fill_cache(folder, [f"{number:032x}.uint8" for number in range(2)], monkeypatch)
    map_one("kept")
    [path] = [path for path in folder.iterdir() if path.stat().st_size == 100]
    os.utime(path, (1, 1))
    map_one("kept")
    monkeypatch.setattr(cache, "LARGEST_BYTES", 150)
    map_one("kept")
    assert [found.name for found in folder.iterdir()] == [path.name]


def test_a_mapped_file_stays_whoever_mapped_it(tmp_path, monkeypatch):
    """Once no process has it, it goes."""
    fill_cache(tmp_path / "brain-tumor-mri", [], monkeypatch, largest=0)
    code = (
        "import sys, numpy as np\nfrom trainer.data.cache import map_images\n"
        "mapped = map_images('theirs', (1, 20, 20, 1), iter([(0, np.ones((20, 20, 1), np.uint8))]))\n"
        "print('mapped', flush=True)\nsys.stdin.read()\n"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", code], text=True, **pipes) as other:
        assert other.stdout.readline() == "mapped\n"
        mine = map_one("mine")
        assert list_sizes(tmp_path) == [100, 400]
        other.communicate("")
    map_one("another")
    assert list_sizes(tmp_path) == [100, 100]
    assert mine.sum() == 100


def list_sizes(tmp_path) -> list[int]:
    return sorted(path.stat().st_size for path in (tmp_path / "brain-tumor-mri").iterdir())


def test_a_full_disk_leaves_no_half_written_cache(builder, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    def fail(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("trainer.data.input_pipeline.fit_to_square", fail)
    with pytest.raises(CacheError, match=r"No space left on device\. Set XDG_CACHE_HOME"):
        load_learning_split(builder, "validation", DataConfig(cache="file"), 64)
    assert not list((tmp_path / "brain-tumor-mri").iterdir())


@pytest.mark.parametrize(("mode", "orientation"), [("L", 1), ("L", 6), ("RGB", 3), ("CMYK", 1)])
def test_builder_and_serving_decode_alike(mode, orientation):
    pixels = np.random.default_rng(0).integers(0, 256, (24, 40), np.uint8)
    exif = Image.Exif()
    exif[274] = orientation
    file = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(file, "JPEG", exif=exif)
    built = Collection(("any.jpg",), lambda name: file.getvalue()).read_grey("any.jpg")
    np.testing.assert_array_equal(built[..., 0], decode_grey(file.getvalue()))
    assert built.shape == ((40, 24, 1) if orientation == 6 else (24, 40, 1))


def test_fingerprint_does_not_depend_on_the_folder(builder, build_dataset, dummy_data_dir, tmp_path):
    again = load_builder("tumor_ds/official", build_dataset(dummy_data_dir, tmp_path))
    assert compute_fingerprint(again) == compute_fingerprint(builder)


@pytest.mark.parametrize(
    ("dataset", "command"),
    [
        ("official", "tumor build official"),
        ("grouped:2.1.0", "tumor build grouped --kaggle-version 2"),
        ("folder", "tumor build folder --manual-dir DIR"),
    ],
)
def test_a_missing_dataset_is_told_with_the_command_that_builds_it(tmp_path, dataset, command):
    with pytest.raises(DatasetMissingError) as caught:
        load_builder(f"tumor_ds/{dataset}", tmp_path)
    assert str(caught.value).endswith(f"Build it first: {command} --data-dir {tmp_path}")


def test_an_unknown_version_is_told_with_the_known_ones(tmp_path):
    text = "tumor_ds/official:9.9.9 is no version that this package builds: expected one of 1.2.0, 2.1.0."
    with pytest.raises(DatasetMissingError, match=re.escape(text)):
        load_builder("tumor_ds/official:9.9.9", tmp_path)


def test_a_dataset_that_tf_data_cannot_read_is_refused(build_dataset, dummy_data_dir, tmp_path):
    build_dataset(dummy_data_dir, tmp_path, file_format="array_record")
    with pytest.raises(DatasetMissingError, match=r"stored as array_record.*tumor build official"):
        load_builder("tumor_ds/official", tmp_path)
