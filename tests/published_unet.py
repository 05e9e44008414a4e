"""The published network, rewritten from the keys of its state dict as an independent reference for `published.py`."""

from __future__ import annotations

from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def twice(a: int, b: int) -> nn.Module:
    net = [
        nn.Conv2d(a, b, 3, padding=1),
        nn.BatchNorm2d(b),
        nn.ReLU(),
        nn.Conv2d(b, b, 3, padding=1),
        nn.BatchNorm2d(b),
    ]
    return nn.Sequential(OrderedDict(net=nn.Sequential(*net, nn.ReLU())))


def one_down(a: int, b: int) -> nn.Module:
    return nn.Sequential(OrderedDict(net=nn.Sequential(nn.MaxPool2d(2), twice(a, b))))


def one_up(a: int, b: int) -> nn.Module:
    doubled = nn.Sequential(nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True), nn.Conv2d(a, b, 1))
    return nn.ModuleDict({"upsample": doubled, "conv": twice(a, b)})


class PublishedUNet(nn.Module):
    """Five stages of `width` to 16 * `width` features. It accepts any image size."""

    def __init__(self, width: int) -> None:
        super().__init__()
        w = [width << n for n in range(5)]
        down = [twice(1, w[0]), *(one_down(w[n], w[n + 1]) for n in range(4))]
        up = [one_up(w[n + 1], w[n]) for n in (3, 2, 1, 0)]
        self.layers = nn.ModuleList([*down, *up, nn.Sequential(nn.Conv2d(w[0], 3, 1), nn.Dropout())])

    def forward(self, x: Tensor) -> Tensor:
        features = []
        for stage in self.layers[:5]:
            x = stage(x)
            features.append(x)
        for stage, skip in zip(self.layers[5:9], features[-2::-1], strict=True):
            x = stage["upsample"](x)
            missing = [skip.shape[-1] - x.shape[-1], skip.shape[-2] - x.shape[-2]]
            x = F.pad(x, [missing[0] // 2, missing[0] - missing[0] // 2, missing[1] // 2, missing[1] - missing[1] // 2])
            x = stage["conv"](torch.cat((skip, x), 1))
        logits: Tensor = self.layers[9](x)
        return logits

    def padded(self, x: Tensor) -> Tensor:
        """The published forward pass: the image is padded with zeros, and the output is cropped back."""
        rows, columns = x.shape[2:]
        more = [valid_input(n) - n for n in (rows, columns)]
        top, left = more[0] // 2, more[1] // 2
        wide = F.pad(x, [left, more[1] - left, top, more[0] - top])
        return self(wide)[:, :, top : top + rows, left : left + columns]


def valid_input(size: int) -> int:
    """The smallest input of which at least `size` pixels are left if every convolution removes 2."""
    for _ in range(4):
        size = -(-(size + 4) // 2)
    for _ in range(4):
        size = (size + 4) * 2
    return size + 4
