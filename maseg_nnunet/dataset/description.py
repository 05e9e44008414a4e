"""dataset.json, nnU-Net's description of a data set: what is the same for all data sets of mammograms."""

from __future__ import annotations

from importlib import metadata
from typing import Any

from maseg_nnunet.dataset.folders import ENDING, OURS
from maseg_nnunet.labels import LABELS


def dataset_json(
    training_cases: int,
    *,
    name: str = "",
    description: str = "",
    licence: str = "",
    reference: str = "",
    settings: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """The content of dataset.json: one channel that nnU-Net does not normalize, and the labels of `LABELS`.

    Args:
        training_cases: Number of cases in imagesTr.
        name: Name of the data set, without nnU-Net's number.
        description: One line about the data set.
        licence: Its licence.
        reference: Its publication.
        settings: Further entries under the key "maseg".
    """
    return {
        "channel_names": {"0": "noNorm"},
        "labels": dict(LABELS),
        "numTraining": training_cases,
        "file_ending": ENDING,
        "overwrite_image_reader_writer": "SimpleITKIO",
        "name": name,
        "description": description,
        "licence": licence,
        "reference": reference,
        OURS: {"version": metadata.version("maseg-nnunet"), **(settings or {})},
    }
