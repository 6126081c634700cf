"""The model card: `README.md` of the artefact, its figures read from `metrics.json` beside it.

Goes in: an artefact folder with `config.json` and `metrics.json`, and `results.md` where the model is to be
    compared with other runs.
Comes out: its `README.md`, with a `model-index` for the Hub.
Its text stands in `card.md.j2`; here is what depends on the model.
"""

import importlib.metadata
import json
from importlib.resources import files
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from serving.cli.wording import name_finding
from serving.files.writing import write_whole
from serving.hub.space import DISTRIBUTION
from serving.model.artefact import (
    CARD_FILE,
    CONFIG_FILE,
    METRICS_FILE,
    NO_TUMOUR,
    RESULTS_FILE,
    find_default_healthy,
)
from trainer.config import EFFICIENTNET_LITE, KERAS_CV_PREFIX, ModelConfig, build_config
from trainer.evaluation.scoring import DATASET, SAME_PICTURES
from trainer.fitting.cross_calibration import FOLDS_SPLIT
from trainer.reporting.source_tables import (
    build_localisation_table,
    build_source_table,
    describe_worst_cells,
)
from trainer.reporting.tables import (
    build_comparison_table,
    build_recall_table,
    build_table,
    build_uncertainty_table,
    list_subsets,
)
from trainer.reporting.wording import MAIN_SUBSETS, SPLIT_TITLES, format_duration
from trainer.training.cost import GRAMS_PER_KWH, POWER_USAGE_EFFECTIVENESS, WATTS_PER_CORE, estimate_grams

TEMPLATE = Path(__file__).with_name("card.md.j2")
# Of models of tumours, and of others.
MODEL_NAME, OTHER_MODEL_NAME = "brain-tumor-mri-classifier", "brain-mri-classifier"
KAGGLE_ID = "masoudnickparvar/brain-tumor-mri-dataset"
FITTED_ON = {"validation": "validation", FOLDS_SPLIT: "unseen patients"}


def write_card(folder: Path) -> None:
    """Write `README.md` from the other files of the artefact."""
    config = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
    metrics = json.loads((folder / METRICS_FILE).read_text(encoding="utf-8"))
    facts = _describe_data(config) | _describe_figures(metrics) | _describe_thresholds(config)
    results = folder / RESULTS_FILE
    card = ModelCard.from_template(
        _build_metadata(config, metrics),
        template_str=TEMPLATE.read_text(encoding="utf-8"),
        title=_name_model(config),
        cost=describe_cost(config.get("training_cost")),
        project_version=importlib.metadata.version(DISTRIBUTION),
        git_commit=config["git_commit"],
        results=results.read_text(encoding="utf-8").strip() if results.exists() else "",
        **facts,
    )
    write_whole(folder / CARD_FILE, str(card).rstrip() + "\n")


def describe_cost(cost: dict[str, Any] | None) -> str:
    """Say how long training took, on what, and what CO2 that may stand for."""
    if cost is None:
        return "Not recorded for this model; later ones say it here."
    wall, core = format_duration(cost["wall_seconds"]), format_duration(cost["cpu_seconds"])
    told = f"Training took {wall} and {core} of core time on {cost['hardware']}."
    grams = estimate_grams(cost)
    if grams is None:
        reason = "as the power of the accelerators is not known here"
        return f"{told} The CO2 behind it was not estimated, {reason}."
    return (
        f"{told} That may stand for {_format_grams(grams)} of CO2 equivalent: core time x {WATTS_PER_CORE:g}"
        f" W a core x {POWER_USAGE_EFFECTIVENESS:g} for the building x {GRAMS_PER_KWH:g} g a kWh, the formula"
        " of Lannelongue et al. 2021 (doi 10.1002/advs.202100707) with assumed values, none of them"
        " measured."
    )


def describe_start(model: ModelConfig, started_from: dict[str, Any] | None = None) -> tuple[str, str]:
    """Say what training began with, and where those weights come from.

    Args:
        model: of the training config.
        started_from: as `trainer.models.start.Start` has it; None: no model of somebody.
    """
    if started_from is not None:
        commit = f" at commit `{started_from['commit']}`" if started_from["commit"] else ""
        told = f" Initial weights: the model `{started_from['model']}`{commit}, sha256 of its `model.keras`"
        return "weights of another model, fine-tuned on", f"{told} `{started_from['sha256']}`."
    if not model.pretrained:
        return "trained from scratch on", ""
    if model.architecture in EFFICIENTNET_LITE:
        name = model.architecture.replace("efficientnet_lite", "EfficientNet-Lite")
        return "ImageNet weights, fine-tuned on", f" Initial weights: {name}, Apache-2.0."
    preset = model.architecture.removeprefix(KERAS_CV_PREFIX)
    source = f" Initial weights: the KerasCV preset `{preset}`; its own licence applies."
    return "pretrained weights, fine-tuned on", source


def _build_metadata(config: dict[str, Any], metrics: dict[str, Any]) -> ModelCardData:
    data = ModelCardData(
        model_name=_name_model(config),
        license="mit",
        library_name="keras",
        pipeline_tag="image-classification",
        tags=[
            "medical",
            "mri",
            *(["brain-tumor"] if _is_about_tumours(config) else []),
            "litert",
            "calibrated",
        ],
        datasets=[KAGGLE_ID] if _is_kaggle(config) else None,
        base_model=_find_base_model(config),
        eval_results=_build_eval_results(config, metrics),
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


def _find_base_model(config: dict[str, Any]) -> str | None:
    """The Hub repository that it was fine-tuned from."""
    start = config.get("started_from")
    return start["model"].partition("@")[0] if start and start["commit"] else None


def _build_eval_results(config: dict[str, Any], metrics: dict[str, Any]) -> list[EvalResult]:
    """Each figure of each protocol and subset as a result of its own."""
    collection, dataset_type = "own pictures", "own-pictures"
    if _is_kaggle(config):
        collection = f"Kaggle brain-tumor-mri-dataset {_find_kaggle_version(config)}"
        dataset_type = KAGGLE_ID
    return [
        EvalResult(
            task_type="image-classification",
            dataset_type=dataset_type,
            dataset_name=f"{collection}, {SPLIT_TITLES.get((protocol, subset), untitled)}",
            dataset_config=f"{protocol}-{subset}",
            dataset_split="test",
            metric_type=metric,
            metric_name=name,
            metric_value=round(value, 4),
        )
        for protocol, summary in metrics.items()
        for subset in (name for name in MAIN_SUBSETS if name in summary)
        for untitled in [f"{protocol}, {subset} test images"]
        for metric, name, value in (
            ("accuracy", "accuracy", summary[subset]["accuracy"]),
            ("f1", "macro F1", summary[subset]["macro"]["f1"]),
        )
    ]


def _describe_data(config: dict[str, Any]) -> dict[str, Any]:
    """What the model learnt on, and how."""
    dataset, validation, training = config["dataset"], config["validation"], build_config(config["training"])
    learnable = dataset["counts"]["train"] + dataset["counts"]["validation"]
    start, weights_source = describe_start(training.model, config.get("started_from"))
    return {
        "labels": f"{', '.join(config['labels'][:-1])} or {config['labels'][-1]}",
        "healthy": _find_healthy(config),
        "finding": name_finding(_find_healthy(config)),
        "train_count": f"{learnable - validation['count']:,}",
        "dataset": dataset["name"],
        "version": dataset["version"],
        "fold": f", all folds but {dataset['fold']}," if dataset.get("fold") else "",
        "is_kaggle": _is_kaggle(config),
        "kaggle_version": _find_kaggle_version(config),
        "citations": (files("tumor_ds") / "CITATIONS.bib").read_text(encoding="utf-8").strip(),
        "architecture": config["architecture"],
        "size": config["image"]["size"],
        "has_map": config["map"] is not None,
        "map_threshold": f"{config['map']['threshold']:.2f}" if config["map"] else "",
        "start": start,
        "weights_source": weights_source,
        "temperature": f"{config['calibration']['temperature']:.3f}",
        "validation": training.data.validation,
        "validation_count": validation["count"],
        "validation_accuracy": f"{validation['accuracy']:.2%} of {validation['count']}",
    }


def _describe_figures(metrics: dict[str, Any]) -> dict[str, Any]:
    """What the model reached, and on what."""
    counts = ", ".join(
        f"{part['count']:,} images in {part['groups']:,} groups ({title})"
        for title, part in list_subsets(metrics)
    )
    healthy = ", ".join(
        f"{part['any_tumour']['no_tumour']:,} ({protocol}, {name})"
        for protocol, summary in metrics.items()
        for name, part in summary.items()
        if part["any_tumour"]
    )
    return {
        "evaluation": f"The test images: {counts}.",
        "is_leaked": any("with_train_twin" in summary for summary in metrics.values()),
        "knows_patients": "patient" in metrics,
        "table": build_table(metrics),
        "recalls": build_recall_table(metrics),
        "comparison": build_comparison_table(metrics),
        "uncertainty": build_uncertainty_table(metrics),
        "healthy_counts": healthy or "there are none",
        "localisation": build_localisation_table(metrics),
        "sources": build_source_table(metrics),
        "worst_cells": " ".join(describe_worst_cells(metrics)),
    }


def _describe_thresholds(config: dict[str, Any]) -> dict[str, Any]:
    fitted_on = config["calibration"]["fitted_on"]
    return {
        "fitted_on": FITTED_ON[fitted_on["split"]],
        "is_fitted_on_folds": fitted_on["split"] == FOLDS_SPLIT,
        "threshold_groups": fitted_on["groups"],
        "threshold_count": f"{fitted_on['count']:,}",
    }


def _is_kaggle(config: dict[str, Any]) -> bool:
    return str(config["dataset"]["name"]).removeprefix(f"{DATASET}/") in SAME_PICTURES


def _find_healthy(config: dict[str, Any]) -> str | None:
    found: str | None = config.get("healthy_label", find_default_healthy(config["labels"]))
    return found


def _is_about_tumours(config: dict[str, Any]) -> bool:
    """Whether its labels are kinds of tumours, and none."""
    return _find_healthy(config) == NO_TUMOUR


def _name_model(config: dict[str, Any]) -> str:
    return MODEL_NAME if _is_about_tumours(config) else OTHER_MODEL_NAME


def _find_kaggle_version(config: dict[str, Any]) -> str:
    """The dataset's major version is that of Kaggle's collection."""
    return f"v{config['dataset']['version'].partition('.')[0]}"


def _format_grams(grams: float) -> str:
    return f"{grams / 1000:.1f} kg" if grams >= 1000 else f"{grams:.1g} g" if grams < 10 else f"{grams:.0f} g"
