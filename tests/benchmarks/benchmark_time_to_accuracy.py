"""How much CPU time a config needs until validation reaches the published accuracy.

    benchmark=tests/benchmarks/benchmark_time_to_accuracy.py
    python $benchmark configs/reference_vgg.toml --data-dir DIR --out reference.json
    python $benchmark configs/default.toml --data-dir DIR --out default.json

Validation is drawn by image, as the published CNN had it: it leaks as the official test split does, so that
it can tell when that split's 98.17 % is reached without looking at it. The test split is scored once, after
the last epoch, by `tumor train` itself. CPU time is that of the training process, all threads, from its
start: reading data, tracing and validation count; other work on the machine changes it little. Linux only.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import time
from pathlib import Path

TARGET = 0.9817  # published for the reference CNN on the official test split
POLL_SECONDS = 2
SECONDS_PER_MINUTE = 60


def main() -> None:
    """Train, watch, and write what was seen."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config", type=Path)
    parser.add_argument(
        "--data-dir", type=Path, required=True, help="where `tumor build` put tumor_ds/official"
    )
    parser.add_argument(
        "--out", type=Path, required=True, help="JSON with the figures; the run folder lies beside it"
    )
    parser.add_argument("--target", type=float, default=TARGET)
    arguments = parser.parse_args()
    run_dir = arguments.out.with_suffix("")
    if run_dir.exists():
        parser.error(
            f"{run_dir} exists: a resumed run would hide the time before. Delete it or choose another --out."
        )
    command = [
        sys.executable,
        "-c",
        "from trainer.cli.main import app; app()",
        "train",
        str(arguments.config),
        "--set",
        "data.validation=by_image",
    ]
    command += ["--data-dir", str(arguments.data_dir), "--run-dir", str(run_dir)]
    process = subprocess.Popen(command)
    epochs = watch(process, run_dir / "history.csv")
    reached = next((row for row in epochs if row["val_accuracy"] >= arguments.target), None)
    result = {
        "config": arguments.config.name,
        "settings": ["data.validation=by_image"],
        "target": arguments.target,
        "reached_at_epoch": reached and reached["epoch"],
        "cpu_minutes_to_target": reached and reached["cpu_minutes"],
        "cpu_minutes_of_all_epochs": epochs[-1]["cpu_minutes"] if epochs else None,
        "best_val_accuracy": max((row["val_accuracy"] for row in epochs), default=None),
        "exit_code": process.returncode,
        "epochs": epochs,
        "test": load_test_accuracy(run_dir),
    }
    arguments.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps({name: value for name, value in result.items() if name != "epochs"}, indent=2))


def watch(process: subprocess.Popen, history: Path) -> list[dict[str, float]]:
    """Note the CPU minutes at the end of every epoch until the process ends."""
    epochs: list[dict[str, float]] = []
    spent = 0.0
    while process.poll() is None:
        spent = read_cpu_minutes(process.pid) or spent
        rows = list(csv.DictReader(history.read_text().splitlines())) if history.exists() else []
        for row in rows[len(epochs) :]:
            epochs.append(
                {
                    "epoch": int(row["epoch"]) + 1,
                    "val_accuracy": float(row["val_accuracy"]),
                    "cpu_minutes": spent,
                }
            )
        time.sleep(POLL_SECONDS)
    return epochs


def read_cpu_minutes(pid: int) -> float | None:
    """User and system time of a process, all its threads; None once it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") / SECONDS_PER_MINUTE


def load_test_accuracy(run_dir: Path) -> dict[str, float] | None:
    """Accuracy on the official test split and on its images without a twin, from `metrics.json`."""
    path = run_dir / "artefact" / "metrics.json"
    if not path.exists():
        return None
    summary = json.loads(path.read_text())["official"]
    return {subset: summary[subset]["accuracy"] for subset in ("all", "unseen")}


if __name__ == "__main__":
    main()
