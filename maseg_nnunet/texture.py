"""Random fields that phantoms are drawn with. Positions are mm; a field is the same on any grid it is sampled on.

Not a model of tissue: which field stands for what is decided in `phantom.py`.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.float32]

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
    """Smooth noise along one axis, about unit variance."""
    nodes = rng.standard_normal(_nodes(pitch), dtype=np.float32)
    basis, used = _splines(y, pitch)
    return (basis @ nodes[used] / 0.69).astype(np.float32)


def fractal(rng: np.random.Generator, y: Image, x: Image, pitch: float, octaves: int, stretch: float = 1.0) -> Image:
    """Noise with power falling as about the cube of the frequency, as breast texture has it; about unit variance.

    `y`, `x`: positions of the rows and columns, mm. `pitch`: the coarsest octave's, mm, `stretch` times that along x.
    """
    total = np.zeros((len(y), len(x)), np.float32)
    power = 0.0
    for octave in range(octaves):
        gain = 0.66**octave
        fine = pitch / 2**octave
        nodes = rng.standard_normal((_nodes(fine), _nodes(fine * stretch)), dtype=np.float32)
        power += gain * gain
        if fine > y[1] - y[0]:  # finer than the pixels: it would only alias
            (rows, used_y), (columns, used_x) = _splines(y, fine), _splines(x, fine * stretch)
            total += (rows @ nodes[used_y, used_x] @ columns.T) * np.float32(gain / 0.48)
    return np.asarray(total / np.float32(np.sqrt(power)), dtype=np.float32)


def _splines(position: Image, pitch: float) -> tuple[Image, slice]:
    """Uniform cubic B-splines at `position`, 0 to FIELD_MM: (positions, nodes) float32, and which nodes these are."""
    t = position / np.float32(pitch)
    before = np.floor(t).astype(np.intp)
    used = slice(int(before[0]), int(before[-1]) + 4)
    basis = np.zeros((len(position), used.stop - used.start), np.float32)
    at = np.arange(len(position))
    for node in range(-1, 3):
        d = np.abs(t - (before + node))
        weight = 2 / 3 - d * d * (1 - d / 2) if node in (0, 1) else np.clip(2 - d, 0, None) ** 3 / 6
        basis[at, before + node + 1 - used.start] = weight
    return basis, used


def _nodes(pitch: float) -> int:
    """How many spline nodes the whole field has."""
    return int(np.ceil(FIELD_MM / pitch)) + 4
