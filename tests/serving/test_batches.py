"""Batches, streams, and what else a caller hands to a classifier from Python."""

import io
import itertools
import json
import pickle
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from serving import Classifier, ImageError, from_pretrained
from serving.app.views import EXAMPLES
from serving.model.artefact import BUNDLED
from serving.model.runtime import MAX_BATCH, MAX_INTERPRETERS
from serving.preprocess import decode


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return from_pretrained()


def test_a_batch_is_scored_in_company(classifier, monkeypatch):
    sizes, score = [], Classifier.score

    def record(self, images, coloured, shapes):
        sizes.append(len(images))
        return score(self, images, coloured, shapes)

    monkeypatch.setattr(Classifier, "score", record)
    count = 2 * MAX_BATCH + 3
    assert len(classifier.predict_batch([np.zeros((9, 9), np.uint8)] * count)) == count
    assert sorted(sizes) == [3, MAX_BATCH, MAX_BATCH]


def test_every_picture_of_a_batch_is_answered(classifier, tmp_path):
    """Errors take the place of answers, and name their place; the others are as without them."""
    (tmp_path / "notes.txt").write_text("no picture")
    paths = sorted(EXAMPLES.glob("*.png"))
    bad = {2: b"", 11: tmp_path / "notes.txt", 17: None, 18: np.full((9, 9), np.nan)}
    sources = [bad.get(place, paths[place % len(paths)]) for place in range(20)]
    answers = classifier.predict_batch(sources, errors="return")
    assert len(answers) == len(sources)
    for place, (answer, source) in enumerate(zip(answers, sources, strict=True)):
        if place in bad:
            assert isinstance(answer, ImageError)
            assert str(answer).startswith(f"Picture {place} of the batch: ")
        else:
            assert answer.label == source.stem
    assert "notes.txt is not a picture" in str(answers[11])
    with pytest.raises(ImageError, match="Picture 2 of the batch: The upload is empty"):
        classifier.predict_batch(sources)
    with pytest.raises(ValueError, match="raise or return as errors, got 'ignore'"):
        classifier.predict_batch(sources, errors="ignore")


def test_a_stream_gives_answers_while_it_takes_pictures(classifier):
    taken, picture = [], decode(EXAMPLES / "glioma.png")

    def endless():
        for number in itertools.count():
            taken.append(number)
            yield picture if number != 20 else b""

    answers = classifier.predict_stream(endless())
    assert taken == []
    assert [next(answers).label for _ in range(20)] == ["glioma"] * 20
    assert len(taken) <= (MAX_INTERPRETERS + 4) * MAX_BATCH
    with pytest.raises(ImageError, match="Picture 20 of the batch"):
        next(answers)


def test_progress_is_shown_on_stderr_when_it_is_asked_for(classifier, capfd):
    sources = [np.zeros((9, 9), np.uint8)] * 9
    classifier.predict_batch(sources)
    assert "Scoring" not in capfd.readouterr().err
    assert len(classifier.predict_batch(iter(sources), progress=True)) == 9
    told = capfd.readouterr()
    assert "Scoring" in told.err
    assert told.out == ""


def test_open_files_are_read_and_stay_open(classifier, tmp_path):
    path = EXAMPLES / "glioma.png"
    expected = classifier.predict(path).probabilities
    with path.open("rb") as file:
        assert classifier.predict(file).probabilities == expected
        assert not file.closed
    assert classifier.predict(io.BytesIO(path.read_bytes())).probabilities == expected
    (tmp_path / "notes.txt").write_text("text")
    with (tmp_path / "notes.txt").open() as text, pytest.raises(ImageError, match="mode 'rb'"):
        classifier.predict(text)
    with pytest.raises(ImageError, match="cannot be read: read of closed file"):
        classifier.predict(file)


@pytest.mark.parametrize("source", [None, 7, [[1, 2]], {"path": "slice.png"}])
def test_what_is_no_picture_at_all_is_refused(classifier, source):
    with pytest.raises(ImageError, match=f"Expected a path, .* got {type(source).__name__}"):
        classifier.predict(source)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("shape", [(60, 50), (60, 50, 1), (60, 50, 3)])
def test_an_array_without_a_number_is_refused(classifier, shape, value):
    for dtype in (np.float16, np.float64):
        with pytest.raises(ImageError, match="The array holds no finite number"):
            classifier.predict(np.full(shape, value, dtype))
    some = np.full(shape, value)
    some[20:40, 20:40] = np.arange(20).reshape(-1, 1, *[1] * (len(shape) - 2))
    classifier.predict(some)


def test_a_float_picture_without_a_number_is_refused(classifier):
    stream = io.BytesIO()
    Image.fromarray(np.full((60, 50), np.nan, np.float32)).save(stream, "TIFF")
    with pytest.raises(ImageError, match="The picture holds no finite number"):
        classifier.predict(stream.getvalue())


def test_a_pickled_classifier_loads_its_folder(tmp_path, monkeypatch):
    """In a new process, and whatever the working folder has become."""
    shutil.copytree(BUNDLED, tmp_path / "artefact")
    monkeypatch.chdir(tmp_path)
    classifier, path = from_pretrained("artefact"), EXAMPLES / "glioma.png"
    monkeypatch.chdir("/")
    content = pickle.dumps([classifier, path])
    assert len(content) < 2000
    code = """
import json, pickle, sys
classifier, path = pickle.load(sys.stdin.buffer)
json.dump(classifier.predict(path).probabilities, sys.stdout)
"""
    told = subprocess.run([sys.executable, "-c", code], input=content, capture_output=True, check=True)
    assert json.loads(told.stdout) == classifier.predict(path).probabilities


def test_predictions_travel_between_processes(classifier):
    prediction = classifier.predict(EXAMPLES / "glioma.png")
    assert pickle.loads(pickle.dumps(prediction)).to_dict() == prediction.to_dict()
