from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from maseg_nnunet.training.losses import (
    CrossEntropyAndDice,
    PixelLoss,
    PlainCrossEntropy,
    WeightedCrossEntropy,
    WeightedFocal,
)

ALPHA = (1.0, 1.0, 2.0)


def reference(kind: str, logits: np.ndarray, target: np.ndarray, alpha: tuple[float, ...], gamma: float) -> float:
    """Eq. 1 to 3 written down pixel by pixel in float64, with probabilities and without log-sum-exp."""
    total, pixels = 0.0, 0
    overlap, sizes = np.zeros(len(alpha)), np.zeros(len(alpha))
    for n, r, c in np.ndindex(target.shape):
        z = logits[n, :, r, c].astype(np.longdouble)
        e = np.exp(z - z.max())
        p = e / e.sum()
        pixels += 1
        for k, weight in enumerate(alpha):
            here = target[n, r, c] == k
            p_t = p[k] if here else e[np.arange(len(e)) != k].sum() / e.sum()
            one_minus = 1 - p_t if here else p[k]
            overlap[k] += p[k] * here
            sizes[k] += p[k] + here
            if kind in ("plain", "dice"):
                total -= float(weight * np.log(p_t)) if here else 0.0
            else:
                total -= float(weight * (one_minus**gamma if kind == "focal" else 1) * np.log(p_t))
    missing = 1 - float(np.mean((2 * overlap[1:] + 1) / (sizes[1:] + 1))) if kind == "dice" else 0.0
    return total / pixels + missing


def make(kind: str, gamma: float = 2.0, **options: object) -> PixelLoss:
    if kind == "focal":
        return WeightedFocal(ALPHA, gamma, **options)  # type: ignore[arg-type]
    losses = {"weighted": WeightedCrossEntropy, "plain": PlainCrossEntropy, "dice": CrossEntropyAndDice}
    return losses[kind](ALPHA, **options)  # type: ignore[arg-type]


KINDS = pytest.mark.parametrize("kind", ["weighted", "focal", "plain", "dice"])


@KINDS
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), scale=st.sampled_from([0.1, 1.0, 5.0]))
def test_values_and_gradients_follow_the_equations(kind: str, seed: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, scale, (2, 3, 3, 2))
    target = rng.integers(0, 3, (2, 3, 2))
    tensor = torch.tensor(logits, dtype=torch.float32, requires_grad=True)
    loss = make(kind)(tensor, torch.from_numpy(target))
    loss.backward()
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(
        reference(kind, tensor.detach().numpy(), target, ALPHA, 2.0), rel=2e-5, abs=1e-6
    )

    place = tuple(rng.integers(0, n) for n in logits.shape)
    step = 1e-4
    ends = []
    for sign in (-1, 1):
        moved = tensor.detach().numpy().astype(np.float64)
        moved[place] += sign * step
        ends.append(reference(kind, moved, target, ALPHA, 2.0))
    assert tensor.grad is not None
    assert tensor.grad[place].item() == pytest.approx((ends[1] - ends[0]) / (2 * step), rel=1e-3, abs=1e-6)


@KINDS
def test_gradients_in_double_precision(kind: str) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn((1, 3, 2, 2), generator=generator, dtype=torch.float64, requires_grad=True)
    target = torch.randint(0, 3, (1, 1, 2, 2), generator=generator)
    assert torch.autograd.gradcheck(make(kind), (logits, target))


@KINDS
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_extreme_logits_stay_finite(kind: str, dtype: torch.dtype) -> None:
    rows = [[1e4, -1e4, 0.0], [-1e4, 1e4, 1e4], [1e4, 1e4, 1e4], [-1e4, -1e4, -1e4], [0.0, 0.0, 1e4]]
    logits = torch.tensor(rows, dtype=dtype)[:, :, None, None].repeat(3, 1, 1, 1).requires_grad_()
    target = torch.arange(3).repeat_interleave(5)[:, None, None]
    loss = make(kind)(logits, target)
    loss.backward()
    assert logits.grad is not None
    assert torch.isfinite(loss) and torch.isfinite(logits.grad).all()
    assert loss.item() > 100  # a wrong pixel at 1e4 costs thousands; it is not clipped away


@KINDS
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_logits_under_autocast_lose_nothing_more(kind: str, dtype: torch.dtype) -> None:
    logits = torch.randn((2, 3, 8, 8), generator=torch.Generator().manual_seed(1)).to(dtype)
    target = torch.randint(0, 3, (2, 8, 8), generator=torch.Generator().manual_seed(2))
    exact = make(kind)(logits.double(), target)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = make(kind)(logits, target)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(exact.item(), rel=1e-5)


def test_a_certain_and_right_pixel_costs_nothing_and_every_class_counts_in_a_wrong_one() -> None:
    logits = torch.tensor([30.0, 0.0, 0.0]).view(1, 3, 1, 1)
    right, wrong = torch.zeros(1, 1, 1), torch.full((1, 1, 1), 2)
    assert WeightedCrossEntropy(ALPHA)(logits, right).item() == pytest.approx(0, abs=1e-6)
    # -log p_2 = 30 weighs 2 and -log(1 - p_0) = 30 - log 2 weighs 1; the ordinary form has the first alone.
    assert WeightedCrossEntropy(ALPHA)(logits, wrong).item() == pytest.approx(90 - np.log(2), rel=1e-5)
    assert PlainCrossEntropy(ALPHA)(logits, wrong).item() == pytest.approx(60, rel=1e-5)


def test_gamma_0_is_cross_entropy_and_gamma_1_is_not() -> None:
    logits = torch.randn((1, 3, 4, 4), generator=torch.Generator().manual_seed(3))
    target = torch.randint(0, 3, (1, 4, 4), generator=torch.Generator().manual_seed(4))
    expected = WeightedCrossEntropy(ALPHA)(logits, target).item()
    assert WeightedFocal(ALPHA, gamma=0)(logits, target).item() == pytest.approx(expected, rel=1e-6)
    assert WeightedFocal(ALPHA, gamma=1)(logits, target).item() < 0.9 * expected


@KINDS
def test_outside_is_background_and_the_shapes_nnunet_has_are_taken(kind: str) -> None:
    logits = torch.randn((2, 3, 4, 5), generator=torch.Generator().manual_seed(5))
    target = torch.randint(0, 3, (2, 1, 4, 5), generator=torch.Generator().manual_seed(6))
    outside = torch.where(target == 0, -1, target)
    loss = make(kind)
    expected = loss(logits, target)
    assert torch.equal(loss(logits, outside.to(torch.int16)), expected)
    assert torch.equal(loss(logits, outside[:, 0].float()), expected)


@KINDS
def test_ignored_pixels_count_neither_in_the_sum_nor_in_the_mean(kind: str) -> None:
    logits = torch.randn((1, 3, 4, 6), generator=torch.Generator().manual_seed(7), requires_grad=True)
    target = torch.randint(0, 3, (1, 1, 4, 6), generator=torch.Generator().manual_seed(8))
    ignored = target.clone()
    ignored[..., 3:] = 3
    loss = make(kind, ignore_label=3)
    value = loss(logits, ignored)
    assert value.item() == pytest.approx(make(kind)(logits[..., :3], target[..., :3]).item(), rel=1e-6)
    (gradient,) = torch.autograd.grad(value, logits)
    assert (gradient[..., 3:] == 0).all() and (gradient[..., :3] != 0).any()
    nothing = loss(logits, torch.full_like(target, 3))
    assert nothing.item() == 0


def test_weights_follow_the_logits() -> None:
    loss = WeightedCrossEntropy(ALPHA)
    assert [name for name, _ in loss.named_buffers()] == ["alpha"]
    value = loss(torch.zeros((1, 3, 2, 2), device="meta"), torch.zeros((1, 2, 2), device="meta"))
    assert value.device.type == "meta"
    assert loss.to("meta").alpha.device.type == "meta"


def test_deep_supervision_wraps_it_as_nnunet_does() -> None:
    from nnunetv2.training.loss.deep_supervision import DeepSupervisionWrapper

    generator = torch.Generator().manual_seed(9)
    logits = [torch.randn((1, 3, n, n), generator=generator) for n in (8, 4)]
    target = [torch.randint(0, 3, (1, 1, n, n), generator=generator) for n in (8, 4)]
    loss = WeightedCrossEntropy(ALPHA)
    wrapped = DeepSupervisionWrapper(loss, [0.75, 0.25])(logits, target)
    expected = 0.75 * loss(logits[0], target[0]) + 0.25 * loss(logits[1], target[1])
    assert wrapped.item() == pytest.approx(expected.item())


@pytest.mark.parametrize("shape", [(1, 2, 4, 4), (1, 3, 4, 5)])
def test_shapes_that_do_not_fit_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="need 3 classes"):
        WeightedCrossEntropy(ALPHA)(torch.zeros(shape), torch.zeros((1, 1, 4, 4)))
