"""Images whose masks the threshold network of `tests/tiny_models.py` makes predictable, and what a run leaves."""

from __future__ import annotations

import csv
import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import DigitalMammographyXRayImageStorageForPresentation, ExplicitVRLittleEndian, generate_uid

from maseg_nnunet.labels import Label
from maseg_nnunet.mammogram import Intent, Mammogram
from maseg_nnunet.prediction.journal import JOURNAL, LOCK, FileOutcome
from maseg_nnunet.prediction.statistics import STATISTICS
from maseg_nnunet.voi import CaseLuts, Function, LookUpTable

SPACING = (0.4, 0.4)


def gradient(rows: int = 48, columns: int = 40) -> npt.NDArray[np.uint16]:
    """Stored values of 12 bits that rise to the right and a little downwards, with background at the left."""
    y, x = np.mgrid[:rows, :columns]
    return (4095 * (x / columns * 0.9 + y / rows * 0.1)).astype(np.uint16)


def mammogram_of(pixels: npt.NDArray[Any]) -> Mammogram:
    """A processed mammogram in memory with one LINEAR window over all of 12 bits."""
    luts = CaseLuts(False, 0, (LookUpTable("NORMAL", Function.LINEAR, 2048, 4096),))
    return Mammogram(Path(), pixels, SPACING, "given", luts, Intent.PROCESSED)


def write_dicom(path: Path, pixels: npt.NDArray[np.uint16], **attributes: Any) -> Path:
    """Write a processed mammogram with one LINEAR window over all of 12 bits.

    `attributes` overwrite those of the header, None deletes one.
    """
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = DigitalMammographyXRayImageStorageForPresentation
    dataset.SOPInstanceUID = dataset.StudyInstanceUID = dataset.SeriesInstanceUID = generate_uid()
    dataset.Modality = "MG"
    dataset.PresentationIntentType = "FOR PRESENTATION"
    dataset.Manufacturer = "SIEMENS"
    dataset.ViewPosition = "MLO"
    dataset.ImageLaterality = "L"
    dataset.ImagerPixelSpacing = list(SPACING)
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.SamplesPerPixel = 1
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    dataset.PixelRepresentation = 0
    dataset.WindowCenter, dataset.WindowWidth, dataset.VOILUTFunction = "2048", "4096", "LINEAR"
    for keyword, value in attributes.items():
        if value is None:
            del dataset[keyword]
        else:
            setattr(dataset, keyword, value)
    dataset.PixelData = pixels.astype("<u2").tobytes()
    dataset.save_as(path, enforce_file_format=True)
    return path


def write_exams(folder: Path) -> Path:
    """Write six valid images into two folders, and return `folder`."""
    for number in range(6):
        inner = folder / f"woman{number % 2}"
        inner.mkdir(parents=True, exist_ok=True)
        write_dicom(inner / f"image{number}.dcm", np.roll(gradient(), number, axis=0))
    return folder


def expected(gray: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """The threshold network's labels of gray values in [0, 1]."""
    return np.where(gray > 0.7, Label.PECTORAL_MUSCLE, np.where(gray > 0.3, Label.BREAST, 0)).astype(np.uint8)


def agree(mask: npt.NDArray[np.uint8], gray: npt.NDArray[Any]) -> bool:
    """Whether `mask` is as expected, except where bfloat16 can't tell a gray value from a threshold."""
    clear = (np.abs(gray - 0.3) > 0.004) & (np.abs(gray - 0.7) > 0.004)
    return bool(clear.mean() > 0.9 and (mask == expected(gray))[clear].all())


def journal_of(output: Path) -> list[dict[str, Any]]:
    """The outcomes in the journal, in its order."""
    lines = (output / JOURNAL).read_text().splitlines()
    return [entry for line in lines if line and "file" in (entry := json.loads(line))]


def outcomes_of(output: Path) -> dict[str, tuple[str, str]]:
    """Status and detail of each file."""
    return {entry["file"]: (entry["status"], entry["detail"]) for entry in journal_of(output)}


def files_of(output: Path) -> set[str]:
    """The files in the output folder, without the lock."""
    return {path.relative_to(output).as_posix() for path in output.rglob("*") if path.is_file()} - {LOCK}


def statistics_of(output: Path) -> list[dict[str, str]]:
    """The rows of statistics.csv."""
    with (output / STATISTICS).open(newline="") as stream:
        return list(csv.DictReader(stream))


def interrupt_after(count: int) -> Callable[[FileOutcome], None]:
    """A `progress` that interrupts this process at the outcome of that number."""
    seen = 0

    def progress(outcome: FileOutcome) -> None:
        nonlocal seen
        seen += 1
        if seen == count:
            signal.raise_signal(signal.SIGINT)

    return progress
