"""Measures seconds per epoch of MasegTrainer and of nnU-Net's own trainer, with the same plan and synthetic data.

    python benchmarks/training_step.py [--plans maseg_lite] [--device cpu] [--iterations 25] [--rounds 3]

The trainers take turns, and the median of the rounds counts. A round is `iterations` training steps with their loading,
extrapolated to an epoch of 250 steps. Validation is left out: the trainers validate on different numbers of patches. On
a CPU MasegTrainer also runs in float32, as if the CPU had no bfloat16, and with its memory given back to the kernel, as
nnU-Net's trainer does. The table shows the share of the time that the steps wait for the loader.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import io
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import SimpleITK as sitk  # noqa: N813
import torch
from rich.console import Console
from rich.table import Table

from maseg_nnunet.dataset.description import dataset_json
from maseg_nnunet.dataset.folders import PREPROCESSED, nnunet_folder
from maseg_nnunet.mammogram import Side, View
from maseg_nnunet.models.precision import keep_memory
from maseg_nnunet.synthetic.phantom import make_phantom

EPOCH = 250
NAME = "Dataset998_Benchmark"


@dataclass
class Timed:
    """A trainer with its loaders running, and its seconds per step in each round; `waiting` is a part of `seconds`."""

    trainer: Any
    float32: bool
    keeps_memory: bool
    seconds: list[float]
    waiting: list[float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plans", default="maseg_lite")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--iterations", type=int, default=25)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as base:
        set_folders(Path(base))
        write_data(Path(base) / "nnUNet_raw" / NAME)
        console = Console()
        with console.status("planning and preprocessing"), quiet():
            from maseg_nnunet.dataset.planning import plan

            plan(998, arguments.plans)
        results = compare(arguments, console)
    reference = statistics.median(results["nnUNetTrainer"].seconds)
    table = Table("trainer", "s an epoch", "of nnU-Net's", "waiting for patches")
    for name, timed in results.items():
        seconds = statistics.median(timed.seconds)
        waiting = sum(timed.waiting) / sum(timed.seconds)
        table.add_row(name, f"{seconds * EPOCH:.1f}", f"{seconds / reference:.2f}", f"{waiting:.0%}")
    console.print(table)


def compare(arguments: argparse.Namespace, console: Console) -> dict[str, Timed]:
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    from maseg_nnunet.trainers.maseg_trainer import MasegTrainer

    device = torch.device(arguments.device)
    choices = {"nnUNetTrainer": (nnUNetTrainer, False, False), "MasegTrainer": (MasegTrainer, False, True)}
    if device.type == "cpu":
        choices["MasegTrainer, float32"] = (MasegTrainer, True, True)
        choices["MasegTrainer, memory given back"] = (MasegTrainer, False, False)
    results = {}
    for name, (kind, float32, keeps_memory) in choices.items():
        with console.status(f"starting {name}"), quiet():
            results[name] = Timed(start(kind, arguments.plans, device), float32, keeps_memory, [], [])
    for number in range(arguments.rounds + 1):
        for name, timed in results.items():
            with console.status(f"round {number}: {name}"), quiet():
                run_round(timed, arguments.iterations, keep=number > 0)
    for timed in results.values():
        with quiet():
            for loader in (timed.trainer.dataloader_train, timed.trainer.dataloader_val):
                getattr(loader, "_finish", lambda: None)()
    return results


def start(kind: type, plans_name: str, device: torch.device) -> Any:
    folder = nnunet_folder(PREPROCESSED) / NAME
    plans = json.loads((folder / f"{plans_name}.json").read_text()) | {"continue_training": False}
    dataset = json.loads((folder / "dataset.json").read_text())
    trainer = kind(plans=plans, configuration="2d", fold=0, dataset_json=dataset, device=device)
    trainer.initialize()
    trainer.dataloader_train, trainer.dataloader_val = trainer.get_dataloaders()
    trainer.set_deep_supervision_enabled(trainer.enable_deep_supervision)
    trainer.network.train()
    return trainer


def run_round(timed: Timed, iterations: int, keep: bool) -> None:
    """Run steps of one trainer. The loaders of the others have filled their queues and sleep."""
    if timed.keeps_memory:
        keep_memory(timed.trainer.device)
    else:
        give_memory_back()
    precision = patch("maseg_nnunet.models.precision.cpu_has_bf16", lambda: not timed.float32)
    with precision if timed.float32 else contextlib.nullcontext():
        begin, waiting = time.perf_counter(), 0.0
        for _ in range(iterations):
            asked = time.perf_counter()
            batch = next(timed.trainer.dataloader_train)
            waiting += time.perf_counter() - asked
            timed.trainer.train_step(batch)
        if keep:
            timed.seconds.append((time.perf_counter() - begin) / iterations)
            timed.waiting.append(waiting / iterations)


def give_memory_back() -> None:
    """Set glibc's thresholds to what it reaches by default (mallopt(3))."""
    if platform.libc_ver()[0] == "glibc":
        # Trim threshold, mmap threshold, maximum number of mappings.
        for parameter, value in ((-1, 2**26), (-3, 2**25), (-4, 2**16)):
            ctypes.CDLL(None).mallopt(parameter, value)


def set_folders(base: Path) -> None:
    for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        os.environ[name] = str(base / name)


def write_data(folder: Path) -> None:
    """Write twelve synthetic mammograms of six women at 0.4 mm. The last woman is for validation."""
    cases = []
    for woman in range(6):
        for side in (Side.LEFT, Side.RIGHT):
            phantom = make_phantom(woman, View.MLO, side, rows=720, columns=592)
            cases.append(f"w{woman}_{side.value}")
            for place, array in (("imagesTr", phantom.image), ("labelsTr", phantom.mask)):
                path = folder / place / f"{cases[-1]}{'_0000' if place == 'imagesTr' else ''}.nii.gz"
                path.parent.mkdir(parents=True, exist_ok=True)
                image = sitk.GetImageFromArray(np.asarray(array))
                image.SetSpacing((0.4, 0.4))
                sitk.WriteImage(image, str(path))
    (folder / "splits_final.json").write_text(json.dumps([{"train": cases[:-2], "val": cases[-2:]}]))
    (folder / "dataset.json").write_text(json.dumps(dataset_json(len(cases))))


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield


if __name__ == "__main__":
    main()
