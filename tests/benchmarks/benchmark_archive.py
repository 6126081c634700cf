"""How many slices a second the direct runner scores on two processes, against `Classifier.predict_batch`.

    python -m tests.benchmarks.benchmark_archive [--slices 4000] [--rounds 3]

The slices are JPEG files of 512 pixels, one of them damaged. Both ways take turns, each in a new process from
paths to answers on disk: a Parquet file, or shards of it. Prints wall and CPU seconds of the whole process
and slices a second; and how long a second run takes, which has nothing left to do.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyarrow.parquet

from tests.benchmarks.benchmark_batch import draw_slices

BATCH = """
import sys
from pathlib import Path
from serving import ImageError, from_pretrained
from serving.cli.answers import build_row
from serving.cli.shards import write_shard

classifier, paths = from_pretrained(), sorted(Path(sys.argv[1]).iterdir())
with write_shard(sys.argv[2], classifier.labels) as write:
    for path, answer in zip(paths, classifier.predict_stream(paths, errors="return")):
        write([build_row(str(path), str(answer) if isinstance(answer, ImageError) else answer)])
"""
RUNNER = ("--runner", "DirectRunner", "--direct_num_workers", "2")
MODE = ("--direct_running_mode", "multi_processing")


def measure(*command: str) -> tuple[float, float]:
    """Run Python with a command: wall and CPU seconds, those of its own children included."""
    before, start = os.times(), time.perf_counter()
    subprocess.run([sys.executable, *command], check=True, capture_output=True)
    wall, after = time.perf_counter() - start, os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return wall, cpu


def count_rows(folder: Path) -> int:
    """Rows of all shards of a folder."""
    return sum(pyarrow.parquet.read_metadata(path).num_rows for path in folder.glob("*.parquet"))


def main() -> None:
    """Measure both ways in turn."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--slices", type=int, default=4000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    seconds: dict[str, list[tuple[float, float]]] = {"predict_batch": [], "archive": [], "once more": []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "in").mkdir()
        (folder / "batch").mkdir()
        for number, content in enumerate(draw_slices(arguments.slices)):
            (folder / "in" / f"{number:06d}.jpg").write_bytes(content)
        for turn in range(arguments.rounds):
            one, shards = folder / "batch" / f"{turn}.parquet", folder / f"run{turn}"
            seconds["predict_batch"].append(measure("-c", BATCH, str(folder / "in"), str(one)))
            wanted = ("--input", f"{folder}/in/*.jpg", "--output", f"{shards}/scores", "--shards", "20")
            command = ("-m", "serving.cli.archive", *wanted, *RUNNER, *MODE)
            for way in ("archive", "once more"):
                seconds[way].append(measure(*command))
            assert count_rows(shards) == arguments.slices == count_rows(folder / "batch") // (turn + 1)
    for way, found in seconds.items():
        wall, cpu = (statistics.median(each) for each in zip(*found, strict=True))
        print(f"{way:14} {wall:6.1f} s, {cpu:6.1f} CPU s, {arguments.slices / wall:6.1f} slices a second")


if __name__ == "__main__":
    main()
