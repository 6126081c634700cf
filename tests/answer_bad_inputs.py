"""Answer every bad input as `tumor predict` does, and measure what each costs.

Goes in: nothing. Comes out: a line a case. It runs in a process of its own, because peaks of memory are those
    of a process.

    python -m tests.answer_bad_inputs            the answer, CPU seconds and additional memory of each
    python -m tests.answer_bad_inputs --json     the same as JSON lines
"""

import json
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from serving import from_pretrained
from serving.cli.batch import find_inputs, score_inputs
from serving.cli.pictures import PictureWriter
from tests.bad_inputs import Case, build_foreign, build_jpegs, build_others, build_pngs
from tests.bad_volumes import build_volumes


def build_cases() -> list[Case]:
    """Every case."""
    return [*build_foreign(), *build_pngs(), *build_jpegs(), *build_others(), *build_volumes()]


def answer_cases(cases: list[Case], folder: Path) -> Iterator[dict[str, object]]:
    """Answer each case as `tumor predict` does, and measure it.

    Yields:
        Rows with the case's name and expected message, the error that came or None, CPU seconds, and
        megabytes of resident memory above what there was before.
    """
    classifier, writer = from_pretrained(), PictureWriter("pad", None, None)
    for number, case in enumerate(cases):
        path = folder / str(number) / case.filename
        path.parent.mkdir()
        path.write_bytes(case.build())
        before, started = read_memory("VmRSS"), time.process_time()
        Path("/proc/self/clear_refs").write_text("5")  # resets the peak
        [answer] = score_inputs(classifier, find_inputs([str(path)], sys.stdin.buffer), None, writer)
        seconds, megabytes = time.process_time() - started, read_memory("VmHWM") - before
        yield {
            "name": case.name,
            "expected": case.message,
            "error": answer.get("error"),
            "seconds": seconds,
            "megabytes": megabytes,
        }
        path.unlink()


def read_memory(field: str) -> float:
    """Resident memory of this process, megabytes: `VmRSS`, or its peak `VmHWM`."""
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in status if line.startswith(f"{field}:"))


def main() -> None:
    """Answer every case and print what came of it."""
    with tempfile.TemporaryDirectory() as folder:
        for row in answer_cases(build_cases(), Path(folder)):
            print(
                json.dumps(row)
                if "--json" in sys.argv
                else (
                    f"{row['seconds']:6.2f} s {row['megabytes']:6.0f} MB  {row['name']}:"
                    f" {row['error'] or 'scored'}"
                )
            )


if __name__ == "__main__":
    main()
