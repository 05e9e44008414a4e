"""The identity of an image: patient, study, instance.

The data set conversion hashes it to name cases. It is never shown and never written.
"""

from __future__ import annotations

import re
from typing import Final

from pydicom.dataset import Dataset

from maseg_nnunet.mammogram import Identity
from maseg_nnunet.readers.attributes import items, text

_DUMMY: Final = re.compile(r"(0*|x*|anon.*|unknown|none|dummy|test|n/?a|patient|id|-+|\.+|\?+)", re.IGNORECASE)


def is_dummy_patient_id(patient_id: str) -> bool:
    """Whether a PatientID (0010,0020) is empty or a placeholder that many women share."""
    return _DUMMY.fullmatch(patient_id.strip()) is not None


def read_identity(dataset: Dataset) -> Identity:
    """Patient, study, instance, source instances, and the acquisition that a raw image shares with its processed twin.

    Twins are from one exposure. IrradiationEventUID (0008,3010) identifies it; without it, the study and the date and
    time of acquisition do.
    """
    study = text(dataset, "StudyInstanceUID")
    when = tuple(text(dataset, keyword) for keyword in ("AcquisitionDate", "AcquisitionTime"))
    event = text(dataset, "IrradiationEventUID")
    sources = tuple(text(item, "ReferencedSOPInstanceUID") for item in items(dataset, "SourceImageSequence"))
    return Identity(
        patient_id=text(dataset, "PatientID"),
        issuer=text(dataset, "IssuerOfPatientID"),
        study_uid=study,
        instance_uid=text(dataset, "SOPInstanceUID"),
        source_uids=tuple(uid for uid in sources if uid),
        acquisition=event or ("\n".join((study, *when)) if when[1] else ""),
    )
