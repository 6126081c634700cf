import numpy as np
import pytest

from serving import from_pretrained
from serving.app.page import EXAMPLES
from serving.preprocess import decode_grey
from serving.summary import summarise_volume


def test_summary_counts_and_finds_the_longest_run():
    classifier, glioma = from_pretrained(), decode_grey(EXAMPLES / "glioma.png")
    healthy, noise = (
        decode_grey(EXAMPLES / "notumor.png"),
        np.random.default_rng(0).integers(0, 256, (99, 99), np.uint8),
    )
    predictions = classifier.predict_batch([noise, healthy, glioma, glioma, healthy, glioma])
    summary = summarise_volume(predictions)
    assert summary.counts == {"not_brain_mri": 1, "glioma": 3, "meningioma": 0, "notumor": 2, "pituitary": 0}
    assert summary.longest_runs["glioma"] == 2
    assert summary.most_affected == (2, 3, 5)
    assert sum(summary.mean_probabilities.values()) == pytest.approx(1)
    assert summary.mean_probabilities["glioma"] == pytest.approx(
        np.mean([one.probabilities["glioma"] for one in predictions[1:]])
    )
    assert summarise_volume(predictions[:1]).mean_probabilities is None
    assert summarise_volume(predictions[:1]).most_affected == ()
