import keras
import keras_cv
import numpy as np
import pytest
import tensorflow as tf
from scipy.ndimage import affine_transform, gaussian_filter, shift

from trainer.data.geometry_layers import RandomAffine, compute_transforms

SIZE = (40, 48)
STILL = {"signs": [[1, 1]], "angles": [0], "shifts": [[0, 0]], "scales": [[1, 1]]}


@pytest.fixture
def images() -> np.ndarray:
    pictures = np.random.default_rng(0).uniform(0, 255, (8, *SIZE))
    return gaussian_filter(pictures, (0, 1, 1)).astype(np.float32)[..., np.newaxis]


def sample(images: np.ndarray, **drawn: list) -> np.ndarray:
    """Augment with given draws, the same for every image."""
    draws = {
        name: tf.repeat(tf.constant(value, tf.float32), len(images), axis=0)
        for name, value in {**STILL, **drawn}.items()
    }
    return RandomAffine().augment_images(tf.constant(images), draws).numpy()


def test_nothing_drawn_is_the_identity(images):
    np.testing.assert_array_equal(sample(images), images)
    np.testing.assert_array_equal(RandomAffine(seed=1)(images), images)


@pytest.mark.parametrize(("signs", "axes"), [([[-1, 1]], 2), ([[1, -1]], 1), ([[-1, -1]], (1, 2))])
def test_flips_are_exact(images, signs, axes):
    np.testing.assert_array_equal(sample(images, signs=signs), np.flip(images, axes))


def test_shift_by_whole_pixels(images):
    moved = sample(images, shifts=[[3 / SIZE[1], -2 / SIZE[0]]])
    np.testing.assert_allclose(moved, shift(images, (0, -2, 3, 0), order=0), atol=1e-3)


def test_quarter_turn(images):
    square = images[:, :, :40]
    np.testing.assert_allclose(sample(square, angles=[np.pi / 2]), np.rot90(square, axes=(1, 2)), atol=0.02)


def test_turn_and_zoom_are_those_of_scipy(images):
    angle, scales = 0.2, np.array([1.1, 0.9])  # of width and height
    turned = sample(images, angles=[angle], scales=[scales])[..., 0]
    # In scipy's order, rows before columns.
    matrix = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]) @ np.diag(
        scales[::-1]
    )
    centre = (np.array(SIZE) - 1) / 2
    expected = [
        affine_transform(image[..., 0], matrix, centre - matrix @ centre, order=1, mode="grid-constant")
        for image in images
    ]
    np.testing.assert_allclose(turned, expected, atol=0.05)


def test_one_pass_samples_where_the_chain_of_kerascv_does():
    generator = np.random.default_rng(1)
    signs = np.array([[1, 1], [-1, 1], [1, -1], [-1, -1]], np.float32)
    angles = generator.uniform(-0.3, 0.3, 4).astype(np.float32)
    shifts, scales = (
        generator.uniform(*bounds, (4, 2)).astype(np.float32) for bounds in ((-0.1, 0.1), (0.8, 1.2))
    )
    # A ramp is interpolated without error, so each pixel of the result tells where it came from.
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]].astype(np.float32)
    ramps = tf.constant(np.tile(np.stack([rows, columns], axis=-1), (4, 1, 1, 1)))
    layers = keras_cv.layers
    chained = layers.RandomFlip("horizontal_and_vertical").augment_images(
        ramps,
        {
            "flip_horizontals": (signs[:, :1] < 0).astype(np.float32),
            "flip_verticals": (signs[:, 1:] < 0).astype(np.float32),
        },
    )
    chained = layers.RandomRotation(0.1, fill_mode="constant").augment_images(chained, {"angles": angles})
    drawn = {"height_translations": shifts[:, 1:], "width_translations": shifts[:, :1]}
    chained = layers.RandomTranslation(0.1, 0.1, fill_mode="constant").augment_images(chained, drawn)
    drawn = {"height_zooms": scales[:, 1:], "width_zooms": scales[:, :1]}
    chained = layers.RandomZoom(0.1, 0.1, fill_mode="constant").augment_images(chained, drawn)
    drawn = {"signs": signs, "angles": angles, "shifts": shifts, "scales": scales}
    fused = RandomAffine().augment_images(ramps, {name: tf.constant(value) for name, value in drawn.items()})
    inner = (slice(None), slice(14, 26), slice(14, 34))
    np.testing.assert_allclose(fused.numpy()[inner], chained.numpy()[inner], atol=0.01)


def test_outside_is_black():
    white = np.full((64, 32, 32, 1), 255, np.float32)
    corners = RandomAffine(rotation=0.1, zoom=0.3, translation=0.2, seed=1)(white).numpy()[
        :, [0, 0, -1, -1], [0, -1, 0, -1], 0
    ]
    assert (corners == 0).any(axis=1).mean() > 0.9
    assert corners.max() <= 255


def test_outside_is_the_nearest_pixel_where_asked_for(images):
    drawn = {
        name: tf.repeat(tf.constant(value, tf.float32), len(images), axis=0)
        for name, value in {**STILL, "shifts": [[0.25, 0]]}.items()
    }
    moved = RandomAffine(fill="nearest").augment_images(tf.constant(images), drawn).numpy()
    np.testing.assert_allclose(moved, shift(images, (0, 0, 12, 0), order=0, mode="nearest"), atol=1e-3)


def test_draws_fill_their_ranges_and_flips_are_fair():
    layer = RandomAffine("horizontal_and_vertical", rotation=0.04, translation=0.06, zoom=0.12, seed=5)
    draws = {name: drawn.numpy() for name, drawn in layer.get_random_transformation_batch(4000).items()}
    for name, low, high in (
        ("angles", -0.08 * np.pi, 0.08 * np.pi),
        ("shifts", -0.06, 0.06),
        ("scales", 0.88, 1.12),
    ):
        margin = 0.01 * (high - low)
        assert low <= draws[name].min() < low + margin
        assert high - margin < draws[name].max() <= high
    assert abs(np.corrcoef(draws["scales"].T)[0, 1]) < 0.05
    _, counts = np.unique(draws["signs"], axis=0, return_counts=True)
    assert counts.shape == (4,)
    assert abs(counts - 1000).max() < 120
    assert (
        RandomAffine("vertical", seed=5).get_random_transformation_batch(100)["signs"].numpy()[:, 0] == 1
    ).all()


def test_transforms_are_one_row_an_image():
    transforms = compute_transforms(
        tf.constant(SIZE), **{name: tf.constant(value, tf.float32) for name, value in STILL.items()}
    )
    np.testing.assert_array_equal(transforms, [[1, 0, 0, 0, 1, 0, 0, 0]])


@pytest.mark.parametrize("policy", ["float32", "mixed_float16", "mixed_bfloat16"])
def test_shape_and_type_under_every_policy(images, policy):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        layer = RandomAffine("horizontal", 0.1, 0.1, 0.1, seed=1)
    finally:
        keras.config.set_dtype_policy(before)
    changed = next(tf.data.Dataset.from_tensors(images).map(layer).as_numpy_iterator())
    assert changed.shape == images.shape
    assert changed.dtype == np.float32


def test_one_seed_one_sequence(images):
    layer = RandomAffine("horizontal", 0.1, 0.1, 0.1, seed=3)
    again = RandomAffine("horizontal", 0.1, 0.1, 0.1, seed=3)
    first, second = layer(images).numpy(), layer(images).numpy()
    np.testing.assert_array_equal(again(images), first)
    np.testing.assert_array_equal(again(images), second)
    assert not np.array_equal(first, second)
    assert not np.array_equal(RandomAffine("horizontal", 0.1, 0.1, 0.1, seed=4)(images), first)


def test_unknown_flip():
    with pytest.raises(ValueError, match=r"flip expected as one of none, horizontal, .* got sideways"):
        RandomAffine("sideways")


def test_unknown_fill():
    with pytest.raises(ValueError, match=r"fill expected as one of black, nearest, got white"):
        RandomAffine(fill="white")


@pytest.mark.parametrize("fill", ["black", "nearest"])
def test_masks_are_sampled_at_the_places_of_the_images_without_new_values(images, fill):
    masks = (images > 128).astype(np.float32)
    layer = RandomAffine("horizontal_and_vertical", 0.1, 0.1, 0.2, fill=fill, seed=1)
    moved = layer({"images": masks, "segmentation_masks": masks})
    assert set(np.unique(moved["segmentation_masks"])) == {0, 1}
    # The image is interpolated, so they agree but for the rims.
    differ = (np.round(moved["images"]) != moved["segmentation_masks"].numpy()).mean()
    assert differ < 0.15
    assert (masks != moved["segmentation_masks"].numpy()).mean() > 2 * differ
