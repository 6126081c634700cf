"""Every public class shows in its docstring how it is used, and the example runs."""

import doctest
import enum
import importlib
import inspect
import pkgutil
from pathlib import Path

import pytest

import serving
import trainer
import tumor_ds

ROOT = Path(__file__).resolve().parents[1]
# A script that is run by hand and needs PyTorch.
LEFT_OUT = ("trainer.models.weights.convert",)


def list_modules() -> list[str]:
    packages = (serving, trainer, tumor_ds)
    found = [
        info.name
        for package in packages
        for info in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
        if "dummy_data" not in info.name and info.name not in LEFT_OUT
    ]
    return sorted(found)


def list_public_classes(module) -> list[type]:
    """Classes that a module defines; errors, enumerations and typed dictionaries need no example."""
    return [
        value
        for name, value in vars(module).items()
        if inspect.isclass(value) and value.__module__ == module.__name__ and not name.startswith("_")
        if not issubclass(value, Exception | enum.Enum) and not hasattr(value, "__total__")
    ]


@pytest.mark.parametrize("name", list_modules())
def test_examples_run(name, tmp_path, monkeypatch):
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(name)
    parser, runner = doctest.DocTestParser(), doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    for one in list_public_classes(module):
        text = inspect.getdoc(one) or ""
        assert ">>>" in text, f"{name}.{one.__name__} has no example in its docstring"
    for test in doctest.DocTestFinder(parser=parser).find(module, name):
        runner.run(test)
    assert not runner.failures
