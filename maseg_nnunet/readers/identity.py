"""Who and what an image is of. What is read here is hashed by those who name cases; it is never shown or written."""

from __future__ import annotations

import re
from typing import Final

from pydicom.dataset import Dataset

from maseg_nnunet.mammogram import Identity
from maseg_nnunet.readers.attributes import items, text

_DUMMY: Final = re.compile(r"(0*|x*|anon.*|unknown|none|dummy|test|n/?a|patient|id|-+|\.+|\?+)", re.IGNORECASE)


def is_dummy_patient_id(patient_id: str) -> bool:
    """Whether a PatientID is empty or a placeholder that many women share."""
    return _DUMMY.fullmatch(patient_id.strip()) is not None


def read_identity(dataset: Dataset) -> Identity:
    """Patient, study, instance, the instances it was made from, and what it shares with its raw or processed twin.

    Twins come of one exposure: IrradiationEventUID says so, else the study and the time of acquisition, to the second.
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
