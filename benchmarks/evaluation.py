"""Measures the seconds that `maseg evaluate` takes for a test set as large as the paper's, start to finish.

    python benchmarks/evaluation.py [--cases 812] [--workers 2] [--pictures]

The masks are phantoms' (720 x 592 pixels of 0.4 mm). The predictions are the same masks with every edge roughened, so
that boundaries are longer than a network's usually are. `--pictures` evaluates again with the report's pictures.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
from rich.console import Console
from rich.table import Table

from maseg_nnunet.dataset.manifest import ManifestRow, write_manifest
from maseg_nnunet.evaluation.tables import DATASETS
from maseg_nnunet.mammogram import View
from maseg_nnunet.synthetic.phantom import make_phantom
from maseg_nnunet.writers.nifti import write_nifti

SPACING = (0.4, 0.4)
DRAWINGS = 24


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=812)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--pictures", action="store_true")
    options = parser.parse_args()
    table = Table("what", "cases", "workers", "seconds", "ms a case")
    with tempfile.TemporaryDirectory() as scratch:
        dataset, predictions = make_set(Path(scratch), options.cases)
        for pictures in (False, True)[: 1 + options.pictures]:
            seconds = evaluate(dataset, predictions, options.workers, pictures)
            what = "with pictures" if pictures else "without pictures"
            table.add_row(what, *map(str, (options.cases, options.workers)), f"{seconds:.1f}",
                          f"{1000 * seconds / options.cases:.0f}")  # fmt: skip
        size = (predictions / "evaluation" / "report.html").stat().st_size / 1e6
    Console().print(table, f"report.html of the last run: {size:.1f} MB")


def make_set(folder: Path, cases: int) -> tuple[Path, Path]:
    """Write a data set of eight vendors with `cases` test cases, four for each woman, and predictions of them."""
    dataset, predictions = folder / "Dataset500_Maseg", folder / "predictions"
    views = (View.MLO, View.CC)
    drawn = [make_phantom(n // 4, views[n % 2], rows=720, columns=592, spacing=SPACING) for n in range(DRAWINGS)]
    rng = np.random.default_rng(0)
    rows = []
    for number in range(cases):
        phantom = drawn[number % DRAWINGS]
        case, vendor = f"case{number:04d}", list(DATASETS)[number * len(DATASETS) // cases]
        write_nifti(dataset / "labelsTs" / f"{case}.nii.gz", phantom.mask, SPACING)
        write_nifti(dataset / "imagesTs" / f"{case}_0000.nii.gz", phantom.image, SPACING)
        write_nifti(predictions / f"{case}.nii.gz", roughened(phantom.mask, rng), SPACING)
        rows.append(
            ManifestRow(
                case=case, subset="test", woman=f"w{number // 4}", exam="1", view=phantom.view.value, side="L",
                intent="film" if vendor == "mini_mias" else "processed", dataset=vendor, vendor=vendor, model="",
                source=number, sop_class="", twin="", spacing_row=0.4, spacing_column=0.4, spacing_source="",
                rows=720, columns=592, target_spacing=0.4, quality="ok",
            )
        )  # fmt: skip
    write_manifest(dataset / "manifest.csv", rows)
    return dataset, predictions


def roughened(mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """`mask` with every edge moved by smooth noise of a few pixels."""
    shift = (
        cv2.GaussianBlur(rng.standard_normal((2, *mask.shape)).astype(np.float32).transpose(1, 2, 0), (0, 0), 4) * 40
    )
    rows, columns = np.indices(mask.shape, dtype=np.float32)
    return cv2.remap(mask, columns + shift[..., 0], rows + shift[..., 1], cv2.INTER_NEAREST)


def evaluate(dataset: Path, predictions: Path, workers: int, pictures: bool) -> float:
    program = [sys.executable, "-c", "from maseg_nnunet.cli.main import main; main()", "evaluate"]
    options = ["-d", str(dataset), "-p", str(predictions), "--workers", str(workers)]
    start = time.perf_counter()
    subprocess.run(
        [*program, *options, "--pictures" if pictures else "--no-pictures"], check=True, stdout=subprocess.DEVNULL
    )
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
