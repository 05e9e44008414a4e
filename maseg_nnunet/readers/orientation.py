"""Check PatientOrientation against the pixels, because a wrong one exists and turning the image would ruin its mask.

PatientOrientation (0020,0020) is the direction that the rows and the columns point to (PS3.3 C.7.6.1.1.1). Not for the
turning itself, which `Mammogram.upright` does.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np

from maseg_nnunet.mammogram import Flag, Intent, Mammogram

_BAND: Final = 0.04
"""Width of an edge, as a share of the image: rims and markers are narrower."""

_LONGEST: Final = 256
"""Longer side in pixels of the small image that is looked at."""


def orientation_flags(mammogram: Mammogram) -> tuple[Flag, ...]:
    """Find out whether the pixels agree that an image is not stored upright.

    They agree if more tissue lies along the edge where the header has the chest wall than along the edges beside it or
    opposite. For an image that is upside down, the tissue must also reach the lower edge more than the upper one.

    Returns:
        TURNED if they agree, ORIENTATION_DOUBTED if they do not, nothing if the header has the image upright.
    """
    turns = mammogram.quarter_turns
    if not turns:
        return ()
    edges = _tissue_at_edges(mammogram)
    posterior = {"A": ("left", "top"), "P": ("right", "bottom")}
    rightwards, downwards = (direction[:1] for direction in mammogram.patient_orientation)
    wall = posterior[rightwards][0] if turns == 2 else posterior[downwards][1]
    others = ("left", "right") if turns == 2 else tuple(edges)
    agrees = all(edges[wall] > edges[other] for other in others if other != wall)
    if turns == 2:
        agrees = agrees and edges["bottom"] >= edges["top"]
    return (Flag.TURNED,) if agrees else (Flag.ORIENTATION_DOUBTED,)


def _tissue_at_edges(mammogram: Mammogram) -> dict[str, float]:
    """The share of tissue in a band along each edge of the image."""
    step = max(1, max(mammogram.shape) // _LONGEST)
    gray = mammogram.luts.display(mammogram.pixels[::step, ::step])
    if mammogram.intent is Intent.RAW and not mammogram.luts.inverted:
        gray = 1 - gray  # air is bright
    small = np.asarray(255 * np.clip(gray, 0, 1), dtype=np.uint8)
    _, tissue = cv2.threshold(small, 0, 1, cv2.THRESH_BINARY | cv2.THRESH_TRIANGLE)
    rows, columns = (max(1, round(_BAND * side)) for side in tissue.shape)
    return {
        "left": float(tissue[:, :columns].mean()),
        "right": float(tissue[:, -columns:].mean()),
        "top": float(tissue[:rows].mean()),
        "bottom": float(tissue[-rows:].mean()),
    }
