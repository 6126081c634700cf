"""Mutated files of every format: an answer or the project's own error each, soon, in little memory.

Goes in: a number of files a format, and a seed. Comes out: a table a format, and the files that went wrong.
Every file is read as the app and the command line read it, in another process: one that dies is noticed, and
the rest goes on.

    python -m tests.benchmarks.fuzz_pictures                        2,000 files a format
    python -m tests.benchmarks.fuzz_pictures --count 200 --formats PNG DICOM
    python -m tests.benchmarks.fuzz_pictures --keep DIR             also writes the files that went wrong
"""

import argparse
import json
import random
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from serving.files.entries import HEAD_BYTES
from serving.files.errors import ImageError
from serving.pictures.volumes import is_volume, read_volume
from serving.preprocess import decode
from tests.answer_bad_inputs import read_memory
from tests.benchmarks.fuzz_seeds import build_seeds, finish

FORMATS = ("PNG", "JPEG", "TIFF", "WebP", "DICOM", "NIfTI", "zip")
MAX_SECONDS, MAX_MEGABYTES, HANG_SECONDS = 2.0, 300.0, 60.0
# Numbers that lengths, offsets and counts go wrong at.
_EXTREMES = [
    number.to_bytes(width, order)
    for width in (1, 2, 4, 8)
    for order in ("little", "big")
    for number in (0, 1, 1 << (8 * width - 1), (1 << (8 * width - 1)) - 1, (1 << 8 * width) - 1)
]


@dataclass(frozen=True)
class Outcome:
    """What came of one file.

    Attributes:
        kind: its format.
        number: of the file; with the seed and the format it makes the same file again.
        answer: "read", "refused", or what went wrong: the traceback's last line, or how the process died.
        seconds: of the processor.
        megabytes: of resident memory above what there was before.
    """

    kind: str
    number: int
    answer: str
    seconds: float = 0.0
    megabytes: float = 0.0

    @property
    def fault(self) -> str:
        """What went wrong; empty where nothing did."""
        if self.answer not in ("read", "refused"):
            return self.answer
        if self.seconds > MAX_SECONDS:
            return f"{self.seconds:.1f} s"
        return f"{self.megabytes:.0f} MB" if self.megabytes > MAX_MEGABYTES else ""


def mutate(kind: str, number: int, seed: int) -> bytes:
    """Make the file of a number: a good one with a few changes, most of them near its start."""
    rng = random.Random(f"{seed} {kind} {number}")
    seeds = build_seeds(kind)
    content = bytearray(rng.choice(seeds))
    for _ in range(rng.choice((1, 1, 2, 3, 8))):
        if not content:
            break
        reach = len(content) if rng.random() < 0.4 else min(len(content), 600)
        at = rng.randrange(reach)
        how = rng.randrange(8)
        if how == 0:
            content[at] ^= 1 << rng.randrange(8)
        elif how in (1, 2, 3):
            extreme = rng.choice(_EXTREMES)
            content[at : at + len(extreme)] = extreme
        elif how == 4:
            content[at : at + rng.randrange(1, 40)] = rng.randbytes(rng.randrange(0, 40))
        elif how == 5:
            del content[rng.randrange(len(content)) :]
        elif how == 6:
            piece = content[at : at + rng.randrange(1, 2000)]
            content[at:at] = piece * rng.choice((1, 1, 3))
        else:
            other = rng.choice(seeds)
            content[at:] = other[rng.randrange(len(other)) :]
    return finish(kind, bytes(content), rng)


def run_file(kind: str, number: int, seed: int) -> Outcome:
    """Read one file in this process, and measure it."""
    content = mutate(kind, number, seed)
    before, started = read_memory("VmRSS"), time.process_time()
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    try:
        read_volume(content) if is_volume(content[:HEAD_BYTES]) else decode(content)
        answer = "read"
    except ImageError as error:
        answer = "refused" if str(error) else "refused without a word"
    except Exception as error:  # a fault, which is what is looked for
        answer = f"{type(error).__name__}: {error}"
    seconds = time.process_time() - started
    return Outcome(kind, number, answer, seconds, read_memory("VmHWM") - before)


def run_files(kinds: Sequence[str], count: int, seed: int) -> Iterator[Outcome]:
    """Read so many files of each format in another process; one that dies is followed by another."""
    done, total = 0, len(kinds) * count
    while done < total:
        command = [sys.executable, "-m", "tests.benchmarks.fuzz_pictures", "--worker", str(done)]
        command += ["--count", str(count), "--seed", str(seed), "--formats", *kinds]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        ) as worker:
            assert worker.stdout is not None
            for line in worker.stdout:
                yield Outcome(**json.loads(line))
                done += 1
        if worker.returncode:
            yield Outcome(kinds[done // count], done % count, f"the process died with {worker.returncode}")
            done += 1


def work(kinds: Sequence[str], count: int, seed: int, start: int) -> None:
    """Read files from a number on, and print what came of each."""
    for done in range(start, len(kinds) * count):
        # Of the whole process: a file that is never done ends it.
        limit = int(time.process_time() + HANG_SECONDS)
        resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.RLIM_INFINITY))
        print(json.dumps(asdict(run_file(kinds[done // count], done % count, seed))), flush=True)


def main() -> int:
    """Run the formats; leave with 1 where something went wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--count", type=int, default=2000, help="files a format")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--formats", nargs="+", choices=FORMATS, default=FORMATS)
    parser.add_argument("--keep", type=Path, help="folder for the files that went wrong")
    parser.add_argument("--worker", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker is not None:
        work(options.formats, options.count, options.seed, options.worker)
        return 0
    faults = 0
    print("format   files    read  refused  faults  slowest s  most MB")
    for kind in options.formats:
        outcomes = list(run_files([kind], options.count, options.seed))
        wrong = [one for one in outcomes if one.fault]
        counts = [sum(one.answer == answer for one in outcomes) for answer in ("read", "refused")]
        slowest, largest = (max(getattr(one, name) for one in outcomes) for name in ("seconds", "megabytes"))
        shown = (
            f"{len(outcomes):6,} {counts[0]:7,} {counts[1]:8,} {len(wrong):7,} {slowest:10.2f} {largest:8.0f}"
        )
        print(f"{kind:7} {shown}", flush=True)
        for one in wrong:
            print(f"  {kind} {one.number}: {one.fault}")
            if options.keep:
                options.keep.mkdir(parents=True, exist_ok=True)
                (options.keep / f"{kind}_{one.number}").write_bytes(mutate(kind, one.number, options.seed))
        faults += len(wrong)
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main())
