from pathlib import Path
from typing import Any

import pytest
from pydicom import uid

from maseg_nnunet.mammogram import Flag, Intent
from maseg_nnunet.readers import read_header, read_mammogram
from tests.readers.dicom_factory import write


@pytest.mark.parametrize(
    ("attributes", "flags"),
    [
        ({"BreastImplantPresent": "YES"}, (Flag.IMPLANT,)),
        ({"BreastImplantPresent": "NO"}, ()),
        ({"QualityControlImage": "YES"}, (Flag.QUALITY_CONTROL,)),
        ({"QualityControlImage": "NO"}, ()),
        ({"ImageType": ["DERIVED", "PRIMARY", "TOMOSYNTHESIS", "GENERATED_2D"]}, (Flag.SYNTHETIC,)),
        ({"ImageType": ["DERIVED", "PRIMARY", "", "GENERATED_2D"]}, (Flag.SYNTHETIC,)),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "TOMO_PROJ", "LEFT"]}, (Flag.TOMOSYNTHESIS,)),
        ({"ImageType": ["DERIVED", "PRIMARY", "TOMOSYNTHESIS", "NONE"]}, (Flag.TOMOSYNTHESIS,)),
        ({"ImageType": ["DERIVED", "PRIMARY", "POST_CONTRAST", "SUBTRACTION"]}, (Flag.SUBTRACTION,)),
        ({"ImageType": ["DERIVED", "PRIMARY", "POST_CONTRAST", "", "LOW_ENERGY"]}, ()),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "STEREO_SCOUT"]}, (Flag.BIOPSY,)),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "TOMO_SCOUT"]}, (Flag.BIOPSY,)),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "QUITTE"]}, ()),
        ({"SOPClassUID": uid.BreastTomosynthesisImageStorage}, (Flag.SYNTHETIC,)),
        (
            {
                "SOPClassUID": uid.BreastTomosynthesisImageStorage,
                "ImageType": ["DERIVED", "PRIMARY", "TOMOSYNTHESIS", "NONE"],
            },
            (Flag.TOMOSYNTHESIS,),
        ),
    ],
)
def test_what_an_image_is(tmp_path: Path, attributes: dict[str, Any], flags: tuple[Flag, ...]) -> None:
    path = write(tmp_path / "image", **attributes)
    assert read_header(path).flags == flags
    assert read_mammogram(path).flags == flags


def test_a_digitized_film_is_a_film(tmp_path: Path) -> None:
    for kind, intent in (("DF", Intent.FILM), ("WSD", Intent.PROCESSED), (None, Intent.PROCESSED)):
        path = write(tmp_path / "image", SOPClassUID=uid.SecondaryCaptureImageStorage, ConversionType=kind)
        assert read_header(path).intent is intent
