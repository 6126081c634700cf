"""The Gradio app: upload a slice, read label, confidences, labels not ruled out and heat map; or a refusal.

Goes in: a loaded `Classifier`. Comes out: a page, and the endpoint `/predict` for scripts.
"""

from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
from gradio.data_classes import ImageData

from serving.classifier import Classifier, Prediction
from serving.explain import overlay_heatmap
from serving.preprocess import MAX_BYTES, ImageError, decode

EXAMPLES = Path(__file__).parent / "examples"
MAX_WAITING = 32
TITLE = "Brain MRI slice classifier"
DISCLAIMER = (
    "**A research tool, not a medical device.** It must not be used to diagnose, to treat or to triage. It was trained on one public "
    "collection, sees one slice at a time, and knows three kinds of tumour; on pictures from other hospitals it is often wrong."
)
ABOUT_EXAMPLES = (
    "The tumour examples are slices of the brain tumour dataset by Jun Cheng "
    "([figshare 1512427](https://doi.org/10.6084/m9.figshare.1512427), CC BY 4.0), resized; none of these pictures was in training, but other slices "
    "of the same patients may have been. The healthy one is from a public-domain (PDDL) DICOM series of another scanner."
)
REFUSAL = "### This does not look like a brain MRI slice\n\nSo it was not classified. {reason}"
# System fonts: the default theme would fetch its fonts from another host.
FONTS = ["ui-sans-serif", "system-ui", "sans-serif"]


def build_app(classifier: Classifier) -> gr.Blocks:
    """Lay out the page and wire its one event.

    Args:
        classifier: answers every request.
    """

    def show(path: str | None) -> tuple[str, dict[str, float] | None, np.ndarray | None]:
        if path is None:
            return "", None, None
        grey, prediction = _classify(classifier, path)
        if not prediction.in_domain:
            return REFUSAL.format(reason=prediction.reason), None, None
        overlay = overlay_heatmap(grey, prediction.heatmap, classifier.config.image_fit)
        return _describe(prediction), prediction.probabilities, overlay

    def answer(path: str | None) -> dict[str, Any]:
        if path is None:
            raise gr.Error("Expected a picture, got nothing.")
        return _classify(classifier, path)[1].to_dict()

    with gr.Blocks(title=TITLE, analytics_enabled=False) as app:
        gr.Markdown(f"# {TITLE}\nUpload one slice: glioma, meningioma, pituitary tumour or no tumour, and where the evidence lies.\n\n{DISCLAIMER}")
        with gr.Row():
            with gr.Column():
                upload = gr.Image(label="Brain MRI slice", image_mode=None, type="filepath", sources=["upload", "clipboard"], height=380)
                _hand_over_untouched(upload)
                gr.Examples([[str(path)] for path in sorted(EXAMPLES.glob("*.png"))], inputs=upload, label="Examples")
                gr.Markdown(ABOUT_EXAMPLES)
            with gr.Column():
                verdict = gr.Markdown(elem_id="verdict", min_height=90)
                confidences = gr.Label(label="Calibrated probabilities", num_top_classes=len(classifier.labels))
                heatmap = gr.Image(label="Where the evidence for this label lies", interactive=False, height=380, format="png", buttons=["download"])
        upload.change(show, upload, [verdict, confidences, heatmap], api_visibility="private")
        endpoint = gr.Button(visible=False)
        endpoint.click(answer, upload, gr.JSON(visible=False), api_name="predict", api_description="Classify one picture.")
    return app


def launch(classifier: Classifier, host: str | None = None, port: int | None = None) -> None:
    """Serve the app until it is stopped.

    Args:
        classifier: answers every request.
        host: address to listen on; None: Gradio's default.
        port: None: the first free one from 7860.
    """
    app = build_app(classifier).queue(max_size=MAX_WAITING)
    theme = gr.themes.Soft(font=FONTS, font_mono=["ui-monospace", "monospace"])
    app.launch(server_name=host, server_port=port, theme=theme, max_file_size=MAX_BYTES, show_error=False, footer_links=["api"], ssr_mode=False)


def _hand_over_untouched(upload: gr.Image) -> None:
    """Let an image input pass the path of the file on, unopened.

    Gradio's own reading clips 16-bit pictures and answers a file that is no picture with a bare "Error". The method is replaced on the
    one object, because Gradio writes an interface file beside the module of every subclass, into the installed package.
    """

    def preprocess(payload: ImageData | None) -> str | None:
        return None if payload is None else payload.path

    upload.preprocess = preprocess  # type: ignore[method-assign]


def _classify(classifier: Classifier, path: str) -> tuple[np.ndarray, Prediction]:
    """Decode once, for the model and for the overlay."""
    try:
        picture = decode(path)
        return picture.grey, classifier.predict(picture)
    except ImageError as error:
        raise gr.Error(str(error)) from error


def _describe(prediction: Prediction) -> str:
    """Label, probability, and what cannot be ruled out at each coverage."""
    assert prediction.label is not None
    sets = (
        f"Cannot be ruled out at {coverage:.0%}: {'any of the labels' if len(members) == len(prediction.probabilities) else ' or '.join(members)}."
        for coverage, members in prediction.prediction_sets.items()
    )
    return f"### {prediction.label}, {prediction.probabilities[prediction.label]:.1%}\n\n" + "  \n".join(sets)
