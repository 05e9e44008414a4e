"""Random fields that phantoms are drawn with. Positions are mm; a field is the same on any grid it is sampled on.

Not a model of tissue: which field stands for what is decided in `phantom.py`.
"""

from __future__ import annotations

from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from maseg_nnunet.arrays import Image

FIELD_MM: Final = 320.0
"""No field is larger. Noise is drawn for all of it, so that a seed's breast does not depend on the grid."""


def ridges(noise: Image, width: float) -> Image:
    """1 along the noise's zero crossings, falling to 0 within about `width` of them."""
    return np.asarray(np.exp(-np.square(noise / np.float32(width))), dtype=np.float32)


def soft_step(t: npt.NDArray[Any]) -> Image:
    """0 below 0, 1 above 1, smooth between."""
    t = np.clip(t, 0, 1)
    return np.asarray(t * t * (3 - 2 * t), dtype=np.float32)


def curve(rng: np.random.Generator, y: Image, pitch: float) -> Image:
    """Smooth noise along one axis, about unit variance; `y` as in `fractal`."""
    nodes = rng.standard_normal(_nodes(pitch), dtype=np.float32)
    # One column of a field that is constant across.
    across = np.array([0.5, 1.5], np.float32) * np.float32(pitch)
    field = _sampled(nodes[:, None].repeat(4, 1), y, across, pitch, pitch)
    return np.asarray(field[:, 0] / 0.69, dtype=np.float32)


def fractal(rng: np.random.Generator, y: Image, x: Image, pitch: float, octaves: int, stretch: float = 1.0) -> Image:
    """Noise with power falling as about the cube of the frequency, as breast texture has it; about unit variance.

    `y`, `x`: centres of the rows and columns, mm, (i + 0.5) times their spacing. `pitch`: the coarsest octave's, mm,
    `stretch` times that along x.
    """
    total = np.zeros((len(y), len(x)), np.float32)
    power = 0.0
    for octave in range(octaves):
        gain = 0.66**octave
        fine = pitch / 2**octave
        nodes = rng.standard_normal((_nodes(fine), _nodes(fine * stretch)), dtype=np.float32)
        power += gain * gain
        if fine > 2 * y[0]:  # finer than the pixels it would only alias
            total += _sampled(nodes, y, x, fine, fine * stretch) * np.float32(gain / 0.48)
    return np.asarray(total / np.sqrt(power), dtype=np.float32)


def _nodes(pitch: float) -> int:
    """How many nodes, `pitch` mm apart, the whole field has."""
    return int(np.ceil(FIELD_MM / pitch)) + 2


def _sampled(nodes: Image, y: Image, x: Image, pitch_y: float, pitch_x: float) -> Image:
    """The lattice `nodes`, smoothed as by a cubic B-spline, at the positions `y` and `x`: (len(y), len(x)) float32."""
    smooth = np.array([1, 4, 1], np.float32) / 6
    used = nodes[: int(np.ceil((y[-1] + y[0]) / pitch_y)) + 2, : int(np.ceil((x[-1] + x[0]) / pitch_x)) + 2]
    filtered = cv2.sepFilter2D(used, cv2.CV_32F, smooth, smooth, borderType=cv2.BORDER_REPLICATE)
    # A factor, not a size: then the centres map as (i + 0.5)·spacing, whatever the grid.
    scale_y, scale_x = pitch_y / float(2 * y[0]), pitch_x / float(2 * x[0])
    full = cv2.resize(filtered, None, fx=scale_x, fy=scale_y, interpolation=cv2.INTER_CUBIC)
    return np.asarray(full[: len(y), : len(x)], dtype=np.float32)
