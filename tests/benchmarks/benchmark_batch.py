"""How many slices a second `predict_batch` scores, against a loop of `predict` and against one thread.

    python -m tests.benchmarks.benchmark_batch [--slices 500] [--rounds 3]

The slices are the examples as JPEG of 512 pixels, each turned a little, and one of them is no picture: it has
to come back as an error in its place, and the others with the answers of the loop. The three ways take turns,
some slices at a time. Prints a line a way: slices a second of wall time and of processor time; the median and
quartiles of the loop's time over its own; and how many threads could run on average, were there a core for
each, which tells the gain also on a machine that does other work. Then the memory that a long batch adds.
"""

import argparse
import io
import re
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from PIL import Image

from serving import Classifier, ImageError, Prediction, from_pretrained
from serving.app.views import EXAMPLES

SIDE = 512
BAD = 123
PART = 50
Answers = Sequence[Prediction | ImageError]


def draw_slices(count: int) -> list[bytes]:
    """JPEG files, and one that is none."""
    examples = [Image.open(path).convert("L").resize((SIDE, SIDE)) for path in sorted(EXAMPLES.glob("*.png"))]
    files = []
    for number in range(count):
        stream = io.BytesIO()
        examples[number % len(examples)].rotate(number % 21 - 10).save(stream, "JPEG", quality=90)
        files.append(stream.getvalue())
    if count > BAD:
        files[BAD] = b"no picture"
    return files


def loop(classifier: Classifier, files: Sequence[bytes]) -> Answers:
    """One after the other, as without `predict_batch`."""
    answers: list[Prediction | ImageError] = []
    for file in files:
        try:
            answers.append(classifier.predict(file))
        except ImageError as error:
            answers.append(error)
    return answers


def batch(classifier: Classifier, files: Sequence[bytes]) -> Answers:
    """All cores."""
    return classifier.predict_batch(files, errors="return")


def batch_on_one_thread(classifier: Classifier, files: Sequence[bytes]) -> Answers:
    """The same batches, one core."""
    with mock.patch("serving.classifier.MAX_INTERPRETERS", 1):
        return batch(classifier, files)


def check(answers: Answers, expected: Answers, bad: int) -> None:
    """Fail where an answer is missing, out of its place, or another one."""
    assert len(answers) == len(expected)
    for place, (ours, theirs) in enumerate(zip(answers, expected, strict=True)):
        if place == bad:
            assert isinstance(ours, ImageError), ours
        else:
            assert isinstance(ours, Prediction), ours
            assert isinstance(theirs, Prediction), theirs
            assert abs(ours.logits - theirs.logits).max() < 1e-3, place


@contextmanager
def count_runnable() -> Iterator[list[int]]:
    """Collect the nanoseconds that threads run, or wait for a core, while they answer."""
    collected: list[int] = []
    answer = Classifier._answer

    def read() -> int:
        path = f"/proc/self/task/{threading.get_native_id()}/schedstat"
        return sum(map(int, Path(path).read_text().split()[:2]))

    def measured(classifier: Classifier, numbered: Any) -> Any:
        before = read()
        try:
            return answer(classifier, numbered)
        finally:
            collected.append(read() - before)

    with mock.patch.object(Classifier, "_answer", measured):
        yield collected


def measure_peak_megabytes() -> float:
    """The most memory that this process has had resident."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) / 1024


def main() -> None:
    """Measure the three ways in turn."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--slices", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    classifier, files = from_pretrained(), draw_slices(arguments.slices)
    batch(classifier, files[: 8 * 8])
    before = measure_peak_megabytes()
    batch(classifier, files)
    added = measure_peak_megabytes() - before
    ways: tuple[Callable[[Classifier, Sequence[bytes]], Answers], ...] = (loop, batch_on_one_thread, batch)
    walls: dict[str, list[float]] = {way.__name__: [] for way in ways}
    cpus: dict[str, list[float]] = {way.__name__: [] for way in ways}
    runnable = {way.__name__: 0.0 for way in ways}
    for start in list(range(0, len(files), PART)) * arguments.rounds:
        part, expected = files[start : start + PART], None
        for way in ways:
            wall, cpu = time.perf_counter(), time.process_time()
            with count_runnable() as collected:
                answers = way(classifier, part)
            walls[way.__name__].append(time.perf_counter() - wall)
            cpus[way.__name__].append(time.process_time() - cpu)
            runnable[way.__name__] += sum(collected) / 1e9
            expected = expected or answers
            check(answers, expected, BAD - start)
    for name in walls:
        wall, cpu = (arguments.rounds * len(files) / sum(seconds[name]) for seconds in (walls, cpus))
        ratios = [theirs / own for theirs, own in zip(walls["loop"], walls[name], strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        print(
            f"{name:20} {wall:5.1f} slices a second, {cpu:5.1f} a CPU second; {middle:.2f} x the loop"
            f" ({low:.2f} to {high:.2f}); {runnable[name] / sum(walls[name]):.2f} threads"
        )
    print(f"memory: {added:+.0f} MB from a batch of 64 to one of {len(files)}")


if __name__ == "__main__":
    main()
