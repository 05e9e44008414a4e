"""What kind of image a header describes: synthetic, a slice, a subtraction, a biopsy's, a phantom's, a film's.

ImageType (0008,0008) has the terms of PS3.3 C.8.11.7.1.4 in its values 3 to 5, but makers shift them, so all values are
searched. Only the terms listed here count.
"""

from __future__ import annotations

from typing import Final

from pydicom import uid
from pydicom.dataset import Dataset

from maseg_nnunet.mammogram import Flag
from maseg_nnunet.readers.attributes import code, texts

_GENERATED: Final = "GENERATED_2D"
_SUBTRACTED: Final = frozenset({"SUBTRACTION", "RECOMBINED"})
_BIOPSY: Final = ("STEREO", "TOMO_SCOUT", "PREFIRE", "POSTFIRE", "POSTBIOPSY", "POSTMARKER")
_TOMOSYNTHESIS: Final = "TOMO"


def read_kind(dataset: Dataset, sop_class: uid.UID) -> set[Flag]:
    """The flags of what the image is, apart from its view.

    A tomosynthesis object with one frame is a synthetic 2D image unless ImageType says that it is a slice.
    """
    terms = {term.upper() for term in texts(dataset, "ImageType")}
    is_biopsy = any(term.startswith(_BIOPSY) for term in terms)
    is_slice = _GENERATED not in terms and any(
        term.startswith(_TOMOSYNTHESIS) and not term.startswith(_BIOPSY) for term in terms
    )
    is_tomosynthesis_object = sop_class == uid.BreastTomosynthesisImageStorage
    conditions = {
        Flag.SYNTHETIC: _GENERATED in terms or (is_tomosynthesis_object and not is_slice),
        Flag.TOMOSYNTHESIS: is_slice,
        Flag.SUBTRACTION: bool(terms & _SUBTRACTED),
        Flag.BIOPSY: is_biopsy,
        Flag.IMPLANT: code(dataset, "BreastImplantPresent") == "YES",
        Flag.QUALITY_CONTROL: code(dataset, "QualityControlImage") in ("YES", "BOTH"),
    }
    return {flag for flag, holds in conditions.items() if holds}


def is_digitized_film(dataset: Dataset) -> bool:
    """Whether ConversionType (0008,0064) is DF, digitized film."""
    return code(dataset, "ConversionType") == "DF"
