"""What a prediction says of the tumour map: in the frame of the picture, and nothing where it is refused."""

import dataclasses
import json

import numpy as np
import pytest

from serving.model.guard import Verdict
from serving.model.outline import compute_area
from serving.model.prediction import FoundTumor, Prediction

HEIGHT, WIDTH = 120, 200


@pytest.fixture
def prediction() -> Prediction:
    """Of a wide picture with a region in its left half."""
    square = np.zeros((40, 40), np.float32)
    square[18:22, 8:12] = 0.75
    return Prediction(
        label="glioma",
        unguarded_probabilities={"glioma": 0.9, "notumor": 0.1},
        prediction_sets={0.95: ("glioma",)},
        verdict=Verdict.like_training,
        reason="",
        domain_distance=0.2,
        logits=np.zeros(2, np.float32),
        cams=np.zeros((5, 5, 2), np.float32),
        found=FoundTumor(square, threshold=0.4, share=0.03, height=HEIGHT, width=WIDTH, fit="pad"),
    )


def test_the_map_is_in_the_pictures_own_frame(prediction):
    assert prediction.tumor_map.shape == prediction.tumor_mask.shape == (HEIGHT, WIDTH)
    assert prediction.tumor_map.dtype == np.float32
    rows, columns = np.nonzero(prediction.tumor_mask)
    assert (rows.mean() + 0.5, columns.mean() + 0.5) == pytest.approx((HEIGHT / 2, WIDTH / 4))
    assert prediction.tumor_peak == prediction.tumor_map.max() == 0.75
    assert prediction.tumor_share == 0.03


def test_outlines_are_around_the_mask(prediction):
    [outline] = prediction.outlines
    assert outline.mean(axis=0) == pytest.approx((WIDTH / 4, HEIGHT / 2), abs=0.01)
    assert compute_area(outline) == pytest.approx(prediction.tumor_mask.sum(), rel=0.05)


def test_large_parts_are_made_when_they_are_asked_for_and_once(prediction):
    assert not {"tumor_map", "outlines", "heatmaps"} & set(vars(prediction))
    assert prediction.tumor_map is prediction.tumor_map
    assert prediction.outlines is prediction.outlines


def test_as_json(prediction):
    told = json.loads(json.dumps(prediction.to_dict()))
    assert told["tumor_share"] == 0.03
    [[ring]] = told["outlines"]["coordinates"]
    assert ring[0] == ring[-1]
    np.testing.assert_allclose(ring[:-1], prediction.outlines[0], atol=0.006)


def test_a_refused_picture_has_a_map_and_no_outline(prediction):
    refused = dataclasses.replace(prediction, label=None, verdict=Verdict.not_brain_mri, reason="No head.")
    np.testing.assert_array_equal(refused.tumor_map, prediction.tumor_map)
    assert refused.tumor_peak == 0.75
    assert refused.outlines == ()
    assert not refused.tumor_mask.any()
    assert refused.tumor_share is None
    assert (refused.to_dict()["outlines"], refused.to_dict()["tumor_share"]) == (None, None)


def test_without_a_map_there_is_nothing(prediction):
    without = dataclasses.replace(prediction, found=None)
    assert without.tumor_map is without.tumor_mask is without.tumor_share is without.tumor_peak is None
    assert without.outlines == ()
    assert without.to_dict()["outlines"] is without.to_dict()["tumor_share"] is None
