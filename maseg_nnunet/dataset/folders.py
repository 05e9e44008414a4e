"""Where nnU-Net's folders are, how data sets are found in them, and the names of a data set's files.

The contents of the files are up to the modules that write them, such as `dataset_conversion/nnunet_raw.py`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from maseg_nnunet.errors import DatasetError, UsageError

RAW: Final = "nnUNet_raw"
PREPROCESSED: Final = "nnUNet_preprocessed"
RESULTS: Final = "nnUNet_results"
EXTERNAL_TRAINER: Final = "nnUNet_extTrainer"

ENDING: Final = ".nii.gz"
IMAGES_TRAIN: Final = "imagesTr"
LABELS_TRAIN: Final = "labelsTr"
IMAGES_TEST: Final = "imagesTs"
LABELS_TEST: Final = "labelsTs"
DATASET_JSON: Final = "dataset.json"
SPLITS: Final = "splits_final.json"
VOI_LUTS: Final = "voi_luts.json"
FINGERPRINT: Final = "dataset_fingerprint.json"
SOURCES: Final = "sources.csv"
REJECTED: Final = "rejected.csv"
REPORT: Final = "report.json"
FOLDS: Final = "folds.json"

OURS: Final = "maseg"
"""The key of dataset.json with what this project needs to know about a data set or a model."""


def nnunet_folder(variable: str) -> Path:
    """The folder that an environment variable of nnU-Net names.

    Raises:
        UsageError: The variable is not set.
    """
    value = os.environ.get(variable)
    if not value:
        raise UsageError(f"the environment variable {variable} is not set: `maseg env` prints the lines to set it")
    return Path(value)


def finished_marker(preprocessed: Path, identifier: str) -> Path:
    """The file that marks the arrays in the folder `identifier` of a preprocessed data set as complete."""
    return preprocessed / f".{identifier}.json"


def dataset_folder(base: Path, dataset_id: int, first: str = "convert it with convert_vendor") -> Path:
    """Find the folder DatasetNNN_* of a data set.

    Args:
        base: One of nnU-Net's folders.
        dataset_id: The data set's number.
        first: For the error message, what to do to create the folder.

    Raises:
        DatasetError: There is no such folder, or more than one.
    """
    found = sorted(path for path in base.glob(f"Dataset{dataset_id:03d}_*") if path.is_dir())
    if not found:
        raise DatasetError(f"no Dataset{dataset_id:03d}_* in {base}: {first} first")
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise DatasetError(f"more than one data set {dataset_id} in {base}: {names}; remove all but one")
    return found[0]


def find_dataset(name: str) -> Path:
    """Find the folder of a converted data set.

    Args:
        name: A path, or a number (506) or name (Dataset506_MiniMias) in `nnUNet_raw`.

    Raises:
        DatasetError: There is no such data set.
        UsageError: `nnUNet_raw` is not set.
    """
    if Path(name).is_dir():
        return Path(name)
    raw = nnunet_folder(RAW)
    if name.isdecimal():
        return dataset_folder(raw, int(name))
    if not (raw / name).is_dir():
        raise DatasetError(f"{name} is neither a folder nor a data set in {raw}")
    return raw / name


def trainers_folder() -> Path:
    """The folder of MasegTrainer, which nnUNet_extTrainer must contain; it is found without importing torch.

    Raises:
        UsageError: The trainers are not installed.
    """
    from importlib.util import find_spec

    spec = find_spec("maseg_nnunet.trainers")
    if spec is None or not spec.origin:
        raise UsageError("the package maseg_nnunet.trainers is not installed: pip install maseg-nnunet")
    return Path(spec.origin).parent


def external_trainers() -> str:
    """The value that nnUNet_extTrainer needs: the folder of MasegTrainer, then those that the user has set."""
    ours = str(trainers_folder())
    theirs = os.environ.get(EXTERNAL_TRAINER, "").split(os.pathsep)
    return os.pathsep.join([ours, *(path for path in theirs if path and path != ours)])
