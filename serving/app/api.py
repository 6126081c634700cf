"""The endpoints for scripts: `/predict`, `/predict_batch`, `/predict_volume` and `/explain`, typed JSON.

Goes in: files that were uploaded to `/gradio_api/upload`, as `gradio_client.handle_file` does. Comes out: the
dictionaries below, or an error with a message, which in a batch is that of its file.
"""

import itertools
from typing import Any, NotRequired, TypedDict, cast

import gradio as gr
import numpy as np

from serving.app.frames import encode_base64
from serving.app.service import Answer, AnswerService
from serving.app.uploads import UploadStore
from serving.cli.answers import build_volume_row
from serving.files.errors import ImageError
from serving.model.explain import overlay_heatmap


class Outlines(TypedDict):
    """GeoJSON: of each polygon the ring around it, then those around its holes, in pixels of the picture."""

    type: str
    coordinates: list[list[list[list[float]]]]


class PredictionAnswer(TypedDict):
    """A prediction, as `Prediction.to_dict` gives it, and the area inside its outlines.

    `tumor_share`, `outlines` and `area_mm2` are null where the picture is refused or the model has no tumour
    map; `area_mm2` also where the file does not say how large a pixel is, as only DICOM and NIfTI do.
    """

    label: str | None
    verdict: str
    reason: str
    in_domain: bool
    probabilities: dict[str, float] | None
    prediction_set: list[str]
    prediction_sets: dict[str, list[str]]
    domain_distance: float
    tumor_share: float | None
    outlines: Outlines | None
    area_mm2: float | None


class FileAnswer(TypedDict):
    """One file of a batch: its prediction, or why it has none."""

    file: str
    error: str | None
    prediction: PredictionAnswer | None


class VolumeAnswer(TypedDict):
    """A volume, as `serving.cli.answers.build_volume_row` gives it.

    `summary` holds among others `volume_ml` and `volume_basis`, see `serving.summary.VolumeSummary`; `slices`
    the fields of a `PredictionAnswer` each. A volume of one slice has its fields in place of both.
    """

    file: str
    format: str
    plane: str | None
    facts: dict[str, str]
    skipped: list[str]
    summary: NotRequired[dict[str, Any]]
    slices: NotRequired[list[dict[str, Any]]]


class Explanation(TypedDict):
    """A prediction and where its evidence lies, coarsely: class activation maps.

    `heatmaps` and `overlay` are PNGs in base64: by label the map over the slice made square, a pixel a cell,
    0 to 255 for 0 to 1, and the map of the wanted label laid over the slice. Where the picture is refused
    there are none.
    """

    prediction: PredictionAnswer
    heatmaps: dict[str, str] | None
    overlay_label: str | None
    overlay: str | None


def _refuse(message: str) -> gr.Error:
    """An error for the one who asked; the server's log keeps neither it nor the names of files in it."""
    return gr.Error(message, print_exception=False)


def add_endpoints(service: AnswerService, store: UploadStore) -> None:
    """Add the endpoints to the app that is being laid out."""

    def predict(file: gr.FileData) -> PredictionAnswer:
        """Classify one picture, or a DICOM or NIfTI file of one slice."""
        return _to_json(_answer_slice(service, store, file))

    def predict_batch(files: list[gr.FileData]) -> list[FileAnswer]:
        """Classify many pictures, or zips of them; one that cannot be read has an error in its place."""
        if not isinstance(files, list):
            raise _refuse("Expected a list of files. Send [file, file, ...].")
        try:
            with store.open([_get_path(file) for file in files]) as paths:
                _, chunks = service.answer_batch(paths)
                return [_to_file_answer(answer) for chunk in chunks for answer in chunk]
        except ImageError as error:
            raise _refuse(str(error)) from error

    def explain(file: gr.FileData, label: str | None = None) -> Explanation:
        """Classify one picture and show where the evidence for `label`, or the most probable one, lies."""
        answer, labels = _answer_slice(service, store, file), service.classifier.labels
        if label is not None and label not in labels:
            raise _refuse(f"Expected a label of {', '.join(labels)}, or none; got {str(label)[:40]!r}.")
        prediction, found = answer.prediction, _to_json(answer)
        if prediction is None or answer.picture is None or prediction.label is None:
            return {"prediction": found, "heatmaps": None, "overlay_label": None, "overlay": None}
        wanted, fit = label or prediction.label, service.classifier.config.image_fit
        overlay = encode_base64(overlay_heatmap(answer.picture.grey, prediction.heatmaps[wanted], fit), "PNG")
        maps = {name: np.round(heat * 255).astype(np.uint8) for name, heat in prediction.heatmaps.items()}
        heatmaps = {name: encode_base64(pixels, "PNG") for name, pixels in maps.items()}
        return {"prediction": found, "heatmaps": heatmaps, "overlay_label": wanted, "overlay": overlay}

    def predict_volume(files: list[gr.FileData], plane: str | None = None) -> VolumeAnswer:
        """Classify each slice of a DICOM series or of NIfTI, which is cut in a plane of the caller's choice.

        `files` are one file or zip, or the files of a series.
        """
        if not isinstance(files, list) or not files:
            raise _refuse("Expected a list of files. Send [file, file, ...].")
        try:
            with store.open([_get_path(file) for file in files]) as paths:
                volume, chunks = service.answer_volume(paths, plane)
                predictions = list(itertools.chain.from_iterable(chunks))
                return cast(VolumeAnswer, build_volume_row(paths[0].name, volume, predictions))
        except ImageError as error:
            raise _refuse(str(error)) from error

    for endpoint in (predict, predict_batch, predict_volume, explain):
        gr.api(endpoint, api_name=endpoint.__name__)


def _to_json(answer: Answer) -> PredictionAnswer:
    assert answer.prediction is not None
    return cast(PredictionAnswer, answer.prediction.to_dict() | {"area_mm2": answer.area_mm2})


def _to_file_answer(answer: Answer) -> FileAnswer:
    prediction = _to_json(answer) if answer.prediction else None
    return {"file": answer.name, "error": answer.error or None, "prediction": prediction}


def _answer_slice(service: AnswerService, store: UploadStore, file: Any) -> Answer:
    try:
        with store.open([_get_path(file)]) as (path,):
            return service.answer_slice(path)
    except ImageError as error:
        raise _refuse(str(error)) from error


def _get_path(file: Any) -> str:
    path = file.get("path") if isinstance(file, dict) else None
    if not isinstance(path, str):
        form = '{"path": ..., "meta": {"_type": "gradio.FileData"}}'
        raise _refuse(f"Expected an uploaded file, as {form}. Upload it to /gradio_api/upload first.")
    return path
