"""From one mammogram to its mask: the model run on the whole image, the result on the source's own grid.

An image that was stored sideways or upside down is first turned upright, by its header. From there the way is the one
that `convert_vendor` and nnU-Net take together, so that both routes give the same masks of all others, but for rounding
where `precision.py` knows a faster kind of number: stored values to the grid of converted images, to VOI units, without
the margins that are black, to the plan's grid (nnU-Net stretches the image to whole pixels), padded with black to the
size of a patch where it is smaller. nnU-Net's tiles and its mirroring are not copied: the network sees the whole image
at once.

On the way back logits are interpolated linearly to the source's pixel centres and compared there, so an edge is as
smooth as the source's grid allows. Reading files is `readers/`, many files at once `prediction/predict.py`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from os import PathLike
from pathlib import Path
from typing import Any, Literal, overload

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from maseg_nnunet.arrays import Image, Mask, Spacing
from maseg_nnunet.chest_wall import extent
from maseg_nnunet.errors import UsageError
from maseg_nnunet.labels import LABELS, Label
from maseg_nnunet.mammogram import Flag, Intent, Mammogram
from maseg_nnunet.models.folder import Model, find_model, load_model
from maseg_nnunet.models.precision import autocast, on_device
from maseg_nnunet.prediction.cleanup import keep_largest as keep_largest_components
from maseg_nnunet.prediction.upsampling import labels_on_source
from maseg_nnunet.readers import read_mammogram
from maseg_nnunet.readers.spacing import GIVEN, check_extent, given_spacing
from maseg_nnunet.resample import image_to_source, image_to_target
from maseg_nnunet.voi import CaseLuts, full_range

Margin = tuple[int, int]


@dataclass(frozen=True, eq=False)
class Prepared:
    """One image on the plan's grid, and the way back.

    `image`: (rows, columns) float32 in VOI units, None where nothing can be seen in it; `shape` and `spacing` (row,
    column, mm) of the source; `pitch`: (row, column) mm of the plan's grid as nnU-Net stretched it. `part`: the pixels
    of the source whose centres lie in `image`, all others being background; `origin`: (row, column) mm from the outer
    corner of the first of them to that of `image`'s first. All of these of the source after `quarter_turns`
    counter-clockwise, by which it was turned upright.
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


class Segmenter:
    """A model, loaded once, that segments any number of mammograms; may be used by several threads at once.

    `model`: a model folder or ZIP; by default the one in the package, else $MASEG_MODEL. `device`: "auto" (a GPU where
    there is one), "cpu", "cuda", "cuda:1", "mps". `tta`: average with the left-right mirrored image. `keep_largest`:
    clean the mask up, as `cleanup.py` describes. Raises ModelError for a model that can't be used, UsageError for a
    device that is not there.
    """

    def __init__(
        self,
        model: str | PathLike[str] | None = None,
        device: str = "auto",
        *,
        tta: bool = False,
        keep_largest: bool = True,
    ) -> None:
        self.device = _device(device)
        self.model: Model = load_model(find_model(None if model is None else Path(model)))
        self.tta = tta
        self.keep_largest = keep_largest
        self._network = on_device(_folded(self.model.network), self.device)

    @overload
    def predict(
        self,
        image: str | PathLike[str] | Mammogram | npt.NDArray[Any],
        spacing: float | Spacing | None = None,
        probabilities: Literal[False] = False,
    ) -> Mask: ...

    @overload
    def predict(
        self,
        image: str | PathLike[str] | Mammogram | npt.NDArray[Any],
        spacing: float | Spacing | None = None,
        *,
        probabilities: Literal[True],
    ) -> tuple[Mask, Image]: ...

    def predict(
        self,
        image: str | PathLike[str] | Mammogram | npt.NDArray[Any],
        spacing: float | Spacing | None = None,
        probabilities: bool = False,
    ) -> Mask | tuple[Mask, Image]:
        """Labels (rows, columns) uint8 on the source's own grid: 0 background, 1 breast, 2 pectoral muscle.

        `image`: a file that `read_mammogram` takes, what it returns, or an array (rows, columns) of gray values, bright
        where the breast is dense, shown over their full range. `spacing`: one number or (row, column), in mm; needed
        for an array and for a file that tells none.

        `probabilities=True` returns (mask, softmax): (3, rows, columns) float32, summing to 1 over the labels; the mask
        is then still cleaned up unless `keep_largest` is off.

        Raises RefusedError for a file or a spacing that can't be used, UsageError for an array that is no image.
        """
        mammogram = _mammogram(image, spacing, self.model.raw_windows)
        prepared = self.prepare(mammogram)
        logits = self.logits([prepared])[0]
        mask = self.mask(prepared, logits)
        return (mask, softmax(prepared, logits)) if probabilities else mask

    def prepare(self, mammogram: Mammogram) -> Prepared:
        """The image as the network is to see it."""
        model, turns = self.model, mammogram.quarter_turns
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
        # What nnU-Net crops an image to: the smallest box with every pixel that is not exactly 0.
        box = extent(units != 0) if model.cropping else (slice(0, units.shape[0]), slice(0, units.shape[1]))
        units = units[box]
        size, pitch = plan_grid((units.shape[0], units.shape[1]), target, model.spacing)
        rows, columns = (
            slice(_first_centre(side.start * t, s), min(whole, _first_centre(side.stop * t, s)))
            for side, t, s, whole in zip(box, target, mammogram.spacing, mammogram.shape, strict=True)
        )
        return Prepared(
            _to_size(np.ascontiguousarray(units), size, model.order),
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

    def logits(self, batch: Sequence[Prepared]) -> list[Image]:
        """Logits (3, rows, columns) on the plan's grid of images of one size; of an image with nothing in it, too."""
        images = [prepared.image for prepared in batch if prepared.image is not None]
        if not images:
            return [_background()] * len(batch)
        margins = [self._margins(image) for image in images]
        padded = np.stack([np.pad(image, margin) for image, margin in zip(images, margins, strict=True)])
        with torch.inference_mode():
            batched = torch.from_numpy(padded[:, None]).to(self.device)
            output = self._forward(batched)
            if self.tta:
                output = (output + self._forward(batched.flip(3)).flip(3)) / 2
            found = iter(zip(output.cpu().numpy(), margins, strict=True))
        return [_background() if prepared.image is None else _cropped(*next(found)) for prepared in batch]

    def mask(self, prepared: Prepared, logits: Image) -> Mask:
        """Labels on the source's grid of what `logits` gave for `prepared`."""
        if prepared.image is None:
            return _as_stored(prepared, np.zeros(prepared.shape, dtype=np.uint8))
        labels = labels_on_source(logits, prepared.part_shape, prepared.spacing, prepared.pitch, prepared.origin)
        mask = _on_source(prepared, labels, np.uint8(Label.BACKGROUND))
        return _as_stored(prepared, keep_largest_components(mask) if self.keep_largest else mask)

    def _margins(self, image: Image) -> tuple[Margin, Margin]:
        """Black pixels that the network needs beyond an image's rows and columns.

        Where an image is smaller than a patch it gets as much on either side, as in nnU-Net. A few pixels more, to a
        multiple of the strides, go to the bottom and to the darker side, which is the one away from the chest wall
        unless the air is white (raw images) or has a label. There it made no difference: a muscle's Dice of 0.834 and
        0.825, 0.898 and 0.916 with and without these at the chest wall, on raw-like and on labelled test women.
        """
        model = self.model
        (top, bottom), (left, right) = (
            ((patch - side) // 2, (patch - side + 1) // 2) if side < patch else (0, 0)
            for side, patch in zip(image.shape, model.patch, strict=True)
        )
        bottom += -(image.shape[0] + top + bottom) % model.divisor[0]
        more = -(image.shape[1] + left + right) % model.divisor[1]
        if np.clip(image[:, 0], 0, 1).sum() < np.clip(image[:, -1], 0, 1).sum():
            left += more
        else:
            right += more
        return (top, bottom), (left, right)

    def _forward(self, images: torch.Tensor) -> torch.Tensor:
        with autocast(self.device):
            logits: torch.Tensor = self._network(images)
        return logits.float()


def _folded(network: nn.Module) -> nn.Module:
    """`network` with each batch norm made part of the convolution before it: the same function, one pass fewer."""
    for sequence in [module for module in network.modules() if isinstance(module, nn.Sequential)]:
        for index, (first, second) in enumerate(pairwise(sequence)):
            if isinstance(first, nn.Conv2d) and isinstance(second, nn.BatchNorm2d):
                sequence[index] = fuse_conv_bn_eval(first, second)
                sequence[index + 1] = nn.Identity()
    return network


def plan_grid(shape: tuple[int, int], target: Spacing, plan: Spacing) -> tuple[tuple[int, int], Spacing]:
    """Size that nnU-Net gives a converted image of `shape` at `target` mm in a plan of `plan` mm, and the real pitch.

    nnU-Net rounds the size to whole pixels and stretches the image to it, so the pitch differs a little from the plan's
    spacing. It reads the spacing from a NIfTI header, where it is a float32: that decides how a half is rounded.
    """
    sizes = [max(1, round(float(np.float32(t)) / p * n)) for n, t, p in zip(shape, target, plan, strict=True)]
    pitches = [t * (n / size) for n, t, size in zip(shape, target, sizes, strict=True)]
    return (sizes[0], sizes[1]), (pitches[0], pitches[1])


def softmax(prepared: Prepared, logits: Image) -> Image:
    """Probabilities (3, rows, columns) float32 of the labels at each pixel centre of the source."""
    background = np.zeros((len(LABELS), 1, 1), dtype=np.float32)
    background[Label.BACKGROUND] = 1
    if prepared.image is None:
        return _as_stored(prepared, background.repeat(prepared.shape[0], 1).repeat(prepared.shape[1], 2))
    shape, spacing, pitch, origin = prepared.part_shape, prepared.spacing, prepared.pitch, prepared.origin
    fine = np.stack([image_to_source(channel, shape, spacing, pitch, origin) for channel in logits])
    np.exp(fine - fine.max(axis=0), out=fine)
    fine /= fine.sum(axis=0)
    return _as_stored(prepared, _on_source(prepared, fine, background))


def _as_stored(prepared: Prepared, upright: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """`upright` (..., rows, columns) turned back to the way the source was stored."""
    return np.ascontiguousarray(np.rot90(upright, -prepared.quarter_turns, axes=(-2, -1)))


def _on_source(prepared: Prepared, values: npt.NDArray[Any], outside: Any) -> npt.NDArray[Any]:
    """`values` (..., rows, columns) of the part of the source that was seen, with `outside` around them."""
    if values.shape[-2:] == prepared.shape:
        return values
    rows, columns = prepared.part
    whole = np.empty((*values.shape[:-2], *prepared.shape), dtype=values.dtype)
    whole[...] = outside
    whole[..., rows, columns] = values
    return whole


def _first_centre(edge: float, spacing: float) -> int:
    """The first source pixel whose centre lies at or beyond `edge` mm; edges are as sharp as the grid's last digit."""
    return max(0, math.ceil(edge / spacing - 0.5 - 1e-6))


def _to_size(image: Image, size: tuple[int, int], order: int) -> Image:
    """As nnU-Net resamples: pixel centres at (i + 0.5) / size, the border repeated, no low-pass filter."""
    if image.shape == size:
        return image
    if order == 1:
        return np.asarray(cv2.resize(image, size[::-1], interpolation=cv2.INTER_LINEAR), dtype=np.float32)
    from skimage.transform import resize  # nnU-Net's own choice, for plans that ask for splines

    splined = resize(image, size, order, mode="edge", anti_aliasing=False)
    return np.asarray(splined, dtype=np.float32)


def _cropped(logits: Image, margins: tuple[Margin, Margin]) -> Image:
    (top, bottom), (left, right) = margins
    return logits[:, top : logits.shape[1] - bottom, left : logits.shape[2] - right]


def _background() -> Image:
    return np.zeros((len(LABELS), 1, 1), dtype=np.float32)


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"device {name} is not there: use auto, cpu, cuda, cuda:N or mps") from error
    return device


def _mammogram(
    image: str | PathLike[str] | Mammogram | npt.NDArray[Any], spacing: float | Spacing | None, raw_windows: bool
) -> Mammogram:
    if isinstance(image, Mammogram):
        return image
    if not isinstance(image, np.ndarray):
        return read_mammogram(Path(image), spacing_mm=spacing, raw_windows=raw_windows)
    if image.ndim != 2 or image.size == 0 or image.dtype.kind not in "uif" or not np.isfinite(image).all():
        raise UsageError(f"an array (rows, columns) of finite numbers was expected, not {image.dtype} {image.shape}")
    given = given_spacing(spacing)
    if given is None:
        raise UsageError("an array does not tell its spacing: give spacing, in mm")
    check_extent((int(image.shape[0]), int(image.shape[1])), given)
    luts = CaseLuts(inverted=False, base=0, luts=(full_range(float(image.min()), float(image.max())),))
    return Mammogram(Path(), image, given, GIVEN, luts, Intent.PROCESSED)
