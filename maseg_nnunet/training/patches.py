"""What feeds the trainer: augmented training patches, and validation patches that are the same in every epoch.

Both read only the part of a preprocessed case that a patch needs, so a large image costs no more than a patch. nnU-Net
runs them in worker processes, which is why they live here and not beside the trainer: a class of the folder that
nnUNet_extTrainer names can't be pickled.
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
import numpy.typing as npt
import torch
from batchgenerators.dataloading.data_loader import DataLoader
from batchgeneratorsv2.transforms.utils.deep_supervision_downsampling import DownsampleSegForDSTransform
from nnunetv2.training.dataloading.nnunet_dataset import nnUNetBaseDataset

from maseg_nnunet.arrays import Image, Mask, Shape
from maseg_nnunet.labels import Label
from maseg_nnunet.training.augmentation import Placement, Recipe, change_gray, draw_corner, place, sample, source_box
from maseg_nnunet.training.lut_jitter import luts_of, random_gray
from maseg_nnunet.voi import CaseLuts

Scales = Sequence[Sequence[float]] | None
Patch = tuple[Image, Mask]


class TrainingPatches(DataLoader):  # type: ignore[misc]  # nnU-Net and batchgenerators come without types
    """Endless batches of augmented patches of cases drawn with equal chances, as nnU-Net's loader gives them.

    A batch is `data`, float32 (batch, 1, rows, columns) in [0, 1]; `target`, int16 (batch, 1, rows, columns), or a list
    of these at every scale of `scales` (deep supervision); and `keys`, the cases. `voi_luts` holds the look-up tables
    of the cases; one that it lacks has its NORMAL window jittered. `muscle_share`: the last of these in every batch, at
    least, hold a pixel of muscle where the case has one.

    A variant of the augmentation overrides `part` (what is there), `gray` (from VOI units) or `finish` (of the patch).
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
        """This process's generator. Made at first use: a forked worker would share its parent's."""
        if self._rng is None:
            # batchgenerators seeds NumPy's legacy generator in every worker, and that one alone.
            seed = np.random.randint(0, 2**31, 4)  # noqa: NPY002
            self._rng = np.random.Generator(np.random.SFC64(seed))
            _one_thread_in_workers()
        return self._rng

    def __getstate__(self) -> dict[str, Any]:
        """Without the generator: a copy must not repeat this one's numbers."""
        return {**self.__dict__, "_rng": None}

    def generate_train_batch(self) -> dict[str, Any]:
        """The next batch; batchgenerators calls this."""
        keys = self.get_indices()
        plain = round(self.batch_size * (1 - self.muscle_share))
        return collate(keys, [self.draw(key, index >= plain) for index, key in enumerate(keys)], self.scales)

    def draw(self, case: str, with_muscle: bool) -> Patch:
        """An augmented patch of `case`: image float32 in [0, 1] and labels uint8, of the patch's shape."""
        data, labels, _, properties = self._data.load_case(case)
        point = muscle_pixel(properties, self.rng) if with_muscle else None
        placement = place(data.shape[-2:], self.patch, self.recipe, self.rng, point)
        box = source_box(placement)
        units, classes = self.part(data, labels, box)
        return self.finish(*sample(self.gray(case, units), classes, placement, box))

    def part(self, data: Any, labels: Any, box: tuple[slice, slice]) -> tuple[Image, npt.NDArray[Any]]:
        """VOI units and labels of the part `box` of a case, whose arrays (1, 1, rows, columns) may lie on disk."""
        return np.asarray(data[0, 0, box[0], box[1]], dtype=np.float32), np.asarray(labels[0, 0, box[0], box[1]])

    def gray(self, case: str, units: Image) -> Image:
        """VOI units of a part of `case` to gray in [0, 1]: a jittered look-up table of its header."""
        return random_gray(units, luts_of(case, self.voi_luts), self.recipe.lut_jitter, self.rng)

    def finish(self, image: Image, labels: Mask) -> Patch:
        """What happens to the patch last: gamma and noise."""
        return change_gray(image, self.recipe, self.rng), labels


class ValidationPatches:
    """Batches of unaugmented patches, one a case, the same ones in the same order in every epoch.

    So that the validation loss can be compared between epochs. The values are VOI units of the NORMAL look-up table,
    clamped to [0, 1]. Where in the case the patch lies is drawn once, with a seed made of the case's name; it holds
    muscle as often as training patches do. An epoch is `iterations` batches (see `validation_iterations`) and goes
    through the cases `rank`, `rank + world`, ... of the sorted list, and again from the first to fill the last batch.
    One process may run it, not more: each would repeat the whole epoch.
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
        """Asked for by batchgenerators, of no use here."""

    def __iter__(self) -> ValidationPatches:
        return self

    def __next__(self) -> dict[str, Any]:
        _one_thread_in_workers()
        keys = self.batches[self._next]
        self._next = (self._next + 1) % len(self.batches)
        return collate(keys, [self.cut(key) for key in keys], self.scales)

    def cut(self, case: str) -> Patch:
        """The patch of `case`: image float32 in [0, 1] and labels uint8."""
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
    """One worker, one core. 0 means no thread pool: after a fork, 1 would wait for ever for the parent's threads."""
    if multiprocessing.parent_process() is not None:
        cv2.setNumThreads(0)


def validation_iterations(cases: int, batch_size: int, world: int = 1) -> int:
    """Batches of an epoch in which every case is seen. `batch_size` is that of all `world` ranks together."""
    return max(1, math.ceil(math.ceil(cases / world) / max(1, batch_size // world)))


def muscle_pixel(properties: Mapping[str, Any], rng: np.random.Generator) -> tuple[int, int] | None:
    """(row, column) of a random pixel of muscle among those that nnU-Net's preprocessing noted, None without muscle."""
    pixels = properties["class_locations"].get(int(Label.PECTORAL_MUSCLE), ())
    if len(pixels) == 0:
        return None
    # Columns of nnU-Net's table: channel, slice, row, column.
    _, _, row, column = pixels[rng.integers(len(pixels))]
    return int(row), int(column)


def collate(keys: Sequence[str], patches: Sequence[Patch], scales: Scales) -> dict[str, Any]:
    """The batch that nnU-Net's train_step takes, from one (image, labels) a case."""
    data = torch.from_numpy(np.stack([image for image, _ in patches])[:, None])
    target = torch.from_numpy(np.stack([labels for _, labels in patches])[:, None].astype(np.int16))
    if scales is None:
        return {"data": data, "target": target, "keys": list(keys)}
    # The transform takes (channels, rows, columns): the batch stands in for the channels.
    levels = DownsampleSegForDSTransform(scales)(segmentation=target[:, 0])["segmentation"]
    return {"data": data, "target": [level[:, None] for level in levels], "keys": list(keys)}
