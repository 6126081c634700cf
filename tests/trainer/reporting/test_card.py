"""The card says how this very artefact was made."""

import json
import re
import shutil
import subprocess
import sys
import time

import pytest
from etils import epath
from huggingface_hub import ModelCard, metadata_load
from huggingface_hub.repocard_data import model_index_to_eval_results
from PIL import Image

from serving.app.views import EXAMPLES
from serving.model.artefact import BUNDLED, CARD_FILE, CONFIG_FILE, METRICS_FILE, RESULTS_FILE
from trainer.config import ModelConfig
from trainer.reporting.card import describe_cost, describe_start, write_card
from trainer.training.cost import (
    NO_ACCELERATOR,
    SESSIONS_FILE,
    describe_hardware,
    estimate_grams,
    load_cost,
    record_session,
)


def test_the_bundled_card_is_what_its_files_give(tmp_path):
    folder = shutil.copytree(BUNDLED, tmp_path / "model")
    write_card(folder)
    assert (folder / CARD_FILE).read_text() == (BUNDLED / CARD_FILE).read_text()


def test_other_runs_stand_in_the_card_where_there_are_any(tmp_path):
    folder = shutil.copytree(BUNDLED, tmp_path / "model")
    table = "| run | accuracy |\n| --- | --- |\n| another | 12.34% |"
    (folder / RESULTS_FILE).write_text(table + "\n")
    write_card(folder)
    assert f"(`tumor tabulate`):\n\n{table}\n\n## Limits" in (folder / CARD_FILE).read_text()
    (folder / RESULTS_FILE).unlink()
    write_card(folder)
    card = (folder / CARD_FILE).read_text()
    assert "tumor tabulate" not in card
    assert "as often as asked.\n\n## Limits" in card


def test_a_run_from_scratch_with_validation_by_image_says_so(tmp_path):
    folder = shutil.copytree(BUNDLED, tmp_path / "model")
    config = json.loads((folder / CONFIG_FILE).read_text())
    config["training"]["model"] = {"architecture": "reference_vgg", "pretrained": False, "dropout": 0.5}
    config["training"]["data"] |= {"validation": "by_image", "progressive_scales": []}
    config["architecture"] = "reference_vgg"
    config["validation"]["count"] = 856
    (folder / CONFIG_FILE).write_text(json.dumps(config))
    write_card(folder)
    card = " ".join((folder / CARD_FILE).read_text().split())
    assert "4,856 images of `tumor_ds/official` 1.1.0 trained it" in card
    assert "reference_vgg at 160 x 160 pixels, trained from scratch on them" in card
    assert "856 validation images drawn by image: most of them have a copy in training" in card
    assert "ImageNet" not in card
    assert "EfficientNet" not in card


def test_calibration_on_validation_says_so(tmp_path):
    folder = shutil.copytree(BUNDLED, tmp_path / "model")
    config = json.loads((folder / CONFIG_FILE).read_text())
    config["calibration"]["fitted_on"] = {"split": "validation", "count": 571, "groups": 105}
    (folder / CONFIG_FILE).write_text(json.dumps(config))
    write_card(folder)
    card = " ".join((folder / CARD_FILE).read_text().split())
    assert f"the temperature ({config['calibration']['temperature']:.3f}) on validation." in card
    assert "fitted on 571 images in 105 groups" in card
    assert "They are the validation images, which also chose the epoch and the temperature." in card
    assert "unseen patients" not in card.partition("## Limits")[0]


def test_a_model_of_whole_groups_is_not_called_leaked(tmp_path):
    folder = shutil.copytree(BUNDLED, tmp_path / "model", ignore=shutil.ignore_patterns(RESULTS_FILE))
    config, metrics = (json.loads((folder / name).read_text()) for name in (CONFIG_FILE, METRICS_FILE))
    config["dataset"]["name"] = "tumor_ds/grouped"
    (folder / CONFIG_FILE).write_text(json.dumps(config))
    (folder / METRICS_FILE).write_text(json.dumps({"grouped": {"all": metrics["official"]["all"]}}))
    write_card(folder)
    card = ModelCard.load(folder / CARD_FILE)
    assert "leak" not in card.text
    assert "stands in both training and test" in card.text
    assert "reference CNN" not in card.text
    assert {result.dataset_config for result in card.data.eval_results} == {"grouped-all"}


def test_the_front_matter_is_what_the_hub_expects():
    """`model-index` has each figure as a result of its own; the leaked one says so wherever it is shown."""
    metadata = metadata_load(BUNDLED / CARD_FILE)
    assert (metadata["library_name"], metadata["pipeline_tag"], metadata["license"]) == (
        "keras",
        "image-classification",
        "mit",
    )
    assert metadata["datasets"] == ["masoudnickparvar/brain-tumor-mri-dataset"]
    assert metadata["co2_eq_emissions"]["emissions"] > 0
    metrics = json.loads((BUNDLED / METRICS_FILE).read_text())["official"]
    found = {
        (result.dataset_config, result.metric_type): result
        for result in model_index_to_eval_results(metadata["model-index"])[1]
    }
    assert len(found) == 4
    for subset in ("all", "unseen"):
        assert found[f"official-{subset}", "accuracy"].metric_value == round(metrics[subset]["accuracy"], 4)
        assert found[f"official-{subset}", "f1"].metric_value == round(metrics[subset]["macro"]["f1"], 4)
        assert ("leaked" in found[f"official-{subset}", "accuracy"].dataset_name) == (subset == "all")


def test_every_protocol_has_results_of_its_own(tmp_path):
    folder = shutil.copytree(BUNDLED, tmp_path / "model")
    metrics = json.loads((folder / METRICS_FILE).read_text())
    (folder / METRICS_FILE).write_text(
        json.dumps(metrics | {"patient": {"all": metrics["official"]["unseen"]}})
    )
    config = json.loads((folder / CONFIG_FILE).read_text())
    config["dataset"] |= {"name": "tumor_ds/patient", "fold": 2}
    (folder / CONFIG_FILE).write_text(json.dumps(config))
    write_card(folder)
    card = ModelCard.load(folder / CARD_FILE)
    assert {result.dataset_config for result in card.data.eval_results} == {
        "official-all",
        "official-unseen",
        "patient-all",
    }
    assert "all folds but 2, trained it" in card.text
    assert "Patients were kept apart where they are known" in card.text


def test_a_model_of_own_pictures_claims_nothing_about_the_collection(tmp_path):
    folder = shutil.copytree(BUNDLED, tmp_path / "model", ignore=shutil.ignore_patterns(RESULTS_FILE))
    config, metrics = (json.loads((folder / name).read_text()) for name in (CONFIG_FILE, METRICS_FILE))
    config["dataset"]["name"] = "tumor_ds/folder"
    (folder / CONFIG_FILE).write_text(json.dumps(config))
    (folder / METRICS_FILE).write_text(json.dumps({"folder": {"all": metrics["official"]["all"]}}))
    write_card(folder)
    card = (folder / CARD_FILE).read_text()
    assert "Kaggle" not in card
    assert "own pictures, folder, all test images" in " ".join(card.split())


SECTIONS = [
    "Use",
    "Intended use",
    "Out-of-scope use",
    "Training data",
    "Evaluation data",
    "Metrics",
    "Limits",
    "Ethical notes",
    "Time, hardware, CO2",
    "Citation",
]


def test_the_card_answers_what_reviewers_ask():
    parts = re.split(r"^## (.+)$", (BUNDLED / CARD_FILE).read_text(), flags=re.MULTILINE)
    assert parts[1::2] == SECTIONS
    assert all(len(text.split()) > 30 for text in parts[2::2])
    assert "{{" not in parts[0]


def test_recalls_stand_with_their_intervals():
    text, metrics = (
        (BUNDLED / CARD_FILE).read_text(),
        json.loads((BUNDLED / METRICS_FILE).read_text())["official"],
    )
    for subset in ("all", "unseen"):
        for label, figures in metrics[subset]["per_class"].items():
            low, high = metrics[subset]["intervals"]["recall"][label]
            assert (
                f"| {label} | {figures['support']} | {figures['recall']:.2%} | {low:.2%} to {high:.2%} |"
                in text
            )


def test_the_snippet_runs_as_printed(tmp_path):
    """In the artefact's folder, with any slice."""
    folder = shutil.copytree(BUNDLED, tmp_path / "model")
    Image.open(EXAMPLES / "meningioma.png").save(folder / "slice.jpg", quality=95)
    [snippet] = re.findall(r"```python\n(.*?)```", (folder / CARD_FILE).read_text(), re.DOTALL)
    result = subprocess.run(
        [sys.executable, "-c", snippet], cwd=folder, capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("meningioma {'glioma': 0.")
    assert "('meningioma',)" in result.stdout


def test_cost_is_told_and_guessed_only_where_it_can_be():
    cpu = {"wall_seconds": 5400, "cpu_seconds": 7200, "hardware": f"2 cores of Any, {NO_ACCELERATOR}"}
    # 2 h x 12 W = 24 Wh; x 1.67 = 40.08 Wh; x 475 g/kWh = 19.0 g
    assert estimate_grams(cpu) == pytest.approx(19.038)
    assert "1 h 30 min and 2 h 0 min of core time on 2 cores of Any" in describe_cost(cpu)
    assert "for 19 g of CO2" in describe_cost(cpu)
    gpu = cpu | {"hardware": f"{cpu['hardware']}; then 8 cores of Any, NVIDIA H100"}
    assert estimate_grams(gpu) is None
    assert "was not estimated" in describe_cost(gpu)
    assert "Not recorded" in describe_cost(None)


def test_sessions_of_a_run_add_up(tmp_path):
    run_dir = epath.Path(tmp_path)
    assert load_cost(run_dir) is None
    with record_session(run_dir):
        time.sleep(0.6)
    with pytest.raises(KeyError), record_session(run_dir):
        raise KeyError("a run that fails")
    cost = load_cost(run_dir)
    assert cost["wall_seconds"] == 1
    assert cost["hardware"] == describe_hardware()
    assert NO_ACCELERATOR in cost["hardware"]
    assert len((tmp_path / SESSIONS_FILE).read_text().splitlines()) == 3


def test_the_card_tells_sets_and_alarm():
    text = (BUNDLED / CARD_FILE).read_text()
    for subset, figures in json.loads((BUNDLED / METRICS_FILE).read_text())["official"].items():
        row = next(line for line in text.splitlines() if line.startswith(f"| official, {subset} |"))
        for sets in figures["prediction_sets"].values():
            assert f"{sets['coverage']:.2%}, {sets['size']:.2f}" in row
        for point in figures["any_tumour"]["operating_points"]:
            assert f"{point['sensitivity']:.2%}, {point['specificity']:.2%}" in row
    assert "reference CNN | 98.17%" in text
    fitted_on = json.loads((BUNDLED / CONFIG_FILE).read_text())["calibration"]["fitted_on"]
    assert fitted_on["split"] == "folds"
    assert f"fitted on {fitted_on['count']:,} images in\n{fitted_on['groups']} groups" in text
    assert "Each was answered by a model of the same\nrecipe" in text


@pytest.mark.parametrize(
    ("architecture", "pretrained", "start", "source"),
    [
        (
            "efficientnet_lite1",
            True,
            "ImageNet weights, fine-tuned on",
            " Initial weights: EfficientNet-Lite1, Apache-2.0.",
        ),
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
    assert describe_start(ModelConfig(architecture=architecture, pretrained=pretrained)) == (start, source)
