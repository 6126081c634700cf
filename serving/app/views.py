"""What the app shows, as HTML: pure functions from answers to text.

Goes in: the answers of `serving.app.service`, and the artefact. Comes out: HTML in which every text from
outside is escaped and every picture is part of the page, so that the server never has to hand out a file.
"""

import base64
import csv
import io
import itertools
import re
import urllib.parse
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from PIL import Image

from serving.app.service import Answer, VolumeAnswer
from serving.classifier import Prediction
from serving.model.artefact import ArtefactConfig
from serving.model.explain import INFERNO
from serving.model.guard import Verdict
from serving.preprocess import fit_to_square

WEB = Path(__file__).parent / "web"
EXAMPLES = Path(__file__).parent / "examples"
NAMES = {
    "glioma": "Glioma",
    "meningioma": "Meningioma",
    "notumor": "No tumour",
    "pituitary": "Pituitary tumour",
}
MEANINGS = {
    "glioma": (
        "A tumour of the supporting (glial) cells, inside the tissue of the brain. Ranges from slow to very"
        " aggressive."
    ),
    "meningioma": "A tumour of the membranes around the brain, pressing on it from outside. Mostly benign.",
    "notumor": (
        "None of the three tumours is seen in this slice. It does not mean healthy: the model knows no other"
        " disease."
    ),
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


def build_frame(grey: np.ndarray, prediction: Prediction, fit: str, side: int = SLICE_SIDE) -> dict[str, Any]:
    """What the page's viewer shows of one slice; a refused one has no heat map.

    Args:
        grey: uint8 (h, w), [0, 255].
        prediction: its answer.
        fit: how the model's input is made square, one of `serving.preprocess.FITS`.
        side: of the picture, pixels.
    """
    heatmaps = prediction.heatmaps.items() if prediction.in_domain else ()
    return {
        "image": encode_picture(grey, side, fit),
        "label": prediction.label,
        "heat": {label: _encode_heat(heatmap) for label, heatmap in heatmaps},
        "caption": _summarise(prediction),
        "kind": prediction.verdict.value,
    }


def encode_picture(grey: np.ndarray, side: int, fit: str = "pad") -> str:
    """Make a square WebP of uint8 (h, w), [0, 255], as an address that holds the picture itself."""
    stream = io.BytesIO()
    Image.fromarray(fit_to_square(grey, side, fit)[..., 0]).save(stream, "WEBP", quality=90)
    return f"data:image/webp;base64,{base64.b64encode(stream.getvalue()).decode()}"


def render_slice(answer: Answer, config: ArtefactConfig) -> str:
    """The answer for one slice.

    Args:
        answer: for a file that could be read.
        config: of the model.
    """
    assert answer.picture is not None
    assert answer.prediction is not None
    return _render(
        "slice.html.j2",
        prediction=answer.prediction,
        frame=build_frame(answer.picture.grey, answer.prediction, config.image_fit),
        labels=config.labels,
        facts=list_facts(answer, config),
        announcement=_summarise(answer.prediction),
    )


def render_volume(answer: VolumeAnswer, config: ArtefactConfig) -> str:
    """The answers for all slices of a volume, and what they say together."""
    volume, summary = answer.volume, answer.summary
    counts = [
        (label, name_label(label), count)
        for label, count in summary.counts.items()
        if count and label in config.labels
    ]
    refused = summary.counts[Verdict.not_brain_mri.value]
    return _render(
        "volume.html.j2",
        volume=volume,
        summary=summary,
        counts=[
            *counts,
            *([(Verdict.not_brain_mri.value, "No brain MRI slice", refused)] if refused else []),
        ],
        frames=[
            build_frame(grey, prediction, config.image_fit, VOLUME_SIDE)
            for grey, prediction in zip(volume.slices, answer.predictions, strict=True)
        ],
        labels=config.labels,
        facts=[
            (
                "Read as",
                f"{volume.format}, {len(volume.slices)} slices, {volume.plane or 'plane not stated'}",
            ),
            *_title(volume.facts),
        ],
    )


def render_error(message: str, title: str = "This could not be read") -> str:
    """An answer that is none, and why."""
    return _ENVIRONMENT.get_template("parts.html.j2").module.unread(title, message)  # type: ignore[attr-defined]


def list_facts(answer: Answer, config: ArtefactConfig) -> list[tuple[str, str]]:
    """What the file was and what was done to it, in rows of name and value."""
    assert answer.picture is not None
    facts, (height, width), size = answer.picture.facts, answer.picture.grey.shape, config.image_size
    rows = [("File", answer.name)]
    if facts is not None:
        stored = [
            facts.format,
            f"mode {facts.mode}" if facts.mode else "",
            f"{facts.size[0]} x {facts.size[1]} pixels",
        ]
        rows += [("Stored as", ", ".join(part for part in stored if part)), *_title(facts.details)]
        if facts.bytes is not None:
            rows.append(("Size", f"{facts.bytes:,} bytes"))
    square = (
        ""
        if width == height
        else (
            "padded with black to a square and "
            if config.image_fit == "pad"
            else "stretched to a square and "
        )
    )
    steps = [
        *(facts.steps if facts else ()),
        f"{width} x {height} grey pixels were {square}resized to {size} x {size} for the model.",
    ]
    return [*rows, ("Preprocessing", " ".join(steps))]


def render_masthead() -> str:
    """The head of the page: what it is, and what it is not."""
    return _render("masthead.html.j2")


def render_empty(text: str) -> str:
    """What stands where an answer will come."""
    return _render("empty.html.j2", text=text)


def render_about(config: ArtefactConfig, metrics: dict[str, Any] | None, revision: str) -> str:
    """What the loaded model is, what it has been measured to do, and how to read its answers.

    Args:
        config: of the model.
        metrics: its `metrics.json`; None where it came without.
        revision: by which it can be found again.
    """
    official = (metrics or {}).get("official", {})
    rows = [(subset, official[subset]) for subset in ("all", "unseen") if subset in official]
    return _render(
        "about.html.j2", config=config, raw=config.raw, figures=rows, revision=revision, labels=config.labels
    )


def strip_card(card: str) -> str:
    """The text of a model card, without its front matter and without pictures, which the page could not fetch."""
    text = re.sub(r"\A---\n.*?\n---\n", "", card, flags=re.DOTALL)
    return re.sub(r"!\[[^\]]*\]\([^)]*\)\n?", "", text)


def render_intake(name: str, **options: Any) -> str:
    """The place where files come in."""
    return _render(
        "intake.html.j2",
        name=name,
        **{"planes": (), "examples": (), "several": False, "paste": False} | options,
    )


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


def render_progress(done: int, total: int) -> str:
    """How far a batch is."""
    return _render("progress.html.j2", done=done, total=total)


def render_batch(answers: Sequence[Answer], config: ArtefactConfig) -> str:
    """All answers of a batch, as a table and as CSV."""
    rows = [_build_row(answer) for answer in answers]
    counts = [
        (title[0].lower() + title[1:], count)
        for title, count in Counter(row["answer"] for row in rows).most_common()
    ]
    table = f"data:text/csv;charset=utf-8,{urllib.parse.quote(write_csv(answers, config.labels))}"
    return _render(
        "batch.html.j2",
        rows=rows,
        counts=counts,
        announcement=", ".join(f"{count} {title}" for title, count in counts),
        csv=table,
    )


def _build_row(answer: Answer) -> dict[str, Any]:
    prediction = answer.prediction
    row: dict[str, Any] = {"name": answer.name, "thumbnail": "", "members": [], "probability": -1.0}
    if prediction is None or answer.picture is None:
        return row | {"kind": "unread", "answer": "Not read", "reason": answer.error}
    row |= {
        "kind": prediction.verdict.value,
        "reason": prediction.reason,
        "thumbnail": encode_picture(answer.picture.grey, THUMBNAIL_SIDE),
    }
    if prediction.label is None:
        return row | {"answer": "No brain MRI slice"}
    members = [name_label(label) for label in prediction.prediction_set]
    return row | {
        "answer": name_label(prediction.label),
        "probability": prediction.probabilities[prediction.label],
        "members": members,
    }


def write_csv(answers: Sequence[Answer], labels: Sequence[str]) -> str:
    """All answers as CSV; a name that a spreadsheet would take for a formula starts with an apostrophe."""
    stream = io.StringIO()
    fields = ("label", "verdict", "reason")
    writer = csv.writer(stream)
    writer.writerow(["file", *fields, *(f"prob_{label}" for label in labels), "prediction_set", "error"])
    for answer in answers:
        told = answer.prediction.to_dict() if answer.prediction else {}
        probabilities = told.get("probabilities") or {}
        name = f"'{answer.name}" if answer.name.startswith(("=", "+", "-", "@")) else answer.name
        columns = [
            *(told.get(field, "") for field in fields),
            *(probabilities.get(label, "") for label in labels),
        ]
        writer.writerow([name, *columns, " ".join(told.get("prediction_set", ())), answer.error])
    return stream.getvalue()


def _encode_heat(heatmap: np.ndarray) -> str:
    """Base64 of uint8 (HEAT_SIDE, HEAT_SIDE), row by row, for the page to colour."""
    small = np.asarray(Image.fromarray(heatmap).resize((HEAT_SIDE, HEAT_SIDE), Image.Resampling.BICUBIC))
    return base64.b64encode(np.round(np.clip(small, 0, 1) * 255).astype(np.uint8).tobytes()).decode()


def _title(facts: Mapping[str, str]) -> list[tuple[str, str]]:
    """Facts whose names start with a capital."""
    return [(name[:1].upper() + name[1:], value) for name, value in facts.items()]


def _summarise(prediction: Prediction) -> str:
    """An answer in a sentence."""
    if prediction.label is None:
        return "This does not look like a brain MRI slice."
    label, warning = (
        prediction.label,
        " Unlike the training pictures." if prediction.verdict is Verdict.unlike_training else "",
    )
    return f"{name_label(label)}, {percent(prediction.probabilities[label])}.{warning}"


def _render(template: str, **context: Any) -> str:
    return _ENVIRONMENT.get_template(template).render(**context)


_ENVIRONMENT = jinja2.Environment(
    loader=jinja2.FileSystemLoader(WEB),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_ENVIRONMENT.globals.update(
    name_label=name_label,
    meanings_by_label=MEANINGS,
    percent=percent,
    describe_set=describe_set,
    unique=lambda: f"choice-{next(_counter)}",
    ramp=(
        f"linear-gradient(90deg, {', '.join('rgb({:.0f} {:.0f} {:.0f})'.format(*stop) for stop in INFERNO)})"
    ),
)
