"""How long one picture takes: the served model with LiteRT against the published CNN with Keras `predict`.

    python -m tests.benchmarks.benchmark_serving            # start, latency, threads
    python -m tests.benchmarks.benchmark_serving latency --rounds 200
    python -m tests.benchmarks.benchmark_serving --against RUN    # an artefact beside the bundled one

`latency`: batch 1, preprocessed pictures; in each round both answer the same picture, so that whatever else
the machine does meets both.
`threads`: images a second and latency of one interpreter with one or two threads and of two interpreters at
once, alone and in batches, and the memory that batches cost. `start`: seconds from starting `tumor serve` to
its first answer. Medians are printed, p99 beside them.
`--against`: nothing but `Classifier.predict` of two artefacts by turns, with the outlines where there is a
tumour map, and what a process needs that loads one of them and answers one slice.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from serving import from_pretrained
from serving.app.views import EXAMPLES
from serving.model.artefact import BUNDLED, LITERT_FILE
from serving.preprocess import decode_grey, fit_to_square
from tests.app_process import start_app
from tests.benchmarks.benchmark_load import ask, read_megabytes

ROOT = Path(__file__).resolve().parents[2]
WARM_UP = 5
console = Console()


def main() -> None:
    """Measure what is asked for, each in turn."""
    parts = {"start": measure_start, "latency": measure_latency, "threads": measure_threads}
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", choices=[*parts, "all"], default="all")
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--against", type=Path, help="an artefact to compare with the bundled one")
    arguments = parser.parse_args()
    if arguments.against:
        compare_artefacts(arguments.against, arguments.rounds)
        return
    for part in parts if "all" in arguments.parts else arguments.parts:
        parts[part](arguments.rounds)


def measure_start(rounds: int) -> None:
    """From the start of the process to the first answer; a twentieth of the rounds, at least three."""
    seconds = []
    for _ in range(max(3, rounds // 20)):
        start = time.perf_counter()
        command = [sys.executable, "-c", "from trainer.cli.main import app; app()", "serve"]
        with start_app(command, {**os.environ, "HF_HUB_OFFLINE": "1"}, ROOT) as (url, _process):
            ask(url, EXAMPLES / "glioma.png")
            seconds.append(time.perf_counter() - start)
    console.print(
        f"start to first answer: {np.median(seconds):.2f} s (slowest {max(seconds):.2f} s)", highlight=False
    )


def measure_latency(rounds: int) -> None:
    """LiteRT and Keras by turns, on the same pictures."""
    import keras

    from trainer.cli.config_file import load_config
    from trainer.models.build import build_model

    classifier, config = from_pretrained(), load_config(ROOT / "configs" / "reference_vgg.toml")
    keras.config.set_dtype_policy(config.precision)
    side = config.data.image_size
    # Its weights do not change how long it takes.
    reference = build_model(config.model, side, len(classifier.labels))
    greys = [decode_grey(path) for path in sorted(EXAMPLES.glob("*.png"))]
    served = [fit_to_square(grey, classifier.config.image_size)[None] for grey in greys]
    published = [fit_to_square(grey, side, "stretch")[None].astype(np.float32) for grey in greys]
    pairs = []
    for number in range(WARM_UP + rounds):
        at = number % len(greys)
        pairs.append(
            (
                time_it(lambda at=at: classifier.run(served[at])),
                time_it(lambda at=at: reference.predict(published[at], verbose=0)),
            )
        )
    milliseconds = 1000 * np.array(pairs[WARM_UP:])
    table = Table("batch 1", "p50, ms", "p99, ms", title=f"{rounds} paired rounds")
    for name, column in zip(
        ("bundled model, LiteRT", "reference_vgg, Keras predict"), milliseconds.T, strict=True
    ):
        table.add_row(name, *(f"{np.percentile(column, share):.1f}" for share in (50, 99)))
    slow, fast = (np.percentile(milliseconds, 99, axis=0)[at] for at in (1, 0))
    table.add_row(
        "times as fast: median of the pairs, and of p99",
        f"{np.median(milliseconds[:, 1] / milliseconds[:, 0]):.1f}",
        f"{slow / fast:.1f}",
    )
    console.print(table)


def compare_artefacts(folder: Path, rounds: int) -> None:
    """Answer the same pictures by turns, and start a process for each."""
    folders = {"bundled": BUNDLED, folder.name: folder}
    classifiers = [from_pretrained(path) for path in folders.values()]
    paths, seconds = sorted(EXAMPLES.glob("*.png")), np.empty((WARM_UP + rounds, 2))
    for number in range(WARM_UP + rounds):
        path = paths[number % len(paths)]
        # Whoever comes second finds the caches full of the other.
        for at in (0, 1) if number % 2 else (1, 0):
            seconds[number, at] = time_it(lambda at=at, path=path: classifiers[at].predict(path).outlines)
    milliseconds = 1000 * seconds[WARM_UP:]
    table = Table("artefact", "p50, ms", "p99, ms", "start to answer, s", "MB at most")
    for name, path, column in zip(folders, folders.values(), milliseconds.T, strict=True):
        figures = [np.percentile(column, 50), np.percentile(column, 99)]
        start, megabytes = np.median([_start_and_answer(path) for _ in range(5)], axis=0)
        table.add_row(name, *(f"{figure:.1f}" for figure in figures), f"{start:.2f}", f"{megabytes:.0f}")
    console.print(table)
    ratio = np.median(milliseconds[:, 1] / milliseconds[:, 0])
    console.print(f"median of {rounds} pairs: {ratio:.2f} times as long", highlight=False)


def _start_and_answer(folder: Path) -> tuple[float, float]:
    """Seconds from the start of a process to its first answer, and the most megabytes that it had."""
    code = (
        "import re, time; from serving import from_pretrained;"
        f"from_pretrained({str(folder)!r}).predict({str(EXAMPLES / 'glioma.png')!r}).to_dict();"
        r"print(time.time(), re.search(r'VmHWM:\s+(\d+)', open('/proc/self/status').read())[1])"
    )
    command, start = [sys.executable, "-c", code], time.time()
    result = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    end, kilobytes = result.stdout.split()
    return float(end) - start, int(kilobytes) / 1024


def measure_threads(rounds: int) -> None:
    """What threads, interpreters and batches are worth."""
    size = from_pretrained().config.image_size
    table = Table(
        "threads",
        "interpreters",
        "batch",
        "images a second",
        "p50, ms",
        "p99, ms",
        "MB resident",
        title="LiteRT, median of the rounds",
    )
    for threads, interpreters in ((1, 1), (2, 1), (1, 2)):
        runs = [_open_interpreter(threads) for _ in range(interpreters)]
        for batch in (1, 8, 32):
            images = np.random.default_rng(0).integers(0, 256, (batch, size, size, 1)).astype(np.float32)
            repeats = max(3, rounds // batch)
            with ThreadPoolExecutor(interpreters) as pool:
                start = time.perf_counter()
                seconds = [
                    second
                    for found in pool.map(_time_runs, runs, [images] * interpreters, [repeats] * interpreters)
                    for second in found
                ]
                rate = batch * len(seconds) / (time.perf_counter() - start)
            figures = (
                f"{rate:.0f}",
                *(f"{1000 * np.percentile(seconds, share):.1f}" for share in (50, 99)),
                f"{read_megabytes(os.getpid()):.0f}",
            )
            table.add_row(str(threads), str(interpreters), str(batch), *figures)
    console.print(table)


def time_it(work: Callable[[], object]) -> float:
    """Seconds by the clock."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _time_runs(run: Callable[..., object], images: np.ndarray, repeats: int) -> list[float]:
    return [time_it(lambda: run(images=images)) for _ in range(repeats)]


def _open_interpreter(threads: int) -> Callable[..., object]:
    from ai_edge_litert.interpreter import Interpreter

    return Interpreter(str(BUNDLED / LITERT_FILE), num_threads=threads).get_signature_runner()


if __name__ == "__main__":
    main()
