"""The cases of a converted data set: where their images and masks are, and how a mask is read. Not their scores."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from maseg_nnunet.dataset.folders import (
    DATASET_JSON,
    ENDING,
    RAW,
    dataset_folder,
    nnunet_folder,
)
from maseg_nnunet.dataset.manifest import SUBSETS, ManifestRow, read_manifest
from maseg_nnunet.errors import DatasetError, UsageError
from maseg_nnunet.mammogram import Intent

ENDINGS: Final = (".nii.gz", ".nii", ".png", ".mha", ".nrrd")
"""Files that count as masks in a folder of predictions; the rest (plans.json, summary.json) is nnU-Net's own."""


def find_dataset(name: str) -> Path:
    """The folder of a converted data set: a path, an id (506), or a name (Dataset506_MiniMias) below `nnUNet_raw`."""
    if Path(name).is_dir():
        return Path(name)
    raw = nnunet_folder(RAW)
    if name.isdecimal():
        return dataset_folder(raw, int(name))
    if not (raw / name).is_dir():
        raise DatasetError(f"{name} is neither a folder nor a data set in {raw}")
    return raw / name


def select_rows(dataset: Path, splits: Collection[str] = ("test",), intents: Collection[str] = ()) -> list[ManifestRow]:
    """The manifest's rows of the subsets `splits` and, where given, of the `intents`.

    Raises UsageError for an unknown name, DatasetError where no row is left.
    """
    _check_names("--split", splits, SUBSETS)
    _check_names("--intent", intents, [intent.value for intent in Intent])
    rows = [row for row in read_manifest(dataset) if row.subset in splits and (not intents or row.intent in intents)]
    if not rows:
        raise DatasetError(f"{dataset} has no case in the split {', '.join(splits)} {', '.join(intents)}".rstrip())
    return rows


def _check_names(option: str, names: Collection[str], allowed: Sequence[str]) -> None:
    if unknown := set(names) - set(allowed):
        raise UsageError(f"{option} {', '.join(sorted(unknown))} is unknown, there are {', '.join(allowed)}")


def masks_in(folder: Path) -> dict[str, Path]:
    """Case to file of every mask in `folder`. Raises DatasetError where there is none, or two for one case."""
    if not folder.is_dir():
        raise DatasetError(f"{folder} is no folder of masks")
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        ending = next((ending for ending in ENDINGS if path.name.lower().endswith(ending)), None)
        if ending is None or path.name.startswith("."):
            continue
        case = path.name[: -len(ending)]
        if case in found:
            raise DatasetError(f"{folder} holds two masks of {case}: {found[case].name} and {path.name}")
        found[case] = path
    if not found:
        raise DatasetError(f"{folder} holds no mask ({', '.join(ENDINGS)})")
    return found


def reference_of(dataset: Path, row: ManifestRow) -> Path:
    """Where the reference mask of a case lies, whether or not it does.

    The training cases of a combined set lie in the sets they came from; dataset.json says where.
    """
    own = dataset / ("labelsTs" if row.subset == "test" else "labelsTr") / f"{row.case}{ENDING}"
    return own if own.exists() else _elsewhere(dataset, row.case, "label") or own


def image_of(dataset: Path, row: ManifestRow) -> Path:
    """Where the converted image of a case lies, as `reference_of`."""
    own = dataset / ("imagesTs" if row.subset == "test" else "imagesTr") / f"{row.case}_0000{ENDING}"
    return own if own.exists() else _elsewhere(dataset, row.case, "images") or own


def _elsewhere(dataset: Path, case: str, what: str) -> Path | None:
    """The file of a combined set's training case, as nnU-Net finds it: by dataset.json's key `dataset`."""
    description = _description(dataset / DATASET_JSON)
    try:
        files = description.get("dataset", {}).get(case, {}).get(what)
        name = files[0] if isinstance(files, list) else files
        return dataset / os.path.expandvars(name) if name else None
    except (AttributeError, IndexError, TypeError) as error:
        raise DatasetError(f"{dataset / DATASET_JSON} names no {what} of {case}") from error


@lru_cache(maxsize=4)
def _description(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise DatasetError(f"{path} is not JSON ({error})") from error


def read_labels(path: Path) -> tuple[npt.NDArray[Any], tuple[float, float] | None]:
    """Values (rows, columns) of an image or mask as they are in the file, and its (row, column) spacing, None for PNG.

    Raises ValueError for a file that is no 2D image.
    """
    import SimpleITK as sitk  # noqa: N813

    shape, spacing = _grid(path)
    return np.asarray(sitk.GetArrayFromImage(sitk.ReadImage(str(path)))).reshape(shape), spacing


def _grid(path: Path) -> tuple[tuple[int, int], tuple[float, float] | None]:
    """Shape (rows, columns) and spacing (row, column) in mm, None for PNG, of a 2D image. Raises ValueError."""
    import SimpleITK as sitk  # noqa: N813

    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise ValueError("no image that ITK can read") from error
    columns, rows, *slices = reader.GetSize()
    if any(count != 1 for count in slices) or reader.GetNumberOfComponents() != 1:
        raise ValueError(f"{reader.GetSize()} pixels of {reader.GetNumberOfComponents()} values, not one 2D mask")
    across, down = reader.GetSpacing()[:2]
    return (int(rows), int(columns)), None if path.suffix.lower() == ".png" else (down, across)


def image_path(folder: Path, case: str, subset: str) -> Path:
    """Where the one channel of a case lies."""
    place = {"predict": folder, "test": folder / "imagesTs"}.get(subset, folder / "imagesTr")
    return place / f"{case}_0000{ENDING}"


def label_path(folder: Path, case: str, subset: str) -> Path | None:
    """Where the mask of a case lies; None for an exam to be predicted."""
    if subset == "predict":
        return None
    return folder / ("labelsTs" if subset == "test" else "labelsTr") / f"{case}{ENDING}"
