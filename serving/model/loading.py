"""A model file, loaded into the runtime that runs it, and compared with its `config.json`.

Goes in: the path of a model file, and the config. Comes out: what gives `serving.model.runtime.Outputs`.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from serving.model import artefact
from serving.model.runtime import LiteRTModel

if TYPE_CHECKING:
    from serving.model import keras_runtime

# What runs a model, and the file that it runs.
RUNTIMES = {"litert": artefact.LITERT_FILE, "keras": artefact.KERAS_FILE}


def load_model(path: Path, config: artefact.ArtefactConfig) -> "LiteRTModel | keras_runtime.KerasModel":
    """Load the model and check on one black image that it fits the config.

    Args:
        path: one of the files that `RUNTIMES` names.
        config: of the same artefact.

    Raises:
        ArtefactError: the file cannot be run, does not fit the config, or its runtime is not installed.
    """
    model: LiteRTModel | keras_runtime.KerasModel
    try:
        if path.name == artefact.KERAS_FILE:
            from serving.model.keras_runtime import KerasModel  # here, because it brings TensorFlow

            model = KerasModel(path)
        else:
            model = LiteRTModel(path)
        outputs = model.run(np.zeros((1, model.image_size, model.image_size, 1), np.uint8))
    except artefact.ArtefactError:
        raise
    except ModuleNotFoundError as error:
        advice = "pip install '.[train]', or use runtime=\"litert\""
        raise artefact.ArtefactError(f"The Keras runtime needs {error.name}: {advice}.") from error
    except (ValueError, TypeError, AttributeError, RuntimeError) as error:
        problem = f"{path.name} is no model that can be run ({error})"
        raise artefact.ArtefactError(f"{problem}. Export it again.") from error
    has_map, needs_map = outputs.tumor_maps is not None, config.map is not None
    sizes = (model.image_size, outputs.logits.shape[1], outputs.embeddings.shape[1], has_map)
    stated = (config.image_size, len(config.labels), len(config.guard.content_weights), needs_map)
    if sizes != stated:
        names = ("image size", "labels", "embedding", "tumour map")
        found, expected = (dict(zip(names, values, strict=True)) for values in (sizes, stated))
        problem = f"{path.name} has {found}, but {artefact.CONFIG_FILE} says {expected}"
        raise artefact.ArtefactError(f"{problem}. Export both again together.")
    return model
