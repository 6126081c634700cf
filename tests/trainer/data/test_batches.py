"""The batches: every image, the same for the same seed, epoch and step, whoever makes them."""

import dataclasses

import keras_cv
import numpy as np
import pytest
import tensorflow as tf

from trainer.config import AugmentationConfig
from trainer.data import batches as batches_module
from trainer.data.batches import (
    ALONE,
    TrainingBatches,
    build_validation,
    choose_for_statistics,
    plan_epoch,
)
from trainer.data.input_pipeline import RecordFacts, Split
from trainer.data.supervision import supervise_known
from tumor_ds.sources.slices import MASK_STATES

InputContext = tf.distribute.InputContext
LABELS = ("glioma", "meningioma", "notumor")

NOTHING = AugmentationConfig(
    flip="none", rotation=0, zoom=0, translation=0, brightness=0, contrast=0, intensity_rate=0
)
EVERYTHING = AugmentationConfig(
    gamma=0.5, bias_field=0.3, blur=1.0, noise=0.05, tone_curve=0.5, degradation=0.5, stripping=0.5
)


@pytest.fixture(scope="module")
def split() -> Split:
    """21 images of 32 px; the first pixel of each is its number."""
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (21, 32, 32, 1), dtype=np.uint8)
    images[:, 0, 0, 0] = np.arange(21)
    return Split(images, tuple(RecordFacts(f"{n}.jpg", n % 3, n, False) for n in range(21)))


def make(split: Split, config: AugmentationConfig = NOTHING, seed: int = 1) -> TrainingBatches:
    return TrainingBatches(
        split, supervise_known(split.records, LABELS, "notumor"), config, seed, batch_size=4
    )


def gather(dataset: tf.data.Dataset) -> list[tuple[np.ndarray, ...]]:
    return list(dataset.as_numpy_iterator())


def numbers(elements) -> list[list[int]]:
    return [element[0][:, 0, 0, 0].astype(int).tolist() for element in elements]


def test_every_image_is_in_every_epoch_and_all_steps_have_one_shape(split):
    for epoch in range(3):
        elements = gather(make(split).start(epoch))
        assert [element[0].shape for element in elements] == [(4, 32, 32, 1)] * 6
        assert {number for batch in numbers(elements) for number in batch} == set(range(21))


def test_epochs_and_seeds_have_their_own_order(split):
    orders = [numbers(gather(make(split, seed=seed).start(epoch))) for seed in (1, 2) for epoch in (0, 1)]
    assert len({str(order) for order in orders}) == 4
    assert orders[0] == numbers(gather(make(split, seed=1).start(0)))


def test_a_small_split_fills_its_batch():
    assert plan_epoch(np.ones(3), 8, seed=0, epoch=0).shape == (1, 8)


def test_labels_and_weights_belong_to_the_images(split):
    for images, labels, weights in gather(make(split).start(0)):
        true = split.true[images[:, 0, 0, 0].astype(int)]
        np.testing.assert_array_equal(labels, np.eye(3)[true])
        np.testing.assert_array_equal(weights, np.ones(4))


@pytest.fixture(scope="module")
def whole_epoch(split) -> list[tuple[np.ndarray, ...]]:
    return gather(make(split, EVERYTHING).start(2))


@pytest.mark.parametrize("step", [0, 1, 3, 5, 6])
def test_starting_at_a_step_gives_what_the_whole_epoch_gives_there(split, whole_epoch, step):
    """With all augmentations on: order and random numbers depend on nothing that happened before."""
    rest = gather(make(split, EVERYTHING).start(2, step))
    assert len(rest) == 6 - step
    for one, other in zip(whole_epoch[step:], rest, strict=True):
        np.testing.assert_array_equal(one[0], other[0])


def test_the_number_of_streams_changes_nothing(split, monkeypatch):
    found = []
    for streams in (1, 3, 8):
        monkeypatch.setattr(batches_module, "STREAMS", streams)
        found.append(gather(make(split, EVERYTHING).start(1)))
    for other in found[1:]:
        for one, two in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(one[0], two[0])


def test_steps_and_epochs_are_varied_differently(split):
    constant = Split(np.repeat(split.images[:1], 21, axis=0), split.records)
    batches = make(constant, EVERYTHING)
    pictures = [
        image.tobytes()
        for epoch in (0, 1)
        for images, _, _ in gather(batches.start(epoch))
        for image in images
    ]
    assert len(set(pictures)) > 0.9 * len(pictures)


def test_no_draw_of_an_epoch_comes_again_in_another(split):
    """Brightness alone: what is added to a constant picture is the draw itself."""
    grey = Split(np.full((21, 32, 32, 1), 128, np.uint8), split.records)
    only = AugmentationConfig(
        flip="none", rotation=0, zoom=0, translation=0, brightness=0.3, contrast=0, gamma=0
    )
    batches = make(grey, only)
    draws = [
        float(image[0, 0, 0])
        for epoch in range(4)
        for images, _, _ in gather(batches.start(epoch))
        for image in images
    ]
    assert len(set(draws)) == len(draws) == 4 * 24


def contexts(pipelines: int, replicas: int) -> list[InputContext]:
    return [InputContext(pipelines, number, replicas) for number in range(pipelines)]


@pytest.mark.parametrize(("pipelines", "replicas"), [(1, 2), (2, 2), (2, 4)])
def test_pipelines_together_feed_each_image_of_a_step_once(split, pipelines, replicas):
    """As two workers, or two hosts of a TPU, do: their parts, in order, are the batches of one replica."""
    batches = make(split)
    parts = [numbers(gather(batches.start(0, 1, context))) for context in contexts(pipelines, replicas)]
    each = replicas // pipelines
    steps = [
        [number for part in parts for element in part[step * each : (step + 1) * each] for number in element]
        for step in range(5)
    ]
    assert steps == numbers(gather(batches.start(0, 1)))
    assert all(len(part) == 5 * each for part in parts)


def test_replicas_are_varied_alike_wherever_they_run(split):
    batches = make(split, EVERYTHING)
    apart = [gather(batches.start(0, context=context)) for context in contexts(2, 2)]
    [context] = contexts(1, 2)
    together = gather(batches.start(0, context=context))
    for step in range(6):
        for replica in (0, 1):
            np.testing.assert_array_equal(apart[replica][step][0], together[2 * step + replica][0])


def test_every_layer_can_be_reseeded(split):
    """A layer that drew from elsewhere would break the replay in silence."""
    augmenter = batches_module.build_augmenter(EVERYTHING, 1)
    assert len(augmenter.layers) == 10
    for layer in augmenter.layers:
        assert isinstance(
            layer,
            keras_cv.layers.BaseImageAugmentationLayer | keras_cv.layers.VectorizedBaseImageAugmentationLayer,
        ) or hasattr(layer, "_random_generator")
        assert isinstance(layer._random_generator, tf.random.Generator)


@pytest.mark.parametrize(("pipelines", "replicas"), [(1, 1), (1, 2), (2, 2)])
@pytest.mark.parametrize("count", [1, 4, 5, 21])
def test_validation_counts_every_image_once(split, pipelines, replicas, count):
    chosen = split.take(np.arange(count))
    make_batches = build_validation(chosen, supervise_known(chosen.records, LABELS, "notumor"), 4)
    seen = [
        int(image[0, 0, 0])
        for context in contexts(pipelines, replicas)
        for images, _, weights in gather(make_batches(context))
        for image, weight in zip(images, weights, strict=True)
        if weight
    ]
    assert sorted(seen) == list(range(count))


@pytest.mark.parametrize(("wanted", "expected"), [(8, 8), (10, 8), (1024, 20), (2, 4)])
def test_images_for_statistics_come_in_whole_batches_and_once_where_there_are_enough(split, wanted, expected):
    each = np.ones(21)
    chosen = choose_for_statistics(split, each, wanted, 4)
    assert len(chosen.filenames) == len(set(chosen.filenames)) == expected
    rows = [int(name.removesuffix(".jpg")) for name in chosen.filenames]
    np.testing.assert_array_equal(chosen.images, split.images[rows])
    np.testing.assert_array_equal(chosen.true, split.true[rows])
    assert (
        len(choose_for_statistics(split, each, 8, 32).filenames) == 32
    )  # fewer images than a batch: some twice


def test_no_batch_waits_for_the_interpreter(split):
    """Who drops a pipeline half-way, as on SIGTERM, holds its lock and waits for the pipeline's threads."""
    validation = build_validation(split, supervise_known(split.records, LABELS, "notumor"), 4)
    for dataset in (make(split).start(0), validation(ALONE)):
        ignoring = tf.data.experimental.ExternalStatePolicy.IGNORE.value
        graph = tf.raw_ops.DatasetToGraphV2(
            input_dataset=dataset._variant_tensor, external_state_policy=ignoring
        ).numpy()
        assert b"RangeDataset" in graph
        assert b"PyFunc" not in graph


@pytest.fixture(scope="module")
def outlined(split) -> Split:
    """The same with masks of noise; of every third image the outline is unknown, of another it is empty."""
    masks = np.random.default_rng(1).integers(0, 2, split.images.shape, np.uint8) * 255
    masks[1::3] = 0
    states = [MASK_STATES.index(name) for name in ("unknown", "empty", "outlined")]
    records = [dataclasses.replace(one, mask_known=states[n % 3]) for n, one in enumerate(split.records)]
    return Split(split.images, tuple(records), masks)


def test_masks_belong_to_the_images_and_count_where_they_are_known(outlined):
    validation = build_validation(outlined, supervise_known(outlined.records, LABELS, "notumor"), 4)
    for elements in (gather(make(outlined).start(0)), gather(validation(ALONE))):
        for images, _, weights, masks, mask_weights in elements:
            rows = images[:, 0, 0, 0].astype(int)
            np.testing.assert_array_equal(masks, outlined.masks[rows] / 255)
            np.testing.assert_array_equal(mask_weights, weights * (rows % 3 > 0))


def test_masks_of_a_step_are_a_function_of_seed_epoch_and_step(outlined):
    whole, tail = (gather(make(outlined, EVERYTHING).start(1, step)) for step in (0, 4))
    for one, other in zip(whole[4:], tail, strict=True):
        for part, same in zip(one, other, strict=True):
            np.testing.assert_array_equal(part, same)
    assert not np.array_equal(*(batch[3] for batch in (whole[0], gather(make(outlined).start(1))[0])))
