"""What the app shows, as HTML: pure functions from answers to text.

Goes in: pictures, predictions, and what `serving.desk` counted. Comes out: HTML in which every text from outside is escaped and every
picture is part of the page, so that the server never has to hand out a file.
"""

import base64
import csv
import io
import itertools
import urllib.parse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from PIL import Image

from serving.artefact import ArtefactConfig
from serving.classifier import Prediction
from serving.explain import INFERNO
from serving.guard import Verdict
from serving.preprocess import Picture, fit_to_square

WEB = Path(__file__).parent / "web"
EXAMPLES = Path(__file__).parent / "examples"
NAMES = {"glioma": "Glioma", "meningioma": "Meningioma", "notumor": "No tumour", "pituitary": "Pituitary tumour"}
MEANINGS = {
    "glioma": "A tumour of the supporting (glial) cells, inside the tissue of the brain. Ranges from slow to very aggressive.",
    "meningioma": "A tumour of the membranes around the brain, pressing on it from outside. Mostly benign.",
    "notumor": "None of the three tumours is seen in this slice. It does not mean healthy: other diseases, and other slices, are unknown to the model.",
    "pituitary": "A tumour of the pituitary gland, at the base of the brain behind the nose. Mostly benign.",
}
SLICE_SIDE = 448
VOLUME_SIDE = 320
THUMBNAIL_SIDE = 88
# The model's maps have 6 x 6 positions; a browser smooths between these.
HEAT_SIDE = 32
_counter = itertools.count()


def name_label(label: str) -> str:
    """The label as a person would say it."""
    return NAMES.get(label, label)


def percent(value: float) -> str:
    """Write a share, [0, 1], as a percentage that never claims to be certain."""
    if 0.999 < value < 1.0:
        return "> 99.9 %"
    return "< 0.1 %" if 0.0 < value < 0.001 else f"{value:.1%}".replace("%", " %")


def describe_set(prediction: Prediction, coverage: float) -> str:
    """Say in words which labels cannot be ruled out, such as "Glioma or meningioma; cannot be told apart at 95 %."."""
    members, level = prediction.prediction_sets[coverage], f"{coverage:.0%}".replace("%", " %")
    names = [name_label(label) for label in members]
    if len(members) == 1:
        return f"{names[0]} alone; every other label is ruled out at {level}."
    if len(members) == len(prediction.probabilities):
        return f"No label can be ruled out at {level}."
    listed = ", ".join([names[0], *(name[0].lower() + name[1:] for name in names[1:-1])])
    return f"{listed} or {names[-1][0].lower()}{names[-1][1:]}; cannot be told apart at {level}."


def build_frame(picture: Picture, prediction: Prediction | None, fit: str, side: int = SLICE_SIDE) -> dict[str, Any]:
    """What the page's viewer shows of one slice.

    Args:
        picture: the slice.
        prediction: its answer; None: only the picture is shown. A refused one has no heat map either.
        fit: how the model's input is made square, one of `serving.preprocess.FITS`.
        side: of the picture, pixels.
    """
    scored = prediction is not None and prediction.label is not None
    return {
        "image": encode_picture(picture.grey, side, fit),
        "label": prediction.label if prediction else None,
        "heat": {label: _encode_heat(heatmap) for label, heatmap in prediction.heatmaps.items()} if prediction and scored else {},
        "caption": _summarise(prediction) if prediction else "",
        "kind": prediction.verdict.value if prediction else "unread",
    }


def encode_picture(grey: np.ndarray, side: int, fit: str = "pad") -> str:
    """Make a square WebP of uint8 (h, w), [0, 255], as an address that holds the picture itself."""
    stream = io.BytesIO()
    Image.fromarray(fit_to_square(grey, side, fit)[..., 0]).save(stream, "WEBP", quality=90)
    return f"data:image/webp;base64,{base64.b64encode(stream.getvalue()).decode()}"


def render_slice(name: str, picture: Picture, prediction: Prediction, config: ArtefactConfig) -> str:
    """The answer for one slice."""
    return _render(
        "slice.html.j2",
        prediction=prediction,
        frame=build_frame(picture, prediction, config.image_fit),
        labels=config.labels,
        facts=list_facts(name, picture, config),
        announcement=_summarise(prediction),
    )


def render_error(message: str, title: str = "This could not be read") -> str:
    """An answer that is none, and why."""
    return _ENVIRONMENT.get_template("parts.html.j2").module.unread(title, message)  # type: ignore[attr-defined]


def list_facts(name: str, picture: Picture, config: ArtefactConfig) -> list[tuple[str, str]]:
    """What the file was and what was done to it, in rows of name and value."""
    facts, (height, width) = picture.facts, picture.grey.shape
    rows = [("File", name)]
    if facts is not None:
        rows.append(("Stored as", f"{facts.format or 'array'}, mode {facts.mode}, {facts.size[0]} x {facts.size[1]} pixels"))
        if facts.bytes is not None:
            rows.append(("Size", f"{facts.bytes:,} bytes"))
    size = config.image_size
    square = "" if width == height else "padded with black to a square and " if config.image_fit == "pad" else "stretched to a square and "
    steps = [*(facts.steps if facts else ()), f"{width} x {height} grey pixels were {square}resized to {size} x {size} for the model."]
    return [*rows, ("Preprocessing", " ".join(steps))]


def render_intake(name: str, **options: Any) -> str:
    """The place where files come in."""
    return _render("intake.html.j2", name=name, **{"planes": (), "examples": (), "several": False, "paste": False} | options)


def list_examples() -> list[dict[str, str]]:
    """The bundled example slices, with a small picture of each."""
    return [
        {
            "name": path.stem,
            "title": name_label(path.stem),
            "thumbnail": encode_picture(np.asarray(Image.open(path).convert("L")), 2 * THUMBNAIL_SIDE),
        }
        for path in sorted(EXAMPLES.glob("*.png"))
    ]


def render_batch(rows: Sequence[dict[str, Any]], total: int, config: ArtefactConfig, done: bool) -> str:
    """How far a batch is, or all its answers as a table.

    Args:
        rows: as `build_row` gives them.
        total: number of files.
        config: of the model.
        done: False while there are more to come.
    """
    tally = Counter(row["answer"] for row in rows)
    counts = [(answer[0].lower() + answer[1:], count) for answer, count in tally.most_common()]
    announcement = ", ".join(f"{count} {text}" for text, count in counts)
    table = _write_csv(rows, config.labels) if done else ""
    return _render(
        "batch.html.j2", rows=rows, total=total, done=done, counts=counts, announcement=announcement, note="", csv=f"data:text/csv;charset=utf-8,{table}"
    )


def build_row(name: str, picture: Picture | None, prediction: Prediction | None, error: str = "") -> dict[str, Any]:
    """One row of the batch table: a picture with its answer, or a file that could not be read."""
    row: dict[str, Any] = {"name": name, "thumbnail": encode_picture(picture.grey, THUMBNAIL_SIDE) if picture else "", "members": [], "probability": -1.0}
    if prediction is None:
        return row | {"kind": "unread", "answer": "Not read", "reason": error, "told": {"error": error}}
    row |= {"kind": prediction.verdict.value, "reason": prediction.reason, "told": prediction.to_dict()}
    if prediction.label is None:
        return row | {"answer": "No brain MRI slice"}
    members = [name_label(label) for label in prediction.prediction_set]
    return row | {
        "answer": name_label(prediction.label),
        "probability": prediction.probabilities[prediction.label],
        "members": members,
    }


def _write_csv(rows: Sequence[dict[str, Any]], labels: Sequence[str]) -> str:
    """All answers as CSV, quoted for an address; a name that a spreadsheet would take for a formula starts with an apostrophe."""
    stream = io.StringIO()
    writer = csv.writer(stream)
    writer.writerow(["file", "label", "verdict", "reason", *(f"prob_{label}" for label in labels), "prediction_set", "error"])
    for row in rows:
        told, name = row["told"], row["name"]
        probabilities = told.get("probabilities") or {}
        writer.writerow(
            [
                f"'{name}" if name.startswith(("=", "+", "-", "@")) else name,
                *(told.get(field, "") for field in ("label", "verdict", "reason")),
                *(probabilities.get(label, "") for label in labels),
                " ".join(told.get("prediction_set", ())),
                told.get("error", ""),
            ]
        )
    return urllib.parse.quote(stream.getvalue())


def _encode_heat(heatmap: np.ndarray) -> str:
    """Base64 of uint8 (HEAT_SIDE, HEAT_SIDE), row by row, for the page to colour."""
    small = np.asarray(Image.fromarray(heatmap).resize((HEAT_SIDE, HEAT_SIDE), Image.Resampling.BICUBIC))
    return base64.b64encode(np.round(np.clip(small, 0, 1) * 255).astype(np.uint8).tobytes()).decode()


def _summarise(prediction: Prediction) -> str:
    """An answer in a sentence."""
    if prediction.label is None:
        return "This does not look like a brain MRI slice."
    label, warning = prediction.label, " Unlike the training pictures." if prediction.verdict is Verdict.unlike_training else ""
    return f"{name_label(label)}, {percent(prediction.probabilities[label])}.{warning}"


def _render(template: str, **context: Any) -> str:
    return _ENVIRONMENT.get_template(template).render(**context)


_ENVIRONMENT = jinja2.Environment(loader=jinja2.FileSystemLoader(WEB), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
_ENVIRONMENT.globals.update(
    name_label=name_label,
    meanings_by_label=MEANINGS,
    percent=percent,
    describe_set=describe_set,
    unique=lambda: f"choice-{next(_counter)}",
    ramp=f"linear-gradient(90deg, {', '.join('rgb({:.0f} {:.0f} {:.0f})'.format(*stop) for stop in INFERNO)})",
)
