import subprocess
import sys

HEAVY = {"tensorflow", "keras", "keras_cv", "wandb", "tensorflow_datasets", "apache_beam"}


def loaded_after(statement: str) -> set[str]:
    code = f"{statement}; import sys; print(*{{name.split('.')[0] for name in sys.modules}})"
    return set(
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.split()
    )


def test_import_serving_loads_nothing_heavy():
    assert not HEAVY & loaded_after("import serving")


def test_app_and_command_line_load_nothing_heavy():
    assert not HEAVY & loaded_after("import serving.app.page, trainer.cli.main")


def test_importing_serving_does_not_import_the_web_framework():
    assert not {"gradio", "huggingface_hub", "trainer", "tumor_ds"} & loaded_after("import serving")


def test_predicting_loads_nothing_heavy():
    code = (
        "from serving import from_pretrained; import numpy; from_pretrained().predict(numpy.zeros((9, 9),"
        " 'uint8'))"
    )
    assert not HEAVY & loaded_after(code)


def test_pictures_need_no_parser_of_volumes():
    code = (
        "from serving import from_pretrained; import numpy; from_pretrained().predict(numpy.zeros((9, 9),"
        " 'uint8')); import serving.cli.commands"
    )
    assert not {"pydicom", "nibabel", "gradio"} & loaded_after(code)


def test_importing_and_predicting_changes_nothing_of_the_process():
    code = """
import logging, os, random, sys, warnings
import numpy as np

def describe():
    loggers = logging.root.manager.loggerDict
    handlers = {name: len(getattr(logger, "handlers", ())) for name, logger in loggers.items()}
    return {
        "random numbers": random.getstate(),
        "numpy": (str(np.random.get_state()), np.geterr()),
        "environment": dict(os.environ),
        "warnings": list(warnings.filters),
        "logging": (logging.root.level, list(logging.root.handlers), logging.root.manager.disable),
        "handlers": {name: count for name, count in handlers.items() if count},
        "hooks": (sys.excepthook, warnings.showwarning),
    }

before = describe()
from serving import ImageError, from_pretrained
from_pretrained().predict(np.zeros((9, 9), "uint8"))
try:
    from_pretrained().predict(b"no picture")
except ImageError:
    pass
after = describe()
print(*(name for name in before if before[name] != after[name]))
"""
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.split() == []
