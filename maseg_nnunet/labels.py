"""The three labels of every mask in this project. `readers/masks.py` reads them from files."""

from __future__ import annotations

from enum import IntEnum
from typing import Final


class Label(IntEnum):
    """Value of a pixel in a mask (uint8)."""

    BACKGROUND = 0
    BREAST = 1
    PECTORAL_MUSCLE = 2


LABELS: Final[dict[str, int]] = {label.name.lower(): int(label) for label in Label}
"""Name to value, as in nnU-Net's dataset.json."""

IGNORE: Final = -1
"""nnU-Net's label outside the nonzero region of a cropped case. This project counts it as background."""
