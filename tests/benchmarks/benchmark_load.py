"""Load the app with many clients at once: answers are right, only "busy" is refused, memory stays flat.

    python -m tests.benchmarks.benchmark_load --clients 32 --seconds 600 [--bad]

Starts the app as `tumor serve` does. Each client uploads a file and asks `/predict` for it over plain HTTP,
again and again. Answers, and errors word by word, are compared with those of the artefact in this process.
The files are the examples; with `--bad` every other one is a case of `tests/bad_inputs.py` or of
`tests/bad_volumes.py`, and one more client begins uploads and leaves, or lets them wait for nobody.

Before the time that counts so many requests are made that Gradio's own memory, of the last 2,000 sessions, is
full: only then can a leak be told from it. Prints counts, latencies, and the memory of the server. Leaves
with code 1 where an answer was wrong, an error was not "busy", or the median memory after the first minute is
more than 5 % higher in the second half than in the first.
"""

import argparse
import contextlib
import json
import os
import socket
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
import uuid
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from serving import ImageError, from_pretrained
from serving.app.views import EXAMPLES
from tests.answer_bad_inputs import build_cases
from tests.app_process import start_app

TIMEOUT_SECONDS = 60
BUSY = "busy"
WARM_UP_REQUESTS = 3000
MINUTE = 60
MAX_GROWTH = 1.05
ROOT = Path(__file__).resolve().parents[2]
Answer = dict[str, Any] | str


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


def list_answers(bad: Path | None = None) -> list[tuple[Path, Answer]]:
    """Files to send and what has to come back: a prediction, or the text of an error.

    Args:
        bad: folder for bad inputs, which then stand between the examples; None: examples alone.
    """
    classifier, examples = from_pretrained(), sorted(EXAMPLES.glob("*.png"))
    paths = list(examples)
    if bad is not None:
        for number, case in enumerate(build_cases()):
            path = bad / str(number) / case.filename
            path.parent.mkdir()
            path.write_bytes(case.build())
            paths += [path, examples[number % len(examples)]]
    found = classifier.predict_batch(paths, errors="return")
    # An error begins with the place in the batch.
    told = [
        str(one).partition(" of the batch: ")[2] if isinstance(one, ImageError) else one.to_dict()
        for one in found
    ]
    return list(zip(paths, told, strict=True))


def load_app(
    url: str, process_id: int, clients: int, seconds: float, answers: list[tuple[Path, Answer]] | None = None
) -> Tally:
    """Let so many clients ask for so long."""
    answers = answers or list_answers()
    tally, lock, end = Tally(), threading.Lock(), time.monotonic() + seconds

    def ask_again_and_again(number: int) -> None:
        while time.monotonic() < end:
            (path, expected), start = answers[number % len(answers)], time.monotonic()
            outcome = judge(url, path, expected)
            with lock:
                tally.outcomes[outcome] += 1
                if outcome == "right":
                    tally.seconds.append(time.monotonic() - start)
            number += 1

    # Each begins somewhere else.
    starts = [len(answers) * number // clients for number in range(clients)]
    threads = [threading.Thread(target=ask_again_and_again, args=(start,)) for start in starts]
    for thread in threads:
        thread.start()
    while time.monotonic() < end:
        time.sleep(1)
        tally.megabytes.append(read_megabytes(process_id))
    for thread in threads:
        thread.join(TIMEOUT_SECONDS)
    return tally


def judge(url: str, path: Path, expected: Answer) -> str:
    """Ask once: right, wrong, busy, or the text of an error."""
    try:
        answer = ask(url, path)
    except urllib.error.HTTPError as error:
        body = error.read().decode()
        return BUSY if error.code == 503 and BUSY in body.lower() else f"{error.code}: {body[:200]}"
    except ValueError as error:
        told = str(error)
        if "the server is busy" in told:
            return BUSY
        return "right" if told == expected else f"{path.name}: {told}"
    except OSError as error:
        return f"{type(error).__name__}: {error}"
    if isinstance(expected, str) or answer["label"] != expected["label"]:
        return "wrong"
    ours, theirs = answer["probabilities"] or {}, expected["probabilities"] or {}
    is_right = set(ours) == set(theirs) and all(abs(ours[name] - theirs[name]) < 1e-5 for name in theirs)
    return "right" if is_right else "wrong"


def leave_uploads(url: str, end: float) -> None:
    """Begin uploads and leave half-way; send others and ask for none of them."""
    host, _, port = url.removeprefix("http://").partition(":")
    head = f"POST /gradio_api/upload HTTP/1.1\r\nHost: {host}\r\nContent-Length: 100000\r\n"
    head += "Content-Type: multipart/form-data; boundary=x\r\n\r\n"
    start = '--x\r\nContent-Disposition: form-data; name="files"; filename="left.png"\r\n\r\n'
    body, kind = f"{start}left\r\n--x--\r\n".encode(), "multipart/form-data; boundary=x"
    while time.monotonic() < end:
        with contextlib.suppress(OSError):
            with socket.create_connection((host, int(port)), timeout=TIMEOUT_SECONDS) as connection:
                connection.sendall(f"{head}{start}".encode() + bytes(1000))
                time.sleep(0.2)
            post(f"{url}/gradio_api/upload", body, kind)


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
        data = next((line.removeprefix("data: ") for line in lines if line.startswith("data: ")), "null")
        raise ValueError((json.loads(data) or {}).get("error") or lines)
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
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--bad", action="store_true")
    arguments = parser.parse_args()
    if arguments.seconds < 2 * MINUTE:
        parser.error(f"--seconds should be {2 * MINUTE} at least, got {arguments.seconds:g}.")
    command = [sys.executable, "-c", "from trainer.cli.main import app; app()", "serve"]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    with tempfile.TemporaryDirectory() as bad, start_app(command, environment, ROOT) as (url, process):
        answers, examples, warm_up = list_answers(Path(bad) if arguments.bad else None), list_answers(), 0
        while warm_up < WARM_UP_REQUESTS:
            warm_up += sum(load_app(url, process.pid, arguments.clients, 5, examples).outcomes.values())
        leaving = threading.Thread(target=leave_uploads, args=(url, time.monotonic() + arguments.seconds))
        if arguments.bad:
            leaving.start()
        tally = load_app(url, process.pid, arguments.clients, arguments.seconds, answers)
    table = Table("", "", title=f"{arguments.clients} clients, {arguments.seconds:g} s", show_header=False)
    for outcome, count in tally.outcomes.most_common():
        table.add_row(outcome, f"{count:,}")
    table.add_row("answers a second", f"{len(tally.seconds) / arguments.seconds:.1f}")
    if tally.seconds:
        table.add_row(
            "seconds, p50 and p99",
            " and ".join(f"{np.percentile(tally.seconds, share):.2f}" for share in (50, 99)),
        )
    settled = tally.megabytes[MINUTE:]
    halves = settled[: len(settled) // 2], settled[len(settled) // 2 :]
    first, last = (float(np.median(half)) for half in halves)
    table.add_row("MB resident: median of each half", f"{first:.0f} and {last:.0f}")
    table.add_row("MB resident: most", f"{max(tally.megabytes):.0f}")
    Console().print(table)
    is_right = set(tally.outcomes) <= {"right", BUSY}
    sys.exit(0 if is_right and last <= MAX_GROWTH * first else 1)


if __name__ == "__main__":
    main()
