"""Tumours moved into pictures without one, and taken out of pictures with one.

Goes in: a batch with outlines. Comes out: the same batch, in which some healthy pictures show the tumour of
another picture and some tumours are covered by the other half of the head; targets and outlines follow. Sets
of several hospitals hold hardly any slice with contrast agent and without a tumour, and hardly any tumour in
other sequences, so a network learns "this kind of picture has a tumour". Pictures made here show that every
kind of picture may have one, or none.

What is pasted has soft edges. So that soft edges do not give a tumour away, other healthy pictures get a
piece of healthy tissue in the same way, and stay without tumour.

Source: lesions carved out and pasted into other brain scans, Zhang et al. 2021, CarveMix (arXiv:2108.06883);
with other contrast and geometry, Yang et al. 2021, TumorCP (arXiv:2107.09843).
"""

import math
from typing import NamedTuple

import tensorflow as tf

# A picture is thought of as symmetric, so that one half may cover the other, if it and its mirror image
# correlate at least so well outside of the tumour. Axial and coronal slices lie around .8, sagittal ones .4.
SYMMETRY = 0.65
# The outline and its mirror image may share this much of its area; a tumour on the midline cannot be covered.
MOST_OVERLAP = 0.05
# A place belongs to the head if it is brighter than this share of the picture's mean.
DARKEST = 0.5
# Side of the squares in whose means everything is measured, pixels; it is the width of soft edges, too.
SHRINK = 4
# Reach of the surroundings of a tumour, and the rim of a head in which no tumour's centre is put, shares of
# the picture's side.
REACH, RIM = 0.08, 0.08
# Scale of what is pasted, and its contrast to its surroundings there, share of that where it comes from; the
# contrast may be reversed, as from one sequence to another.
SCALES, CONTRASTS = (0.7, 1.4), (0.6, 1.6)
REVERSED = 0.3
# What lies outside of the recipient's head of a pasted tumour, at most, share of its area.
MOST_OUTSIDE = 0.15
# Area of what is pasted or covered, at least, in those squares: less is not seen.
LEAST_AREA = 3.0
# Difference between a pasted tumour and what was there before, at least, grey levels.
LEAST_CONTRAST = 12.0
# Of pictures that a piece of healthy tissue is pasted into, for each one that gets a tumour.
DECOYS = 0.5


class LesionBatch(NamedTuple):
    """A batch with outlines, as `trainer.data.batches` describes it.

    Attributes:
        images: float32 (n, size, size, 1), [0, 255].
        targets: float32 (n, classes), 1 for each kind that the image may show.
        weights: float32 (n,).
        masks: float32 (n, size, size, 1), 1 inside the outline of a tumour.
        mask_weights: float32 (n,), 1 where the outline is known.

    Example:
        >>> LesionBatch(*batch).masks.shape  # doctest: +SKIP
        TensorShape([32, 160, 160, 1])
    """

    images: tf.Tensor
    targets: tf.Tensor
    weights: tf.Tensor
    masks: tf.Tensor
    mask_weights: tf.Tensor


def move_lesions(
    batch: LesionBatch,
    is_tumor: tf.Tensor,
    transplants: float,
    removals: float,
    weight: float,
    seed: tf.Tensor,
) -> LesionBatch:
    """Move tumours within a batch.

    Args:
        batch: as it comes from the datasets, before the pictures are turned.
        is_tumor: bool (classes,), which classes are tumours.
        transplants: share of the pictures known to be without tumour that get one of another picture.
        removals: share of the pictures with an outlined tumour that lose it, where the other half of the head
            can cover it.
        weight: of a picture that got or lost a tumour in the loss of the classes; in the map's it counts
            as any other.
        seed: int64 (2,), of all random numbers.

    Returns:
        The batch. A picture that got a tumour may show every kind: what it is, its grey values no longer say.
    """
    seeds = tf.unstack(tf.random.experimental.stateless_split(seed, 2))
    removed = _remove(batch, removals, seeds[0])
    pasted = _paste(batch, transplants, seeds[1])
    batch = _join(batch, removed, ~is_tumor, weight)
    return _join(batch, pasted, is_tumor, weight)


class Change(NamedTuple):
    """What becomes of a batch.

    Attributes:
        images: float32 (n, size, size, 1).
        masks: float32 (n, size, size, 1).
        changed: bool (n,), whose picture is another.
        relabelled: bool (n,), whose targets are others.

    Example:
        >>> Change(images, masks, changed, changed)  # doctest: +SKIP
    """

    images: tf.Tensor
    masks: tf.Tensor
    changed: tf.Tensor
    relabelled: tf.Tensor


def _join(batch: LesionBatch, change: Change, kinds: tf.Tensor, weight: float) -> LesionBatch:
    images = tf.where(change.changed[:, None, None, None], change.images, batch.images)
    masks = tf.where(change.relabelled[:, None, None, None], change.masks, batch.masks)
    targets = tf.where(change.relabelled[:, None], tf.cast(kinds, tf.float32), batch.targets)
    weights = tf.where(change.relabelled, weight, batch.weights)
    return LesionBatch(images, targets, weights, masks, batch.mask_weights)


def _remove(batch: LesionBatch, share: float, seed: tf.Tensor) -> Change:
    """Cover tumours by the mirror image, where the head is symmetric and the tumour lies to one side."""
    images, masks = batch.images, batch.masks
    grey, inside = _shrink(images), _shrink(masks)
    head, area = _find_head(grey), _sum(inside)
    axes = _find_centres(head)[:, 1]
    mirrored, reflected = _mirror(grey, axes), _mirror(inside, axes)
    # Without the rim, where every head is like its mirror image.
    outside = (1 - _grow(1 - head, 0)) * (1 - inside) * (1 - reflected)
    fits = (area >= LEAST_AREA) & (_sum(inside * reflected) <= MOST_OVERLAP * area)
    fits &= _correlate(grey, mirrored, outside) >= SYMMETRY
    chosen = fits & (tf.random.stateless_uniform((_count(images),), seed) < share)
    near = _grow(inside, 0.05)
    ring = _grow(inside, REACH) - inside
    level = _mean(grey, ring) - _mean(mirrored, ring)
    soft = tf.image.resize(near, images.shape[1:3])
    fine = _mirror(images, SHRINK * axes + (SHRINK - 1) / 2)
    covered = tf.clip_by_value(images * (1 - soft) + (fine + level) * soft, 0.0, 255.0)
    return Change(covered, tf.zeros_like(masks), chosen, chosen)


def _paste(batch: LesionBatch, share: float, seed: tf.Tensor) -> Change:
    """Paste the tumour of a random picture with an outline into pictures known to be without."""
    images, masks = batch.images, batch.masks
    count, area = _count(images), _sum(batch.masks) / SHRINK**2
    seeds = tf.unstack(tf.random.experimental.stateless_split(seed, 5))
    has_tumor, healthy = area >= LEAST_AREA, (batch.mask_weights > 0) & (area == 0)
    uniform = tf.random.stateless_uniform((count, 3), seeds[0])
    donors = _draw_rows(has_tumor, uniform[:, 0])
    is_decoy = uniform[:, 1] < DECOYS / (1 + DECOYS)
    # A decoy has the shape of a tumour, and the grey values of a healthy picture.
    greys = tf.where(is_decoy, _draw_rows(healthy, uniform[:, 2]), donors)
    grey = _shrink(images)
    head = _find_head(grey)
    places = SHRINK * _draw_places(head, seeds[1]) + (SHRINK - 1) / 2
    shapes, textures = _place(tf.gather(masks, donors), tf.gather(images, greys), places, seeds[1])
    inside, texture = _shrink(shapes), _shrink(textures)
    # The surroundings of the tumour become those of the place where it is put.
    ring = _grow(inside, REACH) - inside
    here, there = _mean(grey, ring), _mean(texture, ring)
    strength = tf.random.stateless_uniform((count, 1, 1, 1), seeds[3], *CONTRASTS)
    is_reversed = tf.random.stateless_uniform((count, 1, 1, 1), seeds[4]) < REVERSED
    strength = tf.where(is_decoy[:, None, None, None], 1.0, tf.where(is_reversed, -strength, strength))
    soft = tf.image.resize(inside, images.shape[1:3])
    filled = tf.clip_by_value(here + strength * (textures - there), 0.0, 255.0)
    pasted = images * (1 - soft) + filled * soft
    visible = tf.abs(_mean(_shrink(filled) - grey, inside))[:, 0, 0, 0] >= LEAST_CONTRAST
    fits = healthy & tf.reduce_any(has_tumor) & (_sum(inside) >= LEAST_AREA) & (visible | is_decoy)
    fits &= _sum(inside * (1 - head)) <= MOST_OUTSIDE * _sum(inside)
    chosen = fits & (tf.random.stateless_uniform((count,), seeds[2]) < share * (1 + DECOYS))
    return Change(pasted, shapes, chosen, chosen & ~is_decoy)


def _place(
    shapes: tf.Tensor, textures: tf.Tensor, places: tf.Tensor, seed: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Turn, scale and mirror tumours, and put their centres at places float32 (n, 2), y and x."""
    count, size = _count(shapes), shapes.shape[1]
    uniform = tf.random.stateless_uniform((count, 3), seed)
    angle, scale = 2 * math.pi * uniform[:, 0], SCALES[0] * (SCALES[1] / SCALES[0]) ** uniform[:, 1]
    mirror = tf.where(uniform[:, 2] < 0.5, -1.0, 1.0)
    source = _find_centres(shapes)
    cos, sin = tf.cos(angle) / scale, tf.sin(angle) / scale
    # Rows of the matrix from places of the result to places of the source; x before y.
    a, b, c, d = mirror * cos, -mirror * sin, sin, cos
    dx = source[:, 1] - a * places[:, 1] - b * places[:, 0]
    dy = source[:, 0] - c * places[:, 1] - d * places[:, 0]
    zeros = tf.zeros_like(dx)
    moved = tf.raw_ops.ImageProjectiveTransformV3(
        images=tf.concat([shapes, textures], axis=-1),
        transforms=tf.stack([a, b, dx, c, d, dy, zeros, zeros], axis=1),
        output_shape=(size, size),
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="CONSTANT",
    )
    moved = tf.ensure_shape(moved, (None, size, size, 2))
    return tf.round(moved[..., :1]), moved[..., 1:]


def _draw_rows(wanted: tf.Tensor, uniform: tf.Tensor) -> tf.Tensor:
    """For each number in [0, 1) a row that is wanted, bool (n,); row 0 where none is."""
    rows = tf.concat([tf.where(wanted)[:, 0], [0]], axis=0)
    count = tf.maximum(tf.size(rows) - 1, 1)
    return tf.gather(rows, tf.cast(uniform * tf.cast(count, tf.float32), tf.int32))


def _draw_places(head: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """A random place of each head (n, h, w, 1), float32 (n, 2), y and x."""
    size = head.shape[1]
    # The rim is left out: a tumour there would reach out of the head.
    inner = 1 - _grow(1 - head, RIM)
    noise = tf.random.stateless_uniform(tf.shape(head), seed)
    place = tf.argmax(tf.reshape(inner + noise, (-1, size * size)), axis=1)
    return tf.cast(tf.stack([place // size, place % size], axis=1), tf.float32)


def _find_head(images: tf.Tensor) -> tf.Tensor:
    """Places that are no background, filled along rows and columns: float32 (n, h, w, 1), 0 or 1."""
    bright = tf.cast(images > DARKEST * tf.reduce_mean(images, axis=(1, 2), keepdims=True), tf.float32)
    sides = [tf.cumsum(bright, axis=axis, reverse=back) > 0 for axis in (1, 2) for back in (False, True)]
    return tf.cast(tf.reduce_all(tf.stack(sides), axis=0), tf.float32)


def _find_centres(masks: tf.Tensor) -> tf.Tensor:
    """Centres of gravity, float32 (n, 2), y and x."""
    steps = tf.range(float(masks.shape[1]))
    area = _sum(masks) + 1e-6
    y = tf.reduce_sum(tf.reduce_sum(masks, axis=(2, 3)) * steps, axis=1) / area
    x = tf.reduce_sum(tf.reduce_sum(masks, axis=(1, 3)) * steps, axis=1) / area
    return tf.stack([y, x], axis=1)


def _mirror(images: tf.Tensor, axes: tf.Tensor) -> tf.Tensor:
    """Mirror pictures left to right about columns float32 (n,); black where the picture ends."""
    size = images.shape[1]
    columns = tf.round(2 * axes)[:, None] - tf.range(float(size))
    is_inside = tf.cast((columns >= 0) & (columns < size), tf.float32)[:, None, :, None]
    places = tf.cast(tf.clip_by_value(columns, 0.0, size - 1.0), tf.int32)
    turned = tf.gather(tf.transpose(images, (0, 2, 1, 3)), places, axis=1, batch_dims=1)
    return is_inside * tf.transpose(turned, (0, 2, 1, 3))


def _correlate(one: tf.Tensor, other: tf.Tensor, places: tf.Tensor) -> tf.Tensor:
    """Correlation of pictures over places, float32 (n,)."""
    one, other = ((part - _mean(part, places)) * places for part in (one, other))
    return _sum(one * other) / tf.sqrt(_sum(one**2) * _sum(other**2) + 1e-6)


def _shrink(images: tf.Tensor) -> tf.Tensor:
    """Means of squares: what is measured is measured there, at a fraction of the cost."""
    return tf.nn.avg_pool2d(images, SHRINK, SHRINK, "VALID")


def _grow(masks: tf.Tensor, share: float) -> tf.Tensor:
    """Masks with all that lies within a share of the picture's side."""
    return tf.nn.max_pool2d(masks, 2 * max(1, round(share * masks.shape[1])) + 1, 1, "SAME")


def _count(images: tf.Tensor) -> tf.Tensor:
    return tf.shape(images)[0]


def _sum(values: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(values, axis=(1, 2, 3))


def _mean(values: tf.Tensor, places: tf.Tensor) -> tf.Tensor:
    """Mean over places, float32 (n, 1, 1, 1)."""
    axes = (1, 2, 3)
    total = tf.reduce_sum(places, axis=axes, keepdims=True) + 1e-6
    return tf.reduce_sum(values * places, axis=axes, keepdims=True) / total
