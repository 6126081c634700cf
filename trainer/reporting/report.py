"""The evaluation as one page for people: `report.html`, which needs nothing but itself.

Goes in: a folder that `trainer.evaluation.scoring` wrote, the model, or those of all folds, and the pictures
to show. Comes out: the page, and contact sheets in `pictures/`. Every figure of the page is looked up in the
JSON files beside it and marked with the place it comes from.
"""

import base64
import functools
import io
import json
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from etils import epath
from markupsafe import Markup
from PIL import Image

from serving.cli.wording import name_finding
from serving.files.writing import write_whole
from serving.model.artefact import (
    BUNDLED,
    CONFIG_FILE,
    FIGURES_FOLDER,
    METRICS_FILE,
    RUN_SUBFOLDER,
    ArtefactConfig,
)
from trainer.config import FOLDED_DATASET, build_config
from trainer.evaluation.bootstrap import SAMPLES
from trainer.evaluation.gallery import Gallery
from trainer.evaluation.labelled_folder import FOLDER_PREFIX
from trainer.evaluation.metrics import CALIBRATION_BINS
from trainer.evaluation.other_sources import PROTOCOL_PREFIX, name_options
from trainer.evaluation.outline_gallery import FOUND_COLOUR, TRUE_COLOUR
from trainer.evaluation.predictions import OVER_FOLDS_FILE, PREDICTIONS_FILE, Predictions
from trainer.evaluation.predictions_file import load_predictions
from trainer.evaluation.robustness import is_about
from trainer.reporting.architecture_figure import ARCHITECTURE_FIGURE
from trainer.reporting.contact_sheet import save_contact_sheets
from trainer.reporting.evaluation_files import (
    CORRUPTIONS_FIGURE,
    CORRUPTIONS_FILE,
    CURVES,
    FIGURES,
    name_figure,
)
from trainer.reporting.figures import load_learning_curves
from trainer.reporting.tables import REFERENCES, has_comparison
from trainer.reporting.terminal import CLASS_COLUMNS
from trainer.reporting.wording import (
    POINTER_TITLES,
    SUBSET_HEADINGS,
    format_figure,
    format_probability,
)
from tumor_ds.audit.pages import render_page

TEMPLATE = Path(__file__).parent / "report.html.j2"
REPORT_FILE, PICTURES_FOLDER = "report.html", "pictures"
JPEG_QUALITY = 82
# What every page shows.
CONSTANTS = {
    "class_columns": CLASS_COLUMNS | {"average_precision": "AP"},
    "pointers": POINTER_TITLES,
    "outline_colours": {"true": TRUE_COLOUR, "found": FOUND_COLOUR},
    "bins": CALIBRATION_BINS,
    "draws": SAMPLES,
}
FORMATS = {
    "percent": ".2%",
    "short percent": ".1%",
    "count": ",",
    "four digits": ".4f",
    "two digits": ".2f",
    "signed": "+.2f",
}


@dataclass(frozen=True)
class Model:
    """A model that is reported on.

    Attributes:
        config: of its artefact.
        folder: its artefact; of a model of several, what the page shows of it.
        learning_curves: PNG; None where the run that made it is not at hand.

    Example:
        >>> from serving.model.artefact import load_config
        >>> Model(load_config(BUNDLED), BUNDLED).learning_curves is None
        True
    """

    config: ArtefactConfig
    folder: Path
    learning_curves: bytes | None = None


class Numbers:
    """Numbers of a JSON file beside the page, each marked with where it stands there.

    Args:
        file: its name.
        content: of the whole file.
        root: keys that all paths begin behind.

    Example:
        >>> Numbers("metrics.json", {"all": {"accuracy": 0.98553}}).mark("percent", "all", "accuracy")
        Markup('<span data-key="metrics.json#/all/accuracy">98.55%</span>')
    """

    def __init__(self, file: str, content: Any, *root: str) -> None:
        self._file, self._content, self._root = file, content, root

    def mark(self, form: str, *path: str | int) -> Markup:
        """Write one number, or a dash where it is not defined.

        Args:
            form: a key of `FORMATS`.
            path: keys and indices to the number.

        Returns:
            A `span` whose `data-key` is the file's name and a pointer as in RFC 6901.
        """
        steps = (str(step).replace("~", "~0").replace("/", "~1") for step in (*self._root, *path))
        pointer = "".join(f"/{step}" for step in steps)
        text = format_figure(self._find(path), FORMATS[form])
        return Markup('<span data-key="{}#{}">{}</span>').format(self._file, pointer, text)

    def mark_interval(self, form: str, *path: str | int) -> Markup:
        """Write the two ends of an interval, or a dash; arguments as for `mark`."""
        if self._find(path) is None:
            return self.mark(form, *path)
        return self.mark(form, *path, 0) + " to " + self.mark(form, *path, 1)

    def _find(self, path: Sequence[str | int]) -> Any:
        return functools.reduce(operator.getitem, (*self._root, *path), self._content)


def write_report(folder: Path, models: Sequence[Model], gallery: Gallery) -> None:
    """Write `report.html` into the folder of an evaluation, and contact sheets into its `pictures/`.

    Args:
        folder: as `save_evaluation` wrote it, perhaps with worse pictures scored.
        models: the one that was evaluated; or those of the folds, in order, each about the fold that it did
            not learn, with `over_folds.json` in the folder.
        gallery: pictures and mistakes to show; without pictures, those of an earlier report are removed.
    """
    predictions = load_predictions(folder / PREDICTIONS_FILE)
    page = build_page(folder, predictions, models, gallery)
    save_contact_sheets(gallery, predictions.protocol, folder / PICTURES_FOLDER)
    write_whole(folder / REPORT_FILE, page)


def build_page(folder: Path, predictions: Predictions, models: Sequence[Model], gallery: Gallery) -> str:
    """Build the page.

    Args:
        folder: of the evaluation; its `metrics.json`, `figures/` and, where it is about these predictions,
            `corruptions.json` are shown.
        predictions: that were evaluated.
        models: that made them; see `write_report`.
        gallery: pictures and mistakes to show.
    """
    config, protocol = models[0].config, predictions.protocol
    metrics = json.loads((folder / METRICS_FILE).read_text(encoding="utf-8"))
    corruptions = load_corruptions(folder, predictions)
    is_folds = len(models) > 1
    over_folds = json.loads((folder / OVER_FOLDS_FILE).read_text(encoding="utf-8")) if is_folds else None
    numbers = Numbers(METRICS_FILE, metrics, protocol)
    return render_page(
        TEMPLATE,
        {"jpeg": encode_jpeg, "figure": format_figure, "probability": format_probability},
        config=config.raw,
        protocol=protocol,
        other_source=find_other_source(protocol),
        summary=metrics[protocol],
        subsets={name: SUBSET_HEADINGS[name] for name in metrics[protocol]},
        labels=predictions.labels,
        healthy=predictions.healthy_label,
        finding=name_finding(predictions.healthy_label),
        corruptions=corruptions,
        number=numbers.mark,
        interval=numbers.mark_interval,
        config_number=Numbers(CONFIG_FILE, config.raw).mark,
        corruption_number=Numbers(CORRUPTIONS_FILE, corruptions).mark,
        fold_configs=[
            Numbers(f"fold{fold}/{RUN_SUBFOLDER}/{CONFIG_FILE}", model.config.raw).mark
            for fold, model in enumerate(models, start=1)
        ],
        fold_number=Numbers(OVER_FOLDS_FILE, over_folds).mark,
        is_folds=is_folds,
        plots=load_plots(folder, protocol, models, corruptions is not None),
        gallery=gallery,
        command=name_command(protocol, [model.folder for model in models], corruptions is not None),
        references=REFERENCES if has_comparison(protocol, metrics[protocol]) else (),
        **CONSTANTS,
    )


def find_other_source(protocol: str) -> str | None:
    """Name the source of pictures that belong to no protocol; None where they do."""
    for prefix in (FOLDER_PREFIX, PROTOCOL_PREFIX):
        if protocol.startswith(prefix):
            return protocol.removeprefix(prefix)
    return None


def load_plots(
    folder: Path, protocol: str, models: Sequence[Model], corruptions: bool
) -> dict[str, tuple[str, int, int]]:
    """Read the figures that there are: by name, a URL that holds the PNG, its width and height in pixels.

    Args:
        folder: of the evaluation.
        protocol: that was evaluated.
        models: see `write_report`; of several, the learning curves are `learning_curves1` and so on.
        corruptions: whether worse pictures are shown.
    """
    paths = {name: folder / FIGURES_FOLDER / name_figure(name, protocol) for name in (*FIGURES, *CURVES)}
    paths |= {"architecture": models[0].folder / FIGURES_FOLDER / ARCHITECTURE_FIGURE}
    paths |= {"corruptions": folder / FIGURES_FOLDER / CORRUPTIONS_FIGURE} if corruptions else {}
    content = {name: path.read_bytes() for name, path in paths.items() if path.is_file()}
    for number, model in enumerate(models, start=1):
        if model.learning_curves:
            content[f"learning_curves{number if len(models) > 1 else ''}"] = model.learning_curves
    return {name: (encode_png(png), *read_png_size(png)) for name, png in content.items()}


def load_corruptions(folder: Path, predictions: Predictions) -> dict[str, Any] | None:
    """Read `corruptions.json`; None where there is none, or one that is not about these predictions."""
    path = folder / CORRUPTIONS_FILE
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except ValueError:  # damaged
        return None
    return found if is_about(found, predictions) else None


def find_learning_curves(artefact: Path, config: ArtefactConfig) -> bytes | None:
    """Draw the learning curves of the run that an artefact lies in; None where it lies elsewhere.

    Raises:
        RunError: the run's `history.csv` is damaged.
    """
    if artefact.name != RUN_SUBFOLDER:
        return None
    monitor = build_config(config.raw["training"]).optimization.monitor
    return load_learning_curves(epath.Path(artefact.parent), monitor)


def name_command(protocol: str, artefacts: Sequence[Path], corruptions: bool) -> str:
    """Give the command that makes such a report, without names of places on this machine."""
    if len(artefacts) > 1:
        return f"tumor train CONFIG --set data.dataset={FOLDED_DATASET} --folds"
    model = "" if artefacts[0] == BUNDLED else " MODEL"
    if protocol.startswith(FOLDER_PREFIX):
        asked = f"--images {protocol.removeprefix(FOLDER_PREFIX)}"
    elif protocol.startswith(PROTOCOL_PREFIX):
        asked = name_options(protocol)
    else:
        asked = f"--protocol {protocol}"
    return f"tumor evaluate{model} {asked}" + (" --corruptions" if corruptions else "")


def encode_png(content: bytes) -> str:
    """A PNG as a URL that holds it."""
    return "data:image/png;base64," + base64.b64encode(content).decode()


def encode_jpeg(pixels: np.ndarray) -> str:
    """Uint8 (h, w) or (h, w, 3) as a small JPEG in a URL."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=JPEG_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def read_png_size(content: bytes) -> tuple[int, int]:
    """Width and height in pixels, so that the page does not jump while it loads."""
    with Image.open(io.BytesIO(content)) as picture:
        return picture.size
