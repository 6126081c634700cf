"""Saved models opened by a process that knows Keras alone."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np

RELOAD = """
import sys
sys.modules["keras_cv"] = None
import keras, numpy as np
images = np.load("images.npy")
for number in range(int(sys.argv[1])):
    model = keras.saving.load_model(f"{number}.keras", safe_mode=True)
    np.save(f"{number}.npy", model.predict(images, verbose=0))
"""


def predict_without_keras_cv(
    models: Sequence[keras.Model], images: np.ndarray, folder: Path
) -> list[np.ndarray]:
    """What each model says after it was saved to a folder and reloaded, all in one other process."""
    np.save(folder / "images.npy", images)
    for number, model in enumerate(models):
        model.save(folder / f"{number}.keras")
    command = [sys.executable, "-c", RELOAD, str(len(models))]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return [np.load(folder / f"{number}.npy") for number in range(len(models))]
