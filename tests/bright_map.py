"""A classifier with a tumour map that needs no training: what is bright is tumour, so the truth is known.

`python -m tests.bright_map` serves the app with it.
"""

import dataclasses

import numpy as np

from serving import Classifier, from_pretrained
from serving.model.artefact import Combination, MapConfig
from serving.model.runtime import LiteRTModel, Outputs

# Grey level, [0, 255], from which a pixel is tumour.
BRIGHT = 204


class BrightMap:
    """The bundled model with a map of its input's brightness."""

    def __init__(self, model: LiteRTModel, side: int):
        self._model, self._side = model, side

    def run(self, images: np.ndarray) -> Outputs:
        """Score images uint8 (n, size, size, 1); maps have places of `side` pixels."""
        count, size = images.shape[:2]
        places = size // self._side
        blocks = images.reshape(count, places, self._side, places, self._side)
        maps = blocks.mean(axis=(2, 4)).astype(np.float32) / 255
        return dataclasses.replace(self._model.run(images), tumor_maps=maps)


def load_bright_classifier(side: int = 1, refuses: bool = True) -> Classifier:
    """Load the bundled model with a map.

    Args:
        side: of a place of the map, pixels of the model's input; 1: the mask of a square picture of its size
            is exactly what is bright in it.
        refuses: whether pictures that are no brain MRI are refused; drawn ones would be.
    """
    classifier = from_pretrained()
    guard = classifier.config.guard
    if not refuses:
        guard = dataclasses.replace(guard, refusal_threshold=1e9)
    # The classes alone tell tumour from none.
    found = MapConfig(BRIGHT / 255, Combination(intercept=0.0, class_weight=1.0, map_weight=0.0))
    classifier.config = dataclasses.replace(classifier.config, map=found, guard=guard)
    classifier._model = BrightMap(classifier._model, side)
    return classifier


if __name__ == "__main__":
    from serving.app.server import launch

    launch(load_bright_classifier(side=4, refuses=False))
