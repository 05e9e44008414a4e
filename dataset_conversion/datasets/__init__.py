"""One module per data set, and the registry of them, whose keys --name accepts."""

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
