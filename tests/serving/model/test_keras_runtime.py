"""The Keras runtime: the same answers as LiteRT, and files of unknown origin that get to run nothing."""

import json
import logging
import os
import random
import shutil
import sys
import warnings
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest

from serving import ArtefactError, from_pretrained
from serving.app.views import EXAMPLES
from serving.model.artefact import (
    BUNDLED,
    CONFIG_FILE,
    KERAS_FILE,
    LITERT_FILE,
    compute_sha256,
    list_files,
    verify_artefact,
)
from serving.model.keras_runtime import ARCHIVE_MEMBERS

PICTURES = sorted(EXAMPLES.glob("*.png"))


@pytest.fixture
def artefact(tmp_path) -> Path:
    return shutil.copytree(BUNDLED, tmp_path / "model")


def replace_keras(artefact: Path, config: dict | None = None, **members: bytes) -> Path:
    """Write another model.keras with the right sha256 in config.json, as whoever swaps a file can."""
    path = artefact / KERAS_FILE
    with zipfile.ZipFile(BUNDLED / KERAS_FILE) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    if config is not None:
        content["config.json"] = json.dumps(config).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, value in (content | members).items():
            archive.writestr(name, value)
    return sign(artefact)


def sign(artefact: Path) -> Path:
    config = json.loads((artefact / CONFIG_FILE).read_text())
    config["sha256"][KERAS_FILE] = compute_sha256(artefact / KERAS_FILE)
    (artefact / CONFIG_FILE).write_text(json.dumps(config))
    return artefact


def describe_process() -> dict[str, object]:
    """What belongs to the whole process, and loading a model has no business to change."""
    return {
        "random numbers": random.getstate(),
        "NumPy's random numbers": str(np.random.get_state()),
        "policy": keras.config.dtype_policy().name,
        "float": keras.config.floatx(),
        "safe mode": keras.src.saving.serialization_lib.in_safe_mode(),
        "environment": dict(os.environ),
        "warnings": list(warnings.filters),
        "logging": (logging.root.level, list(logging.root.handlers)),
    }


@pytest.fixture
def mixed_policy():
    """As a training in mixed precision sets it."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    yield
    keras.config.set_dtype_policy(before)


@pytest.mark.usefixtures("mixed_policy")
def test_loading_changes_nothing_of_the_process(artefact):
    before = describe_process()
    logits = from_pretrained(artefact, runtime="keras").predict(PICTURES[0]).logits
    assert describe_process() == before
    assert logits == pytest.approx(from_pretrained(artefact).predict(PICTURES[0]).logits, abs=1e-4)


@pytest.mark.usefixtures("mixed_policy")
def test_loading_that_fails_changes_nothing_of_the_process(artefact):
    """The weights in the file are not those of its layers, which Keras finds out once it has built them."""
    model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(4)])
    replace_keras(artefact, keras.saving.serialize_keras_object(model))
    before = describe_process()
    with pytest.raises(ArtefactError, match="was refused or cannot be read"):
        from_pretrained(artefact, runtime="keras")
    assert describe_process() == before


def test_both_runtimes_give_the_same_answers_from_their_own_file_alone(artefact):
    light = from_pretrained(artefact).predict_batch(PICTURES)
    (artefact / LITERT_FILE).unlink()
    heavy = from_pretrained(artefact, runtime="keras").predict_batch(PICTURES)
    for ours, theirs in zip(light, heavy, strict=True):
        assert (ours.label, ours.prediction_sets) == (theirs.label, theirs.prediction_sets)
        assert ours.probabilities == pytest.approx(theirs.probabilities, abs=1e-4)
        assert ours.domain_distance == pytest.approx(theirs.domain_distance, abs=1e-4)
        np.testing.assert_allclose(ours.heatmap, theirs.heatmap, atol=1e-3)


def test_there_are_two_runtimes():
    with pytest.raises(ValueError, match="litert or keras as runtime, got 'torch'"):
        from_pretrained(runtime="torch")


def test_without_keras_it_says_what_to_install(monkeypatch):
    monkeypatch.delitem(sys.modules, "serving.model.keras_runtime")
    monkeypatch.setitem(sys.modules, "keras", None)
    with pytest.raises(ArtefactError, match=r"needs keras: pip install '\.\[train\]'"):
        from_pretrained(runtime="keras")


def test_a_saved_artefact_is_whole(artefact, tmp_path):
    saved = tmp_path / "deep" / "saved"
    from_pretrained(artefact).save_pretrained(saved)
    assert verify_artefact(saved).raw == json.loads((artefact / CONFIG_FILE).read_text())
    from_pretrained(artefact).save_pretrained(saved)  # in its place
    assert list_files(saved) == list_files(artefact)


@pytest.mark.parametrize("damage", ["one bit", "cut short", "another model"])
def test_damaged_or_swapped_file_is_refused_by_name(artefact, damage):
    content = bytearray((artefact / KERAS_FILE).read_bytes())
    if damage == "one bit":
        content[len(content) // 2] ^= 1
    (artefact / KERAS_FILE).write_bytes(
        {"cut short": content[: len(content) // 2], "another model": b"PK"}.get(damage, bytes(content))
    )
    with pytest.raises(ArtefactError, match=f"{KERAS_FILE} in .* is damaged or was swapped"):
        from_pretrained(artefact, runtime="keras")


def test_file_without_a_stated_sha256_is_refused(artefact):
    config = json.loads((artefact / CONFIG_FILE).read_text())
    del config["sha256"][KERAS_FILE]
    (artefact / CONFIG_FILE).write_text(json.dumps(config))
    with pytest.raises(ArtefactError, match=f"states no sha256 of {KERAS_FILE}"):
        from_pretrained(artefact, runtime="keras")


def test_file_that_was_cut_short_before_it_was_signed_is_called_so(artefact):
    (artefact / KERAS_FILE).write_bytes((artefact / KERAS_FILE).read_bytes()[:100_000])
    with pytest.raises(ArtefactError, match=f"{KERAS_FILE} is damaged or cut short"):
        from_pretrained(sign(artefact), runtime="keras")


def build_lambda(trace: Path) -> dict:
    """A model whose Lambda layer writes a file, as Keras itself would save it."""
    code = f"lambda x: (open({str(trace)!r}, 'w').close(), x)[1]"
    config = keras.saving.serialize_keras_object(
        keras.Sequential([keras.layers.Input((4,)), keras.layers.Lambda(eval(code))])
    )
    trace.unlink()  # building it ran it
    return config


def build_layer(module: str, name: str, **config: object) -> dict:
    """A Sequential model with one layer, as a file of an attacker would name it."""
    layer = {
        "module": module,
        "class_name": name,
        "config": {"name": "layer", **config},
        "registered_name": None,
    }
    return {
        "module": "keras",
        "class_name": "Sequential",
        "config": {"name": "model", "layers": [layer]},
        "registered_name": None,
    }


ATTACKS = [
    "Lambda",
    "TFSMLayer",
    "os.system as a layer",
    "os.system as the model",
    "os.system as an activation",
    "subprocess.run",
    "unsafe deserialization",
    "builtins.exec",
]


def build_attacks(trace: Path) -> dict[str, dict]:
    command = f"touch {trace}"
    call = {"module": "os", "class_name": "function", "config": "system", "registered_name": "function"}
    return {
        "Lambda": build_lambda(trace),
        "TFSMLayer": build_layer(
            "keras.layers", "TFSMLayer", filepath=str(trace.parent / "saved_model"), call_endpoint="serve"
        ),
        "os.system as a layer": build_layer("os", "system", command=command),
        "os.system as the model": {
            "module": "os",
            "class_name": "system",
            "config": {"command": command},
            "registered_name": None,
        },
        "os.system as an activation": build_layer("keras.layers", "Dense", units=2, activation=call),
        "subprocess.run": build_layer("subprocess", "run", args=["touch", str(trace)]),
        "unsafe deserialization": build_layer("keras.config", "enable_unsafe_deserialization"),
        "builtins.exec": build_layer("builtins", "exec", source=f"open({str(trace)!r}, 'w')"),
    }


@pytest.mark.parametrize("attack", ATTACKS)
def test_malicious_model_is_refused_and_nothing_ran(artefact, tmp_path, attack):
    trace = tmp_path / "trace"
    replace_keras(artefact, build_attacks(trace)[attack])
    with pytest.raises(ArtefactError, match=f"{KERAS_FILE} was refused"):
        from_pretrained(artefact, runtime="keras")
    assert not trace.exists()
    if attack == "Lambda":  # one that would have run is noticed
        keras.saving.load_model(artefact / KERAS_FILE, safe_mode=False)
        assert trace.exists()


def test_saved_model_beside_it_is_not_run(tmp_path, artefact):
    """TFSMLayer would load it, where it is there."""
    import tensorflow as tf

    class Writer(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec((None, 4))])
        def serve(self, x):
            tf.io.write_file(str(tmp_path / "trace"), "ran")
            return x

    writer = Writer()
    tf.saved_model.save(writer, str(tmp_path / "saved_model"), signatures={"serve": writer.serve})
    replace_keras(artefact, build_attacks(tmp_path / "trace")["TFSMLayer"])
    with pytest.raises(ArtefactError, match="was refused"):
        from_pretrained(artefact, runtime="keras")
    assert not (tmp_path / "trace").exists()


@pytest.mark.parametrize(
    "name", ["../../trace", "/trace", "assets/vocabulary.txt", "payload.pkl", "__init__.py"]
)
def test_archive_with_more_than_a_model_is_refused_by_name(artefact, tmp_path, name):
    before = {path for path in tmp_path.rglob("*")}
    replace_keras(artefact, None, **{name: b"evil"})
    with pytest.raises(ArtefactError, match=f"holds {name} beside a model"):
        from_pretrained(artefact, runtime="keras")
    assert {path for path in tmp_path.rglob("*")} == before


def test_own_models_hold_what_is_allowed():
    with zipfile.ZipFile(BUNDLED / KERAS_FILE) as archive:
        assert set(archive.namelist()) == ARCHIVE_MEMBERS


def test_model_of_another_shape_is_refused(artefact):
    images = keras.layers.Input((64, 64, 1))
    embedding = keras.layers.GlobalAveragePooling2D(name="embedding")(images)
    keras.Model(images, keras.layers.Dense(4, name="logits")(embedding)).save(artefact / KERAS_FILE)
    with pytest.raises(ArtefactError, match=f"{KERAS_FILE} has .* but {CONFIG_FILE} says"):
        from_pretrained(sign(artefact), runtime="keras")


def test_model_without_the_layers_that_explain_it_is_refused(artefact):
    keras.Sequential([keras.layers.Input((192, 192, 1)), keras.layers.Flatten(), keras.layers.Dense(4)]).save(
        artefact / KERAS_FILE
    )
    with pytest.raises(ArtefactError, match=f"{KERAS_FILE} is no model that can be run"):
        from_pretrained(sign(artefact), runtime="keras")
