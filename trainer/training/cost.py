"""What training a model cost: time, hardware, and an estimate of the CO2 behind it.

Goes in: every session of a run, also those that were preempted or failed. Comes out: `sessions.csv` in the
run folder, a row a session, and from it what `config.json` and the model card say. A session that was killed
outright leaves no row, so the sums are lower bounds; of several workers only the chief counts.
"""

import csv
import io
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from etils import epath

from serving.files.writing import write_whole

SESSIONS_FILE = "sessions.csv"
NO_ACCELERATOR = "no accelerator"
COLUMNS = ("wall_seconds", "cpu_seconds", "hardware")
# Source of the formula: Lannelongue et al. 2021, "Green Algorithms", doi 10.1002/advs.202100707: time x power
# x PUE x carbon intensity. The power of a busy core, what a data centre adds, and the world's mean are
# assumptions, not measurements.
WATTS_PER_CORE = 12.0
POWER_USAGE_EFFECTIVENESS = 1.67
GRAMS_PER_KWH = 475.0


@contextmanager
def record_session(run_dir: epath.Path) -> Iterator[None]:
    """Add a row for what is done inside, however it ends."""
    wall, cpu = time.monotonic(), time.process_time()
    try:
        yield
    finally:
        row = [f"{time.monotonic() - wall:.0f}", f"{time.process_time() - cpu:.0f}", describe_hardware()]
        path, buffer = run_dir / SESSIONS_FILE, io.StringIO(newline="")
        before = path.read_text() if path.exists() else ""
        csv.writer(buffer, lineterminator="\n").writerows([row] if before else [COLUMNS, row])
        write_whole(path, before + buffer.getvalue())


def load_cost(run_dir: epath.Path) -> dict[str, Any] | None:
    """Sum up a run's sessions.

    Returns:
        `wall_seconds`, `cpu_seconds` (of all cores) and `hardware` (every kind that was used); None
        where none was recorded.
    """
    path = run_dir / SESSIONS_FILE
    rows = list(csv.DictReader(io.StringIO(path.read_text()))) if path.exists() else []
    if not rows:
        return None
    wall, cpu = (sum(int(row[name]) for row in rows) for name in COLUMNS[:2])
    return {
        "wall_seconds": wall,
        "cpu_seconds": cpu,
        "hardware": "; then ".join(dict.fromkeys(row["hardware"] for row in rows)),
    }


def describe_hardware() -> str:
    """Name what a session runs on, such as `2 cores of Intel(R) Xeon(R), no accelerator`."""
    import tensorflow as tf

    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    model = models[0] if models else "an unnamed processor"
    devices = [device for kind in ("GPU", "TPU") for device in tf.config.list_physical_devices(kind)]
    describe = tf.config.experimental.get_device_details
    names = [describe(device).get("device_name", device.device_type) for device in devices]
    cores = len(os.sched_getaffinity(0))
    return f"{cores} core{'' if cores == 1 else 's'} of {model}, {' and '.join(names) or NO_ACCELERATOR}"


def estimate_grams(cost: dict[str, Any]) -> float | None:
    """Estimate the CO2 equivalent of a run, grams; None with an accelerator, whose power is not known."""
    if any(NO_ACCELERATOR not in part for part in cost["hardware"].split("; then ")):
        return None
    kilowatt_hours = cost["cpu_seconds"] / 3600 * WATTS_PER_CORE / 1000 * POWER_USAGE_EFFECTIVENESS
    return float(kilowatt_hours * GRAMS_PER_KWH)
