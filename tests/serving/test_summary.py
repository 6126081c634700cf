import io
import zipfile

import numpy as np
import pytest

from serving import from_pretrained
from serving.app.views import EXAMPLES
from serving.pictures.anatomy import Volume
from serving.pictures.volumes import read_volume
from serving.preprocess import decode_grey
from serving.summary import measure_area, summarise_volume
from tests.bad_volumes import make_dicom, save_dicom
from tests.bright_map import load_bright_classifier


def make_volume(count: int, **fields) -> Volume:
    return Volume((np.zeros((9, 9), np.uint8),) * count, "DICOM", None, None, {}, **fields)


def test_summary_counts_and_finds_the_longest_run():
    classifier, glioma = from_pretrained(), decode_grey(EXAMPLES / "glioma.png")
    healthy, noise = (
        decode_grey(EXAMPLES / "notumor.png"),
        np.random.default_rng(0).integers(0, 256, (99, 99), np.uint8),
    )
    predictions = classifier.predict_batch([noise, healthy, glioma, glioma, healthy, glioma])
    volume = make_volume(6)
    summary = summarise_volume(predictions, volume)
    assert summary.counts == {"not_brain_mri": 1, "glioma": 3, "meningioma": 0, "notumor": 2, "pituitary": 0}
    assert summary.longest_runs["glioma"] == 2
    assert summary.most_affected == (2, 3, 5)
    assert sum(summary.mean_probabilities.values()) == pytest.approx(1)
    assert summary.mean_probabilities["glioma"] == pytest.approx(
        np.mean([one.probabilities["glioma"] for one in predictions[1:]])
    )
    assert summarise_volume(predictions[:1], volume).mean_probabilities is None
    assert summarise_volume(predictions[:1], volume).most_affected == ()
    assert (summary.outlined_slices, summary.largest_slice, summary.volume_ml) == (None, None, None)


def pack(contents: list[bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for number, content in enumerate(contents):
            archive.writestr(f"{number:03d}", content)
    return packed.getvalue()


# Millimetres.
RADIUS, PIXEL, CENTRE = 25.0, 0.8, 40.0


def draw_sphere(heights, places=True, **fields) -> bytes:
    """A zip of a DICOM series of 160 x 160 pixels with a bright sphere; slices lie at `heights`, mm."""
    rows, columns = np.mgrid[:160, :160] * PIXEL
    fields |= {"PixelSpacing": [PIXEL, PIXEL], "WindowCenter": 500.5, "WindowWidth": 1001}
    contents = []
    for number, height in enumerate(heights):
        from_centre = np.sqrt((rows - 70) ** 2 + (columns - 55) ** 2 + (height - CENTRE) ** 2)
        # A slope of a pixel, as a scanner blurs it; the background is no single grey level.
        inside = np.clip((RADIUS - from_centre) / PIXEL + 0.8, 0, 1)
        pixels = (50 + rows / 4 + 900 * inside).astype(np.uint16)
        place = {"ImagePositionPatient": [0, 0, height]} if places else {}
        axes = {"ImageOrientationPatient": [1, 0, 0, 0, 1, 0], "InstanceNumber": number + 1}
        contents.append(save_dicom(make_dicom(pixels, **axes, **place, **fields)))
    return pack(contents)


@pytest.fixture(scope="module")
def bright():
    return load_bright_classifier(refuses=False)


def summarise(classifier, content: bytes):
    volume = read_volume(content)
    return summarise_volume(classifier.predict_batch(volume.slices), volume)


SPHERE_ML = 4 / 3 * np.pi * RADIUS**3 / 1000


@pytest.mark.parametrize(
    # All through the sphere: a slice that shows little of the window of its header may get another one.
    "heights",
    [np.arange(16, 65, 3.0), np.r_[np.arange(16, 40, 2.0), np.arange(40, 65, 4.0)]],
)
def test_volume_of_a_sphere_by_the_places_of_its_slices(bright, heights):
    """Also where slices lie unevenly, and whatever thickness the header states."""
    summary = summarise(bright, draw_sphere(heights, SliceThickness=9))
    assert summary.volume_ml == pytest.approx(SPHERE_ML, rel=0.03)
    assert summary.volume_basis == "positions"
    assert summary.outlined_slices == len(heights)
    assert abs(heights[summary.largest_slice] - CENTRE) <= 2


def test_volume_by_thickness_where_places_are_not_stated(bright):
    heights = np.arange(16, 65, 4.0)
    summary = summarise(bright, draw_sphere(heights, places=False, SliceThickness=4))
    assert summary.volume_ml == pytest.approx(SPHERE_ML, rel=0.03)
    assert summary.volume_basis == "thickness"
    summary = summarise(bright, draw_sphere(heights[5:8], places=False))
    assert (summary.volume_ml, summary.volume_basis, summary.outlined_slices) == (None, None, 3)


def test_area_is_that_of_the_disc(bright):
    [prediction] = bright.predict_batch(read_volume(draw_sphere([CENTRE])).slices)
    pixel_mm2 = read_volume(draw_sphere([CENTRE])).pixel_mm2
    assert pixel_mm2 == pytest.approx(PIXEL**2)
    assert measure_area(prediction, pixel_mm2) == pytest.approx(np.pi * RADIUS**2, rel=0.03)
    assert measure_area(prediction, None) is None
    assert measure_area(from_pretrained().predict(np.eye(200, dtype=np.uint8)), 1.0) is None


def test_spacings_that_differ_or_are_no_lengths_are_not_used():
    slices = [make_dicom(InstanceNumber=number, PixelSpacing=[0.8, 0.8]) for number in (1, 2)]
    for dataset in slices:
        dataset.SliceThickness = "4.321"
    stated = [save_dicom(dataset) for dataset in slices]
    assert read_volume(pack(stated)).thickness_mm == 4.321
    named = [content.replace(b"4.321 ", b"Jane  ") for content in stated]
    assert named[0] != stated[0]
    assert (read_volume(pack(named)).thickness_mm, len(read_volume(pack(named)).slices)) == (None, 2)
    slices[0].PixelSpacing = [0.9, 0.9]
    assert read_volume(pack([save_dicom(dataset) for dataset in slices])).pixel_mm2 is None
