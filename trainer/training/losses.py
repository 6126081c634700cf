"""The losses: which kind, and where the tumour is, each over the images of which it is known.

Goes in: outputs of the network, what the images teach, weights. Comes out: a loss an image, and means over
the batch of all replicas. All in float32, under every dtype policy.
"""

import tensorflow as tf

# Of the sums that the overlap divides by, pixels; so that an empty map over an empty outline is defined.
DICE_SMOOTHING = 1.0


def compute_class_losses(targets: tf.Tensor, logits: tf.Tensor, label_smoothing: float) -> tf.Tensor:
    """Compute minus the log of the probability of what an image may show.

    For one kind that is the cross-entropy, with label smoothing. For several it is minus the log of their
    summed probability: which of them it is, the image does not say, so nothing is smoothed.

    Args:
        targets: float32 (n, classes), 1 for each kind that the image may show, 0 for the others.
        logits: float32 (n, classes).
        label_smoothing: share of the target that is spread over all classes.

    Returns:
        float32 (n,).
    """
    classes = tf.cast(tf.shape(targets)[1], tf.float32)
    log_probs = tf.nn.log_softmax(logits)
    exact = -tf.reduce_sum((targets * (1 - label_smoothing) + label_smoothing / classes) * log_probs, axis=1)
    # The lowest number instead of minus infinity, whose gradient would be NaN.
    possible = tf.where(targets > 0, log_probs, log_probs.dtype.min)
    of_several = -tf.reduce_logsumexp(possible, axis=1)
    return tf.where(tf.reduce_sum(targets, axis=1) > 1, of_several, exact)


def compute_map_losses(
    masks: tf.Tensor, tumor_logits: tf.Tensor, bce_weight: float, dice_weight: float
) -> tf.Tensor:
    """Compare a map with an outline: binary cross-entropy by pixel, and overlap where there is a tumour.

    The outline is averaged over the pixels of each place of the map. A picture without a tumour has no
    overlap to learn; the same holds for a tumour that was moved out of the picture.

    Source: soft Dice loss, Milletari et al. 2016, V-Net (arXiv:1606.04797), section 3, with plain sums
    instead of sums of squares below; together with cross-entropy, Isensee et al. 2021, nnU-Net
    (arXiv:1904.08128).

    Args:
        masks: float32 (n, size, size, 1), [0, 1], 1 inside the outline.
        tumor_logits: float32 (n, side, side, 1); side divides size.
        bce_weight: of the mean cross-entropy of the pixels.
        dice_weight: of 1 - Dice.

    Returns:
        float32 (n,).
    """
    stride = masks.shape[1] // tumor_logits.shape[1]
    inside = tf.nn.avg_pool2d(masks, stride, stride, "VALID")
    axes = (1, 2, 3)
    bce = tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(inside, tumor_logits), axis=axes)
    found, area = tf.sigmoid(tumor_logits), tf.reduce_sum(inside, axis=axes)
    both, sums = tf.reduce_sum(inside * found, axis=axes), area + tf.reduce_sum(found, axis=axes)
    dice = (2 * both + DICE_SMOOTHING) / (sums + DICE_SMOOTHING)
    return bce_weight * bce + tf.where(area > 0, dice_weight * (1 - dice), 0.0)


def average_known(values: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    """Compute this replica's part of a mean over the images of the whole batch that have a weight.

    The sum of all replicas' parts is the mean, whoever has how many of those images; as gradients are summed,
    too, the number of replicas changes nothing. It is divided by the number of images, not by the sum of
    weights: half the weight is half the pull even for the only such image of a batch. Call it in a replica.

    Args:
        values: float32 (n,), finite.
        weights: float32 (n,), 0 where nothing is known.

    Returns:
        float32 (); 0 where no image of the batch has a weight.
    """
    counted = tf.reduce_sum(tf.cast(weights > 0, tf.float32))
    counted = tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, counted)
    return tf.reduce_sum(values * weights) / tf.maximum(counted, 1.0)
