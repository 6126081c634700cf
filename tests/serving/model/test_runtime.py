"""The pool of LiteRT interpreters."""

import threading

import ai_edge_litert.interpreter
import numpy as np
import pytest

from serving.model import runtime
from serving.model.artefact import BUNDLED, LITERT_FILE
from serving.model.runtime import LiteRTModel


def test_an_interpreter_that_fails_to_start_takes_no_place(monkeypatch):
    monkeypatch.setattr(runtime, "MAX_INTERPRETERS", 2)
    model = LiteRTModel(BUNDLED / LITERT_FILE)
    first = model._take()
    with monkeypatch.context() as patch:
        patch.setattr(ai_edge_litert.interpreter, "Interpreter", refuse)
        with pytest.raises(RuntimeError, match="out of memory"):
            model._take()
    taken = []
    # Where the place is lost this waits for the first one for ever.
    thread = threading.Thread(target=lambda: taken.append(model._take()), daemon=True)
    thread.start()
    thread.join(timeout=30)
    assert taken
    assert taken[0] is not first


def refuse(*arguments, **options):
    raise RuntimeError("out of memory")


def test_no_more_interpreters_are_started_than_allowed(monkeypatch):
    monkeypatch.setattr(runtime, "MAX_INTERPRETERS", 1)
    model = LiteRTModel(BUNDLED / LITERT_FILE)
    monkeypatch.setattr(ai_edge_litert.interpreter, "Interpreter", refuse)
    images = np.random.default_rng(0).integers(0, 256, (2, model.image_size, model.image_size, 1), np.uint8)
    answers = [None] * 4

    def run(index):
        answers[index] = model.run(images).logits

    threads = [threading.Thread(target=run, args=(index,), daemon=True) for index in range(len(answers))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    for answer in answers:
        np.testing.assert_array_equal(answer, answers[0])
