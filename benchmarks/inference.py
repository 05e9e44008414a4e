"""Measures seconds per image and memory of `maseg predict` against nnU-Net's stock route, on the CPU.

    python benchmarks/inference.py [--plan maseg_lite --plan maseg_paper] [--files 8] [--skip-stock]

The files are uncompressed DICOM phantoms of 4096 x 3328 pixels of 0.065 mm. The stock route is convert_vendor,
nnUNetv2_predict with its defaults (mirroring, pools) or with --disable_tta, and maseg export. `maseg predict` writes
the same NIfTI masks, cleaned up. The weights are set by hand and compare gray values with thresholds: the time does not
depend on the weights, and the masks look like masks. The floor is what every program must do: start, decode the files
and run the network, each measured alone, the network with all cores. Memory is the peak of the largest process.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from pydicom import dcmread
from torch import nn

from maseg_nnunet.dataset.description import dataset_json
from maseg_nnunet.dataset.folders import trainers_folder
from maseg_nnunet.dataset.planning import fill, load_template
from maseg_nnunet.files import write_json
from maseg_nnunet.mammogram import Side, View
from maseg_nnunet.models.folder import checkpoint_of
from maseg_nnunet.models.model import build_network
from maseg_nnunet.prediction.segmenter import Segmenter
from maseg_nnunet.readers import read_mammogram
from maseg_nnunet.synthetic.phantom_dicom import write_exam

ROWS, COLUMNS, SPACING = 4096, 3328, 0.065
TRAINER = "MasegTrainer"
DATASET = "Dataset500_Maseg"
FINGERPRINT: dict[str, Any] = {
    "spacings": [[399.6, 0.4, 0.4]],
    "shapes_after_crop": [[1, 666, 541]],
    "foreground_intensity_properties_per_channel": {"0": {}},
}
BREAST, MUSCLE = 0.08, 0.85
STEEPNESS = 8.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plan", action="append", help="plan templates [default: maseg_lite and maseg_paper]")
    parser.add_argument("--files", type=int, default=8)
    parser.add_argument("--skip-stock", action="store_true", help="measure only maseg predict and the floor")
    options = parser.parse_args()
    print(
        f"{options.files} files of {ROWS} x {COLUMNS}, {len(os.sched_getaffinity(0))} cores, torch {torch.__version__}"
    )
    with tempfile.TemporaryDirectory() as scratch:
        exams = make_exams(Path(scratch) / "exams", options.files)
        for plan in options.plan or ["maseg_lite", "maseg_paper"]:
            base = Path(scratch) / plan
            model = make_model(base, plan)
            print(f"\n{plan}")
            report(measure(base, model, exams, plan, stock=not options.skip_stock), options.files)


def make_exams(folder: Path, count: int) -> Path:
    """Write `count` processed mammograms of full size to `folder`."""
    made: list[Path] = []
    seed = 0
    while len(made) < count:
        sides, views = (Side.LEFT, Side.RIGHT), (View.CC, View.MLO)
        made += [
            image for image, _ in write_exam(folder, "hologic", seed, scale=0.5, raw=False, sides=sides, views=views)
        ]
        seed += 1
    for path in made[count:]:
        path.unlink()
    for path in made[:count]:
        dataset = dcmread(path)
        pixels = cv2.resize(dataset.pixel_array, (COLUMNS, ROWS), interpolation=cv2.INTER_CUBIC)
        dataset.Rows, dataset.Columns = pixels.shape
        dataset.ImagerPixelSpacing = [SPACING, SPACING]
        dataset.PixelData = np.clip(pixels, 0, 4095).astype("<u2").tobytes()
        dataset.save_as(path)
    return folder / "images"


def make_model(base: Path, plan: str) -> Path:
    """Write a model folder to `base`/nnUNet_results, where nnU-Net looks for it."""
    template = load_template(plan)
    network = build_network(plan, template["architecture"])
    set_thresholds(network)
    dataset = dataset_json(1, settings={"target_spacing": 0.4})
    folder = base / "nnUNet_results" / DATASET / f"{TRAINER}__{plan}__2d"
    (folder / "fold_0").mkdir(parents=True)
    for name in ("nnUNet_raw", "nnUNet_preprocessed"):
        (base / name).mkdir()
    checkpoint = checkpoint_of(network.state_dict(), trainer=TRAINER, mirroring=(1,))
    torch.save(checkpoint, folder / "fold_0" / "checkpoint_final.pth")
    write_json(folder / "dataset.json", dataset)
    write_json(folder / "dataset_fingerprint.json", FINGERPRINT)
    write_json(folder / "plans.json", fill(template, plan, DATASET, dataset, FINGERPRINT))
    return folder


def set_thresholds(network: nn.Module) -> None:
    """Let the image pass through the first feature of the finest stage. All other weights become zero."""
    convolutions = {name: module for name, module in network.named_modules() if isinstance(module, nn.Conv2d)}
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.zeros_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    if hasattr(network.encoder, "stages"):  # nnU-Net's PlainConvUNet: the skip comes after the upsampled features
        encoder, decoder = "encoder.stages.0", f"decoder.stages.{len(network.decoder.stages) - 1}"
        head = network.decoder.seg_layers[-1]
        skip = head.weight.shape[1]
    else:
        encoder, decoder = "encoder.0", f"decoder.stages.{len(network.decoder.stages) - 1}"
        head = network.decoder.head[0]
        skip = 0
    passing = [found for name, found in convolutions.items() if name.startswith((f"{encoder}.", f"{decoder}."))]
    with torch.no_grad():
        for module in dict.fromkeys(passing):
            wide = module.in_channels > module.out_channels
            module.weight[0, skip if wide else 0, 1, 1] = 1
        head.weight[1, 0], head.bias[1] = STEEPNESS, -STEEPNESS * BREAST
        head.weight[2, 0], head.bias[2] = 2 * STEEPNESS, -STEEPNESS * (BREAST + MUSCLE)


@dataclass(frozen=True)
class Figure:
    """Seconds for all files, and the peak memory of the largest process in GiB."""

    seconds: float
    memory: float = float("nan")

    def __add__(self, other: Figure) -> Figure:
        return Figure(self.seconds + other.seconds, max(self.memory, other.memory))


def run(base: Path, *arguments: str | Path) -> Figure:
    """Run a command with nnU-Net's folders below `base`."""
    environment = {name: str(base / name) for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")}
    environment["nnUNet_extTrainer"] = str(trainers_folder())
    executable = Path(sys.executable).with_name(str(arguments[0]))
    begin = time.perf_counter()
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            [executable, *arguments[1:]], env=os.environ | environment, stdout=subprocess.DEVNULL, stderr=errors
        )
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - begin
        if status:
            errors.seek(0)
            raise SystemExit(f"{arguments[0]} failed: {errors.read().decode()[-2000:]}")
    print(f"  {arguments[0]}: {seconds:.1f} s", file=sys.stderr)
    return Figure(seconds, usage.ru_maxrss / 2**20)


def measure_floor(model: Path, exams: Path) -> tuple[Figure, Figure]:
    """Time decoding and the network, each alone, for all files in this process."""
    segmenter = Segmenter(model, "cpu")
    files = sorted(exams.iterdir())
    prepared = [segmenter.prepare(read_mammogram(files[0]))]
    segmenter.logits(prepared)
    begin = time.perf_counter()
    for path in files:
        read_mammogram(path)
    decoded = time.perf_counter()
    for _ in files:
        segmenter.logits(prepared)
    return Figure(decoded - begin), Figure(time.perf_counter() - decoded)


def measure(base: Path, model: Path, exams: Path, plan: str, *, stock: bool) -> dict[str, Figure]:
    """Time each route, all files together."""
    start = f"from maseg_nnunet.prediction.predict import *; Segmenter({str(model)!r}, 'cpu')"
    figures = {"start": run(base, "python", "-c", start)}
    figures["decode"], figures["network"] = measure_floor(model, exams)
    figures["maseg predict"] = run(
        base, "maseg", "predict", exams, "-o", base / "out", "--model", model, "--device", "cpu"
    )
    if not stock:
        return figures
    arguments = ["-d", "500", "-c", "2d", "-f", "0", "-p", plan, "-tr", TRAINER, "-device", "cpu"]
    for name, more in (("stock route, --disable_tta", ["--disable_tta"]), ("stock route, defaults", [])):
        folder = base / f"stock{len(more)}"
        converted, masks = folder / "converted", folder / "masks"
        figures[name] = (
            run(base, "convert_vendor", "--name", "hologic", "--input", exams, "--output", converted)
            + run(base, "nnUNetv2_predict", "-i", converted, "-o", masks, *arguments, *more)
            + run(base, "maseg", "export", masks, "-c", converted, "-o", folder / "out")
        )
    return figures


def report(figures: dict[str, Figure], files: int) -> None:
    """Print the table, with times per image."""
    ours = figures["maseg predict"]
    start = figures["start"].seconds
    print("| | s per image | maseg predict is faster by | peak GiB |")
    print("| --- | ---: | ---: | ---: |")
    for name, figure in figures.items():
        ratio = f"{figure.seconds / ours.seconds:.1f}" if name.startswith("stock") else ""
        memory = "" if np.isnan(figure.memory) else f"{figure.memory:.2f}"
        print(f"| {name} | {figure.seconds / files:.2f} | {ratio} | {memory} |")
    floor = figures["decode"].seconds + figures["network"].seconds
    print(f"\nThroughput without the start: {(ours.seconds - start) / files:.2f} s per image; the whole command takes")
    print(f"{ours.seconds / (start + floor):.2f} times as long as the floor (start, decode, network), or")
    print(f"{(ours.seconds - start) / floor:.2f} times if neither counts the start.")


if __name__ == "__main__":
    main()
