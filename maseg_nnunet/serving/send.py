"""Sending one Segmentation object to a DICOM node (storage SCU)."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Final

from pydicom import dcmread
from pydicom.uid import (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    SegmentationStorage,
)
from pynetdicom import AE, build_context

from maseg_nnunet.errors import reason_of
from maseg_nnunet.serving.nodes import Node

SUCCESS: Final = 0x0000
PROCESSING_FAILURE: Final = 0x0110  # PS3.7 section C.5
NOT_AUTHORIZED: Final = 0x0124


class Sending(Enum):
    """What became of an attempt to send."""

    SENT = "sent"
    REFUSED = "refused"
    LATER = "later"


def send(path: Path, node: Node, ae_title: str) -> tuple[Sending, str]:
    """Send the Segmentation object in `path` to `node`; what became of it, and why where it was not taken."""
    try:
        dataset = dcmread(path)
    except Exception as error:  # our own file: lost, or damaged by the disk
        return Sending.REFUSED, f"the result can't be read: {reason_of(error)}"
    entity = AE(ae_title=ae_title)
    contexts = [build_context(SegmentationStorage, [ExplicitVRLittleEndian, ImplicitVRLittleEndian])]
    association = entity.associate(node.host, node.port, contexts=contexts, ae_title=node.ae_title)
    if association.rejected_contexts:
        return Sending.LATER, f"{node.ae_title} takes no DICOM SEG"
    if not association.is_established:
        return Sending.LATER, f"{node.ae_title} rejects us" if association.is_rejected else f"no {node.ae_title} there"
    try:
        status = association.send_c_store(dataset).get("Status")
    except RuntimeError:  # it was ended by the peer meanwhile
        status = None
    finally:
        association.release()
    if status is None:
        return Sending.LATER, f"{node.ae_title} did not answer"
    if status == SUCCESS or status >> 12 == 0xB:  # a warning: stored, with a remark
        return Sending.SENT, ""
    if status >> 8 == 0xA7:
        return Sending.LATER, f"{node.ae_title} is out of resources"
    if status in (PROCESSING_FAILURE, NOT_AUTHORIZED):
        return Sending.LATER, f"{node.ae_title} answers with status {status:04X}"
    return Sending.REFUSED, f"{node.ae_title} refused it with status {status:04X}"
