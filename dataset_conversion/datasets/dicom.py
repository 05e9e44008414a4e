"""DICOM mammograms of any vendor, in any tree."""

from __future__ import annotations

from typing import Final

from maseg_nnunet.dataset_conversion.datasets.base import Dataset, dicom_tree

DATASET: Final = Dataset(
    key="dicom", dataset_id=509, name="Dicom", title="DICOM mammograms of any vendor", layout=dicom_tree
)
