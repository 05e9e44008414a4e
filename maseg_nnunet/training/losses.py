"""The paper's losses (section 2.2.3) and the ordinary cross-entropy, all from logits.

With p = softmax(logits), y the reference class of a pixel and C classes::

    p_t,c = p_c if y = c, else 1 - p_c                                     (Eq. 2)
    weighted cross-entropy = -sum_c alpha_c log p_t,c                      (Eq. 1)
    weighted focal         = -sum_c alpha_c (1 - p_t,c)^gamma log p_t,c    (Eq. 3)
    plain cross-entropy    = -alpha_y log p_y

Each is averaged over the pixels. One minus the soft Dice may be added to the last. In Eq. 1 and 3 every class counts in
every pixel, as in C binary problems. The paper says that gamma = 1 turns the focal loss into cross-entropy, but gamma =
0 does.

log(1 - p_c) is the log-sum-exp of the other classes' log-probabilities. No probability is subtracted from 1, so log(0)
can't occur. Losses are computed in float32, or in float64 if the logits are float64, even under autocast.

A trainer chooses the loss and wraps it for deep supervision.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Final

import torch
from torch import Tensor, nn

from maseg_nnunet.labels import IGNORE, Label

PAPER_ALPHA: Final = (1.0, 1.0, 2.0)
"""Weights of background, breast and pectoral muscle: the best of the paper's Table 4."""

PAPER_GAMMA: Final = 2.0
"""Exponent of the focal loss (section 2.2.3)."""


class PixelLoss(nn.Module):
    """Base of the losses: the mean over the pixels of a loss per pixel.

    Args:
        alpha: Weight of each class, length C.
        ignore_label: nnU-Net's ignore label (`label_manager.ignore_label`), None if there is none. Its pixels count
            neither in the sum nor in the mean. The loss of a batch in which all pixels are ignored is 0.

    Attributes:
        alpha: The weights, float32 (C,), a buffer.
        ignore_label: As given.
    """

    alpha: Tensor

    def __init__(self, alpha: Sequence[float] = PAPER_ALPHA, ignore_label: int | None = None) -> None:
        super().__init__()
        self.register_buffer("alpha", torch.tensor(alpha, dtype=torch.float32))
        self.ignore_label = ignore_label

    def per_pixel(self, log_p: Tensor, is_class: Tensor) -> Tensor:
        """The loss of every pixel.

        Args:
            log_p: Log-probabilities, float32 or float64 (N, C, ...).
            is_class: One-hot reference, bool (N, C, ...).

        Returns:
            Shape (N, ...), the dtype of `log_p`.
        """
        raise NotImplementedError

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """The loss of a batch.

        Args:
            logits: Shape (N, C, ...), any floating type.
            target: Reference classes, shape (N, 1, ...) or (N, ...), any type. `IGNORE` (-1), which nnU-Net writes
                outside a cropped case, counts as background.

        Returns:
            A scalar, float64 if the logits are, else float32.

        Raises:
            ValueError: If the logits do not have C classes, or if logits and target differ in shape.
        """
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
        # On a CPU, autocast would leave bfloat16 as it is.
        log_p = torch.log_softmax(logits.to(torch.promote_types(logits.dtype, torch.float32)), dim=1)
        return self.pooled(log_p, is_class, None if self.ignore_label is None else target != self.ignore_label)

    def pooled(self, log_p: Tensor, is_class: Tensor, counts: Tensor | None) -> Tensor:
        """The mean of `per_pixel`.

        Args:
            log_p: Log-probabilities, float32 or float64 (N, C, ...).
            is_class: One-hot reference, bool (N, C, ...).
            counts: Which pixels count, bool (N, ...); None for all.

        Returns:
            A scalar.
        """
        loss = self.per_pixel(log_p, is_class)
        if counts is None:
            return loss.mean()
        return torch.where(counts, loss, 0).sum() / counts.sum().clamp(min=1)

    def extra_repr(self) -> str:
        """The settings, for nnU-Net's log and debug.json."""
        return f"alpha={self.alpha.tolist()}, ignore_label={self.ignore_label}"

    def _alpha_like(self, log_p: Tensor) -> Tensor:
        # nnU-Net never moves a loss to a device, so the weights follow the logits.
        return _per_class(self.alpha.to(log_p.device, log_p.dtype), log_p)


class WeightedCrossEntropy(PixelLoss):
    """The paper's weighted cross-entropy, Eq. 1: every class counts in every pixel."""

    def per_pixel(self, log_p: Tensor, is_class: Tensor) -> Tensor:
        """See `PixelLoss.per_pixel`."""
        return -(self._alpha_like(log_p) * torch.where(is_class, log_p, log_complement(log_p))).sum(1)


class WeightedFocal(PixelLoss):
    """The paper's weighted focal loss, Eq. 3: each term of Eq. 1 times (1 - p_t,c)^gamma.

    Args:
        alpha: Weight of each class, length C.
        gamma: Exponent. With 0 the loss is Eq. 1; the paper says 1.
        ignore_label: See `PixelLoss`.
    """

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
        """The settings, for nnU-Net's log and debug.json."""
        return f"{super().extra_repr()}, gamma={self.gamma}"


class PlainCrossEntropy(PixelLoss):
    """The ordinary cross-entropy, -alpha_y log p_y: a pixel counts only for its own class.

    The mean is over pixels, not weighted by alpha as in PyTorch.
    """

    def per_pixel(self, log_p: Tensor, is_class: Tensor) -> Tensor:
        """See `PixelLoss.per_pixel`."""
        return -(self._alpha_like(log_p) * torch.where(is_class, log_p, 0)).sum(1)


class CrossEntropyAndDice(PlainCrossEntropy):
    """The ordinary cross-entropy plus one minus the mean soft Dice of the classes except background.

    The soft Dice of a class is (2 sum p_c [y = c] + 1) / (sum p_c + sum [y = c] + 1). The sums are over all pixels of
    the batch that count, because many images have no muscle.
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
    """log(1 - p_c) of every class, without a subtraction.

    Args:
        log_p: Log-probabilities (N, C, ...), C > 1.

    Returns:
        The same shape and dtype.
    """
    classes = log_p.unbind(1)
    others = (classes[:c] + classes[c + 1 :] for c in range(len(classes)))
    return torch.stack([reduce(torch.logaddexp, rest) for rest in others], dim=1)


def _per_class(values: Tensor, like: Tensor) -> Tensor:
    """`values` (C,) as (1, C, 1, ...) of as many dimensions as `like`."""
    return values.view(1, -1, *[1] * (like.ndim - 2))
