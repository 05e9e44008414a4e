"""One module a data set, and their registry: --name takes its keys."""

from __future__ import annotations

from typing import Final

from maseg_nnunet.dataset_conversion.datasets import (
    dicom,
    fuji,
    ge,
    hologic,
    ims_giotto,
    inbreast,
    mini_mias,
    planmed,
    siemens,
)
from maseg_nnunet.dataset_conversion.datasets.base import Dataset

REGISTRY: Final[dict[str, Dataset]] = {
    module.DATASET.key: module.DATASET
    for module in (hologic, ims_giotto, fuji, ge, siemens, planmed, inbreast, mini_mias, dicom)
}
