"""Breast and pectoral muscle segmentation of mammograms, an nnU-Net v2 plugin.

::

    from maseg_nnunet import Segmenter, read_mammogram

    mask = Segmenter().predict("exam.dcm")

The names are imported when they are first used, because PyTorch takes seconds to load.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from maseg_nnunet.mammogram import Mammogram
    from maseg_nnunet.prediction.segmenter import Segmenter
    from maseg_nnunet.readers import read_mammogram

    __version__: str

__all__ = ["Mammogram", "Segmenter", "__version__", "read_mammogram"]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("maseg-nnunet")
    if name == "Mammogram":
        from maseg_nnunet.mammogram import Mammogram

        return Mammogram
    if name == "Segmenter":
        from maseg_nnunet.prediction.segmenter import Segmenter

        return Segmenter
    if name == "read_mammogram":
        from maseg_nnunet.readers import read_mammogram

        return read_mammogram
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
