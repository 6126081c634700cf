"""A network as a block diagram: its stages from top to bottom, with their shapes and parameters.

Goes in: a flat Keras model. Comes out: a PNG.
"""

import itertools
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch

from trainer.reporting.figures import GREY, WIDTH, build_figure, save_figure

if TYPE_CHECKING:
    import keras

ARCHITECTURE_FIGURE = "architecture.png"
# What a reader need not be told of: it keeps shapes, or comes with every convolution.
PADDING = "ZeroPadding2D"
SILENT_LAYERS = ("Activation", "Add", "BatchNormalization", "InputLayer", "ReLU", PADDING)
# With more boxes than this the diagram is no overview; then stages are told by the size of their maps.
MAX_STAGES = 16
BOX_INCHES, GAP_INCHES = 0.46, 0.16
MAP_COLOUR, VECTOR_COLOUR = "#DCEBF5", "#FBE6D5"


@dataclass(frozen=True)
class Stage:
    """Layers that follow each other and belong together.

    Attributes:
        name: `stem`, `block3`, `logits`.
        layers: number of layers by class, in order of first use.
        shape: of the last layer's output, without the batch.
        parameters: of all its layers.

    Example:
        >>> Stage("logits", {"Dense": 1}, (4,), 5124).shape
        (4,)
    """

    name: str
    layers: dict[str, int]
    shape: tuple[int, ...]
    parameters: int


def describe_stages(model: "keras.Model") -> list[Stage]:
    """Join layers to stages.

    Layers whose names begin alike are one stage, as `block3b_expand_conv` belongs to `block3`; a layer
    without weights joins the one before.

    Args:
        model: flat; names of other libraries may make too many stages, which are then joined as long as
            height and width stay.
    """
    stages = _join(model, [_find_prefix(layer.name) for layer in model.layers])
    if len(stages) > MAX_STAGES:
        stages = _join(model, [_name_size(layer) for layer in model.layers])
    return stages


def plot_architecture(model: "keras.Model", title: str, path: Path) -> None:
    """Draw the stages of a model.

    Args:
        model: flat.
        title: name of the network.
        path: the PNG to write.
    """
    stages = describe_stages(model)
    height = 0.5 + len(stages) * (BOX_INCHES + GAP_INCHES)
    figure = build_figure(height)
    figure.set_layout_engine("none")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, WIDTH), ylim=(height, 0))
    axes.axis("off")
    total = f"{title}: {sum(stage.parameters for stage in stages):,} parameters"
    axes.text(WIDTH / 2, 0.25, total, ha="center", va="center", fontsize=11)
    for place, stage in enumerate(stages):
        top = 0.45 + place * (BOX_INCHES + GAP_INCHES)
        _draw_stage(axes, stage, top)
        if place:
            arrow = {"arrowstyle": "-|>", "color": GREY, "shrinkA": 0, "shrinkB": 0}
            axes.annotate("", (WIDTH / 2, top), (WIDTH / 2, top - GAP_INCHES), arrowprops=arrow)
    save_figure(figure, path)


def _draw_stage(axes: Axes, stage: Stage, top: float) -> None:
    """A box with name and layers on the left, shape and parameters on the right; `top` in inches."""
    box = FancyBboxPatch((0.15, top), WIDTH - 0.3, BOX_INCHES, boxstyle="round,pad=0,rounding_size=0.06")
    box.set(facecolor=MAP_COLOUR if len(stage.shape) == 3 else VECTOR_COLOUR, edgecolor=GREY)
    axes.add_patch(box)
    upper, lower, right = top + 0.3 * BOX_INCHES, top + 0.72 * BOX_INCHES, WIDTH - 0.27
    layers = ", ".join(f"{count} {kind}" for kind, count in stage.layers.items())
    parameters = f"{stage.parameters:,} parameters" if stage.parameters else ""
    axes.text(0.27, upper, stage.name, va="center", fontsize=10, fontweight="bold")
    axes.text(0.27, lower, layers, va="center", fontsize=8)
    axes.text(right, upper, " x ".join(map(str, stage.shape)), ha="right", va="center", fontsize=10)
    axes.text(right, lower, parameters, ha="right", va="center", fontsize=8)


def _join(model: "keras.Model", names: list[str]) -> list[Stage]:
    """Join layers in a row with one name; one without weights joins the one before, except where maps end."""
    kept: list[str] = []
    for before, layer, name in zip([None, *model.layers], model.layers, names, strict=False):
        is_silent = before is not None and not layer.weights and layer.output.ndim == before.output.ndim
        kept.append(kept[-1] if is_silent else name)
    stages = []
    for name, pairs in itertools.groupby(zip(kept, model.layers, strict=True), key=lambda pair: pair[0]):
        layers = [layer for _, layer in pairs]
        kinds = Counter(type(layer).__name__ for layer in layers)
        # A stage may end with the padding of the next one's first convolution.
        last = [layer for layer in layers if type(layer).__name__ != PADDING][-1]
        told = {kind: count for kind, count in kinds.items() if kind not in SILENT_LAYERS}
        parameters = sum(layer.count_params() for layer in layers)
        stages.append(Stage(name, told, tuple(last.output.shape[1:]), parameters))
    return stages


def _find_prefix(name: str) -> str:
    """`block3` of `block3b_dwconv`, `v2_stack_1` of `v2_stack_1_block2_add`, `stem` of `stem_conv`."""
    match = re.match(r"(?:v\d_)?(?:block|stack|stage)_?\d+", name)
    return match.group() if match else name.split("_")[0]


def _name_size(layer: "keras.layers.Layer") -> str:
    shape = layer.output.shape
    return f"{shape[1]} x {shape[2]} pixels" if len(shape) == 4 else layer.name
