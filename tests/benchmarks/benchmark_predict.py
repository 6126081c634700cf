"""How soon `tumor predict` answers one slice, from start to end of the process, and in how much memory.

    python tests/benchmarks/benchmark_predict.py [--rounds 10] [FILE ...]

By default an example picture. Prints a line a file: wall seconds (median and largest), CPU seconds and
resident megabytes (largest), and fails where a bound is broken: 1.5 s wall in the median, 150 MB.
"""

import argparse
import json
import os
import statistics
import sys
import time
from pathlib import Path

EXAMPLE = Path(__file__).resolve().parents[2] / "serving" / "app" / "examples" / "glioma.png"
MAX_SECONDS, MAX_MEGABYTES = 1.5, 150.0


def measure(path: str) -> tuple[float, float, float]:
    """Run the command once: wall seconds, CPU seconds, resident megabytes at the peak."""
    command = [str(Path(sys.executable).with_name("tumor")), "predict", path, "--json"]
    with Path(os.devnull).open("w") as nothing:
        started = time.perf_counter()
        process = os.posix_spawn(
            command[0],
            command,
            os.environ,
            file_actions=[(os.POSIX_SPAWN_DUP2, nothing.fileno(), one) for one in (1, 2)],
        )
        _, status, usage = os.wait4(process, 0)
        wall = time.perf_counter() - started
    if os.waitstatus_to_exitcode(status) != 0:
        sys.exit(f"tumor predict {path} ended with {os.waitstatus_to_exitcode(status)}, expected 0.")
    return wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def main() -> None:
    """Measure each file and compare with the bounds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="*", default=[str(EXAMPLE)])
    parser.add_argument("--rounds", type=int, default=10)
    arguments = parser.parse_args()
    is_within = True
    for path in arguments.files:
        walls, cpus, megabytes = zip(*(measure(path) for _ in range(arguments.rounds)), strict=True)
        row = {
            "file": Path(path).name,
            "wall_seconds": statistics.median(walls),
            "wall_seconds_max": max(walls),
        }
        row |= {"cpu_seconds": statistics.median(cpus), "megabytes": max(megabytes)}
        print(
            json.dumps(
                {name: round(value, 3) if isinstance(value, float) else value for name, value in row.items()}
            ),
            flush=True,
        )
        is_within &= row["wall_seconds"] < MAX_SECONDS and row["megabytes"] < MAX_MEGABYTES
    sys.exit(0 if is_within else "Broken: 1.5 s, or 150 MB")


if __name__ == "__main__":
    main()
