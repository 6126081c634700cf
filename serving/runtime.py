"""LiteRT: runs `model.tflite` in some 80 MB, without TensorFlow.

Goes in: preprocessed images. Comes out: logits, class activation maps and the embedding, in one pass.
"""

import os
import threading
from dataclasses import dataclass
from pathlib import Path

import numpy as np

MAX_BATCH = 32


@dataclass(frozen=True)
class Outputs:
    """What the exported graph gives for n images.

    Attributes:
        logits: float32 (n, classes).
        cams: float32 (n, h, w, classes), what each position adds; the mean over h and w plus a term that belongs to no position (the bias
            of the last layer; in reference_vgg also what the biases of the hidden layer add) is the logit.
        embeddings: float32 (n, d), globally average-pooled features, or the hidden layer of reference_vgg.
    """

    logits: np.ndarray
    cams: np.ndarray
    embeddings: np.ndarray


class LiteRTModel:
    """One interpreter; calls from several threads wait for each other.

    Attributes:
        image_size: side of the input that the graph was exported for, pixels.
    """

    def __init__(self, path: Path, num_threads: int | None = None):
        """Load the graph.

        Args:
            path: `model.tflite`.
            num_threads: CPU threads; None: up to four.
        """
        from ai_edge_litert.interpreter import Interpreter

        interpreter = Interpreter(str(path), num_threads=num_threads or min(4, os.cpu_count() or 1))
        # LiteRT would resize its input to whatever comes, and a network at the wrong scale is quietly worse.
        self.image_size = int(interpreter.get_input_details()[0]["shape_signature"][1])
        self._run = interpreter.get_signature_runner()
        self._lock = threading.Lock()

    def run(self, images: np.ndarray) -> Outputs:
        """Score images.

        Args:
            images: uint8 (n, size, size, 1), [0, 255], n at least 1.
        """
        parts = []
        with self._lock:
            for start in range(0, len(images), MAX_BATCH):
                outputs = self._run(images=images[start : start + MAX_BATCH].astype(np.float32))
                parts.append({name: np.array(value) for name, value in outputs.items()})
        return Outputs(*(np.concatenate([part[name] for part in parts]) for name in ("logits", "cams", "embedding")))
