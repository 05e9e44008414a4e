"""One mammogram on the grid of a model's plans: what `convert_vendor` and nnU-Net's preprocessing do to it together.

An image that was stored sideways or upside down is first turned upright. Then the steps are the same as on disk, so
both routes give the same masks: stored values are resampled to the grid of converted images and mapped to VOI units,
black margins are cut off, and the rest is resampled to the plans' spacing (nnU-Net stretches an image to whole pixels).
Padding to a patch is left to the network's caller, `segmenter.py`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import cv2
import numpy as np

from maseg_nnunet.arrays import Image, Spacing
from maseg_nnunet.chest_wall import extent
from maseg_nnunet.mammogram import Flag, Mammogram
from maseg_nnunet.models.model import Model
from maseg_nnunet.resample import image_to_target


@dataclass(frozen=True, eq=False)
class Prepared:
    """One image on the plans' grid, with what is needed to put its mask back onto the source's grid.

    All attributes but `quarter_turns` describe the upright image.

    Attributes:
        image: (rows, columns) float32 in VOI units, None if nothing can be seen in the image.
        shape: (rows, columns) of the source.
        spacing: (row, column) of the source in mm.
        pitch: (row, column) in mm of the plans' grid as nnU-Net stretched it.
        part: The rows and columns of the source whose pixel centres lie in `image`. All others are background.
        origin: (row, column) in mm from the outer corner of the first pixel of `part` to that of `image`.
        quarter_turns: Counter-clockwise turns by 90 degrees that made the source upright.
    """

    image: Image | None
    shape: tuple[int, int]
    spacing: Spacing
    pitch: Spacing = (1.0, 1.0)
    part: tuple[slice, slice] = (slice(0, 0), slice(0, 0))
    origin: Spacing = (0.0, 0.0)
    quarter_turns: int = 0

    @property
    def part_shape(self) -> tuple[int, int]:
        """(rows, columns) of `part`."""
        return self.part[0].stop - self.part[0].start, self.part[1].stop - self.part[1].start


def preprocess(mammogram: Mammogram, model: Model) -> Prepared:
    """Prepare an image for the network.

    Args:
        mammogram: The image in its stored orientation.
        model: The model, which says how its training images were made.

    Returns:
        The upright image on the plans' grid. Its `image` is None if all pixels are equal or its look-up table shows
        them as one gray value.
    """
    turns = mammogram.quarter_turns
    mammogram = mammogram.upright()
    luts = mammogram.luts if model.inversion else replace(mammogram.luts, inverted=False)
    target = model.target_spacing or mammogram.spacing
    stored = image_to_target(mammogram.pixels, mammogram.spacing, target)
    nothing = Prepared(None, mammogram.shape, mammogram.spacing, quarter_turns=turns)
    if Flag.CONSTANT in mammogram.flags or stored.min() == stored.max():
        return nothing
    units = luts.to_voi_units(stored).astype(np.float32)
    seen = np.clip(units, 0, 1)
    darkest, brightest = float(seen.min()), float(seen.max())
    if darkest == brightest:
        return nothing
    if model.min_max:
        units = (seen - darkest) / np.float32(brightest - darkest)
    # nnU-Net crops an image to the smallest box with every pixel that is not exactly 0.
    box = extent(units != 0) if model.cropping else (slice(0, units.shape[0]), slice(0, units.shape[1]))
    units = units[box]
    size, pitch = plan_grid((units.shape[0], units.shape[1]), target, model.spacing)
    rows, columns = (
        slice(_first_centre(side.start * t, s), min(whole, _first_centre(side.stop * t, s)))
        for side, t, s, whole in zip(box, target, mammogram.spacing, mammogram.shape, strict=True)
    )
    return Prepared(
        resize(np.ascontiguousarray(units), size, model.order),
        mammogram.shape,
        mammogram.spacing,
        pitch,
        (rows, columns),
        (
            box[0].start * target[0] - rows.start * mammogram.spacing[0],
            box[1].start * target[1] - columns.start * mammogram.spacing[1],
        ),
        turns,
    )


def plan_grid(shape: tuple[int, int], target: Spacing, plan: Spacing) -> tuple[tuple[int, int], Spacing]:
    """Compute the size that nnU-Net resamples a converted image to, and the pitch of its pixels.

    nnU-Net rounds the size to whole pixels and stretches the image to it, so the pitch differs a little from the plans'
    spacing. It reads the spacing from a NIfTI header as a float32, which decides how a half is rounded.

    Args:
        shape: (rows, columns) of the converted image.
        target: Its spacing, (row, column) in mm.
        plan: The plans' spacing, (row, column) in mm.

    Returns:
        The size, (rows, columns), and the pitch, (row, column) in mm.
    """
    sizes = [max(1, round(float(np.float32(t)) / p * n)) for n, t, p in zip(shape, target, plan, strict=True)]
    pitches = [t * (n / size) for n, t, size in zip(shape, target, sizes, strict=True)]
    return (sizes[0], sizes[1]), (pitches[0], pitches[1])


def resize(image: Image, size: tuple[int, int], order: int) -> Image:
    """Resample an image as nnU-Net does: pixel centres at (i + 0.5) / size, edges repeated, no low-pass filter.

    Args:
        image: (rows, columns) float32.
        size: The new (rows, columns).
        order: Spline order, 1 is linear.
    """
    if image.shape == size:
        return image
    if order == 1:
        return np.asarray(cv2.resize(image, size[::-1], interpolation=cv2.INTER_LINEAR), dtype=np.float32)
    from skimage.transform import resize as resize_by_spline  # what nnU-Net uses for other orders

    resized = resize_by_spline(image, size, order, mode="edge", anti_aliasing=False)
    return np.asarray(resized, dtype=np.float32)


def _first_centre(edge: float, spacing: float) -> int:
    """The first source pixel whose centre is at or beyond `edge` mm, give or take rounding errors."""
    return max(0, math.ceil(edge / spacing - 0.5 - 1e-6))
