"""The networks that this project's plans name: the paper's U-Net, and nnU-Net's plain U-Net with a clamped input.

Both clamp their input to [0, 1], because images on disk are in VOI units, which go beyond the black and the white end
of the look-up table. This way training, `maseg predict` and stock `nnUNetv2_predict` all show the network the same
values. The clamp is part of the class: a wrapper would change the names in the state dict and hide `.decoder`, which
nnU-Net's trainer accesses.

A plans file names a class by its dotted name. nnU-Net calls it with `input_channels`, `num_classes`,
`deep_supervision` and the plans' `arch_kwargs`. Precision and memory layout are set by `models/precision.py`.
"""

from __future__ import annotations

import warnings
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
    """Forward pre-hook that gives any other network the clamp that the classes below have built in.

    Args:
        network: The module that is about to run.
        inputs: Positional arguments of its forward pass. The first is the images (N, channels, H, W) in VOI units.

    Returns:
        The same arguments, with the images clamped to [0, 1].
    """
    images, *others = inputs
    return clamped(network, images), *others


def clamped(network: nn.Module, images: Tensor) -> Tensor:
    """Clamp VOI units to [0, 1].

    In evaluation, warn if most pixels beyond black are beyond white too, as 8-bit gray values are. Python shows a
    warning once. `Segmenter` sets the attribute `warns` of its network to False: its images are in VOI units, and a
    narrow window may make most of them white.

    Args:
        network: The network that takes them.
        images: Any shape, VOI units.

    Returns:
        The same shape and dtype.
    """
    warns = not network.training and getattr(network, "warns", True)
    if warns and (images > 1).sum() > ((images > 0) & (images <= 1)).sum():
        warnings.warn(
            "most values of an image exceed 1, so it is not in VOI units and its mask will be wrong: convert it with "
            "convert_vendor, or run `maseg predict` on the original file",
            stacklevel=2,
        )
    return images.clamp(0, 1)


class PlainConvUNet(_PlainConvUNet):  # type: ignore[misc]  # the base class comes without types
    """nnU-Net's plain U-Net on an input clamped to [0, 1], with the same arguments and the same state dict."""

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        """Run the network.

        Args:
            x: Images (N, channels, H, W) in VOI units.

        Returns:
            Logits (N, classes, H, W). With deep supervision a list of logits, finest resolution first.
        """
        logits: Tensor | list[Tensor] = super().forward(clamped(self, x))
        return logits


class UNet(nn.Module):
    """The paper's U-Net (section 2.2.1) on an input clamped to [0, 1].

    Each stage is two 3x3 convolutions with batch norm and ReLU. On the way down, max-pooling by 2 lies between the
    stages. On the way up, a map is upsampled by 2 (bilinear, corners aligned), a 1x1 convolution halves its features,
    and it is concatenated with the features of the same stage on the way down. A 1x1 convolution gives the logits, to
    which dropout is applied in training, as published. The network accepts any image size: if a stage's size is odd,
    the upsampled map is padded with zeros to fit.

    Args:
        input_channels: Channels of the image.
        num_classes: Classes of the logits.
        deep_supervision: The paper does not use it, but nnU-Net's trainer may switch it on, here or by setting
            `decoder.deep_supervision`. The network then returns its logits in a list of one, which nnU-Net's loss takes
            as the finest resolution.
        features_per_stage: Features of each stage, finest first.
        strides: Only for nnU-Net, which reads the pooling from the plans: [1, 1] for the first stage, [2, 2] for each
            of the others.
        dropout: Probability that a logit is set to zero in training.

    Raises:
        PlanError: If stages and strides do not fit together.
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
        """Run the network.

        Args:
            x: Images (N, channels, H, W) in VOI units.

        Returns:
            Logits (N, classes, H, W), in a list of one if deep supervision is on.
        """
        x = clamped(self, x)
        skips = []
        for index, stage in enumerate(self.encoder):
            x = stage(F.max_pool2d(x, 2) if index else x)
            skips.append(x)
        logits: Tensor = self.decoder(skips)
        return [logits] if self.decoder.deep_supervision else logits

    @staticmethod
    def initialize(module: nn.Module) -> None:
        """Set Kaiming-uniform weights for ReLU and zero biases (paper, section 2.2.1).

        Args:
            module: nnU-Net calls this for every module of the network; only convolutions are changed.
        """
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_uniform_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


class PublishedUNet(UNet):
    """`UNet` with the published forward pass, for the published weights: on an image that is surrounded by black.

    The margin is as wide as what unpadded convolutions would remove, and the output is cropped back to the image.
    In its training this network always saw black beyond the image. Without the margin its results change near the
    image's edge, where the pectoral muscle lies.
    """

    takes_any_size: Final = True
    """Whether `maseg predict` leaves out padding to the strides, which would shift the image on the pooling grid."""

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        """Run the network, as `UNet.forward`."""
        rows, columns = x.shape[2:]
        more = [self._amid_black(rows) - rows, self._amid_black(columns) - columns]
        top, left = more[0] // 2, more[1] // 2
        output = super().forward(F.pad(x, [left, more[1] - left, top, more[0] - top]))
        middle = (..., slice(top, top + rows), slice(left, left + columns))
        return [level[middle] for level in output] if isinstance(output, list) else output[middle]

    def _amid_black(self, size: int) -> int:
        """The smallest input of which at least `size` pixels are left if every 3x3 convolution removes 2."""
        poolings = len(self.encoder) - 1
        for _ in range(poolings):
            size = -(-(size + 4) // 2)
        for _ in range(poolings):
            size = 2 * (size + 4)
        return size + 4


class _Decoder(nn.Module):
    """The way up. It is a separate module because nnU-Net's trainer sets `network.decoder.deep_supervision`."""

    def __init__(self, features: Sequence[int], classes: int, dropout: float, deep_supervision: bool) -> None:
        super().__init__()
        self.deep_supervision = deep_supervision
        pairs = [(wide, narrow) for narrow, wide in pairwise(features)][::-1]
        self.reduce = nn.ModuleList(nn.Conv2d(wide, narrow, 1) for wide, narrow in pairs)
        self.stages = nn.ModuleList(_double_conv(2 * narrow, narrow) for _, narrow in pairs)
        self.head = nn.Sequential(nn.Conv2d(features[0], classes, 1), nn.Dropout(dropout))

    def forward(self, skips: Sequence[Tensor]) -> Tensor:
        """Logits (N, classes, H, W) from the features of every stage, finest first."""
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
