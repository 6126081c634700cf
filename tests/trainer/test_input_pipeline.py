import io

import numpy as np
import pytest
from PIL import Image

from serving.preprocess import decode_grey, fit_to_square
from trainer.config import AugmentationConfig, Config, DataConfig
from trainer.input_pipeline import DatasetMissingError, build_split, compute_fingerprint, iterate_examples, load_builder, load_split
from tumor_ds.pictures import read_grey

NOTHING = AugmentationConfig(flip="none", rotation=0, zoom=0, translation=0, brightness=0, contrast=0, gamma=0)
CONFIG = Config(data=DataConfig(image_size=64, batch_size=7), augmentation=NOTHING)


@pytest.fixture(scope="module")
def builder(dummy_dataset_dir):
    return load_builder("tumor_ds/official", dummy_dataset_dir)


def gather(dataset) -> tuple[np.ndarray, np.ndarray]:
    batches = list(dataset.as_numpy_iterator())
    return np.concatenate([images for images, _ in batches]), np.concatenate([labels for _, labels in batches])


def test_batches_hold_every_image_once_in_order(builder):
    images, labels = gather(build_split(builder, "train", CONFIG, training=False))
    examples = list(iterate_examples(builder, "train"))
    assert images.dtype == labels.dtype == np.float32
    assert len(images) == 36  # not a multiple of the batch size
    np.testing.assert_array_equal(images, [fit_to_square(example.image[..., 0], 64) for example in examples])
    np.testing.assert_array_equal(labels.argmax(axis=1), [example.label for example in examples])


def test_training_batches_are_shuffled_anew_but_complete(builder):
    dataset = build_split(builder, "train", CONFIG, training=True)
    first, second = gather(dataset)[0], gather(dataset)[0]
    assert not np.array_equal(first, second)
    assert sorted(map(bytes, first)) == sorted(map(bytes, second))


def test_load_split_is_sorted_and_equal_to_the_batches(builder):
    split = load_split(builder, "validation", 64)
    images, _ = gather(build_split(builder, "validation", CONFIG, training=False))
    assert list(split.filenames) == sorted(split.filenames)
    assert sorted(map(bytes, split.images)) == sorted(map(bytes, images.astype(np.uint8)))
    assert not split.has_train_twin.any()


@pytest.mark.parametrize(("mode", "orientation"), [("L", 1), ("L", 6), ("RGB", 3), ("CMYK", 1)])
def test_builder_and_serving_decode_alike(mode, orientation):
    pixels = np.random.default_rng(0).integers(0, 256, (24, 40), np.uint8)
    exif = Image.Exif()
    exif[274] = orientation
    file = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(file, "JPEG", exif=exif)
    built = read_grey("any.jpg", lambda name: file.getvalue())
    np.testing.assert_array_equal(built[..., 0], decode_grey(file.getvalue()))
    assert built.shape == ((40, 24, 1) if orientation == 6 else (24, 40, 1))


def test_fingerprint_does_not_depend_on_the_folder(builder, build_dataset, dummy_data_dir, tmp_path):
    again = load_builder("tumor_ds/official", build_dataset(dummy_data_dir, tmp_path))
    assert compute_fingerprint(again) == compute_fingerprint(builder)


@pytest.mark.parametrize(
    ("dataset", "command"),
    [
        ("official", "tumor build official"),
        ("grouped:2.0.0", "tumor build grouped --kaggle-version 2"),
        ("folder", "tumor build folder --manual-dir DIR"),
    ],
)
def test_a_missing_dataset_is_told_with_the_command_that_builds_it(tmp_path, dataset, command):
    with pytest.raises(DatasetMissingError) as caught:
        load_builder(f"tumor_ds/{dataset}", tmp_path)
    assert str(caught.value).endswith(f"Build it first: {command} --data-dir {tmp_path}")


def test_a_dataset_that_tf_data_cannot_read_is_refused(build_dataset, dummy_data_dir, tmp_path):
    build_dataset(dummy_data_dir, tmp_path, file_format="array_record")
    with pytest.raises(DatasetMissingError, match=r"stored as array_record.*tumor build official"):
        load_builder("tumor_ds/official", tmp_path)
