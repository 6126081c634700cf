"""The Gradio app: a tab for a slice, a batch, a volume and the model, and the endpoints of `serving.app.api`.

Goes in: a loaded `Classifier`. Comes out: a page, which `serving.app.server` serves. Gradio carries files and
answers; what they look like stands in `serving/app/web/` and `serving.app.views`, and what they say comes
from `serving.app.service`.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any

import gradio as gr

from serving.app import views
from serving.app.api import add_endpoints
from serving.app.service import Answer, AnswerService
from serving.app.uploads import UploadStore
from serving.classifier import Classifier
from serving.files.errors import ImageError
from serving.model.artefact import CARD_FILE, METRICS_FILE
from serving.model.prediction import Prediction
from serving.pictures.anatomy import PLANES

Handler = Callable[[gr.EventData], Iterator[str]]


class EventHandlers:
    """Functions of Gradio's events: each gives the HTML that answers what was sent.

    Example:
        >>> files.submit(EventHandlers(service, store).show_slice, None, answer)  # doctest: +SKIP
    """

    def __init__(self, service: AnswerService, store: UploadStore):
        self._service, self._config, self._store = service, service.classifier.config, store
        self._examples = {path.stem: path for path in views.find_examples(self._config)}

    def show_slice(self, event: gr.EventData) -> Iterator[str]:
        """One slice, sent or chosen among the examples."""
        example = self._examples.get(str(_read(event, "example")))
        with nullcontext([example]) if example else self._store.open(_read_files(event)) as paths:
            yield views.render_slice(self._service.answer_slice(paths[0]), self._config)

    def show_batch(self, event: gr.EventData) -> Iterator[str]:
        """How far a batch is, as it goes on, and all of it at the end."""
        with self._store.open(_read_files(event)) as paths:
            total, chunks = self._service.answer_batch(paths)
            answers, work = list[Answer](), "Reading and classifying"
            yield views.render("progress.html.j2", what=work, done=0, total=total)
            for chunk in chunks:
                answers += chunk
                yield views.render("progress.html.j2", what=work, done=len(answers), total=total)
            yield views.render_batch(answers, self._config)

    def show_volume(self, event: gr.EventData) -> Iterator[str]:
        """How far a volume is, as it goes on, and all of it at the end, slice by slice."""
        with self._store.open(_read_files(event)) as paths:
            yield views.render("progress.html.j2", what="Reading the volume", done=None, total=None)
            volume, chunks = self._service.answer_volume(paths, _read(event, "plane") or None)
            predictions: list[Prediction] = []
            for chunk in chunks:
                predictions += chunk
                done, total = len(predictions), len(volume.slices)
                yield views.render("progress.html.j2", what="Classifying its slices", done=done, total=total)
            yield views.render_volume(paths[0].name, volume, predictions, self._config)


def build_app(classifier: Classifier, store: UploadStore) -> gr.Blocks:
    """Lay out the page and wire its events, which find the files that they name in the store."""
    service = AnswerService(classifier)
    handlers = EventHandlers(service, store)
    with gr.Blocks(title="Brain MRI slice classifier", analytics_enabled=False) as app:
        gr.HTML(views.render_masthead(classifier.config), apply_default_css=False, js_on_load=None)
        with gr.Tabs():
            with gr.Tab("Slice"), gr.Row(elem_classes="columns"):
                _add_form(handlers.show_slice, "slice", examples=views.list_examples(classifier))
            with gr.Tab("Batch"), gr.Column(elem_classes="columns"):
                _add_form(handlers.show_batch, "batch")
            with gr.Tab("Volume"), gr.Column(elem_classes="columns"):
                _add_form(handlers.show_volume, "volume", planes=PLANES[::-1])
            with gr.Tab("About"):
                _add_about(classifier)
        add_endpoints(service, store)
    return app


def _add_form(handler: Handler, name: str, **options: Any) -> None:
    """A place where files come in, and beside or below it a place for the answer."""
    with gr.Column(scale=4, min_width=300):
        intake = views.render("intake.html.j2", name=name, **options)
        files = gr.HTML(intake, apply_default_css=False, js_on_load="intake(element, trigger, upload)")
    with gr.Column(scale=7, min_width=300):
        answer = gr.HTML(
            views.render("empty.html.j2", name=name),
            html_template=" ",
            apply_default_css=False,
            js_on_load="output(element, props, watch)",
            elem_classes="output",
        )
    files.submit(_show_errors(handler), None, answer, api_visibility="private", show_progress="minimal")


def _show_errors(handler: Handler) -> Handler:
    """Say what cannot be read where the answer would stand."""

    def handle(event: gr.EventData) -> Iterator[str]:
        try:
            yield from handler(event)
        except ImageError as error:
            yield views.render("error.html.j2", message=str(error))

    return handle


def _read(event: gr.EventData, name: str) -> Any:
    """A field of what the page sent, or someone else: it may be of any type."""
    return event._data.get(name) if isinstance(event._data, dict) else None


def _read_files(event: gr.EventData) -> list[str]:
    files = _read(event, "files")
    if not isinstance(files, list) or not files or not all(isinstance(file, str) for file in files):
        raise ImageError("Expected a file, got none. Choose one, drop it or paste it.")
    return files


def _add_about(classifier: Classifier) -> None:
    """The model's own facts, figures and card; a model from the Hub lies in a folder named by its commit."""
    folder, config = classifier.folder, classifier.config
    paths = (folder / METRICS_FILE, folder / CARD_FILE)
    metrics, card = (path.read_text(encoding="utf-8") if path.is_file() else "" for path in paths)
    revision = folder.name if folder.parent.name == "snapshots" else config.raw["git_commit"]
    about = views.render_about(config, json.loads(metrics or "{}"), revision)
    gr.HTML(about, apply_default_css=False, js_on_load=None)
    if card:
        with gr.Accordion("The model card", open=False):
            gr.Markdown(views.strip_card(card), sanitize_html=True)
