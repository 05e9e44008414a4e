"""Planmed digital mammograms: DICOM files in any tree (the paper, Table 1)."""

from __future__ import annotations

from typing import Final

from maseg_nnunet.dataset_conversion.datasets.base import Dataset, Published, dicom_tree

DATASET: Final = Dataset(
    key="planmed",
    dataset_id=508,
    name="Planmed",
    title="Planmed digital mammograms",
    layout=dicom_tree,
    vendor="planmed",
    published=Published(images=264, women=66, raw_images=0),
)
