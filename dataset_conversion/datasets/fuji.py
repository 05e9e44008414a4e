"""Fuji digital mammograms: DICOM files in any tree (the paper, Table 1)."""

from __future__ import annotations

from typing import Final

from maseg_nnunet.dataset_conversion.datasets.base import Dataset, Published, dicom_tree

DATASET: Final = Dataset(
    key="fuji",
    dataset_id=503,
    name="Fuji",
    title="Fuji digital mammograms",
    layout=dicom_tree,
    vendor="fuji",
    published=Published(images=756, women=200, raw_images=0),
)
