"""Measures CPU milliseconds per training patch of our augmentation, nnU-Net's default and albumentations, one thread.

    python benchmarks/augmentation.py [--rows 720 --columns 592] [--patch 512] [--patches 200]

Each starts with one preprocessed case in memory (float32 and int8, as nnU-Net's dataset returns them) and ends with a
patch of image and labels. nnU-Net applies most of its default transforms to some patches only, so means are compared.
albumentations runs the paper's steps one after another (rotation, elastic deformation with sigma 100, crop, gamma,
noise; version 2 no longer has the affine part). It is skipped unless it is installed:

    pip install --no-deps --target DIR albumentations==2.0.8 albucore==0.0.24 stringzilla simsimd
    PYTHONPATH=DIR python benchmarks/augmentation.py
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable

import cv2
import numpy as np
import torch
from acvl_utils.cropping_and_padding.bounding_boxes import crop_and_pad_nd
from nnunetv2.training.data_augmentation.compute_initial_patch_size import get_patch_size
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from rich.console import Console
from rich.table import Table

from maseg_nnunet.synthetic.phantom import make_phantom
from maseg_nnunet.training.augmentation import Recipe, change_gray, place, sample, source_box
from maseg_nnunet.training.lut_jitter import random_gray
from maseg_nnunet.voi import CaseLuts, Function, LookUpTable

CURVE = (4095 / (1 + np.exp(-(np.arange(4096) - 2000) / 300))).astype(int)
LUTS = {
    "windows": (
        LookUpTable("NORMAL", Function.LINEAR, 2000.0, 1500.0),
        LookUpTable("", Function.LINEAR, 2100.0, 900.0),
    ),
    "sigmoids": (
        LookUpTable("NORMAL", Function.SIGMOID, 2000.0, 1500.0),
        LookUpTable("", Function.SIGMOID, 2100.0, 900.0),
    ),
    "tables": (
        LookUpTable("NORMAL", Function.TABLE, first=0, bits=12, values=CURVE),
        LookUpTable("", Function.TABLE, first=0, bits=12, values=CURVE[::-1][::-1] // 2 + 1024),
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=720)
    parser.add_argument("--columns", type=int, default=592)
    parser.add_argument("--patch", type=int, default=512)
    parser.add_argument("--patches", type=int, default=200)
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    phantom = make_phantom(1, rows=arguments.rows, columns=arguments.columns)
    image, labels = phantom.image[None, None], phantom.mask.astype(np.int8)[None, None]
    size = (arguments.patch, arguments.patch)

    nnunet = mean_ms(nnunet_default(image, labels, size), arguments.patches)
    ours = {
        name: mean_ms(paper(image, labels, size, CaseLuts(False, 0, luts)), arguments.patches)
        for name, luts in LUTS.items()
    }
    table = Table("augmentation", "ms a patch", "of nnU-Net's", title=f"{size} from {image.shape[2:]}, one thread")
    table.add_row("nnU-Net's default", f"{nnunet:.2f}", "1.00")
    for name, milliseconds in ours.items():
        table.add_row(f"maseg-nnunet, {name}", f"{milliseconds:.2f}", f"{milliseconds / nnunet:.2f}")
    console = Console()
    try:
        steps = albumentations(image, labels, size)
    except ImportError:
        console.print("albumentations is not installed: see the top of this file.")
    else:
        slow = mean_ms(steps, max(5, arguments.patches // 20))
        table.add_row("albumentations", f"{slow:.2f}", f"{slow / nnunet:.2f}")
        console.print(f"albumentations takes {slow / max(ours.values()):.0f} times as long as our slowest.")
    console.print(table)


def mean_ms(function: Callable[[], object], repeats: int) -> float:
    for _ in range(3):
        function()
    # CPU time: with one thread it does not depend on what else runs.
    start = time.process_time()
    for _ in range(repeats):
        function()
    return (time.process_time() - start) / repeats * 1e3


def paper(image: np.ndarray, labels: np.ndarray, size: tuple[int, int], luts: CaseLuts) -> Callable[[], object]:
    recipe, rng = Recipe(), np.random.Generator(np.random.SFC64(0))

    def patch() -> object:
        placement = place(image.shape[-2:], size, recipe, rng)
        box = source_box(placement)
        gray = random_gray(image[0, 0, box[0], box[1]], luts, recipe.lut_jitter, rng)
        warped, classes = sample(gray, labels[0, 0, box[0], box[1]], placement, box)
        return change_gray(warped, recipe, rng), classes

    return patch


def nnunet_default(image: np.ndarray, labels: np.ndarray, size: tuple[int, int]) -> Callable[[], object]:
    """nnUNetTrainer's augmentation and loader of a square 2D patch: all angles, scales 0.7-1.4, both mirrorings."""
    rotation = (-np.pi, np.pi)
    initial = get_patch_size(list(size), rotation, rotation, rotation, (0.85, 1.25))
    transforms = nnUNetTrainer.get_training_transforms(
        np.array(size), rotation, None, (0, 1), False, use_mask_for_norm=[False], foreground_labels=[1, 2]
    )
    rng = np.random.default_rng(0)

    def patch() -> object:
        box = [[0, 1]]
        for whole, wanted, final in zip(image.shape[2:], initial, size, strict=True):
            pad = max(int(wanted) - final, int(wanted) - whole)
            start = int(rng.integers(-(pad // 2), whole + pad // 2 + pad % 2 - int(wanted) + 1))
            box.append([start, start + int(wanted)])
        data = torch.from_numpy(crop_and_pad_nd(image, box, 0)).float()[:, 0]
        target = torch.from_numpy(crop_and_pad_nd(labels, box, -1, cast_cropped_to=np.int16))[:, 0]
        with torch.no_grad():
            return transforms(image=data, segmentation=target)

    return patch


def albumentations(image: np.ndarray, labels: np.ndarray, size: tuple[int, int]) -> Callable[[], object]:
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
    import albumentations as A

    steps = A.Compose(
        [
            A.HorizontalFlip(p=0.5),
            A.Rotate(limit=5, border_mode=cv2.BORDER_CONSTANT, p=1),
            A.ElasticTransform(alpha=1, sigma=100, border_mode=cv2.BORDER_CONSTANT, p=1),
            A.Pad(size[0] // 8, p=1),
            A.RandomCrop(*size, p=1),
            A.RandomGamma((50, 150), p=1),
            A.GaussNoise(std_range=(0.05, 0.05), p=1),
        ]
    )
    plain, mask = np.ascontiguousarray(image[0, 0]), np.ascontiguousarray(labels[0, 0].astype(np.uint8))
    return lambda: steps(image=plain, mask=mask)


if __name__ == "__main__":
    main()
