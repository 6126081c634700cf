"""The examples in the docstrings run, and give what they show."""

import doctest
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# The builder's own example would download the collection.
MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for room in ("collection", "grouping", "audit")
    for path in (ROOT / "tumor_ds" / room).glob("[!_]*.py")
)


@pytest.mark.parametrize("name", [*MODULES, "tumor_ds.croissant"])
def test_examples_run(name: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(ROOT)
    options = doctest.IGNORE_EXCEPTION_DETAIL
    assert doctest.testmod(importlib.import_module(name), optionflags=options).failed == 0
