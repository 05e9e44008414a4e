"""Training patches for data of few sources: contrasts of makers that are not there, and what lies beside a breast.

The paper's eight data sets bring their makers' look-up tables and backgrounds with them. Public images carry one window
over their full range; a network trained on them alone takes their contrast and their black background for granted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from nnunetv2.training.dataloading.nnunet_dataset import nnUNetBaseDataset

from maseg_nnunet.arrays import Image, Mask, Region
from maseg_nnunet.artefacts import end_film, fog_background, paste_label, paste_tape, paste_text
from maseg_nnunet.cc_muscle import with_cc_muscle
from maseg_nnunet.chest_wall import beyond_chest_wall, chest_wall_is_left, extent
from maseg_nnunet.labels import Label
from maseg_nnunet.loading import Patch, TrainingPatches
from maseg_nnunet.lut_augmentation import luts_of
from maseg_nnunet.tissue_contrast import change_muscle, change_rim
from maseg_nnunet.voi import FULL_RANGE, CaseLuts, Function, LookUpTable, apply_lut

SMALL_MUSCLE: Final = 0.01
"""A muscle that covers less of the image than this (some 2 cm2 of a view without margins) is small: narrow in MLO,
nearly all of CC.
"""

WINDOWS: Final = 2 / 3
"""Share of the synthetic displays that are windows; the others are sigmoids."""

NEARLY_BLACK: Final = 0.05
"""What is darker, in [0, 1], says nothing about the tissue."""


@dataclass(frozen=True)
class Variety:
    """What is done how often, as shares of the patches.

    `displays`: another window or sigmoid, where an image has none of its own; `rims`: a breast that fades, or is
    equalized, towards its skin; `muscles`: another brightness of the muscle; `raw_like`: made to look unprocessed;
    `artefacts`: something pasted beside the breast; `film_edges`: the edges of a film, where it is not made raw-like;
    `cc_muscles`: a muscle drawn, where there is none.
    `small_muscles`: how much more often an image with a small muscle is drawn than another.
    """

    displays: float = 0.6
    rims: float = 0.7
    muscles: float = 0.3
    raw_like: float = 0.12
    artefacts: float = 0.35
    film_edges: float = 0.25
    cc_muscles: float = 0.3
    small_muscles: float = 3.0


class VariedPatches(TrainingPatches):
    """`TrainingPatches` of more kinds than the data has: see `Variety`.

    Images whose header has look-up tables keep to those. Images with a small muscle are drawn more often.
    """

    def __init__(self, data: nnUNetBaseDataset, *arguments: Any, variety: Variety = Variety(), **options: Any) -> None:
        super().__init__(data, *arguments, **options)
        self.variety = variety
        small = np.array([has_small_muscle(data, case) for case in data.identifiers])
        weights = np.where(small, variety.small_muscles, 1.0)
        self.sampling_probabilities = weights / weights.sum()

    def part(self, data: Any, labels: Any, box: tuple[slice, slice]) -> tuple[Image, npt.NDArray[Any]]:
        """As `TrainingPatches`; at times with a muscle drawn into it, another rim, or another muscle."""
        share = self.variety
        draws = self.rng.random(3) < (share.cc_muscles, share.rims, share.muscles)
        if draws[0]:
            whole = np.asarray(data[0, 0], dtype=np.float32), np.asarray(labels[0, 0])
            units, classes = (array[box] for array in with_cc_muscle(*whole, self.rng))
        else:
            units, classes = super().part(data, labels, box)
        if draws[1] and units.size:
            units = change_rim(units, classes, self.rng)
        if draws[2] and units.size:
            units = change_muscle(units, classes, self.rng)
        return units, classes

    def gray(self, case: str, units: Image) -> Image:
        """VOI units to gray in [0, 1], of as many contrasts as there are makers."""
        image = super().gray(case, units)
        if has_full_range_only(luts_of(case, self.voi_luts)) and self.rng.random() < self.variety.displays:
            image = another_display(image, self.rng)
        return image

    def finish(self, image: Image, labels: Mask) -> Patch:
        """At times as in a raw image; artefacts beside the breast; the edges of a film; then gamma and noise."""
        breast = labels != Label.BACKGROUND
        is_raw = self.rng.random() < self.variety.raw_like
        if is_raw:
            image = within_edges(raw_like(image, self.rng), breast, self.rng)
        if self.rng.random() < self.variety.artefacts:
            image = paste_beside(image, breast, self.rng)
        if not is_raw and self.rng.random() < self.variety.film_edges:
            image = as_scanned(image, breast, self.rng)
        return super().finish(image, labels)


def has_small_muscle(data: nnUNetBaseDataset, case: str) -> bool:
    """Whether the preprocessed `case` has a muscle, and one that covers less than `SMALL_MUSCLE` of it."""
    image, _, _, properties = data.load_case(case)
    # nnU-Net notes up to ten thousand pixels of a class: all of them, where they are so few.
    pixels = len(properties["class_locations"].get(int(Label.PECTORAL_MUSCLE), ()))
    return bool(0 < pixels < SMALL_MUSCLE * image.shape[-2] * image.shape[-1])


def has_full_range_only(luts: CaseLuts) -> bool:
    """Whether all that is known of an image's contrast is its own range."""
    return len(luts.luts) == 1 and luts.luts[0].explanation == FULL_RANGE


def another_display(image: Image, rng: np.random.Generator) -> Image:
    """`image`, float32 in [0, 1], by a window or a sigmoid as they are in headers.

    Windows begin below what is dark in the image, so that the skin is seen: between -0.15 and 0.1, or 0.9 of the
    image's own dark tissue where that is brighter. There fat is nearly black, as some makers show it. They end
    between 0.65 and 1.3.
    """
    if rng.random() < WINDOWS:
        seen = image[image > NEARLY_BLACK]
        dark = float(np.percentile(seen, 5)) if seen.size else 0.0
        low, high = rng.uniform(-0.15, max(0.1, 0.9 * dark)), rng.uniform(0.65, 1.3)
        lut = LookUpTable("", Function.LINEAR_EXACT, center=(low + high) / 2, width=high - low)
    else:
        lut = LookUpTable("", Function.SIGMOID, center=rng.uniform(0.35, 0.65), width=rng.uniform(0.5, 1.2))
    return apply_lut(lut, image).astype(np.float32)


def raw_like(image: Image, rng: np.random.Generator) -> Image:
    """`image` in [0, 1] as a detector might have seen it: exp(-k gray), bright where nothing absorbs, scaled to [0, 1].

    Half of them are turned over, as MONOCHROME1 raw images are on reading; k, 1 to 4, is the breast's contrast.
    """
    k = rng.uniform(1, 4)
    # Clipped: by rounding it may fall below 0, of which gamma would make no number.
    dose: Image = np.clip((np.exp(-k * image) - np.exp(-k)) / (1 - np.exp(-k)), 0, 1).astype(np.float32)
    return dose if rng.random() < 0.5 else 1 - dose


def within_edges(image: Image, breast: Region, rng: np.random.Generator) -> Image:
    """`image` with black where a detector ends: beyond the chest wall, and up to half a patch away from `breast`.

    The air of a raw image may be white, and there is more of it than in training images, which were cropped to what is
    not black. Each of the other three sides of the breast reaches the detector's edge half of the time: a muscle that
    always had white above it in training was called background wherever the edge cuts it. Unchanged without a breast.
    """
    if not breast.any():
        return image
    rows, columns = extent(breast)
    above, below, left, right = (rng.uniform(-0.5, 0.5, 4).clip(0) * np.repeat(image.shape, 2)).astype(int)
    seen = np.zeros_like(breast)
    seen[max(0, rows.start - above) : rows.stop + below, max(0, columns.start - left) : columns.stop + right] = True
    return np.where(seen & ~beyond_chest_wall(breast), image, np.float32(0))


def as_scanned(image: Image, breast: Region, rng: np.random.Generator) -> Image:
    """`image` as a film on a scanner's black bed: its base is not black, and it ends up to 0.3 patches off `breast`.

    Above, below and on the skin's side, a little askew; half of the films have bright edges. Nothing is changed beyond
    the chest wall, where it would hide in the muscle, nor without a breast.
    """
    if not breast.any():
        return image
    rows, columns = extent(breast)
    beyond = beyond_chest_wall(breast)
    image = np.where(beyond, image, fog_background(image, breast, strength=float(rng.uniform(0, 0.15)), rng=rng))
    height, width = image.shape
    above, below = rows.start - rng.uniform(0, 0.3) * height, rows.stop - 1 + rng.uniform(0, 0.3) * height
    # Far past the patch at the chest wall: whatever was seen there stays.
    left, right = -float(width), 2.0 * width
    if chest_wall_is_left(breast):
        right = columns.stop - 1 + rng.uniform(0, 0.3) * width
    else:
        left = columns.start - rng.uniform(0, 0.3) * width
    corners = np.array([[above, left], [above, right], [below, right], [below, left]])
    corners += rng.uniform(-0.02, 0.02, corners.shape) * image.shape
    rim = float(rng.uniform(0.3, 1)) if rng.random() < 0.5 else 0.0
    return end_film(image, corners, rim=rim, width=int(rng.integers(1, 4)), keep=breast | beyond)


def paste_beside(image: Image, breast: Region, rng: np.random.Generator) -> Image:
    """One to three of text, sticker, tape and fog where `breast` is false; all of the patch's shape.

    None of them beyond the chest wall: beside a dark or white muscle, nothing would tell what it is. Letters are 2 to
    6 % of the patch's rows high, tape is up to 8 % of its columns wide.
    """
    if breast.any():
        keep, at_left = breast | beyond_chest_wall(breast), not chest_wall_is_left(breast)
    else:
        keep, at_left = breast, bool(rng.random() < 0.5)
    free = np.flatnonzero(~keep)
    if free.size == 0:
        return image
    rows, columns = image.shape
    for _ in range(rng.integers(1, 4)):
        corner = divmod(int(rng.choice(free)), columns)
        text = "".join(rng.choice(list("ABCDEFGHLMNORSTUX0123456789 "), rng.integers(1, 9)))
        height = float(rng.uniform(0.02, 0.06) * rows)
        kind = rng.random()
        if kind < 0.35:
            image = paste_text(image, text, corner, height=height, gray=float(rng.uniform(0.4, 1)), keep=keep)
        elif kind < 0.7:
            angle = float(rng.choice([0, 90, -90, 180])) + float(rng.uniform(-8, 8))
            image = paste_label(image, text, corner, height=height, angle=angle, keep=keep)
        elif kind < 0.85:
            width = float(rng.uniform(0.01, 0.08) * columns)
            image = paste_tape(image, at_left=at_left, width=width, rng=rng, keep=keep)
        else:
            # The veil lies over the breast too, but not beyond the chest wall.
            fogged = fog_background(image, breast, strength=float(rng.uniform(0.03, 0.2)), rng=rng)
            image = np.where(keep & ~breast, image, fogged)
    return image
