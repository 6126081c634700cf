"""Serving: preprocessing, classifier, guard, heat map and app. Light: nothing here imports TensorFlow."""

from serving.classifier import Classifier, Prediction, from_pretrained
from serving.model.artefact import ArtefactError
from serving.preprocess import ImageError

__all__ = ["ArtefactError", "Classifier", "ImageError", "Prediction", "from_pretrained"]
