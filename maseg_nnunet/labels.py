"""The three labels of every mask in this project. How labels are read from files is `readers/masks.py`."""

from __future__ import annotations

from enum import IntEnum
from typing import Final


class Label(IntEnum):
    """Value of a pixel in a mask (uint8)."""

    BACKGROUND = 0
    BREAST = 1
    PECTORAL_MUSCLE = 2


LABELS: Final[dict[str, int]] = {label.name.lower(): int(label) for label in Label}
"""Name to value, as nnU-Net's dataset.json has it."""

IGNORE: Final = -1
"""What nnU-Net writes outside the nonzero region of a cropped case; background to us."""
