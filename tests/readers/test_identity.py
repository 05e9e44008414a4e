import pytest

from maseg_nnunet.readers.identity import is_dummy_patient_id, read_identity
from tests.readers.dicom_factory import item, make


@pytest.mark.parametrize(
    "patient", ["", "   ", "0", "0000000000", "ANON", "anonymous", "ANON-1234", "UNKNOWN", "none", "xxxx", "N/A", "-"]
)
def test_dummies(patient: str) -> None:
    assert is_dummy_patient_id(patient)


@pytest.mark.parametrize("patient", ["1", "0000000001", "QUI0001", "DH5YIWUW7H9H", "3MG1", "testa", "Patient 7"])
def test_real_ids(patient: str) -> None:
    assert not is_dummy_patient_id(patient)


def test_what_is_read() -> None:
    found = read_identity(
        make(
            IssuerOfPatientID="HOSPITAL",
            SourceImageSequence=[
                item(ReferencedSOPInstanceUID="1.2.3"),
                item(),
                item(ReferencedSOPInstanceUID="1.2.4"),
            ],
        )
    )
    assert (found.patient_id, found.issuer) == ("QUI0001", "HOSPITAL")
    assert found.source_uids == ("1.2.3", "1.2.4")
    assert "QUI0001" not in repr(found)
    assert "1.2" not in repr(found)


def test_twins_share_an_acquisition_others_do_not() -> None:
    raw = read_identity(make(SOPInstanceUID="1.2.1", PresentationIntentType="FOR PROCESSING"))
    processed = read_identity(make(SOPInstanceUID="1.2.2"))
    assert raw.acquisition == processed.acquisition != ""
    assert read_identity(make(AcquisitionTime="101113")).acquisition != raw.acquisition
    assert read_identity(make(StudyInstanceUID="1.2.9")).acquisition != raw.acquisition
    assert read_identity(make(IrradiationEventUID="1.2.8")).acquisition == "1.2.8"
    assert read_identity(make(AcquisitionTime=None)).acquisition == ""
