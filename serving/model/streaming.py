"""Work on a stream, some items at a time, on several threads, in order and in bounded memory.

Goes in: a function and an iterator. Comes out: an iterator of results. It exists because an interpreter runs
on one thread, so that a loop leaves all cores but one idle.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain, islice
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def split_stream(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Cut a stream into lists of so many items; the last may be shorter.

    Example:
        >>> list(split_stream("abcde", 2))
        [['a', 'b'], ['c', 'd'], ['e']]
    """
    rest = iter(items)
    while chunk := list(islice(rest, size)):
        yield chunk


def map_in_threads(
    work: Callable[[Item], Result], items: Iterable[Item], most_threads: int
) -> Iterator[Result]:
    """Apply a function to each item of a stream, on several threads.

    One item more than there are threads is taken ahead. A stream of one item is worked on here, since a pool
    of threads would take longer to start.

    Args:
        work: is called on several threads at once.
        items: taken on the caller's thread.
        most_threads: at least 1.

    Yields:
        What it gives, in the order of the items. What it raises is raised where its result would come; then,
        and where the caller stops early, no further item is begun.

    Example:
        >>> list(map_in_threads(len, ["a", "bb", "ccc"], 2))
        [1, 2, 3]
    """
    rest = iter(items)
    ahead = list(islice(rest, 2))
    if len(ahead) < 2 or most_threads == 1:
        yield from map(work, chain(ahead, rest))
        return
    pending = deque[Future[Result]]()
    with ThreadPoolExecutor(most_threads, "stream") as pool:
        try:
            for item in chain(ahead, rest):
                pending.append(pool.submit(work, item))
                if len(pending) > most_threads:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()
