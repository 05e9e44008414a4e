"""GE digital mammograms: DICOM files in any tree (the paper, Table 1)."""

from __future__ import annotations

from typing import Final

from maseg_nnunet.dataset_conversion.datasets.base import Dataset, Published, dicom_tree

DATASET: Final = Dataset(
    key="ge",
    dataset_id=504,
    name="GE",
    title="GE digital mammograms",
    layout=dicom_tree,
    vendor="ge",
    published=Published(images=720, women=104, raw_images=720),
)
