import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.answer_bad_inputs import build_cases
from tests.bad_volumes import PATIENT

ROOT = Path(__file__).resolve().parents[3]
ALL = build_cases()
CASES = {case.name: case for case in ALL}
MAX_SECONDS, MAX_MEGABYTES = 2.0, 300.0


@pytest.fixture(scope="module")
def answers() -> dict[str, dict]:
    """By name of the case: what came of it, and what it cost."""
    command = [sys.executable, "-m", "tests.answer_bad_inputs", "--json"]
    finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert finished.returncode == 0, finished.stderr[-3000:]
    assert PATIENT not in finished.stdout + finished.stderr
    return {row["name"]: row for row in map(json.loads, finished.stdout.splitlines())}


def test_there_are_many_and_names_do_not_repeat():
    assert len(CASES) == len(ALL) >= 60


@pytest.mark.parametrize("name", CASES)
def test_bad_input_gets_its_own_answer_soon_and_in_little_memory(answers, name):
    row = answers[name]
    if CASES[name].message is None:
        assert row["error"] is None
    else:
        assert row["error"] is not None
        assert re.search(CASES[name].message, row["error"]), row["error"]
        assert "/" not in row["error"].replace(CASES[name].filename, "").replace("PNG/", "")
    assert row["seconds"] < MAX_SECONDS
    assert row["megabytes"] < MAX_MEGABYTES
