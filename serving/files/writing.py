"""Files that are whole or not there: written under a temporary name beside their place, then renamed.

Goes in: a path, local or on `gs://` (an `etils.epath.Path`), and content. Comes out: the file. Whoever reads
the path sees the earlier file or the new one, and a write that fails leaves nothing behind.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

# `Path`, or `etils.epath.Path`, which this package does not import.
AnyPath = TypeVar("AnyPath", bound=Any)


@contextmanager
def replace_whole(path: AnyPath) -> Iterator[AnyPath]:
    """Give a temporary path to write to; it takes the place of `path` once the block ends without an error.

    Raises:
        OSError: of the block, or where the file cannot be put in its place.
    """
    # Two processes that write the same file do not share a temporary one.
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        yield partial
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def write_whole(path: Any, content: bytes | str) -> None:
    """Write a file; text as UTF-8.

    Raises:
        OSError: it cannot be written; an earlier file is as it was.
    """
    with replace_whole(path) as partial:
        partial.write_bytes(content.encode() if isinstance(content, str) else content)


def write_json(path: Any, content: Any) -> None:
    """Write indented JSON with a newline at its end; NaN is refused, since JSON has none.

    Raises:
        OSError: see `write_whole`.
        ValueError: a number is not finite.
    """
    write_whole(path, json.dumps(content, indent=2, allow_nan=False) + "\n")
