"""The examples in the docstrings run."""

import doctest
import importlib

import pytest


@pytest.mark.parametrize(
    "name",
    ["classifier", "model.artefact", "model.guard", "model.keras_runtime", "model.runtime"],
)
def test_examples_run(name):
    results = doctest.testmod(importlib.import_module(f"serving.{name}"))
    assert results.failed == 0
    assert results.attempted >= 1
