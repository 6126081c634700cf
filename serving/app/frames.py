"""Slices as the page's viewer shows them: pictures, outlines and heat maps that are part of the page.

Goes in: grey slices and predictions. Comes out: values for templates and `app.js`.
"""

import base64
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from serving.app.words import summarise
from serving.model.artefact import ArtefactConfig
from serving.model.outline import compute_area
from serving.model.prediction import Prediction
from serving.preprocess import find_box, fit_to_square

SLICE_SIDE = 448
# Colours in `app.css`; with more labels they come again, so names stand beside them.
TONES = 7


def choose_tones(config: ArtefactConfig) -> dict[str, str]:
    """Choose the colour of each label, `tone-...` in `app.css`: the healthy one is grey, others take turns.

    Example:
        >>> from serving.model.artefact import BUNDLED, load_config
        >>> choose_tones(load_config(BUNDLED))["notumor"]
        'healthy'
    """
    kinds = [label for label in config.labels if label != config.healthy_label]
    tones = {label: str(number % TONES) for number, label in enumerate(kinds)}
    return tones if config.healthy_label is None else tones | {config.healthy_label: "healthy"}


def build_frame(
    grey: np.ndarray,
    prediction: Prediction,
    config: ArtefactConfig,
    area_mm2: float | None = None,
    side: int = SLICE_SIDE,
) -> dict[str, Any]:
    """What the page's viewer shows of one slice, in a square.

    Args:
        grey: uint8 (h, w), [0, 255]; perhaps made square already.
        prediction: of it.
        config: of the model.
        area_mm2: inside its outlines; None: not known.
        side: of the picture sent to the page, pixels.

    Returns:
        `outline`, with its `area` in pixels of the slice, is empty where the model has no tumour map; then
        there is `heat`, by label, with so many `cells` a side. A refused slice has neither.
    """
    found, is_scored, fit = prediction.found, prediction.in_domain, config.image_fit
    shape = grey.shape if found is None else (found.height, found.width)
    heatmaps = prediction.heatmaps if is_scored and found is None else {}
    return {
        "image": encode_picture(grey, side, fit),
        "label": prediction.label,
        "tone": choose_tones(config).get(prediction.label or ""),
        "outline": draw_path(prediction.outlines, shape, fit),
        "area": sum(map(compute_area, prediction.outlines)),
        "heat": {label: _encode_heat(heatmap) for label, heatmap in heatmaps.items()},
        "cells": len(prediction.heatmap),
        "caption": summarise(prediction, area_mm2),
        "kind": prediction.verdict.value,
    }


def draw_path(outlines: Sequence[np.ndarray], shape: tuple[int, ...], fit: str) -> str:
    """Write outlines as the `d` of an SVG path over the square picture, 100 units a side.

    Args:
        outlines: float32 (k, 2) each, in pixels of the picture.
        shape: height and width of the picture, pixels.
        fit: how it is made square, one of `serving.preprocess.FITS`.
    """
    left, top, right, bottom = find_box(shape[0], shape[1], fit)
    scale = 100 * np.array([(right - left) / shape[1], (bottom - top) / shape[0]])
    placed = (outline * scale + (100 * left, 100 * top) for outline in outlines)
    return " ".join(f"M{' '.join(f'{x:.2f},{y:.2f}' for x, y in points)}Z" for points in placed)


def encode_picture(grey: np.ndarray, side: int, fit: str = "pad") -> str:
    """Make a square WebP of uint8 (h, w), [0, 255], as an address that holds the picture itself."""
    square = fit_to_square(grey, side, fit)[..., 0]
    return f"data:image/webp;base64,{encode_base64(square, 'WEBP', quality=90)}"


def encode_base64(pixels: np.ndarray, file_format: str, **options: Any) -> str:
    """Base64 of the picture file of uint8 (h, w) or (h, w, 3), [0, 255]."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, file_format, **options)
    return base64.b64encode(stream.getvalue()).decode()


def _encode_heat(heatmap: np.ndarray) -> str:
    """Base64 of a heat map's cells as uint8, row by row, for the page to colour."""
    return base64.b64encode(np.round(heatmap * 255).astype(np.uint8).tobytes()).decode()
