"""LiteRT: runs `model.tflite` in some 80 MB, without TensorFlow.

Goes in: preprocessed images. Comes out: logits, class activation maps, the embedding and the tumour map, in
one pass.
"""

import os
import queue
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

# An image costs no less in company, and memory grows with the batch: 6 MB for each interpreter and each image
# (`python -m tests.benchmarks.benchmark_serving threads`).
MAX_BATCH = 8
MAX_INTERPRETERS = min(4, os.cpu_count() or 1)
# Name of the graph's output that only a model with a decoder has.
TUMOR_MAP_OUTPUT = "tumor_map"
# An interpreter, for one call at a time: images float32 (n, size, size, 1) in, outputs by name out.
_Runner = Callable[..., dict[str, np.ndarray]]


@dataclass(frozen=True)
class Outputs:
    """What the exported graph gives for n images.

    Attributes:
        logits: float32 (n, classes).
        cams: float32 (n, h, w, classes), what each position adds to the logit; `build_serving_model` in
            `serving.model.keras_runtime` says how.
        embeddings: float32 (n, d), globally average-pooled features, or the hidden layer of reference_vgg.
        tumor_maps: float32 (n, size / 4, size / 4), [0, 1], probability that a place is tumour; None where
            the model has no decoder.

    Example:
        >>> Outputs(np.zeros((2, 4)), np.zeros((2, 5, 5, 4)), np.zeros((2, 1280))).logits.shape
        (2, 4)
    """

    logits: np.ndarray
    cams: np.ndarray
    embeddings: np.ndarray
    tumor_maps: np.ndarray | None = None

    @property
    def tumor_peaks(self) -> np.ndarray | None:
        """Highest value of each tumour map, float64 (n,), [0, 1]; None where the model has no decoder."""
        return None if self.tumor_maps is None else self.tumor_maps.max(axis=(1, 2)).astype(np.float64)


class LiteRTModel:
    """A graph with an interpreter of one thread for each call at a time, `MAX_INTERPRETERS` at most.

    Further calls wait. One interpreter with several threads is as fast, but its threads wait for each other,
    so that any other work on the machine shows as a slow answer (the same benchmark).

    Attributes:
        image_size: side of the input that the graph was exported for, pixels.

    Example:
        >>> from serving.model.artefact import BUNDLED, LITERT_FILE
        >>> model = LiteRTModel(BUNDLED / LITERT_FILE)
        >>> model.run(np.zeros((1, model.image_size, model.image_size, 1), np.uint8)).logits.shape
        (1, 4)
    """

    def __init__(self, path: Path):
        """Load `model.tflite`.

        Raises:
            ValueError: it is no graph that LiteRT can run.
        """
        self._path = path
        self._idle: queue.LifoQueue[_Runner] = queue.LifoQueue()
        self._started = 0
        self._lock = threading.Lock()
        self._idle.put(self._take())

    def run(self, images: np.ndarray) -> Outputs:
        """Score images, uint8 (n, size, size, 1), [0, 255], n at least 1."""
        runner, parts = self._take(), []
        try:
            for start in range(0, len(images), MAX_BATCH):
                outputs = runner(images=images[start : start + MAX_BATCH].astype(np.float32))
                # Copied, because LiteRT overwrites its arrays in the next call.
                parts.append({name: np.array(output) for name, output in outputs.items()})
        finally:
            self._idle.put(runner)
        return collect_outputs({name: np.concatenate([part[name] for part in parts]) for name in parts[0]})

    def _take(self) -> _Runner:
        """An idle interpreter, or a new one as long as there may be more, or the first to become idle."""
        with self._lock:
            if self._idle.empty() and self._started < MAX_INTERPRETERS:
                runner = self._start()
                self._started += 1  # one that fails to start takes no place
                return runner
        return self._idle.get()

    def _start(self) -> _Runner:
        from ai_edge_litert.interpreter import Interpreter

        interpreter = Interpreter(str(self._path), num_threads=1)
        # LiteRT would resize its input to whatever comes, and a network at the wrong scale is quietly worse.
        self.image_size = int(interpreter.get_input_details()[0]["shape_signature"][1])
        return interpreter.get_signature_runner()


def collect_outputs(arrays: Mapping[str, np.ndarray]) -> Outputs:
    """Put together what the graph of `serving.model.keras_runtime.build_serving_model` gives by name."""
    found = arrays.get(TUMOR_MAP_OUTPUT)
    return Outputs(
        logits=arrays["logits"],
        cams=arrays["cams"],
        embeddings=arrays["embedding"],
        tumor_maps=None if found is None else found[..., 0],
    )
