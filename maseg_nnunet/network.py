"""The networks that plans of this project name: the paper's U-Net, and nnU-Net's own with a clamped input.

Both clamp their input to [0, 1], because images on disk are in VOI units, which go beyond the black and the white end
of the look-up table: so every route (training, `maseg predict`, stock `nnUNetv2_predict`) shows the network the same
values. Clamping is part of the class and not of a wrapper around it: a wrapper would change the names in the state
dict and hide `.decoder`, which nnU-Net's trainer reaches for.

A plans file names a class by its dotted name; nnU-Net calls it with `input_channels`, `num_classes`,
`deep_supervision` and the plan's `arch_kwargs`. Not for precision and memory layout: `models/precision.py` does.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

import torch
import torch.nn.functional as F
from dynamic_network_architectures.architectures.unet import PlainConvUNet as _PlainConvUNet
from torch import Tensor, nn

from maseg_nnunet.errors import PlanError

PAPER_FEATURES: Final = (64, 128, 256, 512, 1024)
"""Features of the five stages (paper, section 2.2.1)."""


def clamp_input(network: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Forward pre-hook that gives a network of nnU-Net's own the clamp that the classes below have built in.

    Args:
        network: the module that is about to run; not used, PyTorch passes it.
        inputs: positional arguments of its forward pass; the first is the images (N, channels, H, W) in VOI units.

    Returns:
        The same arguments, the images clamped to [0, 1].
    """
    images, *others = inputs
    return images.clamp(0, 1), *others


class PlainConvUNet(_PlainConvUNet):  # type: ignore[misc]  # the base class comes without types
    """nnU-Net's plain U-Net on an input clamped to [0, 1]; same arguments, same state dict."""

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        """Logits (N, classes, H, W) of images (N, channels, H, W) in VOI units; several in deep supervision."""
        logits: Tensor | list[Tensor] = super().forward(x.clamp(0, 1))
        return logits


class UNet(nn.Module):
    """The paper's U-Net (section 2.2.1) on an input clamped to [0, 1].

    Each stage is two 3x3 convolutions with batch norm and ReLU; between stages max-pooling by 2 on the way down, and on
    the way up bilinear doubling (corners aligned), a 1x1 convolution that halves the features, and concatenation with
    the stage's features. A 1x1 convolution gives the logits, on which dropout works in training, as published. Any
    image size will do; where a stage's size is odd, the doubled map is padded with zeros to fit.

    `features_per_stage`: one number a stage, the paper's 64 to 1,024. `strides`: for nnU-Net alone, which reads the
    pooling from the plan; must be [1, 1] followed by [2, 2]s, one a stage. `dropout`: of the logits, in training.
    `deep_supervision`: the paper has none. nnU-Net's trainer may still switch it on, here or as
    `decoder.deep_supervision`; the network then returns its logits in a list of one, which nnU-Net's loss takes for the
    finest of its levels.

    Raises PlanError where stages and strides do not fit together.
    """

    def __init__(
        self,
        input_channels: int,
        num_classes: int,
        deep_supervision: bool = False,
        features_per_stage: Sequence[int] = PAPER_FEATURES,
        strides: Sequence[Sequence[int]] | None = None,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        expected = [[1, 1]] + [[2, 2]] * (len(features_per_stage) - 1)
        if strides is not None and [list(stride) for stride in strides] != expected:
            raise PlanError(f"UNet of {len(features_per_stage)} stages needs the strides {expected}, not {strides}")
        widths = [input_channels, *features_per_stage]
        self.encoder = nn.ModuleList(_double_conv(a, b) for a, b in pairwise(widths))
        self.decoder = _Decoder(features_per_stage, num_classes, dropout, deep_supervision)

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        """Logits (N, classes, H, W) of images (N, channels, H, W) in VOI units; listed in deep supervision."""
        x = x.clamp(0, 1)
        skips = []
        for index, stage in enumerate(self.encoder):
            x = stage(F.max_pool2d(x, 2) if index else x)
            skips.append(x)
        logits: Tensor = self.decoder(skips)
        return [logits] if self.decoder.deep_supervision else logits

    @staticmethod
    def initialize(module: nn.Module) -> None:
        """Kaiming-uniform weights for ReLU, zero biases (paper, section 2.2.1). nnU-Net applies it to every module."""
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_uniform_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


class PublishedUNet(UNet):
    """`UNet` as the published forward pass runs it, for the published weights: amid black, which is cut off again.

    The black is as much as unpadded convolutions would take off, 92 to 100 pixels on each side with five stages.
    Without it the network meets the image's edge where in its training it met black, and the pectoral muscle lies at
    that edge. It costs about two thirds more time than `UNet`.
    """

    takes_any_size: Final = True
    """To `maseg predict`: padding to a multiple of the strides would move the image against the poolings' grid."""

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        """As `UNet.forward`."""
        rows, columns = x.shape[2:]
        more = [self._amid_black(rows) - rows, self._amid_black(columns) - columns]
        top, left = more[0] // 2, more[1] // 2
        output = super().forward(F.pad(x, [left, more[1] - left, top, more[0] - top]))
        middle = (..., slice(top, top + rows), slice(left, left + columns))
        return [level[middle] for level in output] if isinstance(output, list) else output[middle]

    def _amid_black(self, size: int) -> int:
        """The smallest input that leaves `size` pixels or more if every 3x3 convolution takes off 2."""
        poolings = len(self.encoder) - 1
        for _ in range(poolings):
            size = -(-(size + 4) // 2)
        for _ in range(poolings):
            size = 2 * (size + 4)
        return size + 4


class _Decoder(nn.Module):
    """The way up. A module of its own because nnU-Net's trainer sets `network.decoder.deep_supervision`."""

    def __init__(self, features: Sequence[int], classes: int, dropout: float, deep_supervision: bool) -> None:
        super().__init__()
        self.deep_supervision = deep_supervision
        pairs = [(wide, narrow) for narrow, wide in pairwise(features)][::-1]
        self.reduce = nn.ModuleList(nn.Conv2d(wide, narrow, 1) for wide, narrow in pairs)
        self.stages = nn.ModuleList(_double_conv(2 * narrow, narrow) for _, narrow in pairs)
        self.head = nn.Sequential(nn.Conv2d(features[0], classes, 1), nn.Dropout(dropout))

    def forward(self, skips: Sequence[Tensor]) -> Tensor:
        """Logits from the features of every stage, finest first."""
        x = skips[-1]
        for reduce, stage, skip in zip(self.reduce, self.stages, skips[-2::-1], strict=True):
            x = reduce(F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True))
            x = stage(torch.cat([skip, _pad_to(x, skip)], dim=1))
        logits: Tensor = self.head(x)
        return logits


def _double_conv(incoming: int, outgoing: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(incoming, outgoing, 3, padding=1),
        nn.BatchNorm2d(outgoing),
        nn.ReLU(inplace=True),
        nn.Conv2d(outgoing, outgoing, 3, padding=1),
        nn.BatchNorm2d(outgoing),
        nn.ReLU(inplace=True),
    )


def _pad_to(x: Tensor, like: Tensor) -> Tensor:
    rows, columns = like.shape[2] - x.shape[2], like.shape[3] - x.shape[3]
    if rows == columns == 0:
        return x
    return F.pad(x, [columns // 2, columns - columns // 2, rows // 2, rows - rows // 2])
