"""What the app shows, as HTML: pure functions from answers to text.

Goes in: answers, and the artefact. Comes out: HTML in which every text from outside is escaped and every
picture is part of the page, so that the server never has to hand out a file.
"""

import base64
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

from serving.app.service import Answer
from serving.classifier import Prediction
from serving.cli.answers import Row, build_csv, build_row, build_volume_row
from serving.cli.wording import format_percent
from serving.model.artefact import ArtefactConfig
from serving.model.explain import INFERNO
from serving.model.guard import Verdict
from serving.pictures.anatomy import Volume
from serving.preprocess import decode_grey, fit_to_square
from serving.summary import summarise_volume

WEB = Path(__file__).parent / "web"
EXAMPLES = Path(__file__).parent / "examples"
NAMES = {
    "glioma": "Glioma",
    "meningioma": "Meningioma",
    "notumor": "No tumour",
    "pituitary": "Pituitary tumour",
}
_REFUSED = "No brain MRI slice"
SLICE_SIDE = 448
VOLUME_SIDE = 320
THUMBNAIL_SIDE = 88
# The model's maps have 6 x 6 positions; a browser smooths between these.
HEAT_SIDE = 32
_counter = itertools.count()


def name_label(label: str) -> str:
    """The label as a person would say it."""
    return NAMES.get(label, label)


def describe_set(prediction: Prediction, coverage: float) -> str:
    """Say which labels cannot be ruled out, such as "Glioma or meningioma; cannot be told apart at 95 %."."""
    members, level = prediction.prediction_sets[coverage], format_percent(coverage, digits=0)
    names = [name_label(label) for label in members]
    if len(members) == 1:
        return f"{names[0]} alone; every other label is ruled out at {level}."
    if len(members) == len(prediction.probabilities):
        return f"No label can be ruled out at {level}."
    listed = ", ".join([names[0], *map(_lower, names[1:-1])])
    return f"{listed} or {_lower(names[-1])}; cannot be told apart at {level}."


def _lower(name: str) -> str:
    return name[:1].lower() + name[1:]


def build_frame(grey: np.ndarray, prediction: Prediction, fit: str, side: int = SLICE_SIDE) -> dict[str, Any]:
    """What the page's viewer shows of uint8 (h, w), [0, 255], in a square; a refused one has no heat map."""
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
    square = fit_to_square(grey, side, fit)[..., 0]
    return f"data:image/webp;base64,{encode_base64(square, 'WEBP', quality=90)}"


def encode_base64(pixels: np.ndarray, file_format: str, **options: Any) -> str:
    """Base64 of the picture file of uint8 (h, w) or (h, w, 3), [0, 255]."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, file_format, **options)
    return base64.b64encode(stream.getvalue()).decode()


def render(template: str, **context: Any) -> str:
    """Fill a template of `serving/app/web/`."""
    return _ENVIRONMENT.get_template(template).render(**context)


def render_slice(answer: Answer, config: ArtefactConfig) -> str:
    """The answer for one slice that could be read."""
    assert answer.picture is not None
    assert answer.prediction is not None
    return render(
        "slice.html.j2",
        prediction=answer.prediction,
        frame=build_frame(answer.picture.grey, answer.prediction, config.image_fit),
        labels=config.labels,
        facts=list_facts(answer, config),
        announcement=_summarise(answer.prediction),
        csv=_encode_csv([build_row(answer.name, answer.prediction)], config),
    )


def render_volume(name: str, volume: Volume, predictions: list[Prediction], config: ArtefactConfig) -> str:
    """The answers for all slices of a volume, named like its first file, and what they say together."""
    summary = summarise_volume(predictions)
    names = {**{label: name_label(label) for label in config.labels}, Verdict.not_brain_mri.value: _REFUSED}
    size = f"{len(volume.slices)} slices, {volume.plane or 'plane not stated'}"
    answered = zip(volume.slices, predictions, strict=True)
    return render(
        "volume.html.j2",
        volume=volume,
        summary=summary,
        counts=[(key, name, summary.counts[key]) for key, name in names.items() if summary.counts[key]],
        frames=[build_frame(grey, one, config.image_fit, VOLUME_SIDE) for grey, one in answered],
        labels=config.labels,
        facts=[("Read as", f"{volume.format}, {size}"), *_title(volume.facts)],
        csv=_encode_csv([build_volume_row(name, volume, predictions)], config),
    )


def list_facts(answer: Answer, config: ArtefactConfig) -> list[tuple[str, str]]:
    """What the file was and what was done to it, in rows of name and value."""
    assert answer.picture is not None
    facts, (height, width), size = answer.picture.facts, answer.picture.grey.shape, config.image_size
    rows = [("File", answer.name)]
    if facts is not None:
        mode = f"mode {facts.mode}, " if facts.mode else ""
        stored = f"{facts.format}, {mode}{facts.size[0]} x {facts.size[1]} pixels"
        rows += [("Stored as", stored), *_title(facts.details)]
        if facts.bytes is not None:
            rows.append(("Size", f"{facts.bytes:,} bytes"))
    fit = {"pad": "padded with black", "stretch": "stretched"}[config.image_fit]
    square = "" if width == height else f"{fit} to a square and "
    resized = f"{width} x {height} grey pixels were {square}resized to {size} x {size} for the model."
    return [*rows, ("Preprocessing", " ".join([*(facts.steps if facts else ()), resized]))]


def render_about(config: ArtefactConfig, metrics: dict[str, Any], revision: str) -> str:
    """What the loaded model is, what it has been measured to do, and how to read its answers.

    `metrics` is empty where the model came without `metrics.json`.
    """
    official = metrics.get("official", {})
    figures = [(subset, official[subset]) for subset in ("all", "unseen") if subset in official]
    return render("about.html.j2", config=config, figures=figures, revision=revision)


def strip_card(card: str) -> str:
    """The text of a model card without front matter and pictures, which the page could not fetch."""
    text = re.sub(r"\A---\n.*?\n---\n", "", card, flags=re.DOTALL)
    return re.sub(r"!\[[^\]]*\]\([^)]*\)\n?", "", text)


def list_examples() -> list[dict[str, str]]:
    """The bundled example slices, with a small picture of each."""
    pictures = {path.stem: decode_grey(path) for path in sorted(EXAMPLES.glob("*.png"))}
    return [
        {"name": name, "title": name_label(name), "thumbnail": encode_picture(grey, 2 * THUMBNAIL_SIDE)}
        for name, grey in pictures.items()
    ]


def render_batch(answers: Sequence[Answer], config: ArtefactConfig) -> str:
    """All answers of a batch, as a table and as CSV."""
    rows = [build_row(answer.name, answer.prediction or answer.error) for answer in answers]
    titles = ["Not read" if "error" in row else name_label(row["label"] or _REFUSED) for row in rows]
    counts = [(_lower(title), count) for title, count in Counter(titles).most_common()]
    pictures = [answer.picture and encode_picture(answer.picture.grey, THUMBNAIL_SIDE) for answer in answers]
    return render(
        "batch.html.j2",
        rows=list(zip(rows, titles, pictures, strict=True)),
        counts=counts,
        announcement=", ".join(f"{count} {title}" for title, count in counts),
        csv=_encode_csv(rows, config),
    )


def _encode_csv(rows: Sequence[Row], config: ArtefactConfig) -> str:
    """CSV as an address that holds the file itself."""
    return f"data:text/csv;charset=utf-8,{urllib.parse.quote(build_csv(rows, config.labels))}"


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
    share = format_percent(prediction.probabilities[prediction.label])
    warning = " Unlike the training pictures." if prediction.verdict is Verdict.unlike_training else ""
    return f"{name_label(prediction.label)}, {share}.{warning}"


_ENVIRONMENT = jinja2.Environment(
    loader=jinja2.FileSystemLoader(WEB),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_stops = ", ".join("rgb({:.0f} {:.0f} {:.0f})".format(*stop) for stop in INFERNO)
_ENVIRONMENT.globals.update(
    name_label=name_label,
    format_percent=format_percent,
    describe_set=describe_set,
    unique=lambda: f"choice-{next(_counter)}",
    ramp=f"linear-gradient(90deg, {_stops})",
)
