import dataclasses
import json
import shutil
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from serving import ArtefactError, Classifier, ImageError, from_pretrained
from serving.app.views import EXAMPLES
from serving.classifier import CHUNK
from serving.model.artefact import BUNDLED, compute_sha256
from serving.model.combination import REGION_WITHOUT_TUMOUR, TUMOUR_WITHOUT_REGION
from serving.model.guard import UNLIKE, Verdict
from serving.model.runtime import LiteRTModel
from serving.preprocess import decode, fit_to_square

LABELS = ("glioma", "meningioma", "notumor", "pituitary")


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return from_pretrained()


@pytest.mark.parametrize("label", LABELS)
def test_bundled_model_reads_the_examples(classifier, label):
    prediction = classifier.predict(EXAMPLES / f"{label}.png")
    assert prediction.label == label
    assert prediction.verdict is Verdict.like_training
    assert prediction.in_domain
    assert prediction.reason == ""
    assert prediction.prediction_set[0] == label
    assert tuple(prediction.probabilities) == LABELS
    assert sum(prediction.probabilities.values()) == pytest.approx(1.0)
    assert max(prediction.probabilities, key=prediction.probabilities.__getitem__) == label
    assert tuple(prediction.heatmaps) == LABELS
    for heatmap in prediction.heatmaps.values():
        assert heatmap.shape == prediction.cams.shape[:2]
        assert heatmap.dtype == np.float32
        assert 0 <= heatmap.min() <= heatmap.max() <= 1
    assert prediction.heatmap is prediction.heatmaps[label]


def test_sets_grow_with_the_coverage(tmp_path):
    calibration = json.loads((BUNDLED / "config.json").read_text())["calibration"] | {
        "prediction_set_thresholds": {"0.95": 0.4, "0.99": 0.001}
    }
    prediction = from_pretrained(change_artefact(tmp_path / "artefact", calibration=calibration)).predict(
        EXAMPLES / "meningioma.png"
    )
    likely = sorted(
        (label for label, prob in prediction.probabilities.items() if prob >= 0.001),
        key=lambda label: -prediction.probabilities[label],
    )
    assert prediction.prediction_set == prediction.prediction_sets[0.95] == ("meningioma",)
    assert prediction.prediction_sets[0.99] == tuple(likely)
    assert len(likely) > 1
    told = prediction.to_dict()
    assert told["prediction_set"] == ["meningioma"]
    assert told["prediction_sets"] == {"0.95": ["meningioma"], "0.99": likely}


def test_every_kind_of_source_gives_the_same_answer(classifier):
    path = EXAMPLES / "glioma.png"
    image = Image.open(path)
    expected = classifier.predict(path).probabilities
    for source in (
        str(path),
        path.read_bytes(),
        image,
        np.asarray(image),
        np.asarray(image.convert("RGB")),
        decode(path),
    ):
        assert classifier.predict(source).probabilities == expected


def test_batch_equals_one_by_one(classifier):
    paths = sorted(EXAMPLES.glob("*.png")) * 10  # 40: more than one batch of the runtime
    for together, path in zip(classifier.predict_batch(paths), paths, strict=True):
        alone = classifier.predict(path)
        assert together.label == alone.label
        assert list(together.probabilities.values()) == pytest.approx(
            list(alone.probabilities.values()), abs=1e-5
        )


def test_empty_batch(classifier):
    assert classifier.predict_batch([]) == []
    assert classifier.score(np.zeros((0, 160, 160, 1), np.uint8)) == []


def test_chunks_do_not_change_the_answers(classifier, monkeypatch):
    images = np.random.default_rng(0).integers(0, 256, (2 * CHUNK + 1, 160, 160, 1), np.uint8)
    coloured = np.linspace(0, 0.1, len(images))
    in_chunks = classifier.score(images, coloured)
    monkeypatch.setattr("serving.classifier.CHUNK", len(images))
    for ours, theirs in zip(in_chunks, classifier.score(images, coloured), strict=True):
        assert (ours.verdict, ours.reason, ours.label) == (theirs.verdict, theirs.reason, theirs.label)
        np.testing.assert_array_equal(ours.logits, theirs.logits)
        np.testing.assert_array_equal(ours.cams, theirs.cams)
        assert ours.domain_distance == pytest.approx(theirs.domain_distance, rel=1e-5)


# Not `getrusage`: its peak begins with that of the process that started this one.
MEASURE = """
import re
import numpy as np
from serving import from_pretrained

classifier = from_pretrained()
images = np.random.default_rng(0).integers(0, 256, (500, 160, 160, 1), np.uint8)

def measure_peak():
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1]) / 1024

classifier.score(images[:8])
before = measure_peak()
assert len(classifier.score(images)) == 500
print(measure_peak() - before)
"""


def test_memory_does_not_grow_with_the_number_of_slices():
    """By 146 MB where all 500 are scored together."""
    result = subprocess.run([sys.executable, "-c", MEASURE], capture_output=True, text=True, check=True)
    assert float(result.stdout) < 60


def test_threads_do_not_mix_answers(classifier):
    paths = sorted(EXAMPLES.glob("*.png")) * 8
    with ThreadPoolExecutor(8) as pool:
        labels = [prediction.label for prediction in pool.map(classifier.predict, paths)]
    assert labels == [path.stem for path in paths]


def test_a_picture_that_is_no_brain_mri_is_refused(classifier):
    noise = np.random.default_rng(0).integers(0, 256, (224, 224, 3), np.uint8)
    prediction = classifier.predict(noise)
    assert prediction.verdict is Verdict.not_brain_mri
    assert not prediction.in_domain
    assert prediction.reason
    assert prediction.label is None
    assert prediction.probabilities is None
    assert prediction.to_dict()["probabilities"] is None
    assert prediction.prediction_set == ()
    assert prediction.prediction_sets == {0.95: (), 0.99: ()}
    assert prediction.domain_distance > 1


def test_colour_and_emptiness_are_refused_whatever_the_model_says(classifier):
    grey = np.asarray(Image.open(EXAMPLES / "glioma.png").convert("L"))
    tinted = np.dstack([grey, grey, np.maximum(grey, 90)]).astype(np.uint8)
    assert "colour" in classifier.predict(tinted).reason
    for level in (0, 128, 255):
        assert "empty" in classifier.predict(np.full((200, 200), level, np.uint8)).reason


def test_slice_unlike_training_is_scored_with_wider_sets(tmp_path):
    config = json.loads((BUNDLED / "config.json").read_text())
    narrow, wide = {"0.95": 0.5, "0.99": 0.4}, {"0.95": 0.0, "0.99": 0.0}
    calibration = config["calibration"] | {
        "prediction_set_thresholds": narrow,
        "unlike_prediction_set_thresholds": wide,
    }
    for threshold, verdict, size in ((1.0, Verdict.like_training, 1), (0.0, Verdict.unlike_training, 4)):
        changes = {"calibration": calibration, "guard": config["guard"] | {"unlike_threshold": threshold}}
        prediction = from_pretrained(change_artefact(tmp_path / verdict, **changes)).predict(
            EXAMPLES / "glioma.png"
        )
        assert prediction.verdict is verdict
        assert prediction.in_domain
        assert prediction.label == "glioma"
        assert len(prediction.prediction_set) == size
        assert bool(prediction.reason) is (verdict is Verdict.unlike_training)


class Mapping(LiteRTModel):
    """The bundled model, and a tumour map that is `peak` where a mark of white pixels is."""

    peak = 0.8

    def run(self, images):
        outputs = super().run(images)
        places = images.reshape(len(images), 40, 4, 40, 4).min(axis=(2, 4))
        return dataclasses.replace(outputs, tumor_maps=np.where(places == 255, np.float32(self.peak), 0))


@pytest.fixture
def mapping(tmp_path, monkeypatch) -> Classifier:
    """A classifier with a tumour map, at threshold .5; the classes decide on tumour or none."""
    monkeypatch.setattr("serving.model.loading.LiteRTModel", Mapping)
    combination = {"intercept": 0, "class": 1, "map": 0}
    folder = change_artefact(tmp_path / "mapping", map={"threshold": 0.5, "combination": combination})
    return from_pretrained(folder)


def read_marked(label: str, side: int = 224) -> np.ndarray:
    """An example with a white mark left of its middle."""
    grey = np.array(Image.open(EXAMPLES / f"{label}.png").convert("L").resize((side, side)))
    grey[side // 2 - 10 : side // 2 + 10, side // 4 - 10 : side // 4 + 10] = 255
    return grey


def test_the_map_comes_in_the_frame_of_each_picture(mapping):
    """Also of pictures of several shapes in one batch."""
    tall = np.pad(read_marked("glioma"), ((40, 0), (0, 0)))
    first, second = mapping.predict_batch([tall, read_marked("glioma")])
    for prediction, shape, place in ((first, (264, 224), (56, 152)), (second, (224, 224), (56, 112))):
        assert prediction.tumor_map.shape == shape
        assert prediction.tumor_peak == np.float32(0.8)
        [outline] = prediction.outlines
        np.testing.assert_allclose(outline.mean(axis=0), place, atol=4)
        assert 0.001 < prediction.tumor_share < 0.05


def test_scored_images_are_their_own_frame(mapping):
    image = fit_to_square(read_marked("glioma"), 160)
    [prediction] = mapping.score(image[None])
    assert prediction.tumor_map.shape == (160, 160)
    np.testing.assert_allclose(prediction.outlines[0].mean(axis=0), (40, 80), atol=3)


def test_no_tumour_over_a_region_becomes_the_most_probable_kind_with_wider_sets(mapping, classifier):
    picture = read_marked("notumor")
    alone, shown = classifier.predict(picture), mapping.predict(picture)
    assert (alone.label, alone.verdict) == ("notumor", Verdict.like_training)
    kinds = {name: prob for name, prob in alone.probabilities.items() if name != "notumor"}
    assert shown.label == max(kinds, key=kinds.__getitem__)
    assert sum(shown.probabilities.values()) == pytest.approx(1)
    assert shown.probabilities["notumor"] < shown.probabilities[shown.label]
    assert (shown.verdict, shown.reason) == (Verdict.unlike_training, REGION_WITHOUT_TUMOUR)
    thresholds = mapping.config.unlike_prediction_set_thresholds
    for coverage, members in shown.prediction_sets.items():
        likely = {name for name, prob in shown.probabilities.items() if prob >= thresholds[coverage]}
        assert set(members) == likely | {shown.label}


def test_a_tumour_without_a_region_is_told(mapping):
    prediction = mapping.predict(EXAMPLES / "glioma.png")
    assert (prediction.label, prediction.outlines) == ("glioma", ())
    assert (prediction.verdict, prediction.reason) == (Verdict.unlike_training, TUMOUR_WITHOUT_REGION)


def test_where_classes_and_map_agree_nothing_is_told(mapping):
    for label in ("glioma", "notumor"):
        picture = read_marked(label) if label == "glioma" else EXAMPLES / "notumor.png"
        prediction = mapping.predict(picture)
        assert (prediction.label, prediction.verdict, prediction.reason) == (label, Verdict.like_training, "")


def test_a_refused_picture_stays_refused_whatever_the_map_says(mapping):
    noise = np.random.default_rng(0).integers(0, 256, (224, 224, 3), np.uint8)
    noise[100:140, 100:140] = 255
    prediction = mapping.predict(noise)
    assert (prediction.label, prediction.verdict) == (None, Verdict.not_brain_mri)
    assert (prediction.outlines, prediction.tumor_share) == ((), None)


def test_two_reasons_are_both_told(mapping):
    guard = dataclasses.replace(mapping.config.guard, unlike_threshold=0.0)
    mapping.config = dataclasses.replace(mapping.config, guard=guard)
    assert mapping.predict(EXAMPLES / "glioma.png").reason == f"{UNLIKE} {TUMOUR_WITHOUT_REGION}"


def test_unreadable_picture_is_an_error(classifier):
    with pytest.raises(ImageError):
        classifier.predict(b"no picture")


def test_prediction_is_frozen(classifier):
    prediction = classifier.predict(EXAMPLES / "glioma.png")
    with pytest.raises(dataclasses.FrozenInstanceError):
        prediction.label = "notumor"


def test_folder_and_bundled_model_agree():
    assert from_pretrained(BUNDLED).config.raw == from_pretrained().config.raw


def test_neither_folder_nor_repository():
    with pytest.raises(ArtefactError, match="neither"):
        from_pretrained("/no/such/folder")


def change_artefact(folder: Path, **changes: object) -> Path:
    """Copy of the bundled artefact with other fields in `config.json` and the sha256 of `model.tflite`."""
    shutil.copytree(BUNDLED, folder, dirs_exist_ok=True)
    config = json.loads((BUNDLED / "config.json").read_text()) | changes
    if "litert" in changes:
        (folder / "model.tflite").write_bytes(config.pop("litert"))
    config["sha256"]["model.tflite"] = compute_sha256(folder / "model.tflite")
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"litert": b"no model"}, "no model that can be run"),
        ({"image": {"size": 100, "fit": "pad"}}, "'image size': 160.* says .*'image size': 100"),
        ({"labels": ["a", "b", "c", "d", "e"]}, "'labels': 4.* says .*'labels': 5"),
        (
            {"map": {"threshold": 0.5, "combination": {"intercept": 0, "class": 1, "map": 1}}},
            "'tumour map': False.* says .*'tumour map': True",
        ),
    ],
)
def test_model_that_does_not_fit_its_config_is_refused(tmp_path, changes, message):
    with pytest.raises(ArtefactError, match=message):
        from_pretrained(change_artefact(tmp_path / "artefact", **changes))


def test_bundle_is_small_enough_to_ship():
    assert sum(path.stat().st_size for path in BUNDLED.rglob("*")) < 25_000_000


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("folder", "low", "high"), [("not_brain_mri", 0.95, 1.0), ("other_hospital", 0.0, 0.1)]
)
def test_guard_refuses_what_is_no_brain_mri_and_no_other_hospital(
    classifier, real_data_dir, folder, low, high
):
    if not (real_data_dir / folder).is_dir():
        pytest.skip(f"no pictures in {real_data_dir / folder}")
    paths = [
        path
        for path in sorted((real_data_dir / folder).rglob("*"))
        if path.is_file() and path.suffix != ".txt"
    ]
    refused = [prediction.verdict is Verdict.not_brain_mri for prediction in classifier.predict_batch(paths)]
    assert low <= np.mean(refused) <= high


@pytest.mark.real_data
def test_real_test_slices_of_every_class(classifier, real_data_dir):
    with zipfile.ZipFile(real_data_dir / "brain-tumor-mri-dataset.zip") as archive:
        names = [name for name in sorted(archive.namelist()) if name.startswith("Testing/")][::16]
        predictions = classifier.predict_batch([archive.read(name) for name in names])
    correct = [
        prediction.label == name.split("/")[1] for prediction, name in zip(predictions, names, strict=True)
    ]
    assert np.mean(correct) > 0.9
    assert sum(prediction.verdict is Verdict.not_brain_mri for prediction in predictions) <= 2
