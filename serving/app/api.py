"""The endpoints for scripts: `/predict`, `/predict_batch` and `/explain`, with typed JSON.

Goes in: files that were uploaded to `/gradio_api/upload`, as `gradio_client.handle_file` does. Comes out: the
dictionaries below, or an error with a message, which in a batch is that of its file.
"""

from typing import Any, TypedDict, cast

import gradio as gr
import numpy as np

from serving.app.service import Answer, AnswerService
from serving.app.uploads import open_uploads
from serving.app.views import encode_base64
from serving.classifier import Prediction
from serving.files.errors import ImageError
from serving.model.explain import overlay_heatmap


class PredictionAnswer(TypedDict):
    """A prediction, as `serving.classifier.Prediction.to_dict` gives it."""

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


def _refuse(message: str) -> gr.Error:
    """An error for the one who asked; the server's log keeps neither it nor the names of files in it."""
    return gr.Error(message, print_exception=False)


def add_endpoints(service: AnswerService) -> None:
    """Add the endpoints to the app that is being laid out."""

    def predict(file: gr.FileData) -> PredictionAnswer:
        """Classify one picture, or a DICOM or NIfTI file of one slice."""
        return _to_json(_answer_slice(service, file).prediction)

    def predict_batch(files: list[gr.FileData]) -> list[FileAnswer]:
        """Classify many pictures, or zips of them; one that cannot be read has an error in its place."""
        if not isinstance(files, list):
            raise _refuse("Expected a list of files. Send [file, file, ...].")
        try:
            with open_uploads([_get_path(file) for file in files]) as paths:
                _, chunks = service.answer_batch(paths)
                return [_to_file_answer(answer) for chunk in chunks for answer in chunk]
        except ImageError as error:
            raise _refuse(str(error)) from error

    def explain(file: gr.FileData, label: str | None = None) -> Explanation:
        """Classify one picture and show where the evidence for `label`, or the most probable one, lies."""
        answer, labels = _answer_slice(service, file), service.classifier.labels
        if label is not None and label not in labels:
            raise _refuse(f"Expected a label of {', '.join(labels)}, or none; got {str(label)[:40]!r}.")
        prediction, found = answer.prediction, _to_json(answer.prediction)
        if prediction is None or answer.picture is None or prediction.label is None:
            return {"prediction": found, "heatmaps": None, "overlay_label": None, "overlay": None}
        wanted, fit = label or prediction.label, service.classifier.config.image_fit
        overlay = encode_base64(overlay_heatmap(answer.picture.grey, prediction.heatmaps[wanted], fit), "PNG")
        maps = {name: np.round(heat * 255).astype(np.uint8) for name, heat in prediction.heatmaps.items()}
        heatmaps = {name: encode_base64(pixels, "PNG") for name, pixels in maps.items()}
        return {"prediction": found, "heatmaps": heatmaps, "overlay_label": wanted, "overlay": overlay}

    for endpoint in (predict, predict_batch, explain):
        gr.api(endpoint, api_name=endpoint.__name__)


def _to_json(prediction: Prediction | None) -> PredictionAnswer:
    assert prediction is not None
    return cast(PredictionAnswer, prediction.to_dict())


def _to_file_answer(answer: Answer) -> FileAnswer:
    prediction = _to_json(answer.prediction) if answer.prediction else None
    return {"file": answer.name, "error": answer.error or None, "prediction": prediction}


def _answer_slice(service: AnswerService, file: Any) -> Answer:
    try:
        with open_uploads([_get_path(file)]) as (path,):
            return service.answer_slice(path)
    except ImageError as error:
        raise _refuse(str(error)) from error


def _get_path(file: Any) -> str:
    path = file.get("path") if isinstance(file, dict) else None
    if not isinstance(path, str):
        form = '{"path": ..., "meta": {"_type": "gradio.FileData"}}'
        raise _refuse(f"Expected an uploaded file, as {form}. Upload it to /gradio_api/upload first.")
    return path
