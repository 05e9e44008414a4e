"""Breast and pectoral muscle segmentation of mammograms, an nnU-Net v2 plugin.

::

    from maseg_nnunet import Segmenter, read_mammogram

    mask = Segmenter().predict("exam.dcm")

Both are imported when they are first asked for, because PyTorch takes seconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from maseg_nnunet.prediction.segmenter import Segmenter
    from maseg_nnunet.readers import read_mammogram

__all__ = ["Segmenter", "read_mammogram"]


def __getattr__(name: str) -> Any:
    if name == "Segmenter":
        from maseg_nnunet.prediction.segmenter import Segmenter

        return Segmenter
    if name == "read_mammogram":
        from maseg_nnunet.readers import read_mammogram

        return read_mammogram
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
