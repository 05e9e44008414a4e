"""Measures seconds per image of the planned networks on a CPU: as nnU-Net runs them, channels-last, and in bfloat16.

    python benchmarks/precision.py [--threads 2] [--repeats 3]

The images show 288 x 237 mm at each plan's spacing. The fastest of the repeats counts.
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Callable

import torch
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
from rich.console import Console
from rich.table import Table

from maseg_nnunet.dataset.planning import load_template, template_names
from maseg_nnunet.models.precision import autocast, cpu_has_bf16, on_device

CPU = torch.device("cpu")
EXTENT = (288, 237)


def seconds(run: Callable[[], object], repeats: int) -> float:
    def once() -> float:
        start = time.perf_counter()
        run()
        return time.perf_counter() - start

    once()
    return min(once() for _ in range(repeats))


def build(name: str) -> torch.nn.Module:
    architecture = load_template(name)["architecture"]
    kwargs, imports = architecture["arch_kwargs"], architecture["_kw_requires_import"]
    network = get_network_from_plans(architecture["network_class_name"], kwargs, imports, 1, 3, deep_supervision=False)
    return network.eval()


@torch.inference_mode()
def row(name: str, repeats: int) -> list[str]:
    spacing = load_template(name)["spacing"]
    # A multiple of 32 suits all templates.
    size = [round(mm / s / 32) * 32 for mm, s in zip(EXTENT, spacing, strict=True)]
    image = torch.rand(1, 1, *size)
    network = build(name)
    plain = seconds(lambda: network(image), repeats)
    network = on_device(copy.deepcopy(network), CPU)
    last = seconds(lambda: network(image), repeats)
    with autocast(CPU):
        fast = seconds(lambda: network(image), repeats)
    return [name, f"{size[0]} x {size[1]}", *(f"{t:.3f}" for t in (plain, last, fast)), f"{plain / fast:.1f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    table = Table(title=f"seconds per image, {options.threads} threads, bfloat16 in hardware: {cpu_has_bf16()}")
    for column in ("plan", "pixels", "float32", "channels-last", "channels-last and autocast", "times faster"):
        table.add_column(column, justify="left" if column == "plan" else "right")
    for name in template_names():
        table.add_row(*row(name, options.repeats))
    Console().print(table)


if __name__ == "__main__":
    main()
