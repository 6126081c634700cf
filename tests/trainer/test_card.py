"""The card says how this very artefact was made."""

import json
import shutil

import pytest
from huggingface_hub import ModelCard

from serving.artefact import BUNDLED, CARD_FILE, CONFIG_FILE, METRICS_FILE
from trainer.card import describe_start, write_card
from trainer.config import ModelConfig


def test_the_bundled_card_is_what_its_files_give(tmp_path):
    folder = shutil.copytree(BUNDLED, tmp_path / "model")
    write_card(folder)
    assert (folder / CARD_FILE).read_text() == (BUNDLED / CARD_FILE).read_text()


def test_a_run_from_scratch_with_validation_by_image_says_so(tmp_path):
    folder = shutil.copytree(BUNDLED, tmp_path / "model")
    config = json.loads((folder / CONFIG_FILE).read_text())
    config["training"]["model"] = {"architecture": "reference_vgg", "pretrained": False, "dropout": 0.5}
    config["training"]["data"] |= {"validation": "by_image", "progressive_scales": []}
    config["architecture"] = "reference_vgg"
    config["calibration"]["fitted_on"]["count"] = 856
    (folder / CONFIG_FILE).write_text(json.dumps(config))
    write_card(folder)
    card = " ".join((folder / CARD_FILE).read_text().split())
    assert "reference_vgg at 192 x 192 pixels, trained from scratch on 4,856 images" in card
    assert "856 validation images drawn by image: most of them have a copy in training" in card
    assert "ImageNet" not in card
    assert "EfficientNet" not in card


def test_a_model_of_whole_groups_is_not_called_leaked(tmp_path):
    folder = shutil.copytree(BUNDLED, tmp_path / "model")
    config, metrics = (json.loads((folder / name).read_text()) for name in (CONFIG_FILE, METRICS_FILE))
    config["dataset"] |= {"name": "tumor_ds/grouped", "version": "1.1.0"}
    config["calibration"]["fitted_on"]["count"] = config["calibration"]["thresholds_fitted_on"]["count"]
    (folder / CONFIG_FILE).write_text(json.dumps(config))
    (folder / METRICS_FILE).write_text(json.dumps({"grouped": {"all": metrics["official"]["all"]}}))
    write_card(folder)
    card = ModelCard.load(folder / CARD_FILE)
    assert "leak" not in card.text
    assert "stands in both training and test" in card.text
    assert "reference CNN" not in card.text
    assert "no copy or neighbour" not in card.text
    assert {result.dataset_config for result in card.data.eval_results} == {"all"}


def test_the_card_tells_sets_and_alarm():
    text = (BUNDLED / CARD_FILE).read_text()
    for subset, figures in json.loads((BUNDLED / METRICS_FILE).read_text())["official"].items():
        row = next(line for line in text.splitlines() if line.startswith(f"| official, {subset} |"))
        for sets in figures["prediction_sets"].values():
            assert f"{sets['coverage']:.2%}, {sets['size']:.2f}" in row
        for point in figures["any_tumour"]["operating_points"]:
            assert f"{point['sensitivity']:.2%}, {point['specificity']:.2%}" in row
    assert "reference CNN | 98.17%" in text
    assert "92\ngroups among 488 validation images (those of them that" in text


@pytest.mark.parametrize(
    ("architecture", "pretrained", "start", "source"),
    [
        ("efficientnet_lite1", True, "ImageNet weights, fine-tuned on", " Initial weights: EfficientNet-Lite1, Apache-2.0."),
        ("efficientnet_lite1", False, "trained from scratch on", ""),
        (
            "keras_cv:resnet50_imagenet",
            True,
            "pretrained weights, fine-tuned on",
            " Initial weights: the KerasCV preset `resnet50_imagenet`; its own licence applies.",
        ),
    ],
)
def test_what_training_began_with(architecture, pretrained, start, source):
    assert describe_start(ModelConfig(architecture, pretrained)) == (start, source)
