"""IMS Giotto digital mammograms: DICOM files in any tree (the paper, Table 1)."""

from __future__ import annotations

from typing import Final

from maseg_nnunet.dataset_conversion.datasets.base import Dataset, Published, dicom_tree

DATASET: Final = Dataset(
    key="ims_giotto",
    dataset_id=502,
    name="ImsGiotto",
    title="IMS Giotto digital mammograms",
    layout=dicom_tree,
    vendor="ims_giotto",
    published=Published(images=821, women=203, raw_images=821),
)
