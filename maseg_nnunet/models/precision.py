"""Running a network fast without changing its masks: number precision, memory layout, freed memory that is kept.

For inference and the training step alike::

    network = on_device(network, device)
    with autocast(device):
        logits = network(images)
    loss(logits, target)    # the losses of this project compute in float32 whatever they are given

A CPU with bfloat16 instructions runs bfloat16, another CPU float32, and a GPU float16, as in nnU-Net. The image itself
is never rounded: its first convolution runs in float32, because rounding the image caused nearly all of the difference
between masks in bfloat16 and in float32 (`benchmarks/precision.py`, docs/experiments.md). Nothing here sets the number
of threads.
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
"""From glibc's malloc.h."""

_BF16_FLAGS: Final = frozenset({"avx512_bf16", "amx_bf16", "sve_bf16", "svebf16", "bf16"})


@lru_cache(maxsize=1)
def cpu_has_bf16() -> bool:
    """Whether this CPU has bfloat16 instructions. Without them PyTorch emulates bfloat16, slower than float32."""
    capabilities = getattr(torch.cpu, "get_capabilities", None)
    if capabilities is not None:
        return any(capabilities().get(flag) is True for flag in _BF16_FLAGS)
    cpuinfo = Path("/proc/cpuinfo")  # older PyTorch; if the file does not exist, float32 is the safe choice
    return cpuinfo.is_file() and not _BF16_FLAGS.isdisjoint(
        cpuinfo.read_text(encoding="ascii", errors="ignore").split()
    )


def best_device() -> str:
    """The device that "auto" stands for: cuda or mps if there is one, else cpu."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def autocast_dtype(device: torch.device) -> torch.dtype:
    """The number format of a network on `device`: float16 on a GPU, bfloat16 on a CPU that has it, else float32."""
    if device.type == "cuda":
        return torch.float16
    return torch.bfloat16 if device.type == "cpu" and cpu_has_bf16() else torch.float32


def autocast(device: torch.device) -> AbstractContextManager[Any]:
    """The context to run a network in on `device`: autocast to `autocast_dtype`, none if that is float32."""
    dtype = autocast_dtype(device)
    return nullcontext() if dtype is torch.float32 else torch.autocast(device.type, dtype=dtype)


def keep_memory(device: torch.device) -> None:
    """Let this process keep the memory that it frees, if the network runs on a CPU under glibc.

    Every training step allocates arrays of the same sizes. glibc returns large ones, such as a batch of feature maps,
    to the kernel, which clears their pages again at the next step (`benchmarks/training_step.py`). The setting lasts
    until the process ends (mallopt(3)). Inference does not use it, because it runs inside other people's processes.

    Args:
        device: The device of the training.
    """
    if device.type == "cpu" and platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_MAX, 0)
        libc.mallopt(_M_TRIM_THRESHOLD, -1)


class _Float32Conv2d(nn.Conv2d):
    """A convolution that computes in float32 even under autocast."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Feature maps in float32."""
        # PyTorch before 2.5 does not support autocast on other devices. `autocast` does not use it there either.
        kind = images.device.type
        with torch.autocast(kind, enabled=False) if kind in ("cpu", "cuda") else nullcontext():
            return super().forward(images.float())


def on_device(network: Network, device: torch.device) -> Network:
    """Move a network to a device with channels-last weights and a first convolution that runs in float32.

    PyTorch converts the input to the memory layout of the weights, so the caller does not need to.

    Args:
        network: The network; it is changed in place.
        device: The device to run on.

    Returns:
        `network`.
    """
    for module in network.modules():
        if type(module) is nn.Conv2d and module.in_channels == 1:
            module.__class__ = _Float32Conv2d
    moved: Network = network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return moved
