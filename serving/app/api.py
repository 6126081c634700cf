"""The endpoints for scripts: `/predict`, `/predict_batch` and `/explain`, with typed JSON.

Goes in: files that were uploaded to `/gradio_api/upload`, as `gradio_client.handle_file` does. Comes out: the
dictionaries below. What cannot be answered is an error with a message; in a batch it is the error of its
file.
"""

import base64
import io
from typing import Any, TypedDict, cast

import gradio as gr
import numpy as np
from PIL import Image

from serving.app.service import Answer, Desk
from serving.app.uploads import open_uploads
from serving.classifier import Prediction
from serving.files.errors import ImageError
from serving.model.explain import overlay_heatmap


class PredictionAnswer(TypedDict):
    """A prediction; see `serving.Prediction`."""

    label: str | None
    verdict: str
    reason: str
    in_domain: bool
    probabilities: dict[str, float] | None
    prediction_set: list[str]
    prediction_sets: dict[str, list[str]]
    domain_distance: float


class FileAnswer(TypedDict):
    """One file of a batch: its prediction, or why it has none."""

    file: str
    error: str | None
    prediction: PredictionAnswer | None


class Explanation(TypedDict):
    """A prediction and where its evidence lies.

    `heatmaps` and `overlay` are PNGs in base64: by label the map over the slice made square, 0 to 255 for 0
    to 1, and the map of the wanted label laid over the slice. Where the picture is refused there are none.
    """

    prediction: PredictionAnswer
    heatmaps: dict[str, str] | None
    overlay_label: str | None
    overlay: str | None


class _Refusal(gr.Error):
    """An error for the one who asked; the server's log keeps neither it nor the names of files in it."""

    def __init__(self, message: str):
        super().__init__(message, print_exception=False)


def add_endpoints(desk: Desk) -> None:
    """Add the endpoints to the app that is being laid out."""

    def predict(file: gr.FileData) -> PredictionAnswer:
        """Classify one picture, or a DICOM or NIfTI file of one slice."""
        return tell(_answer_slice(desk, file).prediction)

    def predict_batch(files: list[gr.FileData]) -> list[FileAnswer]:
        """Classify many pictures, or zips of them; a file that cannot be read has an error instead of a prediction."""
        if not isinstance(files, list):
            raise _Refusal("Expected a list of files. Send [file, file, ...].")
        try:
            with open_uploads([_get_path(file) for file in files]) as paths:
                _, chunks = desk.answer_batch(paths)
                return [_tell_file(answer) for chunk in chunks for answer in chunk]
        except ImageError as error:
            raise _Refusal(str(error)) from error

    def explain(file: gr.FileData, label: str | None = None) -> Explanation:
        """Classify one picture and show where the evidence for `label`, or else for the most probable label, lies."""
        answer, labels = _answer_slice(desk, file), desk.classifier.labels
        if label is not None and label not in labels:
            raise _Refusal(f"Expected a label of {', '.join(labels)}, or none; got {str(label)[:40]!r}.")
        prediction, told = answer.prediction, tell(answer.prediction)
        if prediction is None or answer.picture is None or prediction.label is None:
            return {"prediction": told, "heatmaps": None, "overlay_label": None, "overlay": None}
        wanted = label or prediction.label
        overlay = overlay_heatmap(
            answer.picture.grey, prediction.heatmaps[wanted], desk.classifier.config.image_fit
        )
        heatmaps = {
            name: _encode_png(np.round(heatmap * 255).astype(np.uint8))
            for name, heatmap in prediction.heatmaps.items()
        }
        return {
            "prediction": told,
            "heatmaps": heatmaps,
            "overlay_label": wanted,
            "overlay": _encode_png(overlay),
        }

    gr.api(predict, api_name="predict")
    gr.api(predict_batch, api_name="predict_batch")
    gr.api(explain, api_name="explain")


def tell(prediction: Prediction | None) -> PredictionAnswer:
    """A prediction as JSON."""
    assert prediction is not None
    return cast(PredictionAnswer, prediction.to_dict())


def _tell_file(answer: Answer) -> FileAnswer:
    return {
        "file": answer.name,
        "error": answer.error or None,
        "prediction": tell(answer.prediction) if answer.prediction else None,
    }


def _answer_slice(desk: Desk, file: Any) -> Answer:
    try:
        with open_uploads([_get_path(file)]) as (path,):
            return desk.answer_slice(path)
    except ImageError as error:
        raise _Refusal(str(error)) from error


def _get_path(file: Any) -> str:
    path = file.get("path") if isinstance(file, dict) else None
    if not isinstance(path, str):
        raise _Refusal(
            'Expected an uploaded file, as {"path": ..., "meta": {"_type": "gradio.FileData"}}. Upload it to'
            " /gradio_api/upload first."
        )
    return path


def _encode_png(pixels: np.ndarray) -> str:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return base64.b64encode(stream.getvalue()).decode()
