"""Training patches for data of few sources: contrasts of other makers, and objects beside the breast.

The paper's eight data sets have the look-up tables and backgrounds of their makers. Public images have only one window
over their full range. A network trained on them alone expects their contrast and their black background everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from nnunetv2.training.dataloading.nnunet_dataset import nnUNetBaseDataset

from maseg_nnunet.arrays import Image, Labels, Mask
from maseg_nnunet.labels import Label
from maseg_nnunet.synthetic.appearance import another_display, as_scanned, paste_beside, raw_like, within_edges
from maseg_nnunet.synthetic.cc_muscle import with_cc_muscle
from maseg_nnunet.synthetic.tissue_contrast import change_muscle, change_rim
from maseg_nnunet.training.lut_jitter import luts_of
from maseg_nnunet.training.patches import Patch, TrainingPatches
from maseg_nnunet.voi import FULL_RANGE, CaseLuts

SMALL_MUSCLE: Final = 0.01
"""A muscle that covers a smaller share of the image is small. Narrow muscles of MLO views are, and almost all of CC."""


@dataclass(frozen=True)
class Variety:
    """How often each change is made: probabilities per patch, except `small_muscles`.

    Attributes:
        displays: Another window or sigmoid, if the header has no look-up table.
        rims: A breast that fades, or is equalized, towards its skin.
        muscles: Another brightness of the muscle.
        raw_like: The look of an unprocessed image.
        artefacts: Labels, tape and fog beside the breast.
        film_edges: The edges of a film, if the patch is not made raw-like.
        cc_muscles: A muscle drawn into an image without one.
        small_muscles: Weight of an image with a small muscle when images are drawn; that of another is 1.
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
    """`TrainingPatches` with more variety than the data has.

    Images whose header has look-up tables get only those. Images with a small muscle are drawn more often.

    Args:
        data: The preprocessed cases to draw from.
        *arguments: As for `TrainingPatches`.
        variety: How often each change is made.
        **options: As for `TrainingPatches`.
    """

    def __init__(self, data: nnUNetBaseDataset, *arguments: Any, variety: Variety = Variety(), **options: Any) -> None:
        super().__init__(data, *arguments, **options)
        self.variety = variety
        small = np.array([has_small_muscle(data, case) for case in data.identifiers])
        weights = np.where(small, variety.small_muscles, 1.0)
        self.sampling_probabilities = weights / weights.sum()

    def part(self, data: Any, labels: Any, box: tuple[slice, slice]) -> tuple[Image, Labels]:
        """As `TrainingPatches`; sometimes with a drawn muscle, another rim or another brightness of the muscle."""
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
        """As `TrainingPatches`; sometimes by a synthetic display, if the header has no look-up table."""
        image = super().gray(case, units)
        if has_full_range_only(luts_of(case, self.voi_luts)) and self.rng.random() < self.variety.displays:
            image = another_display(image, self.rng)
        return image

    def finish(self, image: Image, labels: Mask) -> Patch:
        """Sometimes make the patch raw-like, add artefacts or film edges; then apply gamma and noise."""
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
    """Whether the preprocessed `case` has a muscle that covers less than `SMALL_MUSCLE` of it."""
    image, _, _, properties = data.load_case(case)
    # nnU-Net notes at most ten thousand pixels of a class, which is more than a small muscle has.
    pixels = len(properties["class_locations"].get(int(Label.PECTORAL_MUSCLE), ()))
    return bool(0 < pixels < SMALL_MUSCLE * image.shape[-2] * image.shape[-1])


def has_full_range_only(luts: CaseLuts) -> bool:
    """Whether an image has no look-up table but the window over its own range."""
    return len(luts.luts) == 1 and luts.luts[0].explanation == FULL_RANGE
