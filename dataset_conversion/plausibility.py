"""Does a reference mask belong to its image? Mirrored masks, masks of other images and exchanged labels do occur.

A doubt is a flag, not a refusal: nobody but a reader of the image can decide.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

import numpy as np

from maseg_nnunet.arrays import Image, Mask
from maseg_nnunet.labels import Label

MOST_BLACK: Final = 0.2
"""Largest plausible share of a mask that lies on the image's lowest value."""

LEAST_DIFFERENCE: Final = 0.05
"""Least share of a mask that must differ from its mirror image before the two are compared."""


class MaskDoubt(str, Enum):
    """What is implausible about a reference mask; shown after the flags of the image."""

    ON_BLACK = "reference mask on black"
    MIRRORED = "reference mask mirrored against its image"
    EXCHANGED = "reference mask with more muscle than breast"


def mask_doubts(units: Image, mask: Mask) -> tuple[MaskDoubt, ...]:
    """Compare a reference mask with its image.

    Args:
        units: The image in VOI units, (rows, columns), float32.
        mask: Values of `Label`, uint8, same shape.

    Returns:
        The doubts, none for an empty mask.
    """
    inside = mask != Label.BACKGROUND
    size = np.count_nonzero(inside)
    if not size:
        return ()
    muscle = np.count_nonzero(mask == Label.PECTORAL_MUSCLE)
    conditions = {
        MaskDoubt.ON_BLACK: np.count_nonzero(units[inside] <= units.min()) > MOST_BLACK * size,
        MaskDoubt.MIRRORED: _is_mirrored(np.clip(units, 0, 1), inside),
        MaskDoubt.EXCHANGED: 2 * muscle > size,
    }
    return tuple(doubt for doubt, holds in conditions.items() if holds)


def _is_mirrored(gray: Image, inside: np.ndarray) -> bool:
    """Whether the mirrored mask differs more from the air beside both masks than the mask itself, in mean gray."""
    mirrored = inside[:, ::-1]
    alone, mirror_alone, air = inside & ~mirrored, mirrored & ~inside, ~(inside | mirrored)
    if np.count_nonzero(alone) < LEAST_DIFFERENCE * np.count_nonzero(inside) or not air.any():
        return False
    outside = gray[air].mean()
    return bool(abs(gray[mirror_alone].mean() - outside) > 2 * abs(gray[alone].mean() - outside))
