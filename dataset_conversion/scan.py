"""The first pass over the input: workers read headers and return pseudonyms instead of identities.

Pixels are not read here, and `selection.py` decides what is converted.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

from maseg_nnunet.dataset_conversion.datasets.base import Found, Known
from maseg_nnunet.dataset_conversion.pseudonyms import KeyFile, Pseudonyms, drawing_number
from maseg_nnunet.errors import Reason, RefusedError, place_of
from maseg_nnunet.mammogram import Flag, Identity, Intent, Side, View

logger = logging.getLogger(__name__)

UNEXPECTED: Final = "unexpected {} while reading it: please report this, with --debug"
"""Detail of a rejection by an error that is not a RefusedError; takes the name of the error's class."""

BATCH: Final = 32
"""Headers per task: many enough that reading them takes longer than sending the task to a worker."""


@dataclass(frozen=True)
class ScanTask:
    """One batch of the files found.

    Attributes:
        files: Source number and file.
        seed: Seed of the drawing of the split.
        key: The key file, None if all files have published names. The key itself is never sent to a worker.
    """

    files: tuple[tuple[int, Found], ...]
    seed: int
    key: KeyFile | None


@dataclass(frozen=True)
class Scanned:
    """One image that may be converted. All names are pseudonyms, unless the data set has published names.

    Attributes:
        number: Source number, as in sources.csv.
        path: The file.
        known: What the data set's names and tables say about the image, None if its header was read.
        woman: Name of the woman.
        drawn: Her place in the drawing of the split.
        exam: Name of the exam, empty if the header has no StudyInstanceUID.
        image: Name of the image.
        view: Projection.
        side: Laterality.
        intent: Processed, raw or film.
        vendor: A key of `maseg_nnunet.readers.vendors`, empty if `known`.
        uid: Keyed hash of the SOPInstanceUID.
        derived_from: Keyed hashes of the SOPInstanceUIDs in SourceImageSequence.
        acquisition: Keyed hash of what a raw image and its processed twin have in common.
        flags: What the header's reader noticed.
        patient: Name by the PatientID alone, empty if that is a dummy.
        has_issuer: Whether the header has the issuer of the PatientID.
        rightwards: Direction that the rows point to, A or P by PatientOrientation, empty if it is not stated.
        is_flipped: FieldOfViewHorizontalFlip, "YES", "NO" or empty.
    """

    number: int
    path: Path
    known: Known | None
    woman: str
    drawn: int
    exam: str
    image: str
    view: View
    side: Side
    intent: Intent
    vendor: str
    uid: str = ""
    derived_from: tuple[str, ...] = ()
    acquisition: str = ""
    flags: tuple[Flag, ...] = ()
    patient: str = ""
    has_issuer: bool = False
    rightwards: str = ""
    is_flipped: str = ""


@dataclass(frozen=True)
class Rejected:
    """One file that is not converted.

    Attributes:
        number: Source number, as in sources.csv.
        reason: Why it is not converted.
        detail: More about the reason. It never quotes a header.
        case: Name of the case, if it already had one.
    """

    number: int
    reason: Reason
    detail: str
    case: str = ""


def tasks(found: Iterable[Found], seed: int, key: KeyFile | None) -> Iterator[ScanTask]:
    """Divide the files into batches, numbered from 1 in the order found. `key` is None if all have published names."""
    numbered = enumerate(found, start=1)
    while batch := tuple(islice(numbered, BATCH)):
        yield ScanTask(batch, seed, key)


def scan(task: ScanTask) -> list[Scanned | Rejected]:
    """Read the headers of one batch.

    Raises:
        DatasetError: The key can't be read, or the key file of this worker contains another key.
    """
    names = None if task.key is None else Pseudonyms(task.key.load())
    return [
        _scan_header(number, found.path, task.seed, names)
        if found.known is None and names is not None
        else _scan_known(number, found, task.seed)
        for number, found in task.files
    ]


def _scan_known(number: int, found: Found, seed: int) -> Scanned:
    known = found.known
    if known is None:
        raise ValueError("without a key, every file must be known to its data set")
    return Scanned(
        number=number,
        path=found.path,
        known=known,
        woman=known.woman,
        drawn=drawing_number(seed, known.woman),
        exam=known.woman,
        image=known.case,
        view=known.view,
        side=known.side,
        intent=known.intent,
        vendor="",
    )


def _scan_header(number: int, path: Path, seed: int, names: Pseudonyms) -> Scanned | Rejected:
    from maseg_nnunet.readers import read_header

    try:
        header = read_header(path)
    except RefusedError as error:
        return Rejected(number, error.reason, error.detail)
    except Exception as error:  # unexpected error: report the file and continue
        logger.debug("source %d: %s", number, place_of(error))
        return Rejected(number, Reason.UNREADABLE, UNEXPECTED.format(type(error).__name__))
    identity = header.identity
    person = _person(identity)
    return Scanned(
        number=number,
        path=path,
        known=None,
        woman=names.of("woman", *person),
        drawn=drawing_number(seed, *person),
        exam=names.of("exam", identity.study_uid) if identity.study_uid else "",
        image=names.of("image", identity.instance_uid or content_of(path)),
        view=header.view,
        side=header.side,
        intent=header.intent,
        vendor=header.vendor,
        uid=uid_name(names, identity.instance_uid) if identity.instance_uid else "",
        derived_from=tuple(uid_name(names, uid) for uid in identity.source_uids),
        acquisition=names.of("acquisition", identity.acquisition) if identity.acquisition else "",
        flags=header.flags,
        patient="" if Flag.DUMMY_PATIENT in header.flags else names.of("patient", identity.patient_id.strip()),
        has_issuer=bool(identity.issuer),
        rightwards="".join(header.patient_orientation[:1])[:1],
        is_flipped=header.horizontal_flip,
    )


def content_of(path: Path) -> str:
    """A hash of the file's bytes, which identifies a file without SOPInstanceUID."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def uid_name(names: Pseudonyms, uid: str) -> str:
    """The keyed hash of a SOPInstanceUID, by which images find their masks and twins."""
    return names.of("uid", uid, digits=32)


def _person(identity: Identity) -> tuple[str, ...]:
    """The fields that identify a woman: PatientID and issuer, or the study (else the image) if PatientID is a dummy.

    With dummy PatientIDs all women would be the same one.
    """
    from maseg_nnunet.readers.identity import is_dummy_patient_id

    if not is_dummy_patient_id(identity.patient_id):
        return identity.patient_id.strip(), identity.issuer
    return "study", identity.study_uid or identity.instance_uid
