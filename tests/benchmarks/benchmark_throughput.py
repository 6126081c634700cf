"""What feeds training and what consumes it: the augmented pipeline, the training step, both.

    python tests/benchmarks/benchmark_throughput.py                                        # all four lines
    python tests/benchmarks/benchmark_throughput.py --config default --precision float32   # one of them

Every round measures the three one after another, so that other work on the machine hits all of them alike;
ratios are taken within a round, and their median is printed. The pictures are synthetic: neither part looks
at what is in them. "CPU" is the time of all threads. The share of augmentation is the pipeline's CPU time as
a share of both together; it includes gathering, casting and copying the batch.
"""

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from rich.console import Console
from rich.progress import track
from rich.table import Table

from trainer.cli.config_file import load_config
from trainer.config import Config
from trainer.data.batches import Batch, TrainingBatches
from trainer.data.input_pipeline import RecordFacts, Split
from trainer.data.supervision import supervise_known
from trainer.training.learner import Learner

CONFIGS = {
    "default": None,
    "reference_vgg": Path(__file__).resolve().parents[2] / "configs" / "reference_vgg.toml",
}
PRECISIONS = ("float32", "mixed_bfloat16")
CLASSES = 4
IMAGES = 512
PIPELINE_ROUNDS_PER_STEP = 4  # the pipeline is so much faster that a few batches would say little


@dataclass(frozen=True)
class Cost:
    """Seconds an image.

    Attributes:
        wall: by the clock.
        cpu: of all threads.
    """

    wall: float
    cpu: float


def main() -> None:
    """Measure one configuration here, or each in a process of its own: the dtype policy is global."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", choices=list(CONFIGS))
    parser.add_argument("--precision", choices=PRECISIONS)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=6, help="steps of each kind in a round")
    arguments = parser.parse_args()
    if not (arguments.config and arguments.precision):
        for config in [arguments.config] if arguments.config else CONFIGS:
            for precision in [arguments.precision] if arguments.precision else PRECISIONS:
                rest = ["--rounds", str(arguments.rounds), "--steps", str(arguments.steps)]
                subprocess.run(
                    [sys.executable, __file__, "--config", config, "--precision", precision, *rest],
                    check=True,
                )
        return
    path = CONFIGS[arguments.config]
    config = (load_config(path) if path else Config()).replace(precision=arguments.precision)
    rounds = measure(config, arguments.rounds, arguments.steps)
    print_rounds(
        f"{arguments.config}, {arguments.precision}, {config.data.image_size} px, batch"
        f" {config.data.batch_size}",
        rounds,
    )


def measure(config: Config, rounds: int, steps: int) -> list[dict[str, Cost]]:
    """Measure the three in turn.

    Args:
        config: the run.
        rounds: how often each is measured.
        steps: steps of each in a round.
    """
    keras.utils.set_random_seed(config.seed)
    keras.config.set_dtype_policy(config.precision)
    learner = Learner(config, tf.distribute.get_strategy(), CLASSES)
    split = draw_pictures(config.data.image_size)
    known = supervise_known(split.records, tuple(map(str, range(CLASSES))), None)
    batches = TrainingBatches(split, known, config.augmentation, config.seed, config.data.batch_size)
    fixed = [batch for batch in batches.start(0).take(steps)]

    def learn(batch: Batch) -> None:
        float(learner.train_step(batch, 1e-4, 0.9).loss)  # waits for the device

    def stream(wanted: int) -> Iterator[Batch]:
        epoch = 0
        while wanted > 0:
            epoch += 1
            for batch in batches.start(epoch).take(wanted):
                wanted -= 1
                yield batch

    size, fed = config.data.batch_size, PIPELINE_ROUNDS_PER_STEP * steps
    learn(fixed[0])  # traces
    for _ in stream(2 * steps):
        pass
    found = []
    for _ in track(range(rounds), "rounds", console=Console(stderr=True)):
        found.append(
            {
                "pipeline": time_it(lambda: [None for _ in stream(fed)], fed * size),
                "step": time_it(lambda: [learn(batch) for batch in fixed], steps * size),
                "both": time_it(lambda: [learn(batch) for batch in stream(steps)], steps * size),
            }
        )
    return found


def time_it(work: Callable[[], object], images: int) -> Cost:
    """Time some work on so many images."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return Cost((time.perf_counter() - wall) / images, (time.process_time() - cpu) / images)


def draw_pictures(size: int) -> Split:
    """Noise, uint8 (IMAGES, size, size, 1)."""
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (IMAGES, size, size, 1), np.uint8)
    return Split(images, tuple(RecordFacts(str(n), n % CLASSES, n, False) for n in range(IMAGES)))


def print_rounds(title: str, rounds: list[dict[str, Cost]]) -> None:
    """Print medians, and the two ratios with their range over the rounds."""
    table = Table("", "images/s", "images a CPU-second", title=title)
    for name in rounds[0]:
        table.add_row(
            name,
            *(
                f"{1 / statistics.median(getattr(one[name], kind) for one in rounds):,.0f}"
                for kind in ("wall", "cpu")
            ),
        )
    console = Console()
    console.print(table)
    ratios = {
        "pipeline delivers, as a multiple of what the step consumes": [
            one["step"].wall / one["pipeline"].wall for one in rounds
        ],
        "augmentation's share of the CPU time of an epoch, %": [
            100 * one["pipeline"].cpu / one["both"].cpu for one in rounds
        ],
    }
    for name, values in ratios.items():
        console.print(
            f"{name}: {statistics.median(values):.1f} ({min(values):.1f} to {max(values):.1f})",
            highlight=False,
        )


if __name__ == "__main__":
    main()
