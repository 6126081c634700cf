"""LiteRT: runs `model.tflite` in some 80 MB, without TensorFlow.

Goes in: preprocessed images. Comes out: logits, class activation maps and the embedding, in one pass.
"""

import os
import queue
import threading
from dataclasses import dataclass
from pathlib import Path

import numpy as np

# An image costs no less in company, and memory grows with the batch: 6 MB for each interpreter and each image
# (`python -m tests.benchmarks.benchmark_serving threads`).
MAX_BATCH = 8
MAX_INTERPRETERS = min(4, os.cpu_count() or 1)


@dataclass(frozen=True)
class Outputs:
    """What the exported graph gives for n images.

    Attributes:
        logits: float32 (n, classes).
        cams: float32 (n, h, w, classes), what each position adds; the mean over h and w plus a term that
            belongs to no position (the bias of the last layer; in reference_vgg also what the biases of the
            hidden layer add) is the logit.
        embeddings: float32 (n, d), globally average-pooled features, or the hidden layer of reference_vgg.

    All but reference_vgg answers for an image and its mirror image together: each output is the mean of both.
    """

    logits: np.ndarray
    cams: np.ndarray
    embeddings: np.ndarray


class LiteRTModel:
    """A graph with as many one-threaded interpreters as calls come at once, up to the number of cores; further calls wait.

    One interpreter with several threads gives as many images a second, but its threads wait for each other,
    so that any other work on the machine shows as a slow answer (the same benchmark).

    Attributes:
        image_size: side of the input that the graph was exported for, pixels.
    """

    def __init__(self, path: Path):
        """Load the graph.

        Args:
            path: `model.tflite`.
        """
        self._path = path
        self._idle: queue.LifoQueue[_Runner] = queue.LifoQueue()
        self._missing = MAX_INTERPRETERS
        self._lock = threading.Lock()
        runner = self._take()
        self.image_size = runner.image_size
        self._idle.put(runner)

    def run(self, images: np.ndarray) -> Outputs:
        """Score images.

        Args:
            images: uint8 (n, size, size, 1), [0, 255], n at least 1.
        """
        runner = self._take()
        try:
            parts = [
                runner.run(images[start : start + MAX_BATCH]) for start in range(0, len(images), MAX_BATCH)
            ]
        finally:
            self._idle.put(runner)
        return Outputs(
            *(np.concatenate([part[name] for part in parts]) for name in ("logits", "cams", "embedding"))
        )

    def _take(self) -> "_Runner":
        """An idle interpreter; else a new one, as long as there may be more; else the first that becomes idle."""
        with self._lock:
            if self._idle.empty() and self._missing:
                self._missing -= 1
                return _Runner(self._path)
        return self._idle.get()


class _Runner:
    """One interpreter, for one call at a time."""

    def __init__(self, path: Path):
        from ai_edge_litert.interpreter import Interpreter

        interpreter = Interpreter(str(path), num_threads=1)
        # LiteRT would resize its input to whatever comes, and a network at the wrong scale is quietly worse.
        self.image_size = int(interpreter.get_input_details()[0]["shape_signature"][1])
        self._run = interpreter.get_signature_runner()

    def run(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Arrays of their own: those of LiteRT change with the next call."""
        return {name: np.array(value) for name, value in self._run(images=images.astype(np.float32)).items()}
