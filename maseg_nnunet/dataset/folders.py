"""Where nnU-Net's folders are, how data sets are found in them, and what the files of a data set are called.

What the files hold is the business of whoever writes them: `dataset_conversion/nnunet_raw.py`, `manifest.py`.
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
DATASET_JSON: Final = "dataset.json"
SPLITS: Final = "splits_final.json"
VOI_LUTS: Final = "voi_luts.json"
FINGERPRINT: Final = "dataset_fingerprint.json"
SOURCES: Final = "sources.csv"
REJECTED: Final = "rejected.csv"
REPORT: Final = "report.json"
FOLDS: Final = "folds.json"

OURS: Final = "maseg"
"""The key of dataset.json that holds what this project needs to know of a data set or a model."""


def nnunet_folder(variable: str) -> Path:
    """The folder that the environment variable names. Raises UsageError where it is not set."""
    value = os.environ.get(variable)
    if not value:
        raise UsageError(f"the environment variable {variable} is not set: `maseg env` prints the lines to set it")
    return Path(value)


def finished_marker(preprocessed: Path, identifier: str) -> Path:
    """The file in a preprocessed data set's folder that tells that the arrays in its folder `identifier` are whole."""
    return preprocessed / f".{identifier}.json"


def dataset_folder(base: Path, dataset_id: int, first: str = "convert it with convert_vendor") -> Path:
    """The one folder DatasetNNN_* of `base`. Raises DatasetError where there is none, or more than one.

    `first`: what makes that folder, for the error.
    """
    found = sorted(path for path in base.glob(f"Dataset{dataset_id:03d}_*") if path.is_dir())
    if not found:
        raise DatasetError(f"no Dataset{dataset_id:03d}_* in {base}: {first} first")
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise DatasetError(f"more than one data set {dataset_id} in {base}: {names}; remove all but one")
    return found[0]


def trainers_folder() -> Path:
    """The folder of MasegTrainer, which nnUNet_extTrainer must name; found without importing torch."""
    from importlib.util import find_spec

    spec = find_spec("maseg_nnunet.trainers")
    if spec is None or not spec.origin:
        raise UsageError("the package maseg_nnunet.trainers is not installed: pip install maseg-nnunet")
    return Path(spec.origin).parent


def external_trainers() -> str:
    """What nnUNet_extTrainer must be: the folder of MasegTrainer, then those that the user has set."""
    ours = str(trainers_folder())
    theirs = os.environ.get(EXTERNAL_TRAINER, "").split(os.pathsep)
    return os.pathsep.join([ours, *(path for path in theirs if path and path != ours)])
