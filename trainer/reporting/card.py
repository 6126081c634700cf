"""The model card: `README.md` of the artefact, its figures read from `metrics.json` beside it.

Goes in: an artefact folder with `config.json` and `metrics.json`, and `results.md` where the model is to be
    compared with other runs.
Comes out: its `README.md`, with a `model-index` for the Hub.
Its text stands in `card.md.j2`; here is what depends on the model.
"""

import importlib.metadata
import importlib.resources
import json
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from serving.hub.space import DISTRIBUTION
from serving.model.artefact import CARD_FILE, CONFIG_FILE, METRICS_FILE, RESULTS_FILE
from trainer.config import EFFICIENTNET_LITE, KERAS_CV_PREFIX, ModelConfig, build_config
from trainer.fitting.cross_calibration import FOLDS_SPLIT
from trainer.reporting.card_tables import (
    SUBSETS,
    build_comparison_table,
    build_recall_table,
    build_table,
    build_uncertainty_table,
    count_healthy,
    name_subset,
)
from trainer.training.cost import GRAMS_PER_KWH, POWER_USAGE_EFFECTIVENESS, WATTS_PER_CORE, estimate_grams

MODEL_NAME = "brain-tumor-mri-classifier"
KAGGLE_ID = "masoudnickparvar/brain-tumor-mri-dataset"
# By protocol and subset: what a figure is about, for whoever sees nothing of the card but its metadata.
SUBSET_TITLES = {
    (
        "official",
        "all",
    ): "official test split (leaked: most test images are mirrored or turned training images)",
    ("official", "unseen"): "official test images without a twin in Training",
    ("grouped", "all"): "split anew by whole groups of copies and neighbouring slices",
    (
        "patient",
        "all",
    ): "one of five folds, split by patient where patients are known and by whole groups elsewhere",
}
LEAK = """The official test split of this collection leaks: it holds mirrored and turned copies of training images, so the first line
rewards memory. The second line counts only images without such a twin; few of them show no tumour, so it says little about
false alarms. Patients are not kept apart in either: most of those images share a group, a run of slices or a picture under flips and
turns, with a training image."""
NO_LEAK = (
    "No group, a run of slices or a picture under flips and turns, stands in both training and test. A group"
    " is no sure patient."
)
UNKNOWN_PATIENTS = (
    "Accuracy on unseen patients has not been measured for this artefact and must be expected to be lower."
)
KNOWN_PATIENTS = (
    "Patients were kept apart where they are known, for the part from figshare; elsewhere a group is no sure"
    " patient."
)
CALIBRATION_SOURCES = {
    "validation": (
        "validation",
        "They are the validation images, which also chose the epoch and the temperature.",
    ),
    FOLDS_SPLIT: (
        "unseen patients",
        (
            "Each was answered by a model of the same\nrecipe that had learnt four of five folds of patients,"
            " but not its own (`tumor train --folds`). This model's test images are left\nout, though models"
            " of the folds have learnt some. They also chose the temperature, and models of the folds are not"
            " this model."
        ),
    ),
}
VALIDATION_KINDS = {
    "by_group": (
        "whole groups that it was not trained on but by which its best epoch was chosen",
        "that share no group with training",
    ),
    "by_image": (
        "drawn by image, so that most of its images have a copy in training and the figure is too high",
        (
            "drawn by image: most of them have a copy in training, so all that was chosen on them is too sure"
            " of itself"
        ),
    ),
}


def write_card(folder: Path) -> None:
    """Write `README.md` from the other files of the artefact."""
    config = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
    metrics = json.loads((folder / METRICS_FILE).read_text(encoding="utf-8"))
    template = importlib.resources.files("trainer.reporting").joinpath("card.md.j2").read_text(encoding="utf-8")
    facts = _describe_data(config) | _describe_figures(metrics) | _describe_thresholds(config)
    results = folder / RESULTS_FILE
    card = ModelCard.from_template(
        _build_metadata(config, metrics),
        template_str=template,
        title=MODEL_NAME,
        cost=describe_cost(config.get("training_cost")),
        project_version=importlib.metadata.version(DISTRIBUTION),
        git_commit=config["git_commit"],
        results=results.read_text(encoding="utf-8").strip() if results.exists() else "",
        **facts,
    )
    (folder / CARD_FILE).write_text(str(card).rstrip() + "\n", encoding="utf-8")


def describe_cost(cost: dict[str, Any] | None) -> str:
    """Say how long training took, on what, and what CO2 that may stand for."""
    if cost is None:
        return "Not recorded for this model; later ones say it here."
    told = (
        f"Training took {_format_hours(cost['wall_seconds'])} and {_format_hours(cost['cpu_seconds'])} of"
        f" core time on {cost['hardware']}."
    )
    grams = estimate_grams(cost)
    if grams is None:
        return (
            f"{told} The CO2 behind it was not estimated, as the power of the accelerators is not known here."
        )
    return (
        f"{told} That may stand for {_format_grams(grams)} of CO2 equivalent: core time x {WATTS_PER_CORE:g}"
        f" W a core x {POWER_USAGE_EFFECTIVENESS:g} for the building x {GRAMS_PER_KWH:g} g a kWh, the formula"
        " of Lannelongue et al. 2021 (doi 10.1002/advs.202100707) with assumed values, none of them"
        " measured."
    )


def describe_start(model: ModelConfig) -> tuple[str, str]:
    """Say what training began with, and where those weights come from."""
    if not model.pretrained:
        return "trained from scratch on", ""
    if model.architecture in EFFICIENTNET_LITE:
        name = model.architecture.replace("efficientnet_lite", "EfficientNet-Lite")
        return "ImageNet weights, fine-tuned on", f" Initial weights: {name}, Apache-2.0."
    preset = model.architecture.removeprefix(KERAS_CV_PREFIX)
    return (
        "pretrained weights, fine-tuned on",
        f" Initial weights: the KerasCV preset `{preset}`; its own licence applies.",
    )


def _build_metadata(config: dict[str, Any], metrics: dict[str, Any]) -> ModelCardData:
    data = ModelCardData(
        model_name=MODEL_NAME,
        license="mit",
        library_name="keras",
        pipeline_tag="image-classification",
        tags=["medical", "mri", "brain-tumor", "litert", "calibrated"],
        datasets=[KAGGLE_ID] if _is_kaggle(config) else None,
        eval_results=[
            result
            for protocol, summary in metrics.items()
            for result in _build_eval_results(config, protocol, summary)
        ],
    )
    cost = config.get("training_cost")
    grams = estimate_grams(cost) if cost else None
    if cost and grams is not None:
        data["co2_eq_emissions"] = {
            "emissions": round(grams, 1),
            "source": "formula of doi 10.1002/advs.202100707, assumed values",
            "training_type": "fine-tuning" if config["training"]["model"]["pretrained"] else "pre-training",
            "geographical_location": "unknown; the world's mean is assumed",
            "hardware_used": cost["hardware"],
        }
    return data


def _build_eval_results(config: dict[str, Any], protocol: str, summary: dict[str, Any]) -> list[EvalResult]:
    """Each protocol and subset as a result of its own."""
    collection = (
        f"Kaggle brain-tumor-mri-dataset {_find_kaggle_version(config)}"
        if _is_kaggle(config)
        else "own pictures"
    )
    return [
        EvalResult(
            task_type="image-classification",
            dataset_type=KAGGLE_ID if _is_kaggle(config) else "own-pictures",
            dataset_name=(
                f"{collection}, {SUBSET_TITLES.get((protocol, subset), f'{protocol}, {subset} test images')}"
            ),
            dataset_config=f"{protocol}-{subset}",
            dataset_split="test",
            metric_type=metric,
            metric_name=name,
            metric_value=round(value, 4),
        )
        for subset in SUBSETS
        if subset in summary
        for metric, name, value in (
            ("accuracy", "accuracy", summary[subset]["accuracy"]),
            ("f1", "macro F1", summary[subset]["macro"]["f1"]),
        )
    ]


def _describe_data(config: dict[str, Any]) -> dict[str, Any]:
    """What the model learnt on, and how."""
    dataset, validation, training = config["dataset"], config["validation"], build_config(config["training"])
    validation_kind, validation_tie = VALIDATION_KINDS[training.data.validation]
    start, weights_source = describe_start(training.model)
    return {
        "labels": f"{', '.join(config['labels'][:-1])} or {config['labels'][-1]}",
        "train_count": (
            f"{dataset['counts']['train'] + dataset['counts']['validation'] - validation['count']:,}"
        ),
        "dataset": dataset["name"],
        "version": dataset["version"],
        "fold": f", all folds but {dataset['fold']}," if dataset.get("fold") else "",
        "is_kaggle": _is_kaggle(config),
        "kaggle_version": _find_kaggle_version(config),
        "citations": (
            importlib.resources.files("tumor_ds")
            .joinpath("CITATIONS.bib")
            .read_text(encoding="utf-8")
            .strip()
        ),
        "architecture": config["architecture"],
        "size": config["image"]["size"],
        "start": start,
        "weights_source": weights_source,
        "temperature": f"{config['calibration']['temperature']:.3f}",
        "validation_kind": validation_kind,
        "validation_tie": validation_tie,
        "validation_count": validation["count"],
        "validation_accuracy": f"{validation['accuracy']:.2%} of {validation['count']}",
    }


def _describe_figures(metrics: dict[str, Any]) -> dict[str, Any]:
    """What the model reached, and on what."""
    counts = ", ".join(
        f"{figures['count']:,} images in {figures['groups']:,} groups ({protocol},"
        f" {name_subset(summary, name)})"
        for protocol, summary in metrics.items()
        for name, figures in summary.items()
        if name in SUBSETS
    )
    is_leaked = any("with_train_twin" in summary for summary in metrics.values())
    return {
        "evaluation": f"The test images: {counts}.",
        "leak": LEAK if is_leaked else NO_LEAK,
        "patients": KNOWN_PATIENTS if "patient" in metrics else UNKNOWN_PATIENTS,
        "table": build_table(metrics),
        "recalls": build_recall_table(metrics),
        "comparison": build_comparison_table(metrics),
        "uncertainty": build_uncertainty_table(metrics),
        "healthy_counts": count_healthy(metrics),
    }


def _describe_thresholds(config: dict[str, Any]) -> dict[str, Any]:
    fitted_on = config["calibration"]["fitted_on"]
    name, source = CALIBRATION_SOURCES[fitted_on["split"]]
    return {
        "fitted_on": name,
        "calibration_source": source,
        "threshold_groups": fitted_on["groups"],
        "threshold_count": f"{fitted_on['count']:,}",
    }


def _is_kaggle(config: dict[str, Any]) -> bool:
    return not str(config["dataset"]["name"]).endswith("/folder")


def _find_kaggle_version(config: dict[str, Any]) -> str:
    """The dataset's major version is that of Kaggle's collection."""
    return f"v{config['dataset']['version'].partition('.')[0]}"


def _format_hours(seconds: int) -> str:
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{max(1, minutes)} min"


def _format_grams(grams: float) -> str:
    return f"{grams / 1000:.1f} kg" if grams >= 1000 else f"{grams:.1g} g" if grams < 10 else f"{grams:.0f} g"
