"""The paper's losses (section 2.2.3) and the ordinary cross-entropy beside them, all from logits.

With p = softmax(logits), y the reference class of a pixel and C classes (Eq. 2)::

    p_t,c = p_c where y = c, else 1 - p_c
    weighted cross-entropy = -sum_c alpha_c log p_t,c                      (Eq. 1)
    weighted focal         = -sum_c alpha_c (1 - p_t,c)^gamma log p_t,c    (Eq. 3)
    plain cross-entropy    = -alpha_y log p_y

each averaged over the pixels; to the last, one minus the soft Dice may be added. So in Eq. 1 and 3 every class counts
in every pixel, as in C binary problems. The paper says that gamma = 1 turns the focal loss into cross-entropy; it is
gamma = 0 that does.

log(1 - p_c) is the log-sum-exp of the other classes' log-probabilities: no probability is ever subtracted from 1 and no
log(0) can occur. All is computed in float32 (float64 where the logits are), whatever autocast is on.

Which loss a trainer takes, and wrapping it for deep supervision, is the trainer's affair.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Final

import torch
from torch import Tensor, nn

from maseg_nnunet.labels import IGNORE, Label

PAPER_ALPHA: Final = (1.0, 1.0, 2.0)
"""Weights of background, breast and pectoral muscle: the winner of the paper's Table 4."""

PAPER_GAMMA: Final = 2.0


class PixelLoss(nn.Module):
    """Mean over the pixels of a loss per pixel; what the three losses share.

    `alpha`: weight of each class. `ignore_label`: nnU-Net's ignore label (`label_manager.ignore_label`); its pixels
    count neither in the sum nor in the mean, and a batch of nothing else gives 0. Called with logits (N, C, ...) of any
    floating type and the reference (N, 1, ...) or (N, ...) of any type; -1, which nnU-Net writes outside a cropped
    case, is background.

    Raises ValueError where logits and alpha, or logits and reference, differ in shape.
    """

    alpha: Tensor

    def __init__(self, alpha: Sequence[float] = PAPER_ALPHA, ignore_label: int | None = None) -> None:
        super().__init__()
        self.register_buffer("alpha", torch.tensor(alpha, dtype=torch.float32))
        self.ignore_label = ignore_label

    def per_pixel(self, log_p: Tensor, is_class: Tensor) -> Tensor:
        """Loss (N, ...) of log-probabilities (N, C, ...) and the one-hot reference (N, C, ...), bool."""
        raise NotImplementedError

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """The scalar loss of a batch, float32 or float64."""
        if target.ndim == logits.ndim:
            target = target.squeeze(1)
        expected = (logits.shape[0], *logits.shape[2:])
        if logits.shape[1] != len(self.alpha) or target.shape != expected:
            raise ValueError(
                f"logits {tuple(logits.shape)} need {len(self.alpha)} classes and a reference {expected}, "
                f"not {tuple(target.shape)}"
            )
        target = torch.where(target == IGNORE, int(Label.BACKGROUND), target).long()
        classes = torch.arange(logits.shape[1], device=target.device)
        is_class = target.unsqueeze(1) == _per_class(classes, logits)
        # .to: autocast would leave bfloat16 as it is on a CPU.
        log_p = torch.log_softmax(logits.to(torch.promote_types(logits.dtype, torch.float32)), dim=1)
        return self.pooled(log_p, is_class, None if self.ignore_label is None else target != self.ignore_label)

    def pooled(self, log_p: Tensor, is_class: Tensor, counts: Tensor | None) -> Tensor:
        """The scalar: the mean of `per_pixel` over the pixels where `counts` (N, ...), bool, or over all."""
        loss = self.per_pixel(log_p, is_class)
        if counts is None:
            return loss.mean()
        return torch.where(counts, loss, 0).sum() / counts.sum().clamp(min=1)

    def extra_repr(self) -> str:
        """Shown in nnU-Net's log and debug.json."""
        return f"alpha={self.alpha.tolist()}, ignore_label={self.ignore_label}"

    def _alpha_like(self, log_p: Tensor) -> Tensor:
        # nnU-Net never moves a loss to a device: the weights follow the logits also where nobody called .to().
        return _per_class(self.alpha.to(log_p.device, log_p.dtype), log_p)


class WeightedCrossEntropy(PixelLoss):
    """Eq. 1: every class counts in every pixel."""

    def per_pixel(self, log_p: Tensor, is_class: Tensor) -> Tensor:
        """See `PixelLoss.per_pixel`."""
        return -(self._alpha_like(log_p) * torch.where(is_class, log_p, log_complement(log_p))).sum(1)


class WeightedFocal(PixelLoss):
    """Eq. 3: Eq. 1 with each term times (1 - p_t,c)^gamma. gamma = 0 (not 1, as the paper has it) is Eq. 1."""

    def __init__(
        self, alpha: Sequence[float] = PAPER_ALPHA, gamma: float = PAPER_GAMMA, ignore_label: int | None = None
    ) -> None:
        super().__init__(alpha, ignore_label)
        self.gamma = gamma

    def per_pixel(self, log_p: Tensor, is_class: Tensor) -> Tensor:
        """See `PixelLoss.per_pixel`."""
        log_rest = log_complement(log_p)
        log_pt = torch.where(is_class, log_p, log_rest)
        log_one_minus_pt = torch.where(is_class, log_rest, log_p)
        return -(self._alpha_like(log_p) * torch.exp(self.gamma * log_one_minus_pt) * log_pt).sum(1)

    def extra_repr(self) -> str:
        """Shown in nnU-Net's log and debug.json."""
        return f"{super().extra_repr()}, gamma={self.gamma}"


class PlainCrossEntropy(PixelLoss):
    """The ordinary form, -alpha_y log p_y: a pixel counts for its own class alone. The mean is over pixels."""

    def per_pixel(self, log_p: Tensor, is_class: Tensor) -> Tensor:
        """See `PixelLoss.per_pixel`."""
        return -(self._alpha_like(log_p) * torch.where(is_class, log_p, 0)).sum(1)


class CrossEntropyAndDice(PlainCrossEntropy):
    """The ordinary cross-entropy plus one minus the mean soft Dice of the classes but background.

    The soft Dice of a class is (2 sum p_c [y = c] + 1) / (sum p_c + sum [y = c] + 1), the sums over all pixels of the
    batch that count: pooled, since many images have no muscle.
    """

    def pooled(self, log_p: Tensor, is_class: Tensor, counts: Tensor | None) -> Tensor:
        """See `PixelLoss.pooled`."""
        p, y = log_p[:, 1:].exp(), is_class[:, 1:].to(log_p.dtype)
        if counts is not None:
            p, y = p * counts.unsqueeze(1), y * counts.unsqueeze(1)
        axes = [0, *range(2, p.ndim)]
        dice = (2 * (p * y).sum(axes) + 1) / (p.sum(axes) + y.sum(axes) + 1)
        return super().pooled(log_p, is_class, counts) + 1 - dice.mean()


def log_complement(log_p: Tensor) -> Tensor:
    """log(1 - p_c) of every class from log-probabilities (N, C, ...), C > 1, without a subtraction."""
    classes = log_p.unbind(1)
    others = (classes[:c] + classes[c + 1 :] for c in range(len(classes)))
    return torch.stack([reduce(torch.logaddexp, rest) for rest in others], dim=1)


def _per_class(values: Tensor, like: Tensor) -> Tensor:
    """`values` (C,) as (1, C, 1, ...) of as many dimensions as `like`."""
    return values.view(1, -1, *[1] * (like.ndim - 2))
