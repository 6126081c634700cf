import json
import re
import shutil

import keras
import numpy as np
import pytest
from huggingface_hub import ModelCard
from typer.testing import CliRunner

from serving import Classifier, from_pretrained
from serving.model.artefact import compute_sha256
from serving.model.calibration import compute_probabilities
from trainer.cli.main import app
from trainer.data.input_pipeline import compute_fingerprint, load_builder, load_split
from trainer.models.build import EMBEDDING_LAYER, LOGITS_LAYER


@pytest.fixture(scope="module")
def artefact(tiny_run):
    return tiny_run / "artefact"


def test_folder_holds_what_the_hub_shows(artefact):
    assert {path.name for path in artefact.iterdir()} == {
        "README.md",
        "config.json",
        "figures",
        "metrics.json",
        "model.keras",
        "model.tflite",
    }


def test_config_records_where_the_model_comes_from(artefact, dummy_dataset_dir):
    config = json.loads((artefact / "config.json").read_text())
    builder = load_builder("tumor_ds/official", dummy_dataset_dir)
    assert config["labels"] == ["glioma", "meningioma", "notumor", "pituitary"]
    assert config["image"]["size"] == 64
    assert config["training"]["optimization"]["epochs"] == 2
    assert config["dataset"]["fingerprint"] == compute_fingerprint(builder)
    assert config["dataset"]["counts"] == {"train": 36, "validation": 4, "test": 8}
    assert config["versions"]["keras"] == keras.__version__
    for name in ("model.keras", "model.tflite"):
        assert config["sha256"][name] == compute_sha256(artefact / name)


def test_litert_and_keras_agree(artefact, dummy_dataset_dir):
    """LiteRT's answer is the mean of what the Keras model says of each picture and of its mirror image."""
    classifier = Classifier(artefact)
    images = load_split(
        load_builder("tumor_ds/official", dummy_dataset_dir), "test", classifier.config.image_size
    ).images
    outputs = classifier.run(images)
    model = keras.models.load_model(artefact / "model.keras", safe_mode=True)
    both = keras.Model(model.input, [model.output, model.get_layer(EMBEDDING_LAYER).output])
    seen, mirrored = (
        both.predict(view.astype(np.float32), verbose=0) for view in (images, images[:, :, ::-1])
    )
    logits, embeddings = ((one + other) / 2 for one, other in zip(seen, mirrored, strict=True))
    temperature = classifier.config.temperature
    np.testing.assert_allclose(
        compute_probabilities(outputs.logits, temperature),
        compute_probabilities(logits, temperature),
        atol=1e-4,
    )
    np.testing.assert_allclose(outputs.embeddings, embeddings, atol=1e-3)


def test_class_activation_maps_add_up_to_the_logits(artefact, dummy_dataset_dir):
    classifier = Classifier(artefact)
    outputs = classifier.run(
        load_split(load_builder("tumor_ds/official", dummy_dataset_dir), "test", 64).images
    )
    bias = keras.models.load_model(artefact / "model.keras").get_layer(LOGITS_LAYER).get_weights()[1]
    np.testing.assert_allclose(outputs.cams.mean(axis=(1, 2)) + bias, outputs.logits, atol=1e-4)


def test_keras_model_carries_no_optimizer_and_kernels_fit_half_precision(artefact):
    model = keras.models.load_model(artefact / "model.keras")
    assert getattr(model, "optimizer", None) is None
    for layer in model.layers:
        for array in layer.get_weights():
            if array.ndim > 1:
                np.testing.assert_array_equal(array, array.astype(np.float16).astype(np.float32))


def test_run_folder_loads_like_its_artefact(tiny_run, artefact):
    assert from_pretrained(tiny_run).config.raw == from_pretrained(artefact).config.raw


def test_card_is_valid_and_tells_the_figures(artefact):
    card = ModelCard.load(artefact / "README.md")
    metrics = json.loads((artefact / "metrics.json").read_text())["official"]
    assert card.data.library_name == "keras"
    assert card.data.pipeline_tag == "image-classification"
    results = {
        (result.dataset_config, result.metric_type): result.metric_value for result in card.data.eval_results
    }
    for subset in ("all", "unseen"):
        assert results[f"official-{subset}", "accuracy"] == round(metrics[subset]["accuracy"], 4)
        assert f"{metrics[subset]['accuracy']:.2%}" in card.text
    assert "leaked" in card.text
    assert "not a medical device" in card.text
    assert card.text.lstrip().startswith("# brain-tumor-mri-classifier\n")
    assert "{{" not in card.text


def test_export_again_gives_the_same_figures(tiny_run, artefact, dummy_dataset_dir, tmp_path):
    run_dir = shutil.copytree(tiny_run, tmp_path / "run", symlinks=True)
    old = (run_dir / "artefact" / "metrics.json").stat()
    result = CliRunner().invoke(app, ["export", str(run_dir), "--data-dir", str(dummy_dataset_dir)])
    assert result.exit_code == 0, result.output
    written = run_dir / "artefact" / "metrics.json"
    assert written.stat().st_mtime_ns != old.st_mtime_ns
    assert written.read_text() == (artefact / "metrics.json").read_text()


def test_export_of_an_untrained_folder(tmp_path):
    result = CliRunner().invoke(app, ["export", str(tmp_path)])
    assert result.exit_code == 1
    assert re.search("holds no config.json", " ".join(result.stderr.split()))
