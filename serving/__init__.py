"""Serving: preprocessing, classifier, guard, heat map and app. Light: nothing here imports TensorFlow."""

from serving.classifier import Classifier, Prediction, from_pretrained
from serving.files.errors import ImageError
from serving.model.artefact import ArtefactError

__all__ = ["ArtefactError", "Classifier", "ImageError", "Prediction", "from_pretrained"]
