"""Random fields for drawing phantoms. Positions are in mm, and a field is the same on every grid.

Not a model of tissue: `phantom_breast.py` decides what a field stands for.
"""

from __future__ import annotations

from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from maseg_nnunet.arrays import Image

FIELD_MM: Final = 320.0
"""Side of the largest field in mm. Noise is drawn for all of it, so a seed's breast does not depend on the grid."""


def ridges(noise: Image, width: float) -> Image:
    """1 at the zero crossings of the noise, falling to 0 over about `width`, which is in units of the noise."""
    return np.asarray(np.exp(-np.square(noise / np.float32(width))), dtype=np.float32)


def soft_step(t: npt.NDArray[np.floating[Any]]) -> Image:
    """0 below 0, 1 above 1, and smooth in between (3 t² - 2 t³)."""
    x = np.clip(t, 0, 1)
    return np.asarray(x * x * (3 - 2 * x), dtype=np.float32)


def curve(rng: np.random.Generator, y: Image, pitch: float) -> Image:
    """Draw smooth noise along one axis, with a variance of about 1.

    Args:
        rng: Generator to draw from.
        y: Centres of the pixels in mm, (i + 0.5) times their spacing, float32 (n,).
        pitch: Distance of the nodes in mm.

    Returns:
        float32 (n,).
    """
    nodes = rng.standard_normal(_nodes(pitch), dtype=np.float32)
    # One column of a field that is constant in x.
    across = np.array([0.5, 1.5], np.float32) * np.float32(pitch)
    field = _sampled(nodes[:, None].repeat(4, 1), y, across, pitch, pitch)
    return np.asarray(field[:, 0] / 0.69, dtype=np.float32)


def fractal(rng: np.random.Generator, y: Image, x: Image, pitch: float, octaves: int, stretch: float = 1.0) -> Image:
    """Draw noise whose power falls with about the cube of the frequency, like breast texture; variance about 1.

    Args:
        rng: Generator to draw from.
        y: Centres of the rows in mm, (i + 0.5) times their spacing, float32 (rows,).
        x: Centres of the columns in mm, in the same way, float32 (columns,).
        pitch: Distance in mm of the nodes of the coarsest octave, along y.
        octaves: Number of octaves, each half as coarse as the one before.
        stretch: Distance of the nodes along x, as a multiple of that along y.

    Returns:
        float32 (rows, columns).
    """
    total = np.zeros((len(y), len(x)), np.float32)
    power = 0.0
    for octave in range(octaves):
        gain = 0.66**octave
        fine = pitch / 2**octave
        nodes = rng.standard_normal((_nodes(fine), _nodes(fine * stretch)), dtype=np.float32)
        power += gain * gain
        if fine > 2 * y[0]:  # a field finer than the pixels would alias
            total += _sampled(nodes, y, x, fine, fine * stretch) * np.float32(gain / 0.48)
    return np.asarray(total / np.sqrt(power), dtype=np.float32)


def _nodes(pitch: float) -> int:
    """Number of nodes, `pitch` mm apart, along a side of the whole field."""
    return int(np.ceil(FIELD_MM / pitch)) + 2


def _sampled(nodes: Image, y: Image, x: Image, pitch_y: float, pitch_x: float) -> Image:
    """The lattice `nodes`, smoothed like a cubic B-spline, at the positions `y` and `x`: float32 (len(y), len(x))."""
    smooth = np.array([1, 4, 1], np.float32) / 6
    used = nodes[: int(np.ceil((y[-1] + y[0]) / pitch_y)) + 2, : int(np.ceil((x[-1] + x[0]) / pitch_x)) + 2]
    filtered = cv2.sepFilter2D(used, cv2.CV_32F, smooth, smooth, borderType=cv2.BORDER_REPLICATE)
    # With a factor instead of a size, the centres are at (i + 0.5)·spacing on every grid.
    scale_y, scale_x = pitch_y / float(2 * y[0]), pitch_x / float(2 * x[0])
    full = cv2.resize(filtered, None, fx=scale_x, fy=scale_y, interpolation=cv2.INTER_CUBIC)
    return np.asarray(full[: len(y), : len(x)], dtype=np.float32)
