"""The app in a process of its own, as a user starts it, and what it answers over HTTP."""

import re
import socket
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

START_SECONDS = 60


def find_free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


@contextmanager
def start_app(
    command: Sequence[str], environment: Mapping[str, str], folder: Path | None = None
) -> Iterator[tuple[str, subprocess.Popen]]:
    """Start an app, wait until it answers, and end it.

    Yields:
        Its address and its process.
    """
    port = find_free_port()
    settings = {"GRADIO_SERVER_PORT": str(port), "GRADIO_ANALYTICS_ENABLED": "False", **environment}
    address, deadline = f"http://127.0.0.1:{port}", time.monotonic() + START_SECONDS
    # No pipe: nobody reads it while the app runs, and a full one would stop it.
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, env=settings, cwd=folder, stdout=log, stderr=subprocess.STDOUT)
        try:
            while True:
                assert process.poll() is None, _read(log)
                assert time.monotonic() < deadline, f"the app did not start within {START_SECONDS} s"
                try:
                    urllib.request.urlopen(address, timeout=2).close()
                    break
                except OSError:
                    time.sleep(0.1)
            yield address, process
        finally:
            process.terminate()
            process.wait(timeout=20)


def _read(log: IO[bytes]) -> str:
    log.seek(0)
    return log.read().decode()


def measure_peak_megabytes(process: subprocess.Popen) -> float:
    """The most memory that a process has had resident."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 1024
