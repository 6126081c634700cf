"""Look-up tables of a DICOM header: from stored values to the scanner's units, and from these to shades.

Goes in: an item of a table sequence and values. Comes out: what the table makes of them.
"""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pydicom import Dataset


def apply_table(values: np.ndarray, item: "Dataset", is_little_endian: bool) -> np.ndarray:
    """Look values up; those before the first entry get the first, those behind the last get the last.

    Entries of 8 bits lie one or two in a word of 16 bits: writers differ, and the length tells.

    Source: DICOM PS3.3 C.11.1.1 (Modality LUT) and C.11.2.1.1 (VOI LUT).

    Args:
        values: (h, w); those that are no number count as 0.
        item: of the Modality or VOI LUT Sequence.
        is_little_endian: how the file writes words.

    Returns:
        float32 (h, w).

    Raises:
        ValueError: the table is empty or shorter than it says.
    """
    table = _read_entries(item, is_little_endian)
    first = int(item.LUTDescriptor[1])
    if first >= 1 << 15 and values.min() < 0:  # a negative number that was written as an unsigned one
        first -= 1 << 16
    places = np.clip(np.rint(np.nan_to_num(values)) - first, 0, len(table) - 1).astype(np.intp)
    return table[places].astype(np.float32)


def find_white(item: "Dataset", is_little_endian: bool) -> float:
    """The value that is white: that of all bits that the entries need, whatever depth the header states."""
    return 2.0 ** int(_read_entries(item, is_little_endian).max()).bit_length() - 1


def _read_entries(item: "Dataset", is_little_endian: bool) -> np.ndarray:
    """The entries, uint8 or uint16 (n,)."""
    count = int(item.LUTDescriptor[0]) % (1 << 16) or 1 << 16
    data = item.LUTData
    entries: np.ndarray
    if not isinstance(data, bytes | bytearray):
        entries = np.asarray(data).ravel().astype(np.int64).astype(np.uint16)
    elif len(data) >= 2 * count:
        entries = np.frombuffer(data, "<u2" if is_little_endian else ">u2", count)
    else:
        entries = np.frombuffer(data if int(item.LUTDescriptor[2]) <= 8 else b"", np.uint8)
        if not is_little_endian and len(entries) % 2 == 0:  # two in a word, the first in its lower byte
            entries = entries.reshape(-1, 2)[:, ::-1].ravel()
    if not 0 < count <= len(entries):
        raise ValueError(f"{len(entries)} of {count} entries")
    return entries[:count]
