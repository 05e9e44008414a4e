"""Requests to convert films and exams, and what a conversion left on disk."""

from __future__ import annotations

import csv
import hashlib
import shutil
from pathlib import Path

import numpy as np
import pydicom
import SimpleITK

from maseg_nnunet.dataset.manifest import ManifestRow
from maseg_nnunet.dataset_conversion.convert_dataset import Request
from maseg_nnunet.dataset_conversion.datasets import REGISTRY
from maseg_nnunet.mammogram import Intent

MINI_MIAS = REGISTRY["mini_mias"]
VENDORS = ("hologic", "ims_giotto", "fuji", "ge", "siemens", "planmed")
WITH_RAW = {"hologic", "ims_giotto", "ge", "siemens"}
BOTH = frozenset(Intent)


def films_request(films: Path, folder: Path, **options: object) -> Request:
    """Convert the films of the fixture `films`, with their masks."""
    return Request(MINI_MIAS, films / "films", folder, masks=films / "masks", **options)  # type: ignore[arg-type]


def exams_request(exams: Path, vendor: str, folder: Path, key: Path, **options: object) -> Request:
    """Convert the exams of a vendor from the fixture `exams`, or from a copy of one of its folders, with masks."""
    base = exams / vendor if (exams / vendor).exists() else exams
    options.setdefault("intents", BOTH)
    return Request(REGISTRY[vendor], base / "images", folder, masks=base / "masks", key_file=key, **options)  # type: ignore[arg-type]


def contents(folder: Path) -> dict[str, str]:
    """Hash of each file, by its path below `folder`."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def stamps(folder: Path) -> dict[str, int]:
    """Modification time of each file and folder, by its path."""
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*")}


def edited(source: Path, target: Path, **attributes: object) -> None:
    """Copy a folder of exams with attributes of every header replaced."""
    shutil.copytree(source, target)
    for path in target.rglob("*.dcm"):
        dataset = pydicom.dcmread(path)
        for name, value in attributes.items():
            setattr(dataset, name, value)
        dataset.save_as(path)


def converted_mask(folder: Path, row: ManifestRow) -> np.ndarray:
    """The converted mask of a case with masks."""
    place = "labelsTs" if row.subset == "test" else "labelsTr"
    return SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(folder / place / f"{row.case}.nii.gz")))


def converted_image(folder: Path, row: ManifestRow) -> np.ndarray:
    """The converted image of a case with masks."""
    place = "imagesTs" if row.subset == "test" else "imagesTr"
    return SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(folder / place / f"{row.case}_0000.nii.gz")))


def table(path: Path) -> list[dict[str, str]]:
    """The lines of a CSV that the conversion wrote."""
    with path.open(newline="") as handle:
        return list(csv.DictReader(handle))
