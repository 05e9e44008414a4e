"""From one mammogram to its mask: the model runs on the whole image, and the mask lies on the source's own grid.

`preprocessing.py` prepares an image as `convert_vendor` and nnU-Net do on disk. Both routes give the same masks, except
for images that had to be turned upright and for the rounding of the faster numbers of `models/precision.py`. nnU-Net's
tiles and its mirroring are not copied: the network sees the whole image at once.

On the way back, logits are interpolated linearly to the source's pixel centres and compared there, so a mask's edge is
as smooth as the source's grid allows. Reading files is `readers/`, segmenting many files `prediction/predict.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from os import PathLike
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from maseg_nnunet.arrays import Image, Logits, Mask, Spacing
from maseg_nnunet.errors import ModelError, UsageError
from maseg_nnunet.labels import LABELS, Label
from maseg_nnunet.mammogram import Intent, Mammogram
from maseg_nnunet.models.folder import find_model
from maseg_nnunet.models.model import Model, load_model
from maseg_nnunet.models.precision import autocast, best_device, on_device
from maseg_nnunet.prediction.cleanup import keep_largest as keep_largest_components
from maseg_nnunet.prediction.preprocessing import Prepared, preprocess
from maseg_nnunet.prediction.upsampling import labels_on_source
from maseg_nnunet.readers import read_mammogram
from maseg_nnunet.readers.spacing import GIVEN, check_extent, given_spacing
from maseg_nnunet.resample import image_to_source
from maseg_nnunet.voi import CaseLuts, full_range

MammogramLike = str | PathLike[str] | Mammogram | npt.NDArray[Any]
"""What can be segmented: a file, a mammogram in memory, or an array of gray values (rows, columns)."""

Probabilities = npt.NDArray[np.float32]  # (labels, rows, columns), summing to 1 over the labels

Margin = tuple[int, int]


class Segmenter:
    """A model, loaded once, that segments any number of mammograms.

    Several threads may use one segmenter at the same time.

    Args:
        model: A model folder or a ZIP of one. By default the one that $MASEG_MODEL names, else the
            model in the package.
        device: "auto" (CUDA or MPS if there is one, else the CPU), "cpu", "cuda", "cuda:N" or "mps".
        tta: Whether to average the logits with those of the left-right mirrored image.
        keep_largest: Whether to clean up masks, as `prediction.cleanup.keep_largest` describes.

    Attributes:
        device: The device that the network runs on.
        model: The model, with what it expects of an image.
        tta: As given.
        keep_largest: As given.

    Raises:
        ModelError: If there is no model, or it can't be used.
        UsageError: If the device is not available.

    Examples:
        >>> mask = Segmenter().predict("exam.dcm")
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
        self.model.network.warns = False  # type: ignore[assignment]  # see `network.clamped`
        self._network = on_device(_folded(self.model.network), self.device)

    @overload
    def predict(
        self, image: MammogramLike, spacing_mm: float | Spacing | None = None, probabilities: Literal[False] = False
    ) -> Mask: ...

    @overload
    def predict(
        self, image: MammogramLike, spacing_mm: float | Spacing | None = None, *, probabilities: Literal[True]
    ) -> tuple[Mask, Probabilities]: ...

    @overload
    def predict(
        self, image: MammogramLike, spacing_mm: float | Spacing | None = None, probabilities: bool = False
    ) -> Mask | tuple[Mask, Probabilities]: ...

    def predict(
        self, image: MammogramLike, spacing_mm: float | Spacing | None = None, probabilities: bool = False
    ) -> Mask | tuple[Mask, Probabilities]:
        """Segment one mammogram.

        Args:
            image: The path of a file, a `Mammogram` as `read_mammogram` returns it, or an array
                (rows, columns) of finite integers or floating-point numbers. An array is displayed over its full
                range; dense tissue must have the larger values.
            spacing_mm: Pixel spacing in mm, one number or (row, column). It is needed for an array and for a file that
                does not contain its spacing, and ignored otherwise.
            probabilities: Whether to return the probabilities of the labels as well.

        Returns:
            The mask, (rows, columns) uint8 on the image's own grid: 0 background, 1 breast, 2 pectoral muscle.
            With `probabilities=True`, the mask and the softmax of the logits, (3, rows, columns) float32, which sums to
            1 over the labels. Cleaning up changes the mask only, so the two may differ unless `keep_largest` is off.

        Raises:
            RefusedError: If the file can't be used, or the spacing is missing or impossible.
            UsageError: If `image` is something else, the array is not an image, or it has no spacing.
        """
        mammogram = _mammogram(image, spacing_mm, self.model.raw_windows)
        prepared = self.prepare(mammogram)
        logits = self.logits([prepared])[0]
        mask = self.mask(prepared, logits)
        return (mask, softmax(prepared, logits)) if probabilities else mask

    def prepare(self, mammogram: Mammogram) -> Prepared:
        """Prepare an image for the network, the first of the three steps of `predict`.

        Args:
            mammogram: The image in its stored orientation.

        Returns:
            The image on the plans' grid, as `preprocess` describes.
        """
        return preprocess(mammogram, self.model)

    def logits(self, batch: Sequence[Prepared]) -> list[Logits]:
        """Run the network, the second of the three steps of `predict`.

        Args:
            batch: Prepared images of one size. Images in which nothing can be seen may be among them.

        Returns:
            For each image, logits (3, rows, columns) float32 on the plans' grid. For an image in which nothing can be
            seen, zeros (3, 1, 1).
        """
        images = [prepared.image for prepared in batch if prepared.image is not None]
        if not images:
            return [_no_logits()] * len(batch)
        margins = [self._margins(image) for image in images]
        padded = np.stack([np.pad(image, margin) for image, margin in zip(images, margins, strict=True)])
        with torch.inference_mode():
            batched = torch.from_numpy(padded[:, None]).to(self.device)
            output = self._forward(batched)
            if self.tta:
                output = (output + self._forward(batched.flip(3)).flip(3)) / 2
            found = iter(zip(output.cpu().numpy(), margins, strict=True))
        return [_no_logits() if prepared.image is None else _cropped(*next(found)) for prepared in batch]

    def mask(self, prepared: Prepared, logits: Logits) -> Mask:
        """Turn logits into a mask on the source's grid, the last of the three steps of `predict`.

        Args:
            prepared: The prepared image.
            logits: Its logits, (3, rows, columns) float32.

        Returns:
            The mask, (rows, columns) uint8 in the source's stored orientation, cleaned up if `keep_largest` is on.

        Raises:
            ModelError: If a logit is not finite.
        """
        _check_finite(logits)
        if prepared.image is None:
            return _as_stored(prepared, np.zeros(prepared.shape, dtype=np.uint8))
        labels = labels_on_source(logits, prepared.part_shape, prepared.spacing, prepared.pitch, prepared.origin)
        mask = _on_source(prepared, labels, np.uint8(Label.BACKGROUND))
        return _as_stored(prepared, keep_largest_components(mask) if self.keep_largest else mask)

    def _margins(self, image: Image) -> tuple[Margin, Margin]:
        """Black pixels that the network needs beyond an image's rows and columns.

        An image that is smaller than a patch gets an equal margin on both sides, as in nnU-Net. The few pixels that
        are missing to a multiple of the strides go to the bottom and to the darker side. That is the side away from the
        chest wall, unless the air is white (raw images) or has a label. In these images the side made no consistent
        difference to the muscle (docs/experiments.md).
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


def softmax(prepared: Prepared, logits: Logits) -> Probabilities:
    """Turn logits into probabilities on the source's grid.

    Args:
        prepared: The prepared image.
        logits: Its logits, (3, rows, columns) float32.

    Returns:
        Probabilities (3, rows, columns) float32 of the labels at each pixel centre of the source.

    Raises:
        ModelError: If a logit is not finite.
    """
    _check_finite(logits)
    background = np.zeros((len(LABELS), 1, 1), dtype=np.float32)
    background[Label.BACKGROUND] = 1
    if prepared.image is None:
        return _as_stored(prepared, background.repeat(prepared.shape[0], 1).repeat(prepared.shape[1], 2))
    shape, spacing, pitch, origin = prepared.part_shape, prepared.spacing, prepared.pitch, prepared.origin
    fine = np.stack([image_to_source(channel, shape, spacing, pitch, origin) for channel in logits])
    np.exp(fine - fine.max(axis=0), out=fine)
    fine /= fine.sum(axis=0)
    return _as_stored(prepared, _on_source(prepared, fine, background))


def _folded(network: nn.Module) -> nn.Module:
    """`network` with each batch norm folded into the convolution before it: the same function in fewer passes."""
    for sequence in [module for module in network.modules() if isinstance(module, nn.Sequential)]:
        for index, (first, second) in enumerate(pairwise(sequence)):
            if isinstance(first, nn.Conv2d) and isinstance(second, nn.BatchNorm2d):
                sequence[index] = fuse_conv_bn_eval(first, second)
                sequence[index + 1] = nn.Identity()
    return network


def _as_stored(prepared: Prepared, upright: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """`upright` (..., rows, columns) turned back to the source's stored orientation."""
    return np.ascontiguousarray(np.rot90(upright, -prepared.quarter_turns, axes=(-2, -1)))


def _on_source(prepared: Prepared, values: npt.NDArray[Any], outside: Any) -> npt.NDArray[Any]:
    """`values` (..., rows, columns) of the part of the source that the network saw, with `outside` around them."""
    if values.shape[-2:] == prepared.shape:
        return values
    rows, columns = prepared.part
    whole = np.empty((*values.shape[:-2], *prepared.shape), dtype=values.dtype)
    whole[...] = outside
    whole[..., rows, columns] = values
    return whole


def _cropped(logits: Logits, margins: tuple[Margin, Margin]) -> Logits:
    (top, bottom), (left, right) = margins
    return logits[:, top : logits.shape[1] - bottom, left : logits.shape[2] - right]


def _check_finite(logits: Logits) -> None:
    if not np.isfinite(logits).all():
        raise ModelError("the network's output is not finite, so there is no mask: try --device cpu, or another model")


def _no_logits() -> Logits:
    """What an image in which nothing can be seen gets: its mask and its probabilities do not depend on the logits."""
    return np.zeros((len(LABELS), 1, 1), dtype=np.float32)


def _device(name: str) -> torch.device:
    if name == "auto":
        name = best_device()
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"device {name} is not available: use auto, cpu, cuda, cuda:N or mps") from error
    return device


def _mammogram(image: MammogramLike, spacing_mm: float | Spacing | None, raw_windows: bool) -> Mammogram:
    if isinstance(image, Mammogram):
        return image
    if isinstance(image, str | PathLike):
        return read_mammogram(image, spacing_mm=spacing_mm, raw_windows=raw_windows)
    if not isinstance(image, np.ndarray):
        raise UsageError(
            f"{type(image).__name__} can't be segmented: give the path of a file, what read_mammogram returns, or a "
            "NumPy array (rows, columns) with spacing_mm"
        )
    if image.ndim != 2 or image.size == 0 or image.dtype.kind not in "uif" or not np.isfinite(image).all():
        raise UsageError(f"an array (rows, columns) of finite numbers was expected, not {image.dtype} {image.shape}")
    given = given_spacing(spacing_mm)
    if given is None:
        raise UsageError("an array has no spacing of its own: give spacing_mm")
    check_extent((int(image.shape[0]), int(image.shape[1])), given)
    luts = CaseLuts(inverted=False, base=0, luts=(full_range(float(image.min()), float(image.max())),))
    return Mammogram(Path(), image, given, GIVEN, luts, Intent.PROCESSED)
