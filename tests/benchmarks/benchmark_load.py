"""Load the app with many clients at once: answers are right, only "busy" is refused, memory stays flat.

    python -m tests.benchmarks.benchmark_load --clients 32 --seconds 60

Starts the app as `tumor serve` does. Each client uploads an example slice and asks `/predict` for it over
plain HTTP, again and again; the answers are compared with those of the artefact in this process. Before the
time that counts so many requests are made that Gradio's own memory, of the last 2,000 sessions, is full: only
then can a leak be told from it. Prints counts, latencies, and the memory of the server. Leaves with code 1
where an answer was wrong or an error was not "busy".
"""

import argparse
import json
import os
import sys
import threading
import time
import urllib.error
import urllib.request
import uuid
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from serving import from_pretrained
from serving.app.views import EXAMPLES
from tests.app_process import start_app

TIMEOUT_SECONDS = 60
BUSY = "busy"
WARM_UP_REQUESTS = 3000
ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Tally:
    """What all clients saw.

    Attributes:
        outcomes: how often each came: right, wrong, busy, or the text of an error.
        seconds: that each right answer took, upload included.
        megabytes: of the server's resident memory, at the end of every second.
    """

    outcomes: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    megabytes: list[float] = field(default_factory=list)


def load_app(url: str, process_id: int, clients: int, seconds: float) -> Tally:
    """Let so many clients ask for so long."""
    classifier = from_pretrained()
    expected = {path: classifier.predict(path).to_dict() for path in sorted(EXAMPLES.glob("*.png"))}
    tally, lock, end = Tally(), threading.Lock(), time.monotonic() + seconds

    def ask_again_and_again(number: int) -> None:
        paths = list(expected)
        while time.monotonic() < end:
            path, start = paths[number % len(paths)], time.monotonic()
            outcome = judge(url, path, expected[path])
            with lock:
                tally.outcomes[outcome] += 1
                if outcome == "right":
                    tally.seconds.append(time.monotonic() - start)
            number += 1

    threads = [threading.Thread(target=ask_again_and_again, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    while time.monotonic() < end:
        time.sleep(1)
        tally.megabytes.append(read_megabytes(process_id))
    for thread in threads:
        thread.join(TIMEOUT_SECONDS)
    return tally


def judge(url: str, path: Path, expected: dict[str, object]) -> str:
    """Ask once: right, wrong, busy, or the text of an error."""
    try:
        answer = ask(url, path)
    except urllib.error.HTTPError as error:
        body = error.read().decode()
        return BUSY if error.code == 503 and BUSY in body.lower() else f"{error.code}: {body[:200]}"
    except (OSError, ValueError) as error:
        return f"{type(error).__name__}: {error}"
    is_right = answer["label"] == expected["label"] and all(
        abs(prob - expected["probabilities"][label]) < 1e-5 for label, prob in answer["probabilities"].items()
    )
    return "right" if is_right else "wrong"


def ask(url: str, path: Path) -> dict[str, object]:
    """Upload a file and have it classified, over plain HTTP.

    Raises:
        HTTPError: the server refused.
        ValueError: it answered with an error event.
    """
    boundary = uuid.uuid4().hex
    head = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="files";'
        f' filename="{path.name}"\r\nContent-Type: image/png\r\n\r\n'
    )
    body = head.encode() + path.read_bytes() + f"\r\n--{boundary}--\r\n".encode()
    (stored,) = json.loads(
        post(f"{url}/gradio_api/upload", body, f"multipart/form-data; boundary={boundary}")
    )
    call = json.dumps({"data": [{"path": stored, "meta": {"_type": "gradio.FileData"}}]}).encode()
    event = json.loads(post(f"{url}/gradio_api/call/predict", call, "application/json"))["event_id"]
    with urllib.request.urlopen(f"{url}/gradio_api/call/predict/{event}", timeout=TIMEOUT_SECONDS) as stream:
        lines = stream.read().decode().splitlines()
    if "event: complete" not in lines:
        raise ValueError(lines)
    return json.loads(lines[lines.index("event: complete") + 1].removeprefix("data: "))[0]


def post(url: str, body: bytes, kind: str) -> bytes:
    with urllib.request.urlopen(
        urllib.request.Request(url, body, {"Content-Type": kind}), timeout=TIMEOUT_SECONDS
    ) as response:
        return response.read()


def read_megabytes(process_id: int) -> float:
    """Resident memory of a process."""
    return int(Path(f"/proc/{process_id}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def main() -> None:
    """Start the app, load it, and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=60)
    arguments = parser.parse_args()
    command = [sys.executable, "-c", "from trainer.cli.main import app; app()", "serve"]
    with start_app(command, {**os.environ, "HF_HUB_OFFLINE": "1"}, ROOT) as (url, process):
        warm_up = 0
        while warm_up < WARM_UP_REQUESTS:
            warm_up += sum(load_app(url, process.pid, arguments.clients, 5).outcomes.values())
        tally = load_app(url, process.pid, arguments.clients, arguments.seconds)
    table = Table("", "", title=f"{arguments.clients} clients, {arguments.seconds:g} s", show_header=False)
    for outcome, count in tally.outcomes.most_common():
        table.add_row(outcome, f"{count:,}")
    table.add_row("answers a second", f"{len(tally.seconds) / arguments.seconds:.1f}")
    if tally.seconds:
        table.add_row(
            "seconds, p50 and p99",
            " and ".join(f"{np.percentile(tally.seconds, share):.2f}" for share in (50, 99)),
        )
    if tally.megabytes:
        table.add_row(
            "MB resident: first, most, last",
            f"{tally.megabytes[0]:.0f}, {max(tally.megabytes):.0f}, {tally.megabytes[-1]:.0f}",
        )
    Console().print(table)
    sys.exit(0 if set(tally.outcomes) <= {"right", BUSY} else 1)


if __name__ == "__main__":
    main()
