"""Sends one Segmentation object to a DICOM node (storage SCU). When to retry is up to `server.py`."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Final

from pydicom import dcmread
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, SegmentationStorage
from pynetdicom import AE, build_context

from maseg_nnunet.errors import reason_of
from maseg_nnunet.serving.nodes import Node

# PS3.7 annex C.
_SUCCESS: Final = 0x0000
_PROCESSING_FAILURE: Final = 0x0110
_NOT_AUTHORIZED: Final = 0x0124


class Sending(Enum):
    """Outcome of an attempt to send. RETRY: the node may accept the object later."""

    SENT = "sent"
    REFUSED = "refused"
    RETRY = "retry"


def send(path: Path, node: Node, ae_title: str) -> tuple[Sending, str]:
    """Send the Segmentation object in `path` by C-STORE.

    Args:
        path: The DICOM file.
        node: The node to send it to.
        ae_title: Our own AE title.

    Returns:
        The outcome, and the reason why the object was not sent, or "". It follows the node's status (PS3.4 table
        B.2-1, PS3.7 annex C): a warning means that the object is stored.
    """
    try:
        dataset = dcmread(path)
    except Exception as error:  # our own file, which is missing or damaged
        return Sending.REFUSED, f"the result can't be read: {reason_of(error)}"
    entity = AE(ae_title=ae_title)
    contexts = [build_context(SegmentationStorage, [ExplicitVRLittleEndian, ImplicitVRLittleEndian])]
    association = entity.associate(node.host, node.port, contexts=contexts, ae_title=node.ae_title)
    if association.rejected_contexts:
        return Sending.RETRY, f"{node.ae_title} does not accept DICOM SEG"
    if not association.is_established:
        rejected = association.is_rejected
        return Sending.RETRY, f"{node.ae_title} {'rejected the association' if rejected else 'is unreachable'}"
    try:
        status = association.send_c_store(dataset).get("Status")
    except RuntimeError:  # the peer has ended the association
        status = None
    finally:
        association.release()
    if status is None:
        return Sending.RETRY, f"{node.ae_title} did not answer"
    if status == _SUCCESS or status >> 12 == 0xB:  # Bxxx: a warning
        return Sending.SENT, ""
    if status >> 8 == 0xA7:
        return Sending.RETRY, f"{node.ae_title} is out of resources"
    if status in (_PROCESSING_FAILURE, _NOT_AUTHORIZED):
        return Sending.RETRY, f"{node.ae_title} answered with status {status:04X}"
    return Sending.REFUSED, f"{node.ae_title} refused it with status {status:04X}"
