"""Siemens digital mammograms: DICOM files in any tree (the paper, Table 1)."""

from __future__ import annotations

from typing import Final

from maseg_nnunet.dataset_conversion.datasets.base import Dataset, Published, dicom_tree

DATASET: Final = Dataset(
    key="siemens",
    dataset_id=507,
    name="Siemens",
    title="Siemens digital mammograms",
    layout=dicom_tree,
    vendor="siemens",
    published=Published(images=268, women=40, raw_images=268),
)
