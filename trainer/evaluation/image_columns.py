"""Optional columns of `predictions.csv`: arrays of n values each, which a file has all of or none of.

Goes in: arrays, or the cells of a file. Comes out: the other. It exists so that what is known of pictures and
what is measured on them may be added to predictions without a change of older files.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Self

import numpy as np


@dataclass(frozen=True, eq=False)
class ImageColumns:
    """Base of a group of columns; each field is an array (n,), of text or of float64; NaN is unknown.

    Example:
        >>> from trainer.evaluation.origins import Origins
        >>> origins = Origins(np.array([1.0, np.nan]), *(np.array(["a", "b"]) for _ in range(3)))
        >>> origins.take(np.array([1])).format_cells(0)
        ['', 'b', 'b', 'b']
    """

    @classmethod
    def list_names(cls) -> tuple[str, ...]:
        """Names of the columns, in order."""
        return tuple(one.name for one in fields(cls))

    @classmethod
    def concatenate(cls, parts: Sequence[Self]) -> Self:
        """Put the rows of several together."""
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in cls.list_names()))

    @classmethod
    def parse(cls, columns: Mapping[str, Sequence[str]]) -> Self:
        """Read cells by column; others may be among them.

        Raises:
            ValueError: a cell of a column of numbers is none.
        """
        return cls(
            *(
                np.array(columns[one.name], str)
                if one.metadata.get("is_text")
                else np.array([float(cell) if cell else math.nan for cell in columns[one.name]])
                for one in fields(cls)
            )
        )

    def __len__(self) -> int:
        return len(getattr(self, self.list_names()[0]))

    def take(self, rows: np.ndarray) -> Self:
        """Some of the rows: bool (n,), or int (m,) in the order given."""
        return type(self)(*(getattr(self, name)[rows] for name in self.list_names()))

    def format_cells(self, row: int) -> list[str]:
        """Write one row, numbers with all their digits."""
        return [format_cell(getattr(self, name)[row]) for name in self.list_names()]


def format_cell(value: str | float) -> str:
    """Write text, or a number with all its digits; an unknown one (NaN) is an empty cell.

    Example:
        >>> [format_cell(value) for value in (1.0, 0.1, math.nan, "T1")]
        ['1', '0.1', '', 'T1']
    """
    if isinstance(value, str):
        return str(value)
    if math.isnan(value):
        return ""
    # str() of a float is the shortest text that reads back as the same number.
    return str(int(value)) if float(value).is_integer() else str(float(value))
