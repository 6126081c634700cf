"""The Gradio app: a tab each for a slice, a batch and a volume, one about the model, and the endpoints of `serving.app.api`.

Goes in: a loaded `Classifier`. Comes out: a page, served until it is stopped. Gradio carries files and
answers; what they look like stands in `serving/app/web/` and `serving.app.views`, and what they say comes
from `serving.app.service`.
"""

import json
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import gradio as gr
from starlette.middleware import Middleware

from serving.app import views
from serving.app.api import add_endpoints
from serving.app.service import Answer, Desk
from serving.app.uploads import UploadGate, open_uploads
from serving.app.views import EXAMPLES
from serving.classifier import Classifier
from serving.files.entries import MAX_VOLUME_BYTES
from serving.files.errors import ImageError
from serving.model.artefact import CARD_FILE, METRICS_FILE
from serving.model.explain import INFERNO
from serving.pictures.anatomy import PLANES

TITLE = "Brain MRI slice classifier"
# Requests that wait; further ones are told that the server is busy. How many of a kind are answered at once.
MAX_WAITING = 32
AT_ONCE = 4
# Gradio keeps what each of so many sessions was last shown, 10,000 by default, which nothing here needs:
# memory would grow with every request, and pictures would stay after their answer.
MAX_SESSIONS = 8
# System fonts: the default theme would fetch its fonts from another host.
FONTS = ["ui-sans-serif", "system-ui", "sans-serif"]
PICTURES = ".png,.jpg,.jpeg,.bmp,.tif,.tiff,.webp,image/png,image/jpeg,image/webp"
DICOM = ".dcm,.dicom,application/dicom"
Show = Callable[[gr.EventData], Iterator[str]]


class Shows:
    """What the page shows for what it was sent: functions of Gradio's events.

    Attributes:
        desk: answers.
    """

    def __init__(self, desk: Desk):
        self.desk = desk
        self._config = desk.classifier.config
        self._examples = {path.stem: path for path in EXAMPLES.glob("*.png")}

    def show_slice(self, event: gr.EventData) -> Iterator[str]:
        """One slice, sent or chosen among the examples."""
        example = self._examples.get(_read(event, "example") or "")
        if example is not None:
            yield views.render_slice(self.desk.answer_slice(example), self._config)
            return
        with open_uploads(_read_files(event)) as paths:
            yield views.render_slice(self.desk.answer_slice(paths[0]), self._config)

    def show_batch(self, event: gr.EventData) -> Iterator[str]:
        """How far a batch is, as it goes on, and all of it at the end."""
        with open_uploads(_read_files(event)) as paths:
            total, chunks = self.desk.answer_batch(paths)
            answers: list[Answer] = []
            yield views.render_progress(0, total)
            for chunk in chunks:
                answers += chunk
                yield views.render_progress(len(answers), total)
            yield views.render_batch(answers, self._config)

    def show_volume(self, event: gr.EventData) -> Iterator[str]:
        """A volume, slice by slice."""
        with open_uploads(_read_files(event)) as paths:
            yield views.render_volume(
                self.desk.answer_volume(paths, _read(event, "plane") or None), self._config
            )


def build_app(classifier: Classifier) -> gr.Blocks:
    """Lay out the page and wire its events.

    Args:
        classifier: answers every request.
    """
    desk = Desk(classifier)
    shows = Shows(desk)
    with gr.Blocks(title=TITLE, analytics_enabled=False) as app:
        gr.HTML(views.render_masthead(), apply_default_css=False, js_on_load=None)
        with gr.Tabs():
            with gr.Tab("Slice"), gr.Row(elem_classes="columns"):
                _add_exchange(
                    _describe_slice(),
                    "The label comes here, how likely it is, what cannot be ruled out, and why.",
                    shows.show_slice,
                )
            with gr.Tab("Batch"), gr.Column(elem_classes="columns"):
                _add_exchange(
                    _describe_batch(), "A row a file comes here, to sort and to download.", shows.show_batch
                )
            with gr.Tab("Volume"), gr.Column(elem_classes="columns"):
                _add_exchange(
                    _describe_volume(),
                    "All slices come here, each with its heat map, and what they say together.",
                    shows.show_volume,
                )
            with gr.Tab("About"):
                _add_about(classifier)
        add_endpoints(desk)
    return app


def launch(classifier: Classifier, host: str | None = None, port: int | None = None) -> None:
    """Serve the app until it is stopped.

    Args:
        classifier: answers every request.
        host: address to listen on; None: Gradio's default.
        port: None: the first free one from 7860.
    """
    signal.signal(signal.SIGTERM, _leave)
    # A folder that no other user of the machine may open, and that goes with the server.
    with tempfile.TemporaryDirectory(prefix="tumor-uploads-") as folder:
        os.environ["GRADIO_TEMP_DIR"] = folder
        app = build_app(classifier).queue(max_size=MAX_WAITING, default_concurrency_limit=AT_ONCE)
        stops = json.dumps(INFERNO.tolist())
        app.launch(
            server_name=host,
            server_port=port,
            theme=gr.themes.Base(
                primary_hue="sky", neutral_hue="slate", font=FONTS, font_mono=["ui-monospace", "monospace"]
            ),
            css=(views.WEB / "app.css").read_text(encoding="utf-8"),
            head=(
                "<script>const COLOUR_STOPS ="
                f" {stops};\n{(views.WEB / 'app.js').read_text(encoding='utf-8')}</script>"
            ),
            max_file_size=MAX_VOLUME_BYTES,
            state_session_capacity=MAX_SESSIONS,
            allowed_paths=[],
            show_error=False,
            footer_links=["api"],
            ssr_mode=False,
            app_kwargs={"middleware": [Middleware(UploadGate)]},
        )


def _leave(number: int, frame: FrameType | None) -> None:
    """Leave as Python does, so that the uploads are removed."""
    sys.exit(128 + number)


def _add_exchange(intake: str, text: str, show: Show) -> None:
    """A place where files come in, and a place for what comes of them; beside each other in a row, else below each other."""
    with gr.Column(scale=4, min_width=300):
        files = gr.HTML(intake, apply_default_css=False, js_on_load="intake(element, trigger, upload)")
    with gr.Column(scale=7, min_width=300):
        answer = gr.HTML(
            views.render_empty(text),
            html_template=" ",
            apply_default_css=False,
            js_on_load="output(element, props, watch)",
            elem_classes="output",
        )
    files.submit(_tell_errors(show), None, answer, api_visibility="private", show_progress="minimal")


def _tell_errors(show: Show) -> Show:
    """Say what cannot be read where the answer would stand."""

    def telling(event: gr.EventData) -> Iterator[str]:
        try:
            yield from show(event)
        except ImageError as error:
            yield views.render_error(str(error))

    return telling


def _read(event: gr.EventData, name: str) -> Any:
    """A field that the page sent, or that someone else did; None where it is no text."""
    value = event._data.get(name) if isinstance(event._data, dict) else None
    return value if isinstance(value, str) else None


def _read_files(event: gr.EventData) -> list[str]:
    files = event._data.get("files") if isinstance(event._data, dict) else None
    if not isinstance(files, list) or not files or not all(isinstance(file, str) for file in files):
        raise ImageError("Expected a file, got none. Choose one, drop it or paste it.")
    return files


def _describe_slice() -> str:
    return views.render_intake(
        "slice",
        call="Choose a slice",
        hint="PNG, JPEG, TIFF, BMP, WebP or a DICOM file of one slice; on a phone also from the camera roll",
        accept=f"{PICTURES},{DICOM}",
        paste=True,
        examples=views.list_examples(),
    )


def _describe_batch() -> str:
    return views.render_intake(
        "batch", call="Choose pictures or a zip", hint="Up to 1,000 pictures, or single DICOM files; a bad one stops none of the others",
        accept=f"{PICTURES},{DICOM},.zip", several=True,
    )  # fmt: skip


def _describe_volume() -> str:
    return views.render_intake(
        "volume", call="Choose a volume", hint="A DICOM series, as a zip, its files or its folder; or NIfTI (.nii, .nii.gz)",
        accept=f"{DICOM},.zip,.nii,.gz", several=True, planes=PLANES[::-1],
    )  # fmt: skip


def _add_about(classifier: Classifier) -> None:
    """The model's own facts, figures and card; a model from the Hub lies in a folder named by its commit."""
    folder, config = classifier.folder, classifier.config
    metrics = (
        json.loads((folder / METRICS_FILE).read_text(encoding="utf-8"))
        if (folder / METRICS_FILE).is_file()
        else None
    )
    revision = folder.name if folder.parent.name == "snapshots" else config.raw["git_commit"]
    gr.HTML(views.render_about(config, metrics, revision), apply_default_css=False, js_on_load=None)
    if (folder / CARD_FILE).is_file():
        with gr.Accordion("The model card", open=False):
            gr.Markdown(
                views.strip_card((folder / CARD_FILE).read_text(encoding="utf-8")), sanitize_html=True
            )
