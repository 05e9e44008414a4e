"""nnU-Net's description of a data set of mammograms, dataset.json: what is the same in all of them, said once."""

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
    """The content of dataset.json: one channel that nnU-Net leaves as it is, our labels, `settings` under "maseg"."""
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
