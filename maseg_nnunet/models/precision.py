"""How a network runs fastest on a device without changing what it computes: precision, memory layout, kept memory.

For inference and the training step alike::

    network = on_device(network, device)
    with autocast(device):
        logits = network(images)
    loss(logits, target)    # the losses of this project compute in float32 whatever they are given

The image itself is never rounded: its first convolution runs in float32, which costs nothing measurable. In bfloat16 it
made nearly all of the difference: masks of the packaged model on nine films and digital mammograms agreed with those
in float32 to a muscle Dice of 0.987 on average and 0.941 at worst, and so to 0.9997 and 0.9993. On two cores with
AVX-512 BF16 the paper's network needs 1.8 s for 720 x 592 pixels so, and 4.4 s in float32 with nnU-Net's own layout
(`benchmarks/precision.py`). On a CPU without such instructions bfloat16 is emulated and off. A GPU runs float16, as in
nnU-Net. The thread count is the caller's: nothing here sets it.
"""

from __future__ import annotations

import ctypes
import platform
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, TypeVar

import torch
from torch import nn

Network = TypeVar("Network", bound=nn.Module)

_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_MAX: Final = -4
"""Of glibc's malloc.h."""

_BF16_FLAGS: Final = frozenset({"avx512_bf16", "amx_bf16", "sve_bf16", "svebf16", "bf16"})


@lru_cache(maxsize=1)
def cpu_has_bf16() -> bool:
    """Whether this CPU multiplies bfloat16 in hardware. PyTorch emulates it elsewhere, slower than float32."""
    capabilities = getattr(torch.cpu, "get_capabilities", None)
    if capabilities is not None:
        return any(capabilities().get(flag) is True for flag in _BF16_FLAGS)
    cpuinfo = Path("/proc/cpuinfo")  # older PyTorch; where there is no such file, float32 is the safe answer
    return cpuinfo.is_file() and not _BF16_FLAGS.isdisjoint(
        cpuinfo.read_text(encoding="ascii", errors="ignore").split()
    )


def autocast(device: torch.device) -> AbstractContextManager[Any]:
    """The precision to run a network in on `device`: bfloat16 on a CPU that has it, float16 on a GPU, else as it is."""
    if device.type == "cuda":
        return torch.autocast("cuda")
    if device.type == "cpu" and cpu_has_bf16():
        return torch.autocast("cpu", dtype=torch.bfloat16)
    return nullcontext()


def keep_memory(device: torch.device) -> None:
    """Have this process keep the memory that it frees, where the network runs on a CPU under glibc.

    Each step of a training needs the arrays of the step before again. Those of over 32 MiB, which a batch of feature
    maps has, glibc would give back to the kernel, which clears all of their pages anew: 290,000 of them in a step of
    maseg_lite. What that saves, `benchmarks/training_step.py` tells. It holds for the process to its end (mallopt(3)),
    so it is no part of inference, which others call from theirs.
    """
    if device.type == "cpu" and platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_MAX, 0)
        libc.mallopt(_M_TRIM_THRESHOLD, -1)


class _Float32Conv2d(nn.Conv2d):
    """A convolution that computes in float32 under autocast too."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Feature maps in float32."""
        # PyTorch below 2.5 knows no autocast on other devices, where none is on anyway (see `autocast`).
        kind = images.device.type
        with torch.autocast(kind, enabled=False) if kind in ("cpu", "cuda") else nullcontext():
            return super().forward(images.float())


def on_device(network: Network, device: torch.device) -> Network:
    """`network` moved to `device`, its weights channels-last, the convolution that sees the image in float32.

    The layout of the input follows that of the weights by itself.
    """
    for module in network.modules():
        if type(module) is nn.Conv2d and module.in_channels == 1:
            module.__class__ = _Float32Conv2d
    moved: Network = network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return moved
