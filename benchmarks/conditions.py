"""Changes that make test images harder, for accuracy.py and sources_left_out.py; not called by itself.

Training imitates the same changes, because public data has few images like that. Each change takes an image
(rows, columns) float32 in VOI units, its labels and a generator, and returns another image.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from maseg_nnunet.chest_wall import beyond_chest_wall
from maseg_nnunet.labels import Label
from maseg_nnunet.mammogram import Mammogram
from maseg_nnunet.synthetic.appearance import as_scanned, paste_beside, raw_like
from maseg_nnunet.training.varied_patches import Image


def as_it_is(image: Image, labels: np.ndarray, rng: np.random.Generator) -> Image:
    return image


def unprocessed(image: Image, labels: np.ndarray, rng: np.random.Generator) -> Image:
    exposed = ~beyond_chest_wall(labels != Label.BACKGROUND)
    return np.where(exposed, raw_like(np.clip(image, 0, 1), rng), np.float32(0))


def with_artefacts(image: Image, labels: np.ndarray, rng: np.random.Generator) -> Image:
    return paste_beside(np.clip(image, 0, 1), labels != Label.BACKGROUND, rng)


def scanned(image: Image, labels: np.ndarray, rng: np.random.Generator) -> Image:
    return as_scanned(np.clip(image, 0, 1), labels != Label.BACKGROUND, rng)


Change = Callable[[Image, np.ndarray, np.random.Generator], Image]
CONDITIONS: dict[str, Change] = {
    "as it is": as_it_is,
    "raw-like": unprocessed,
    "labels, tape": with_artefacts,
    "film edges": scanned,
}


def changed(mammogram: Mammogram, labels: np.ndarray, case: str, change: Change) -> Mammogram:
    """`mammogram` after `change`, which is the same for a case each time."""
    rng = np.random.default_rng(zlib.crc32(case.encode()))
    return replace(mammogram, pixels=change(np.asarray(mammogram.pixels, dtype=np.float32), labels, rng))
