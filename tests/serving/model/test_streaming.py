import threading
import time

import pytest

from serving.model.streaming import map_in_threads, split_stream


def test_results_keep_the_order_of_the_items():
    def wait(number: int) -> int:
        time.sleep(0.02 * (number % 3 == 0))
        return -number

    assert list(map_in_threads(wait, range(20), 4)) == [-number for number in range(20)]


def test_items_are_worked_on_at_the_same_time():
    """Each waits until the other has begun, which a loop would wait for without end."""
    both = threading.Barrier(2, timeout=60)
    assert sorted(map_in_threads(lambda number: both.wait(), range(6), 2)) == [0, 0, 0, 1, 1, 1]


def test_few_items_are_taken_ahead():
    taken = []
    results = map_in_threads(lambda number: number, (taken.append(n) or n for n in range(100)), 3)
    assert next(results) == 0
    assert len(taken) == 4
    results.close()
    assert len(taken) == 4


def test_an_error_comes_in_its_place_and_ends_the_work():
    begun = []

    def work(number: int) -> int:
        begun.append(number)
        if number == 2:
            raise OSError("two")
        return number

    results = map_in_threads(work, range(1000), 2)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(OSError, match="two"):
        next(results)
    assert len(begun) < 10


@pytest.mark.parametrize(("items", "threads"), [(1, 4), (5, 1)])
def test_where_there_is_nothing_to_share_no_thread_is_started(items, threads):
    places = set(map_in_threads(lambda number: threading.current_thread(), range(items), threads))
    assert places == {threading.current_thread()}


def test_an_empty_stream():
    assert list(split_stream([], 3)) == list(map_in_threads(len, [], 3)) == []
