"""Hologic digital mammograms: DICOM files in any tree (the paper, Table 1)."""

from __future__ import annotations

from typing import Final

from maseg_nnunet.dataset_conversion.datasets.base import Dataset, Published, dicom_tree

DATASET: Final = Dataset(
    key="hologic",
    dataset_id=501,
    name="Hologic",
    title="Hologic digital mammograms",
    layout=dicom_tree,
    vendor="hologic",
    published=Published(images=1012, women=195, raw_images=1012),
)
