"""The app in a process of its own, once for all tests of its page and its endpoints."""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.app_process import start_app


@dataclass(frozen=True)
class RunningApp:
    """An app that answers.

    Attributes:
        url: its address.
        process: to measure.
        folder: where it keeps its temporary files.
    """

    url: str
    process: subprocess.Popen
    folder: Path

    def list_uploads(self) -> list[Path]:
        return [path for path in self.folder.rglob("*") if path.is_file()]


@pytest.fixture(scope="session")
def running_app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningApp]:
    """The app, started as a user starts it."""
    folder = tmp_path_factory.mktemp("app")
    environment = {**os.environ, "TMPDIR": str(folder), "HF_HUB_OFFLINE": "1"}
    with start_app(
        [sys.executable, "-c", "from trainer.cli.main import app; app()", "serve"], environment
    ) as (url, process):
        yield RunningApp(url, process, folder)
    assert list(folder.glob("tumor-uploads-*")) == [], "the app left its uploads behind"
