"""Runs of `tumor` in processes of their own, which tests may kill."""

import csv
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
# The published CNN at 64 px: traced in a second, with dropout, so that its random state counts.
SMALL = """
[data]
image_size = 64
progressive_scales = []
batch_size = 8
[model]
architecture = "reference_vgg"
pretrained = false
[optimization]
epochs = 3
learning_rate = 1e-3
warmup_epochs = 0.5
ema_momentum = 0.9
[tracking]
log_every = 2
"""
TIMEOUT_SECONDS = 300


def run_tumor(arguments: list[str], prelude: str = "", **environment: str) -> subprocess.Popen:
    """`tumor ARGUMENTS` in a process of its own, after a prelude in Python."""
    command = [sys.executable, "-c", f"{prelude}\nfrom trainer.cli.main import app\napp()", *arguments]
    # W&B in this process leaves its service's address there.
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    merged = {
        **kept,
        "WANDB_MODE": "disabled",
        "CUDA_VISIBLE_DEVICES": "",
        "PYTHONPATH": str(ROOT),
        **environment,
    }
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=merged)


def finish(process: subprocess.Popen) -> tuple[int, str]:
    output, _ = process.communicate(timeout=TIMEOUT_SECONDS)
    return process.returncode, output


def read_history(run_dir: Path) -> list[dict[str, float]]:
    with (run_dir / "history.csv").open(newline="") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
