"""The model card: `README.md` of the artefact, its figures read from `metrics.json` beside it.

Goes in: an artefact folder with `config.json` and `metrics.json`. Comes out: its `README.md`, with a `model-index` for the Hub.
"""

import json
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from serving.artefact import CARD_FILE, CONFIG_FILE, METRICS_FILE
from trainer.config import EFFICIENTNET_LITE, KERAS_CV_PREFIX, ModelConfig, build_config
from trainer.tables import build_comparison, has_comparison

MODEL_NAME = "brain-tumor-mri-classifier"
DATASET_TITLES = {
    ("official", "all"): "Kaggle brain-tumor-mri-dataset v1, official test split (leaked: most test images are mirrored or turned training images)",
    ("official", "unseen"): "Kaggle brain-tumor-mri-dataset v1, official test images without a twin in Training",
    ("grouped", "all"): "Kaggle brain-tumor-mri-dataset v1, split anew by whole groups of copies and neighbouring slices",
}
LEAK = """The official test split of this collection leaks: it holds mirrored and turned copies of training images, so the first line
rewards memory. The second line counts only images without such a twin; few of them show no tumour, so it says little about
false alarms. Patients are not kept apart in either: most of those images share a group, a run of slices or a picture under flips and
turns, with a training image."""
NO_LEAK = "No group, a run of slices or a picture under flips and turns, stands in both training and test. A group is no sure patient."
# What was found out about a version of the dataset after models had been trained on it.
DATASET_FAULTS = {
    "1.0.0": (
        " Version 1.0.0 of the dataset missed some copies under another contrast: 81 of those images, all notumor, have one in training, "
        "so the validation figure is too high."
    )
}

# Where the thresholds were fitted anew, after a fault was found, on the images that it does not touch.
REST_OF_VALIDATION = " (those of them that, by the groups of the present dataset, have no copy or neighbour in training)"

TEMPLATE = """---
{{ card_data }}
---

# {{ title }}

From one slice of brain MRI this network names glioma, meningioma, notumor or pituitary, with calibrated probabilities, the labels
it cannot rule out, a heat map, and a refusal where the picture is no brain MRI.

**A research tool, not a medical device.** It must not be used to diagnose, to treat or to triage.

## Use

```python
from serving import from_pretrained

prediction = from_pretrained().predict("slice.jpg")
print(prediction.label, prediction.probabilities, prediction.in_domain)
print(prediction.prediction_set, prediction.prediction_sets[0.99])  # labels that cannot be ruled out at 95 % and at 99 %
```

## Figures

Each is computed on the reloaded `model.tflite` by `tumor evaluate`, with a 95 % interval from a bootstrap over groups.

{{ table }}

{{ comparison }}{{ leak }} Accuracy on unseen patients has not been measured for this artefact and must be expected to be lower.
On validation, {{ validation_kind }}, `tumor export` found
{{ validation_accuracy }} (`config.json`).

Probabilities, sets of labels that cannot be ruled out, and an alarm for any tumour, on the same images. The thresholds of both were
fitted on validation; the most probable label always belongs to a set, so sets hold the label more often than asked where the network
is right more often than that. Specificity rests on the images without tumour alone: {{ healthy_counts }}.

{{ uncertainty }}

## What it has not been shown to do

- Work on patients, scanners or hospitals outside the collection. Every tumour picture in it is contrast-enhanced T1 while most
  healthy ones are not, so "no contrast" may be read as "no tumour".
- See any other disease, or more than one slice.
- Refuse every picture that is no brain MRI: the guard knows only the distance from the training pictures.

## How it was made

{{ architecture }} at {{ size }} x {{ size }} pixels, {{ start }} {{ train_count }} images of
`{{ dataset }}` {{ version }}; the best epoch and the temperature ({{ temperature }}) were chosen on
{{ validation_count }} validation images {{ validation_tie }}.{{ dataset_fault }}
Prediction sets are split-conformal (score 1 - p(label); Sadinle et al. 2019), with one image of each of {{ threshold_groups }}
groups among {{ threshold_count }} validation images{{ threshold_tie }}.
99 % needs 99 groups; with fewer no label is ruled out at 99 %. Those images also chose the epoch and the temperature, and groups are
no sure patients, so the coverage is a target and no guarantee. The alarm's thresholds are those that the tumours among the same images
reach as often as asked.
The test split chose no epoch, weight, temperature or threshold. The guard's threshold is fitted on validation; its number of
directions and the share it may refuse were picked from a sweep on pictures that are no brain MRI and slices of another hospital,
with the share of refused test images in view. `config.json` holds the whole recipe, the fingerprint of the data and the sha256 of
the weights.

## Sources

Pictures: Kaggle `masoudnickparvar/brain-tumor-mri-dataset` version 1, which merges figshare 1512427 (Jun Cheng, CC BY 4.0), SARTAJ and
Br35H.{{ weights_source }}
"""
VALIDATION_KINDS = {
    "by_group": (
        "whole groups that it was not trained on but by which its best epoch was chosen",
        "that share no group with training",
    ),
    "by_image": (
        "drawn by image, so that most of its images have a copy in training and the figure is too high",
        "drawn by image: most of them have a copy in training, so all that was chosen on them is too sure of itself",
    ),
}


def write_card(folder: Path) -> None:
    """Write `README.md` from the other files of the artefact."""
    config = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
    metrics = json.loads((folder / METRICS_FILE).read_text(encoding="utf-8"))
    card_data = ModelCardData(
        model_name=MODEL_NAME,
        license="mit",
        library_name="keras",
        pipeline_tag="image-classification",
        tags=["medical", "mri", "brain-tumor", "litert", "calibrated"],
        eval_results=[result for protocol, summary in metrics.items() for result in _build_eval_results(protocol, summary)],
    )
    counts, fitted_on = config["dataset"]["counts"], config["calibration"]["fitted_on"]
    training = build_config(config["training"])
    validation_kind, validation_tie = VALIDATION_KINDS[training.data.validation]
    start, weights_source = describe_start(training.model)
    thresholds_on = config["calibration"]["thresholds_fitted_on"]
    card = ModelCard.from_template(
        card_data,
        template_str=TEMPLATE,
        title=MODEL_NAME,
        table=_build_table(metrics),
        leak=LEAK if any("with_train_twin" in summary for summary in metrics.values()) else NO_LEAK,
        comparison=_build_comparison_table(metrics),
        uncertainty=_build_uncertainty_table(metrics),
        healthy_counts=_count_healthy(metrics),
        threshold_groups=thresholds_on["groups"],
        threshold_count=thresholds_on["count"],
        threshold_tie=REST_OF_VALIDATION if thresholds_on["count"] < fitted_on["count"] else "",
        architecture=config["architecture"],
        size=config["image"]["size"],
        start=start,
        weights_source=weights_source,
        train_count=f"{counts['train'] + counts['validation'] - fitted_on['count']:,}",
        validation_kind=validation_kind,
        validation_tie=validation_tie,
        validation_count=fitted_on["count"],
        dataset=config["dataset"]["name"],
        version=config["dataset"]["version"],
        dataset_fault=DATASET_FAULTS.get(config["dataset"]["version"], ""),
        validation_accuracy=f"{fitted_on['accuracy']:.2%} of {fitted_on['count']}",
        temperature=f"{config['calibration']['temperature']:.3f}",
    )
    (folder / CARD_FILE).write_text(str(card).rstrip() + "\n", encoding="utf-8")


def describe_start(model: ModelConfig) -> tuple[str, str]:
    """Say what training began with, and where those weights come from."""
    if not model.pretrained:
        return "trained from scratch on", ""
    if model.architecture in EFFICIENTNET_LITE:
        name = model.architecture.replace("efficientnet_lite", "EfficientNet-Lite")
        return "ImageNet weights, fine-tuned on", f" Initial weights: {name}, Apache-2.0."
    preset = model.architecture.removeprefix(KERAS_CV_PREFIX)
    return "pretrained weights, fine-tuned on", f" Initial weights: the KerasCV preset `{preset}`; its own licence applies."


def _build_eval_results(protocol: str, summary: dict[str, Any]) -> list[EvalResult]:
    return [
        EvalResult(
            task_type="image-classification",
            dataset_type="masoudnickparvar/brain-tumor-mri-dataset",
            dataset_name=title,
            dataset_config=subset,
            metric_type=metric,
            metric_name=metric,
            metric_value=round(value, 4),
        )
        for (titled, subset), title in DATASET_TITLES.items()
        if titled == protocol and subset in summary
        for metric, value in (("accuracy", summary[subset]["accuracy"]), ("f1", summary[subset]["macro"]["f1"]))
    ]


def _build_table(metrics: dict[str, Any]) -> str:
    lines = ["| protocol | images | accuracy | 95 % interval | macro F1 | macro F2 | ECE |", "|---|---|---|---|---|---|---|"]
    for protocol, summary in metrics.items():
        for subset in ("all", "unseen"):
            if subset in summary:
                figures = summary[subset]
                low, high = figures["accuracy_interval"]
                whole = "whole test split, leaked" if "with_train_twin" in summary else "whole test split"
                name = f"{protocol}, {whole if subset == 'all' else 'without a twin in Training'}"
                averages = f"{figures['macro']['f1']:.4f} | {figures['macro']['f2']:.4f} | {figures['ece']:.4f}"
                lines.append(f"| {name} | {figures['count']} | {figures['accuracy']:.2%} | {low:.2%} to {high:.2%} | {averages} |")
    return "\n".join(lines)


def _build_comparison_table(metrics: dict[str, Any]) -> str:
    """The model beside the published network and memory; empty but on the official split."""
    shown = [build_comparison(summary) for protocol, summary in metrics.items() if has_comparison(protocol, summary)]
    return "".join(_to_markdown(rows[0], rows[1:]) + "\n\n" for rows in shown)


def _build_uncertainty_table(metrics: dict[str, Any]) -> str:
    """A row a subset: errors of the probabilities, sets at each coverage, the alarm at each sensitivity."""
    header = ["images", "NLL", "Brier", "ECE", "ECE before temperature", "AURC"]
    rows: list[list[str]] = []
    for protocol, summary in metrics.items():
        for name, figures in summary.items():
            sets, alarm = figures["prediction_sets"], figures["any_tumour"]
            points = alarm["operating_points"] if alarm else []
            numbers = (figures["nll"], figures["brier"], figures["ece"], figures["uncalibrated"]["ece"], figures["abstention"]["aurc"])
            wanted = [f"sets for {float(coverage):.0%}: coverage, mean size" for coverage in sets]
            wanted += [f"alarm for {point['target_sensitivity']:.1%}: sensitivity, specificity" for point in points]
            if not rows:
                header += wanted
            told = [f"{held['coverage']:.2%}, {held['size']:.2f}" for held in sets.values()]
            told += [f"{_percent(point['sensitivity'])}, {_percent(point['specificity'])}" for point in points]
            rows.append([f"{protocol}, {name}", *(f"{number:.4f}" for number in numbers), *told])
    return _to_markdown(header, rows)


def _count_healthy(metrics: dict[str, Any]) -> str:
    """Images without tumour of each subset; in words where the classes know no such question."""
    counts = [
        f"{figures['any_tumour']['no_tumour']:,} ({protocol}, {name})"
        for protocol, summary in metrics.items()
        for name, figures in summary.items()
        if figures["any_tumour"]
    ]
    return ", ".join(counts) or "there are none"


def _to_markdown(header: list[str], rows: list[list[str]]) -> str:
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (header, ["---"] * len(header), *rows))


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.2%}"
