from __future__ import annotations

import platform
import subprocess
import sys

import numpy as np
import pytest
import torch

from maseg_nnunet.models import precision
from maseg_nnunet.models.precision import autocast, best_device, cpu_has_bf16, on_device
from maseg_nnunet.network import UNet
from maseg_nnunet.training.losses import WeightedCrossEntropy

CPU = torch.device("cpu")


@pytest.fixture
def bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pretend that the CPU has bfloat16: PyTorch emulates it, so results can be checked on any CPU."""
    monkeypatch.setattr(precision, "cpu_has_bf16", lambda: True)


def picture(radius: float, rows: int = 96, columns: int = 80) -> tuple[torch.Tensor, torch.Tensor]:
    """A noisy breast with a brighter muscle in its corner, (1, 1, H, W), and its labels (1, 1, H, W)."""
    r, c = np.mgrid[:rows, :columns]
    mask = ((r - rows / 2) ** 2 + c**2 < radius**2).astype(np.int64)
    mask[(mask == 1) & (r + c < rows / 2)] = 2
    image = np.array([0.05, 0.4, 0.6])[mask] + np.random.default_rng(int(radius)).normal(0, 0.1, mask.shape)
    return torch.from_numpy(image).float()[None, None], torch.from_numpy(mask)[None, None]


def dice(a: torch.Tensor, b: torch.Tensor, label: int) -> float:
    return 2 * ((a == label) & (b == label)).sum().item() / ((a == label).sum() + (b == label).sum()).item()


def test_masks_in_bfloat16_are_those_in_float32(bf16: None) -> None:
    torch.manual_seed(0)
    network = UNet(1, 3, features_per_stage=(8, 16, 32), dropout=0)
    optimizer = torch.optim.AdamW(network.parameters(), 1e-2)
    batch = [picture(radius) for radius in (30, 40, 50, 60)]
    images, target = (torch.cat(parts) for parts in zip(*batch, strict=True))
    for _ in range(40):
        optimizer.zero_grad()
        WeightedCrossEntropy()(network(images), target).backward()
        optimizer.step()
    network.eval()
    with torch.inference_mode():
        unseen, reference = picture(200, 400, 320)
        exact = network(unseen).argmax(1, keepdim=True)
        with autocast(CPU):
            logits = on_device(network, CPU)(unseen)
    assert logits.dtype == torch.bfloat16
    assert min(dice(exact, reference, label) for label in range(3)) > 0.95  # the network has learnt something
    assert min(dice(exact, logits.argmax(1, keepdim=True), label) for label in range(3)) >= 0.999


def test_the_image_is_not_rounded(bf16: None) -> None:
    torch.manual_seed(0)
    network = on_device(UNet(1, 3, features_per_stage=(8, 16)).eval(), CPU)
    keys = list(network.state_dict())
    seen = []
    first = next(module for module in network.modules() if getattr(module, "in_channels", None) == 1)
    first.register_forward_hook(lambda _, inputs, output: seen.append((inputs[0], output)))
    image = torch.rand(1, 1, 16, 24)
    with torch.no_grad(), autocast(CPU):
        logits = network(image)
    ((given, features),) = seen
    assert features.dtype == torch.float32 and logits.dtype == torch.bfloat16
    assert torch.allclose(features, torch.nn.functional.conv2d(given, first.weight, first.bias, padding=first.padding))
    assert keys == list(UNet(1, 3, features_per_stage=(8, 16)).state_dict())


def test_weights_are_channels_last_and_the_output_follows() -> None:
    network = on_device(UNet(1, 3, features_per_stage=(8, 16)).eval(), CPU)
    assert network.encoder[1][0].weight.is_contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        assert network(torch.rand(1, 1, 16, 24)).is_contiguous(memory_format=torch.channels_last)


def test_a_training_step_in_bfloat16_moves_float32_weights(bf16: None) -> None:
    torch.manual_seed(0)
    network = on_device(UNet(1, 3, features_per_stage=(8, 16), dropout=0), CPU)
    image, target = picture(40)
    exact = WeightedCrossEntropy()(network(image), target)
    with autocast(CPU):
        loss = WeightedCrossEntropy()(network(image), target)
    loss.backward()
    assert loss.item() == pytest.approx(exact.item(), rel=0.01)
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in network.parameters())


def test_a_cpu_without_bfloat16_stays_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "cpu_has_bf16", lambda: False)
    with autocast(CPU), torch.inference_mode():
        assert UNet(1, 3, features_per_stage=(4, 8)).eval()(torch.rand(1, 1, 8, 8)).dtype == torch.float32


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="keep_memory works with glibc only")
@pytest.mark.parametrize(("device", "kept"), [("cpu", True), ("meta", False)])
def test_the_memory_of_one_step_serves_the_next(device: str, kept: bool) -> None:
    faults = subprocess.run(
        [sys.executable, "-c", COUNT_PAGE_FAULTS, device], capture_output=True, text=True, check=True
    ).stdout
    assert (int(faults) < 100) is kept


COUNT_PAGE_FAULTS = """
import resource, sys, torch
from maseg_nnunet.models.precision import keep_memory

def step():
    for _ in range(10):
        torch.empty(2**26, dtype=torch.uint8).fill_(1)

keep_memory(torch.device(sys.argv[1]))
step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.parametrize(
    ("flags", "has"),
    [
        ({"avx512_bf16": True, "avx2": True}, True),
        ({"amx_bf16": True}, True),
        ({"bf16": True, "neon": True}, True),
        ({"avx512_bf16": False, "avx512_f": True}, False),
        ({"architecture": "x86_64"}, False),
    ],
)
def test_the_cpu_is_asked_for_its_instructions(
    monkeypatch: pytest.MonkeyPatch, flags: dict[str, object], has: bool
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: flags, raising=False)
    cpu_has_bf16.cache_clear()
    try:
        assert cpu_has_bf16() is has
    finally:
        cpu_has_bf16.cache_clear()


@pytest.mark.parametrize(("cuda", "mps", "device"), [(True, True, "cuda"), (False, True, "mps"), (False, False, "cpu")])
def test_auto_is_the_fastest_device_that_is_there(
    cuda: bool, mps: bool, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert best_device() == device
