"""Mutated files: the first of those that `tests/benchmarks/fuzz_pictures.py` reads."""

from collections import Counter

import pytest

from tests.benchmarks.fuzz_pictures import FORMATS, Outcome, mutate, run_file, run_files

COUNT = 200


def test_every_mutated_file_is_read_or_refused_soon_and_in_little_memory():
    """Takes some seconds of the processor: 1,400 files."""
    outcomes = list(run_files(FORMATS, COUNT, seed=0))
    assert [one for one in outcomes if one.fault] == []
    assert Counter(one.kind for one in outcomes) == dict.fromkeys(FORMATS, COUNT)
    # Changes that are all refused at the door would try nothing behind it.
    read = Counter(one.kind for one in outcomes if one.answer == "read")
    assert min(read[kind] for kind in FORMATS) > 0
    assert sum(read.values()) > COUNT


@pytest.mark.parametrize(
    ("kind", "number", "seed"),
    [("TIFF", 73, 0), ("TIFF", 917, 4), ("TIFF", 940, 6), ("JPEG", 1031, 0), ("JPEG", 1657, 2)],
)
def test_files_that_once_went_wrong(kind, number, seed):
    assert run_file(kind, number, seed).answer in ("read", "refused")


def test_a_file_is_the_same_every_time():
    assert mutate("TIFF", 7, 0) == mutate("TIFF", 7, 0) != mutate("TIFF", 8, 0)


def test_what_is_a_fault():
    assert not Outcome("PNG", 0, "read", 0.1, 10).fault
    assert not Outcome("PNG", 0, "refused", 0.1, 10).fault
    assert Outcome("PNG", 0, "read", 2.1, 10).fault == "2.1 s"
    assert Outcome("PNG", 0, "refused", 0.1, 301).fault == "301 MB"
    assert Outcome("PNG", 0, "KeyError: 1").fault == "KeyError: 1"


def test_a_traceback_is_a_fault(monkeypatch):
    def fail(content):
        raise KeyError(1)

    monkeypatch.setattr("tests.benchmarks.fuzz_pictures.decode", fail)
    assert run_file("PNG", 0, 0).fault == "KeyError: 1"
