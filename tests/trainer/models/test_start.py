"""A run that starts from a model takes what both have, and says what that was."""

import json
from pathlib import Path

import numpy as np
import pytest

from serving.model.artefact import BUNDLED, KERAS_FILE, ArtefactError
from serving.model.keras_runtime import load_safely
from trainer.config import ConfigError, ModelConfig
from trainer.models import start as module
from trainer.models.build import build_model
from trainer.models.start import start_from

ARCHITECTURE = "efficientnet_lite0"
NEW_LABELS = ("notumor", "abscess", "glioma")


@pytest.fixture(scope="module")
def started():
    model = build_model(ModelConfig(pretrained=False, decoder_channels=8), 32, len(NEW_LABELS))
    before = {layer.name: [np.array(weight) for weight in layer.weights] for layer in model.layers}
    return model, before, start_from(model, "bundled", ARCHITECTURE, NEW_LABELS)


def test_the_backbone_is_the_models_and_the_decoder_stays_as_drawn(started):
    model, before, _ = started
    source = load_safely(BUNDLED / KERAS_FILE)
    for layer in model.layers:
        expected = before[layer.name]
        if layer.name != "logits" and layer.name in {other.name for other in source.layers}:
            expected = source.get_layer(layer.name).weights
        for weight, value in zip(layer.weights, expected, strict=True):
            if layer.name != "logits":
                np.testing.assert_array_equal(np.array(weight), np.array(value))


def test_of_the_last_layer_labels_that_both_know_are_taken(started):
    model, before, _ = started
    kernel, bias = (np.array(weight) for weight in model.get_layer("logits").weights)
    other_kernel, other_bias = (
        np.array(weight) for weight in load_safely(BUNDLED / KERAS_FILE).layers[-1].weights
    )
    # The bundled model's labels: glioma, meningioma, notumor, pituitary.
    for own, other in ((0, 2), (2, 0)):
        np.testing.assert_array_equal(kernel[:, own], other_kernel[:, other])
        assert bias[own] == other_bias[other]
    np.testing.assert_array_equal(kernel[:, 1], before["logits"][0][:, 1])


def test_what_was_taken_is_recorded(started):
    _, _, start = started
    stated = json.loads((BUNDLED / "config.json").read_text())["sha256"][KERAS_FILE]
    assert (start.model, start.commit, start.sha256) == ("bundled", "", stated)
    assert start.labels == ("notumor", "glioma")
    taken, total = start.layers
    assert (
        total - taken == 4 + 3 + 3 + 1
    )  # lateral, smooth and batch norm layers of the decoder, its last one
    assert json.loads(json.dumps(start.to_dict()))["layers"] == [taken, total]


def test_another_architecture_is_refused_with_the_remedy():
    model = build_model(ModelConfig(architecture="reference_vgg", pretrained=False), 64, 4)
    with pytest.raises(ConfigError, match=r"reference_vgg, got bundled, which is\s+efficientnet_lite0\. Set"):
        start_from(model, "bundled", "reference_vgg", ("glioma",))


def test_repositories_are_named_with_their_revision(monkeypatch, tmp_path):
    asked = []

    def locate(name: str, revision: str | None, files: tuple[str, ...]) -> Path:
        asked.append((name, revision))
        assert KERAS_FILE in files
        return tmp_path / "abc123"

    monkeypatch.setattr(module, "locate_artefact", locate)
    for name in ("someone/brains@v2", "someone/brains"):
        with pytest.raises(ArtefactError):  # the folder is empty
            start_from(None, name, ARCHITECTURE, NEW_LABELS)
    assert asked == [("someone/brains", "v2"), ("someone/brains", None)]
