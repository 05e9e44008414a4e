"""Measures the seconds to convert a file against plain decoding, images per second, and the memory of a worker.

    python benchmarks/conversion.py ../shared/data/dicom [--files 1000]

Conversion is the whole of it: read, decode, resample, VOI units, write. A compressed file is compared with pydicom and
python-gdcm, which only decode it (pip install python-gdcm); an uncompressed one with reading its pixels. Images per
second with one worker and with two are compared with two processes that share nothing.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pydicom
from pydicom.pixels import get_decoder
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from maseg_nnunet.dataset.folders import REPORT
from maseg_nnunet.dataset_conversion.convert_case import ConversionSettings, ConvertTask, convert_case
from maseg_nnunet.dataset_conversion.scan import Scanned
from maseg_nnunet.dataset_conversion.selection import Selected
from maseg_nnunet.mammogram import Intent, Side, View
from maseg_nnunet.parallel.tasks import run_tasks

COMPRESSED = ("GE_SIGMOID_3LUT_RMLO.dcm", "Hologic_Selenia_LCC.dcm")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder of the real DICOM files")
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=25)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        for name in COMPRESSED:
            compressed(options.folder / name, Path(scratch), options.repeats)
            uncompressed(options.folder / name, Path(scratch), options.repeats)
        throughput(options.folder / COMPRESSED[0], Path(scratch), options.files)


def interleaved(first: Callable[[], object], second: Callable[[], object], repeats: int) -> tuple[float, float]:
    """Median seconds of each. They run in turn, so that a busy machine slows both down."""
    first(), second()
    times: list[list[float]] = [[], []]
    for _ in range(repeats):
        for kept, function in zip(times, (first, second), strict=True):
            start = time.perf_counter()
            function()
            kept.append(time.perf_counter() - start)
    return statistics.median(times[0]), statistics.median(times[1])


def task(path: Path, scratch: Path) -> ConvertTask:
    scanned = Scanned(1, path, None, "w", 0, "e", "i", View.UNKNOWN, Side.UNKNOWN, Intent.PROCESSED, "")
    selected = Selected(scanned, "case", "predict")
    return ConvertTask(selected, "dicom", ConversionSettings(), scratch / "case_0000.nii.gz", None, "")


def conversion(path: Path, scratch: Path) -> Callable[[], object]:
    def run() -> object:
        (scratch / "case_0000.nii.gz").unlink(missing_ok=True)
        return convert_case(task(path, scratch))

    return run


def compressed(path: Path, scratch: Path, repeats: int) -> None:
    decoder = get_decoder(pydicom.dcmread(path, stop_before_pixels=True).file_meta.TransferSyntaxUID)
    if "gdcm" not in decoder.available_plugins:
        sys.exit("python-gdcm is missing: pip install python-gdcm")

    def decode() -> object:
        return decoder.as_array(pydicom.dcmread(path), decoding_plugin="gdcm")

    ours, gdcm = interleaved(conversion(path, scratch), decode, repeats)
    print(f"{path.name}: converted in {ours:.3f} s, decoded by python-gdcm in {gdcm:.3f} s: ratio {ours / gdcm:.2f}")


def uncompressed(path: Path, scratch: Path, repeats: int) -> None:
    dataset = pydicom.dcmread(path)
    dataset.decompress()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    plain = scratch / "plain.dcm"
    dataset.save_as(plain)

    def read() -> object:
        return np.array(pydicom.dcmread(plain).pixel_array)

    ours, reading = interleaved(conversion(plain, scratch), read, repeats)
    ratio = ours / reading
    print(f"{path.name} uncompressed: converted in {ours:.3f} s, pixels read in {reading:.3f} s: ratio {ratio:.2f}")


def throughput(path: Path, scratch: Path, count: int) -> None:
    source = scratch / "exams"
    source.mkdir()
    dataset = pydicom.dcmread(path)
    for number in range(count):
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        dataset.PatientID = f"P{number}"
        dataset.save_as(source / f"{number}.dcm")
    rates = {}
    for workers in (1, 2):
        # Each in a process of its own, as users run it: a process that has run for long allocates memory faster.
        command = ["convert_vendor", "--name", "dicom", "--input", source, "--output", scratch / f"out{workers}"]
        start = time.perf_counter()
        subprocess.run([*command, "--workers", str(workers)], check=True, capture_output=True)
        rates[workers] = count / (time.perf_counter() - start)
        found = json.loads((scratch / f"out{workers}" / REPORT).read_text())["found"]["images"]
        assert found == count, found
    ratio = rates[2] / rates[1]
    alone, side_by_side = (apart(path, scratch, number) for number in (1, 2))
    print(f"{count} files: {rates[1]:.1f} images/s with one worker, {rates[2]:.1f} with two: {ratio:.2f}x")
    print(f"two processes that share nothing: {side_by_side / alone:.2f}x")
    tasks = [task(path, scratch / str(n)) for n in range(4)]
    list(run_tasks(convert_case, tasks, workers=2))
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(f"peak memory of a worker: {peak:.0f} MiB")


def apart(path: Path, scratch: Path, processes: int, count: int = 150) -> float:
    """Images per second of `processes` that each convert `count` files without talking to each other."""
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        folders = [scratch / f"apart{n}" for n in range(processes)]
        seconds = list(pool.map(convert_many, [path] * processes, folders, [count] * processes))
    return sum(count / each for each in seconds)


def convert_many(path: Path, folder: Path, count: int) -> float:
    folder.mkdir(exist_ok=True)
    run = conversion(path, folder)
    run()
    start = time.perf_counter()
    for _ in range(count):
        run()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
