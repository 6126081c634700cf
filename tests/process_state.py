"""What holds for all threads of a process; imports nothing of this project, so that it can be read first."""

import logging
import warnings

import pydicom

LOGGERS = ("", "pydicom", "pydicom.pixels.decoders.base", "pydicom.pixels.utils")


def describe_process() -> list[object]:
    """Whatever of pydicom, logging and warnings holds for all threads."""
    settings = pydicom.config.settings
    loggers = [logging.getLogger(name) for name in LOGGERS]
    return [
        dict(vars(settings)),
        [(one.level, list(one.handlers), list(one.filters), one.disabled, one.propagate) for one in loggers],
        logging.root.manager.disable,
        list(warnings.filters),
        (warnings.warn, warnings.showwarning, pydicom.misc.warnings),
    ]
