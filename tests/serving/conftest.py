"""The app in a process of its own, once for all tests of its page and its endpoints."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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


def run_app(folder: Path, *command: str) -> Iterator[RunningApp]:
    """Start the app with Python, and look at the end whether it left anything."""
    environment = {**os.environ, "TMPDIR": str(folder), "HF_HUB_OFFLINE": "1"}
    with start_app([sys.executable, *command], environment) as (url, process):
        yield RunningApp(url, process, folder)
    assert list(folder.glob("tumor-uploads-*")) == [], "the app left its uploads behind"


@pytest.fixture(scope="session")
def running_app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningApp]:
    """The app, started as a user starts it."""
    command = ("-c", "from trainer.cli.main import app; app()", "serve")
    yield from run_app(tmp_path_factory.mktemp("app"), *command)


@pytest.fixture(scope="session")
def outlining_app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningApp]:
    """The app with a model that outlines what is bright."""
    yield from run_app(tmp_path_factory.mktemp("outlining_app"), "-m", "tests.bright_map")


@pytest.fixture
def open_page(browser: Any) -> Iterator[Callable[..., Any]]:
    """Open the page of an app; the test fails on an error in the console or a request to another host."""
    opened, errors, strangers = [], [], []

    def open_page(app: RunningApp, **settings: Any) -> Any:
        page = browser.new_page(**settings)
        own = (app.url, "data:", "blob:")
        opened.append(page)
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("request", lambda one: None if one.url.startswith(own) else strangers.append(one.url))
        page.goto(app.url)
        page.wait_for_selector(".drop:visible")
        return page

    yield open_page
    for page in opened:
        page.close()
    assert errors == []
    assert strangers == []
