"""What the app shows, as HTML: pure functions from answers to text.

Goes in: answers, and the artefact. Comes out: HTML in which every text from outside is escaped and every
picture is part of the page, so that the server never has to hand out a file.
"""

import itertools
import re
import urllib.parse
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2

from serving.app.figures import describe_figures, list_figures
from serving.app.frames import build_frame, choose_tones, draw_path, encode_picture
from serving.app.service import KEPT_SIDE, Answer
from serving.app.words import (
    capitalise,
    describe_extent,
    describe_scope,
    describe_sets,
    list_labels,
    lower,
    name_label,
    summarise,
)
from serving.classifier import Classifier
from serving.cli.answers import Row, build_csv, build_row, build_volume_row
from serving.cli.wording import describe_outlined, format_head_share, format_percent
from serving.model.artefact import ArtefactConfig
from serving.model.explain import INFERNO
from serving.model.guard import Verdict
from serving.model.prediction import Prediction
from serving.pictures.anatomy import Volume
from serving.preprocess import decode_grey
from serving.summary import VolumeSummary, measure_area, summarise_volume

WEB = Path(__file__).parent / "web"
EXAMPLES = Path(__file__).parent / "examples"
_REFUSED = "No brain MRI slice"
VOLUME_SIDE = 320
THUMBNAIL_SIDE = 88
_counter = itertools.count()


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
        extent=describe_extent(answer.prediction, answer.area_mm2),
        frame=build_frame(answer.picture.grey, answer.prediction, config, answer.area_mm2),
        labels=config.labels,
        facts=list_facts(answer, config),
        announcement=summarise(answer.prediction, answer.area_mm2),
        csv=_encode_csv([build_row(answer.name, answer.prediction, answer.area_mm2)], config),
    )


def render_volume(name: str, volume: Volume, predictions: list[Prediction], config: ArtefactConfig) -> str:
    """The answers for all slices of a volume, named like its first file, and what they say together."""
    summary = summarise_volume(predictions, volume)
    names = {**{label: name_label(label) for label in config.labels}, Verdict.not_brain_mri.value: _REFUSED}
    size = f"{len(volume.slices)} slices, {volume.plane or 'plane not stated'}"
    frames = [
        build_frame(grey, one, config, measure_area(one, volume.pixel_mm2), VOLUME_SIDE)
        for grey, one in zip(volume.slices, predictions, strict=True)
    ]
    return render(
        "volume.html.j2",
        volume=volume,
        summary=summary,
        counts=[(key, name, summary.counts[key]) for key, name in names.items() if summary.counts[key]],
        extent=describe_outlined(
            summary.outlined_slices, len(predictions), summary.volume_ml, summary.volume_basis
        ),
        frames=frames,
        start=_choose_start(summary, len(frames)),
        tones=choose_tones(config),
        labels=config.labels,
        facts=[("Read as", f"{volume.format}, {size}"), *_title(volume.facts)],
        csv=_encode_csv([build_volume_row(name, volume, predictions)], config),
    )


def _choose_start(summary: VolumeSummary, count: int) -> int:
    """The first slice shown: with the largest outline, else the least probably healthy, else the middle."""
    if summary.largest_slice is not None:
        return summary.largest_slice
    return summary.most_affected[0] if summary.most_affected else count // 2


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
    return render(
        "about.html.j2",
        config=config,
        figures=list_figures(metrics),
        explanation=describe_figures(metrics),
        datasets=list_datasets(config),
        examples=[path.stem for path in find_examples(config)],
        revision=revision,
    )


def render_masthead(config: ArtefactConfig) -> str:
    """The head of the page: what this model tells apart, and what it is not for."""
    return render(
        "masthead.html.j2",
        has_map=config.map is not None,
        labels=list_labels(config.labels, config.healthy_label),
        count=len(config.labels),
        datasets=list_datasets(config),
    )


def list_datasets(config: ArtefactConfig) -> list[str]:
    """TFDS names of what the model learnt from."""
    training = config.raw.get("training", {}).get("data", {})
    left_out = training.get("left_out", {}).get(str(training.get("fold", 0)), ())
    return [
        config.raw["dataset"]["name"],
        *(name for name in training.get("mix", {}) if name not in left_out),
    ]


def find_examples(config: ArtefactConfig) -> list[Path]:
    """Those of the bundled example slices, named by what they show, that the model has a label for."""
    return [path for path in sorted(EXAMPLES.glob("*.png")) if path.stem in config.labels]


def strip_card(card: str) -> str:
    """The text of a model card without front matter and pictures, which the page could not fetch."""
    text = re.sub(r"\A---\n.*?\n---\n", "", card, flags=re.DOTALL)
    return re.sub(r"!\[[^\]]*\]\([^)]*\)\n?", "", text)


def list_examples(classifier: Classifier) -> list[dict[str, str]]:
    """The bundled example slices, with a small picture of each and what the model outlines in it."""
    pictures = {path.stem: decode_grey(path) for path in find_examples(classifier.config)}
    fit, predictions = classifier.config.image_fit, classifier.predict_batch(list(pictures.values()))
    return [
        {
            "name": name,
            "title": name_label(name),
            "thumbnail": encode_picture(grey, 2 * THUMBNAIL_SIDE, fit),
            "outline": draw_path(prediction.outlines, grey.shape, fit),
        }
        for (name, grey), prediction in zip(pictures.items(), predictions, strict=True)
    ]


def render_batch(answers: Sequence[Answer], config: ArtefactConfig) -> str:
    """All answers of a batch, as a table and as CSV."""
    rows = [build_row(one.name, one.prediction or one.error, one.area_mm2) for one in answers]
    titles = ["Not read" if "error" in row else name_label(row["label"] or _REFUSED) for row in rows]
    counts = [(lower(title), count) for title, count in Counter(titles).most_common()]
    frames = [
        build_frame(one.picture.grey, one.prediction, config, one.area_mm2, KEPT_SIDE)
        if one.picture is not None and one.prediction is not None
        else None
        for one in answers
    ]
    return render(
        "batch.html.j2",
        rows=list(zip(rows, titles, frames, strict=True)),
        example=next(filter(None, frames), None),
        labels=config.labels,
        has_map=config.map is not None,
        counts=counts,
        announcement=", ".join(f"{count} {title}" for title, count in counts),
        csv=_encode_csv(rows, config),
    )


def _encode_csv(rows: Sequence[Row], config: ArtefactConfig) -> str:
    """CSV as an address that holds the file itself."""
    return f"data:text/csv;charset=utf-8,{urllib.parse.quote(build_csv(rows, config.labels))}"


def _title(facts: Mapping[str, str]) -> list[tuple[str, str]]:
    """Facts whose names start with a capital."""
    return [(capitalise(name), value) for name, value in facts.items()]


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
    format_head_share=format_head_share,
    describe_sets=describe_sets,
    describe_scope=describe_scope,
    unique=lambda: f"choice-{next(_counter)}",
    ramp=f"linear-gradient(90deg, {_stops})",
)
