"""LUTDescriptor and LUTData, which modality and VOI look-up tables have in common (PS3.3 C.11.1.1, C.11.2.1.1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from maseg_nnunet.readers.attributes import value, words


@dataclass(frozen=True, eq=False)
class VoiTable:
    """A look-up table of a header.

    Attributes:
        first: The input that the first entry is for.
        bits: Bits of an entry.
        values: The entries, shape (n,), uint16.
    """

    first: int
    bits: int
    values: npt.NDArray[np.uint16]


def read_table(item: Dataset, limits: tuple[float, float]) -> VoiTable | None:
    """Read the table of an item of VOILUTSequence or ModalityLUTSequence.

    0 entries in the descriptor mean 65,536. Implicit VR and some writers do not state whether the first input is
    signed, so the reading that is within `limits` is taken.

    Args:
        item: The item of the sequence.
        limits: The least and the largest input.

    Returns:
        The table, or None if its data do not fit its descriptor.
    """
    descriptor = words(item, "LUTDescriptor")
    if len(descriptor) != 3:
        return None
    count, first, bits = descriptor[0] & 0xFFFF or 0x10000, descriptor[1], descriptor[2]
    if not 1 <= bits <= 16:
        return None
    other = first - 0x10000 if first >= 0x8000 else first + 0x10000 if first < 0 else first
    if not limits[0] <= first <= limits[1] and limits[0] <= other <= limits[1]:
        first = other
    entries = _entries(item, count, bits)
    return None if entries is None else VoiTable(first, bits, entries)


def _entries(item: Dataset, count: int, bits: int) -> npt.NDArray[np.uint16] | None:
    data: Any = value(item, "LUTData")
    if isinstance(data, bytes):
        # pydicom leaves OW in the byte order of the file.
        if item.original_encoding[1] is False and len(data) % 2 == 0:
            data = np.frombuffer(data, ">u2").astype("<u2").tobytes()
    else:
        data = (np.array(words(item, "LUTData"), dtype=np.int64) & 0xFFFF).astype("<u2").tobytes()
    if len(data) == 2 * count:
        return np.frombuffer(data, "<u2").astype(np.uint16)
    if bits <= 8 and len(data) == count + count % 2:  # two entries per word
        return np.frombuffer(data, np.uint8)[:count].astype(np.uint16)
    return None
