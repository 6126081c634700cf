"""Evaluation on built datasets of other sources, as of a hospital that the model has learnt nothing from.

Goes in: a loaded `Classifier` and names of datasets, whole or a fold of them. Comes out: `Predictions` about
all their pictures, also of unknown kind. A source that the model has learnt from is refused, but for the fold
that was held out: a figure on pictures that were learnt is about memory.
"""

import dataclasses
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from serving import Classifier
from serving.model.artefact import ArtefactConfig
from trainer.config import FOLDS, DataConfig, build_config
from trainer.evaluation.predictions import Predictions, number_groups, pool_predictions
from trainer.evaluation.scoring import DATASET, SAME_PICTURES, EvaluationError, find_fold, find_protocol
from trainer.evaluation.split_scoring import score_split

if TYPE_CHECKING:  # it imports TensorFlow
    import tensorflow_datasets as tfds

    from trainer.data.input_pipeline import Split

PROTOCOL_PREFIX = "sources-"
# In a name of a protocol, which is part of names of files.
MOST_NAMED = 4
# Every slice of it is in Kaggle's collection, with the same folds.
FIGSHARE = "figshare"
# Sources that hold, or may hold, the same patients; see `tumor_ds.sources.catalogue`.
SHARED_PATIENTS = (
    ("brats_samples", "lgg_tcga"),
    ("tcga_gbm", "rsna_miccai"),
    ("oasis2_planes", "alzheimer_oasis"),
)


@dataclass(frozen=True)
class SourcePart:
    """A dataset of a source, or one of its folds.

    Attributes:
        name: config of `tumor_ds`.
        fold: 1..5; 0: all folds.

    Example:
        >>> parse_part("lgg_tcga/fold4")
        SourcePart(name='lgg_tcga', fold=4)
    """

    name: str
    fold: int = 0

    def __str__(self) -> str:
        return f"{self.name}/fold{self.fold}" if self.fold else self.name


def parse_part(text: str) -> SourcePart:
    """Read `NAME` or `NAME/foldN`, perhaps behind `tumor_ds/`.

    Raises:
        EvaluationError: it is neither, or a protocol of the collection that models are trained on.
    """
    name, _, fold = text.removeprefix(f"{DATASET}/").partition("/")
    allowed = {"": 0} | {f"fold{number}": number for number in range(1, FOLDS + 1)}
    if not name or fold not in allowed:
        raise EvaluationError(f"--on {text}: expected NAME or NAME/fold1 to NAME/fold{FOLDS}.")
    if name in SAME_PICTURES:
        raise EvaluationError(f"--on {text}: expected another source than the collection. Use --protocol.")
    return SourcePart(name, allowed[fold])


def check_unseen(config: ArtefactConfig, part: SourcePart) -> None:
    """Refuse pictures that the model has learnt from.

    Raises:
        EvaluationError: it has.
    """
    if part.name not in list_learnt(config):
        return
    held_out = find_fold(config)
    if part.fold and part.fold == held_out:
        return
    remedy = f"Evaluate it on {part.name}/fold{held_out}, which it has not seen" if held_out else ""
    raise EvaluationError(
        f"The model has learnt from {DATASET}/{part.name}: on {part}, a figure would be about memory."
        f" {remedy or 'Evaluate it on another source'}, or train one without that source (tumor train"
        f" --leave-out {part.name})."
    )


def list_learnt(config: ArtefactConfig) -> set[str]:
    """Configs of `tumor_ds` that a model has learnt from, wholly or but for a fold."""
    mixed = build_config(config.raw["training"]).data.learnt_mix
    # A version may stand behind the name.
    names = {name.removeprefix(f"{DATASET}/").partition(":")[0] for name in mixed}
    learnt = {find_protocol(config), *names}
    return learnt | ({FIGSHARE} if learnt & set(SAME_PICTURES) else set())


def describe_doubts(config: ArtefactConfig, parts: Sequence[SourcePart]) -> Iterator[str]:
    """Say in a line each why figures may be too good, though the model has not learnt from the parts itself.

    A source may hold patients of another one, and the model that this one started from has learnt, too.
    """
    start, learnt = config.raw.get("started_from"), list_learnt(config)
    if start:
        yield (
            f"The model started from {start['model']}. If that one has learnt from these sources, the figures"
            " are too good; see its card."
        )
    for part in parts:
        for pair in SHARED_PATIENTS:
            others = set(pair) - {part.name}
            if part.name in pair and others & learnt:
                yield (
                    f"{part.name} has, or may have, patients of {others.pop()}, which the model has learnt"
                    " from: its figures may be too good."
                )


def open_part(config: ArtefactConfig, part: SourcePart, data_dir: str | None) -> "tfds.core.DatasetBuilder":
    """Find the dataset of a part.

    Raises:
        EvaluationError: the model has learnt from it, it has no such fold, or labels that the model does not
            know.
        DatasetMissingError: it is not built.
    """
    from trainer.data.input_pipeline import load_builder, name_test_split

    check_unseen(config, part)
    builder = load_builder(f"{DATASET}/{part.name}", data_dir)
    labels = tuple(builder.info.features["label"].names)
    if not set(labels) <= {*config.labels}:
        raise EvaluationError(
            f"The model knows {config.labels}, {part.name} has {labels}. Name another source."
        )
    if part.fold and name_test_split(part.fold) not in builder.info.splits:
        raise EvaluationError(
            f"{part.name} has no fold{part.fold}, but {', '.join(builder.info.splits)}. Name one of these."
        )
    return builder


def score_sources(
    classifier: Classifier,
    parts: Sequence[SourcePart],
    builders: "Sequence[tfds.core.DatasetBuilder]",
    protocol: str | None = None,
) -> Predictions:
    """Score every picture of the parts once; groups of two parts are never the same.

    Args:
        classifier: a loaded artefact.
        parts: what is scored.
        builders: those of `open_part`.
        protocol: what the pictures are called; None: by the parts.

    Raises:
        PredictionsError: a picture is in two of them.
    """
    name = protocol or name_protocol(parts)
    scored = [
        score_split(classifier, _load_part(part, builder, classifier.config), name)
        for part, builder in zip(parts, builders, strict=True)
    ]
    groups = number_groups([one.groups for one in scored])
    return dataclasses.replace(pool_predictions(scored), groups=groups)


def name_protocol(parts: Sequence[SourcePart]) -> str:
    """Name what is evaluated, as a part of names of files.

    Example:
        >>> name_protocol([SourcePart("lgg_tcga", 4), SourcePart("feltrin44")])
        'sources-lgg_tcga-fold4+feltrin44'
    """
    names = [str(part).replace("/", "-") for part in parts]
    more = [f"{len(names) - MOST_NAMED}_more"] if len(names) > MOST_NAMED else []
    return PROTOCOL_PREFIX + "+".join(names[:MOST_NAMED] + more)


def name_options(protocol: str) -> str:
    """Give the options of `tumor evaluate` that stand for a protocol of `name_protocol`.

    Example:
        >>> name_options("sources-lgg_tcga-fold4+feltrin44")
        '--on lgg_tcga/fold4 --on feltrin44'
    """
    names = protocol.removeprefix(PROTOCOL_PREFIX).replace("-fold", "/fold").split("+")
    return " ".join("..." if name.endswith("_more") else f"--on {name}" for name in names)


def read_parts(
    parts: Sequence[SourcePart],
    builders: "Sequence[tfds.core.DatasetBuilder]",
    names: Collection[str],
    feature: str = "image",
) -> dict[str, np.ndarray]:
    """Read `image` or `mask`, uint8 (h, w), of some pictures of the parts, by filename."""
    from trainer.data.input_pipeline import iterate_examples

    return {
        example.facts.filename: getattr(example, feature)[..., 0]
        for part, builder in zip(parts, builders, strict=True)
        for example in iterate_examples(builder, _name_splits(part, builder))
        if example.facts.filename in names
    }


def _name_splits(part: SourcePart, builder: Any) -> str:
    return f"fold{part.fold}" if part.fold else "+".join(builder.info.splits)


def _load_part(part: SourcePart, builder: "tfds.core.DatasetBuilder", config: ArtefactConfig) -> "Split":
    from trainer.data.input_pipeline import load_learning_split, load_whole, number_labels

    data, with_masks = DataConfig().replace(fit=config.image_fit, fold=part.fold), config.map is not None
    if part.fold:
        split = load_learning_split(builder, "test", data, config.image_size, with_masks)
    else:
        split = load_whole(builder, data, config.image_size, with_masks)
    return number_labels(split, builder, config.labels)
