from pathlib import Path
from typing import Any

import pytest
from pydicom import uid

from maseg_nnunet.errors import Reason, RefusedError
from maseg_nnunet.mammogram import Flag, Intent
from maseg_nnunet.readers import read_header, read_mammogram
from tests.readers.dicom_factory import code, item, write


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


@pytest.mark.parametrize(
    ("attributes", "is_read"),
    [
        ({"BodyPartExamined": "  BREAST "}, True),
        ({"BodyPartExamined": "L BREAST"}, True),
        ({"BodyPartExamined": "MAMMO"}, True),
        ({"BodyPartExamined": "L_BREAST", "Modality": "DX"}, True),
        ({"BodyPartExamined": None}, True),  # its view code is mammographic
        ({"BodyPartExamined": None, "Modality": "CT"}, False),
        ({"BodyPartExamined": None, "ViewCodeSequence": [code("R-10224", "SRT")]}, False),  # an ankle has it, too
        ({"BodyPartExamined": "CHEST"}, False),
        ({"BodyPartExamined": None, "AnatomicRegionSequence": [code("T-D3000", "SRT")]}, False),
    ],
)
@pytest.mark.parametrize(
    "sop_class",
    [uid.ComputedRadiographyImageStorage, uid.DigitalXRayImageStorageForPresentation, uid.SecondaryCaptureImageStorage],
)
def test_a_breast_without_modality_mg(
    tmp_path: Path, sop_class: str, attributes: dict[str, Any], is_read: bool
) -> None:
    path = write(tmp_path / "image", **{"SOPClassUID": sop_class, "Modality": "CR", **attributes})
    if is_read:
        assert read_header(path).rows == 48
        return
    with pytest.raises(RefusedError) as caught:
        read_header(path)
    assert caught.value.reason is Reason.WRONG_MODALITY


def test_a_dicomdir_is_named(tmp_path: Path) -> None:
    record = item(DirectoryRecordType="PATIENT", PatientName="Quitte^Mirabelle")
    path = write(tmp_path / "DICOMDIR", SOPClassUID=None, Modality=None, DirectoryRecordSequence=[record])
    with pytest.raises(RefusedError, match="DICOMDIR") as caught:
        read_mammogram(path)
    assert caught.value.reason is Reason.WRONG_MODALITY and "Quitte" not in str(caught.value)
