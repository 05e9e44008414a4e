"""Load data for the trainer: augmented training patches, and validation patches that are the same in every epoch.

Both read only the part of a preprocessed case that a patch needs, so a large image does not cost more. nnU-Net runs
them in worker processes. They are not in the folder that nnUNet_extTrainer names, because a class found there can't be
pickled.
"""

from __future__ import annotations

import math
import multiprocessing
import zlib
from collections.abc import Mapping, Sequence
from itertools import cycle, islice
from typing import Any

import cv2
import numpy as np
import torch
from batchgenerators.dataloading.data_loader import DataLoader
from batchgeneratorsv2.transforms.utils.deep_supervision_downsampling import DownsampleSegForDSTransform
from nnunetv2.training.dataloading.nnunet_dataset import nnUNetBaseDataset

from maseg_nnunet.arrays import Image, Labels, Mask, Shape
from maseg_nnunet.labels import Label
from maseg_nnunet.training.augmentation import Placement, Recipe, change_gray, draw_corner, place, sample, source_box
from maseg_nnunet.training.lut_jitter import luts_of, random_gray
from maseg_nnunet.voi import CaseLuts

Scales = Sequence[Sequence[float]] | None  # of each output of deep supervision, its (row, column) factor; None without
Patch = tuple[Image, Mask]  # gray in [0, 1] and labels, both of the patch's shape


class TrainingPatches(DataLoader):  # type: ignore[misc]  # nnU-Net and batchgenerators come without types
    """Endless batches of augmented patches, from cases drawn with equal probability, in the form of nnU-Net's loader.

    A batch is a dict: `data`, float32 (batch, 1, rows, columns) in [0, 1]; `target`, int16 (batch, 1, rows, columns),
    or a list of these, one for each scale; `keys`, the names of the cases.

    A variant of the augmentation overrides `part` (what is in the image), `gray` (its contrast) or `finish` (the last
    steps).

    Args:
        data: The preprocessed cases to draw from.
        batch_size: Patches in a batch.
        patch: Shape of a patch, (rows, columns).
        recipe: Ranges and probabilities of the augmentation; lengths in pixels of the cases.
        voi_luts: Look-up tables by case. A case that is missing gets its NORMAL window, jittered.
        muscle_share: Share of a batch, its last patches, that contain pectoral muscle if their case has any.
        scales: (row, column) factors of each output of deep supervision, None without.
    """

    def __init__(
        self,
        data: nnUNetBaseDataset,
        batch_size: int,
        patch: Shape,
        recipe: Recipe,
        voi_luts: Mapping[str, CaseLuts],
        muscle_share: float,
        scales: Scales = None,
    ) -> None:
        super().__init__(data, batch_size, 1, None, True, False, True, None)
        self.indices = data.identifiers
        self.patch = patch
        self.recipe = recipe
        self.voi_luts = voi_luts
        self.muscle_share = muscle_share
        self.scales = scales
        self._rng: np.random.Generator | None = None

    @property
    def rng(self) -> np.random.Generator:
        """The generator of this process, made when first used: a forked worker would share its parent's."""
        if self._rng is None:
            # batchgenerators seeds only NumPy's legacy generator in every worker.
            seed = np.random.randint(0, 2**31, 4)  # noqa: NPY002
            self._rng = np.random.Generator(np.random.SFC64(seed))
            _one_thread_in_workers()
        return self._rng

    def __getstate__(self) -> dict[str, Any]:
        """The state without the generator, because a copy must not draw the same numbers."""
        return {**self.__dict__, "_rng": None}

    def generate_train_batch(self) -> dict[str, Any]:
        """The next batch. batchgenerators calls this."""
        keys = self.get_indices()
        plain = round(self.batch_size * (1 - self.muscle_share))
        return collate(keys, [self.draw(key, index >= plain) for index, key in enumerate(keys)], self.scales)

    def draw(self, case: str, with_muscle: bool) -> Patch:
        """Draw an augmented patch.

        Args:
            case: Name of the case.
            with_muscle: Whether the patch should contain muscle, if the case has any.

        Returns:
            Gray in [0, 1], float32, and labels, uint8, both of the patch's shape.
        """
        data, labels, _, properties = self._data.load_case(case)
        point = muscle_pixel(properties, self.rng) if with_muscle else None
        placement = place(data.shape[-2:], self.patch, self.recipe, self.rng, point)
        box = source_box(placement)
        units, classes = self.part(data, labels, box)
        return self.finish(*sample(self.gray(case, units), classes, placement, box))

    def part(self, data: Any, labels: Any, box: tuple[slice, slice]) -> tuple[Image, Labels]:
        """Read a part of a case.

        Args:
            data: VOI units of the whole case, (1, 1, rows, columns). It may be on disk, and is only sliced.
            labels: Its labels, in the same form.
            box: Rows and columns to read.

        Returns:
            VOI units, float32, and labels of that part.
        """
        return np.asarray(data[0, 0, box[0], box[1]], dtype=np.float32), np.asarray(labels[0, 0, box[0], box[1]])

    def gray(self, case: str, units: Image) -> Image:
        """Convert VOI units of a part of `case` to gray in [0, 1], by a jittered look-up table of its header."""
        return random_gray(units, luts_of(case, self.voi_luts), self.recipe.lut_jitter, self.rng)

    def finish(self, image: Image, labels: Mask) -> Patch:
        """Apply the last steps to the patch: gamma and noise."""
        return change_gray(image, self.recipe, self.rng), labels


class ValidationPatches:
    """Batches of unaugmented patches, one per case, the same in every epoch and in the same order.

    So the validation losses of all epochs can be compared. Values are VOI units of the NORMAL look-up table, clamped to
    [0, 1]. The place of a patch is drawn once, with a seed from the case's name. Batches have the form of
    `TrainingPatches`. Only one process may run it, because each would repeat the whole epoch.

    Args:
        data: The preprocessed cases.
        batch_size: Patches in a batch of this rank.
        patch: Shape of a patch, (rows, columns).
        muscle_share: Probability that a patch is placed on a pixel of muscle, if its case has any.
        iterations: Batches in an epoch; see `validation_iterations`. The first cases fill the last batch.
        scales: (row, column) factors of each output of deep supervision, None without.
        rank: This rank takes the cases `rank`, `rank + world`, ... of the list.
        world: Number of ranks.
    """

    def __init__(
        self,
        data: nnUNetBaseDataset,
        batch_size: int,
        patch: Shape,
        muscle_share: float,
        iterations: int,
        scales: Scales = None,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self._data = data
        self.patch = patch
        self.muscle_share = muscle_share
        self.scales = scales
        cases = data.identifiers[rank::world] or data.identifiers
        order = list(islice(cycle(cases), iterations * batch_size))
        self.batches = [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
        self._next = 0
        self._boxes: dict[str, Placement] = {}

    def set_thread_id(self, thread_id: int) -> None:
        """Ignored. batchgenerators requires the method."""

    def __iter__(self) -> ValidationPatches:
        return self

    def __next__(self) -> dict[str, Any]:
        _one_thread_in_workers()
        keys = self.batches[self._next]
        self._next = (self._next + 1) % len(self.batches)
        return collate(keys, [self.cut(key) for key in keys], self.scales)

    def cut(self, case: str) -> Patch:
        """The patch of `case`: gray in [0, 1], float32, and labels, uint8."""
        data, labels, _, properties = self._data.load_case(case)
        if case not in self._boxes:
            rng = np.random.default_rng(zlib.crc32(case.encode()))
            point = muscle_pixel(properties, rng) if rng.random() < self.muscle_share else None
            frame = data.shape[-2:]
            self._boxes[case] = Placement(np.eye(3), frame, draw_corner(frame, self.patch, 0, rng, point), self.patch)
        placement = self._boxes[case]
        box = source_box(placement)
        image = np.clip(np.asarray(data[0, 0, box[0], box[1]], dtype=np.float32), 0, 1)
        return sample(image, np.asarray(labels[0, 0, box[0], box[1]]), placement, box)


def _one_thread_in_workers() -> None:
    """Keep OpenCV to one core in a worker.

    0 means no thread pool. After a fork, 1 would wait forever for the threads of the parent.
    """
    if multiprocessing.parent_process() is not None:
        cv2.setNumThreads(0)


def validation_iterations(cases: int, batch_size: int, world: int = 1) -> int:
    """Number of batches of an epoch in which every case is seen.

    Args:
        cases: Number of validation cases.
        batch_size: Patches in a batch, of all ranks together.
        world: Number of ranks.
    """
    return max(1, math.ceil(math.ceil(cases / world) / max(1, batch_size // world)))


def muscle_pixel(properties: Mapping[str, Any], rng: np.random.Generator) -> tuple[int, int] | None:
    """Draw a pixel of muscle, among those that nnU-Net's preprocessing noted.

    Args:
        properties: Properties of a preprocessed case, with `class_locations`.
        rng: Generator to draw from.

    Returns:
        (row, column), or None if the case has no muscle.
    """
    pixels = properties["class_locations"].get(int(Label.PECTORAL_MUSCLE), ())
    if len(pixels) == 0:
        return None
    # The columns of nnU-Net's table are channel, slice, row and column.
    _, _, row, column = pixels[rng.integers(len(pixels))]
    return int(row), int(column)


def collate(keys: Sequence[str], patches: Sequence[Patch], scales: Scales) -> dict[str, Any]:
    """Make the batch that nnU-Net's train_step takes.

    Args:
        keys: Names of the cases.
        patches: Image and labels of each.
        scales: (row, column) factors of each output of deep supervision, None without.

    Returns:
        `data`, `target` and `keys`, as `TrainingPatches` describes them.
    """
    data = torch.from_numpy(np.stack([image for image, _ in patches])[:, None])
    target = torch.from_numpy(np.stack([labels for _, labels in patches])[:, None].astype(np.int16))
    if scales is None:
        return {"data": data, "target": target, "keys": list(keys)}
    # The transform takes (channels, rows, columns), so the batch is passed as channels.
    levels = DownsampleSegForDSTransform(scales)(segmentation=target[:, 0])["segmentation"]
    return {"data": data, "target": [level[:, None] for level in levels], "keys": list(keys)}
