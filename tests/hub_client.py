"""Processes that see the Hub of `tests/hub_server.py`: its client reads its environment when it is imported.

Goes in: the address of a server and a folder for the client's cache. Comes out: what `tumor` commands answer.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple, Self

from tests.hub_server import OWNER_TOKEN

# Typer's runner takes anything but SystemExit for what it is, an uncaught error.
SHELL = """
import json, os, sys
from typer.testing import CliRunner
from trainer.cli.main import app

for line in sys.stdin:
    arguments, environment = json.loads(line)
    os.environ.update(environment)
    result = CliRunner().invoke(app, arguments)
    is_fault = not isinstance(result.exception, SystemExit | None)
    fault = repr(result.exception) if is_fault else None
    print(json.dumps([result.exit_code, result.stdout, result.stderr, fault]), flush=True)
"""


def build_environment(endpoint: str, home: Path) -> dict[str, str]:
    """What a process needs to see one Hub, and nothing of this process's own Hub, W&B or proxies."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("HF_", "WANDB_")) and not name.lower().endswith("_proxy")
    }
    settings = {
        "HF_ENDPOINT": endpoint,
        "HF_HOME": str(home),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }
    limits = {"HF_HUB_ETAG_TIMEOUT": "1", "HF_HUB_DOWNLOAD_TIMEOUT": "5"}
    return kept | settings | limits | {"COLUMNS": "1000", "CUDA_VISIBLE_DEVICES": ""}


class Answer(NamedTuple):
    """What a command answered."""

    code: int
    stdout: str
    stderr: str


class Shell:
    """One process that runs `tumor` commands in turn, so that imports are paid once; a context manager."""

    def __init__(self, endpoint: str, home: Path, **more: str):
        environment = build_environment(endpoint, home) | more
        self._process = subprocess.Popen(
            [sys.executable, "-c", SHELL],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.stdin.close()
        self._process.wait(timeout=20)
        self._process.stdout.close()

    def run(self, *arguments: str | Path, token: str = OWNER_TOKEN, **environment: str) -> Answer:
        """Run one command as the holder of a token."""
        print(
            json.dumps([[str(argument) for argument in arguments], {"HF_TOKEN": token} | environment]),
            file=self._process.stdin,
            flush=True,
        )
        code, stdout, stderr, fault = json.loads(self._process.stdout.readline())
        assert fault is None, fault
        return Answer(code, stdout, stderr)
