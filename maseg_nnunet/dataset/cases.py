"""The cases of a converted data set: which are selected, where their images and masks are, and how these are read.

Images and masks are 2D files with one value per pixel. The scores of a case are in `evaluation/`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np

from maseg_nnunet.arrays import Pixels, Shape, Spacing
from maseg_nnunet.dataset.folders import (
    DATASET_JSON,
    ENDING,
    IMAGES_TEST,
    IMAGES_TRAIN,
    LABELS_TEST,
    LABELS_TRAIN,
)
from maseg_nnunet.dataset.manifest import SUBSETS, ManifestRow, read_manifest
from maseg_nnunet.errors import DatasetError, UsageError
from maseg_nnunet.mammogram import Intent

ENDINGS: Final = (".nii.gz", ".nii", ".png", ".mha", ".nrrd")
"""Files in a folder of predictions that count as masks; the others (plans.json, summary.json) are nnU-Net's own."""


def select_rows(dataset: Path, splits: Collection[str] = ("test",), intents: Collection[str] = ()) -> list[ManifestRow]:
    """Read the manifest's rows of some subsets and intents.

    Args:
        dataset: The converted data set's folder.
        splits: Subsets to select.
        intents: Intents to select; empty selects all.

    Raises:
        UsageError: A subset or intent is unknown.
        DatasetError: No row is selected, or the manifest is missing or broken.
    """
    _check_names("--split", splits, SUBSETS)
    _check_names("--intent", intents, [intent.value for intent in Intent])
    rows = [row for row in read_manifest(dataset) if row.subset in splits and (not intents or row.intent in intents)]
    if not rows:
        raise DatasetError(f"{dataset} has no case in the split {', '.join(splits)} {', '.join(intents)}".rstrip())
    return rows


def _check_names(option: str, names: Collection[str], allowed: Sequence[str]) -> None:
    if unknown := set(names) - set(allowed):
        raise UsageError(f"{option} {', '.join(sorted(unknown))} is unknown, choose from {', '.join(allowed)}")


def image_path(folder: Path, case: str, subset: str) -> Path:
    """The path that conversion gives to a case's image, its one channel."""
    place = {"predict": folder, "test": folder / IMAGES_TEST}.get(subset, folder / IMAGES_TRAIN)
    return place / f"{case}_0000{ENDING}"


def label_path(folder: Path, case: str, subset: str) -> Path | None:
    """The path that conversion gives to a case's mask; None for an exam to be predicted."""
    return None if subset == "predict" else _label_file(folder, case, subset)


def _label_file(folder: Path, case: str, subset: str) -> Path:
    return folder / (LABELS_TEST if subset == "test" else LABELS_TRAIN) / f"{case}{ENDING}"


def image_of(dataset: Path, row: ManifestRow) -> Path:
    """The path of a case's converted image. It is in another data set if `dataset` is combined.

    The file may be missing.

    Raises:
        DatasetError: dataset.json is broken.
    """
    own = image_path(dataset, row.case, row.subset)
    return own if own.exists() else _in_part(dataset, row.case, "images") or own


def reference_of(dataset: Path, row: ManifestRow) -> Path:
    """The path of a case's reference mask, as `image_of`."""
    own = _label_file(dataset, row.case, row.subset)
    return own if own.exists() else _in_part(dataset, row.case, "label") or own


def _in_part(dataset: Path, case: str, what: str) -> Path | None:
    """The file of a combined set's training case, as nnU-Net finds it: by dataset.json's key `dataset`."""
    description = _description(dataset / DATASET_JSON)
    try:
        files = description.get("dataset", {}).get(case, {}).get(what)
        name = files[0] if isinstance(files, list) else files
        return dataset / os.path.expandvars(name) if name else None
    except (AttributeError, IndexError, TypeError) as error:
        raise DatasetError(f"{dataset / DATASET_JSON} names no {what} of {case}: combine the data set again") from error


@lru_cache(maxsize=4)
def _description(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise DatasetError(f"{path} is not JSON ({error})") from error


def masks_in(folder: Path) -> dict[str, Path]:
    """List the masks in a folder of predictions.

    Returns:
        Case to file.

    Raises:
        DatasetError: There is no such folder, it has no masks, or it has two masks of one case.
    """
    if not folder.is_dir():
        raise DatasetError(f"there is no folder of masks {folder}")
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        ending = next((ending for ending in ENDINGS if path.name.lower().endswith(ending)), None)
        if ending is None or path.name.startswith("."):
            continue
        case = path.name[: -len(ending)]
        if case in found:
            raise DatasetError(f"{folder} holds two masks of {case}: {found[case].name} and {path.name}; remove one")
        found[case] = path
    if not found:
        raise DatasetError(f"{folder} holds no mask ({', '.join(ENDINGS)})")
    return found


def read_pixels(path: Path) -> tuple[Pixels, Spacing | None]:
    """Read a 2D image or mask.

    Returns:
        The values in the file, (rows, columns), and the (row, column) spacing in mm, None for PNG.

    Raises:
        ValueError: The file is not a 2D image with one value per pixel.
    """
    import SimpleITK as sitk  # noqa: N813

    shape, spacing = read_grid(path)
    return np.asarray(sitk.GetArrayFromImage(sitk.ReadImage(str(path)))).reshape(shape), spacing


def read_grid(path: Path) -> tuple[Shape, Spacing | None]:
    """Read the grid of a 2D image or mask from its header alone.

    Returns:
        The shape (rows, columns), and the (row, column) spacing in mm, None for PNG.

    Raises:
        ValueError: The file is not a 2D image with one value per pixel.
    """
    import SimpleITK as sitk  # noqa: N813

    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise ValueError("not an image that ITK can read") from error
    columns, rows, *slices = reader.GetSize()
    if any(count != 1 for count in slices) or reader.GetNumberOfComponents() != 1:
        size, values = reader.GetSize(), reader.GetNumberOfComponents()
        raise ValueError(f"{size} pixels of {values} values each, not a 2D image with one value per pixel")
    across, down = reader.GetSpacing()[:2]
    return (int(rows), int(columns)), None if path.suffix.lower() == ".png" else (down, across)
