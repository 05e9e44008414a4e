"""First pass over the input: headers only, in workers, which return names instead of identities.

Not for pixels, and not for deciding what is converted (`selection.py`).
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

UNEXPECTED: Final = "unexpected {} in reading it: please report this, with --debug"

BATCH: Final = 32
"""Headers a task: reading one takes milliseconds, and a task should take longer than its journey."""


@dataclass(frozen=True)
class ScanTask:
    """Some of the files found, numbered. The key travels as the name of its file and a hash, never itself."""

    files: tuple[tuple[int, Found], ...]
    seed: int
    key: KeyFile | None


@dataclass(frozen=True)
class Scanned:
    """One image that may be converted. `uid`, `derived_from` and `acquisition` are keyed hashes of the header's."""

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


@dataclass(frozen=True)
class Rejected:
    """One file that is not converted, and why."""

    number: int
    reason: Reason
    detail: str
    case: str = ""


def tasks(found: Iterable[Found], seed: int, key: KeyFile | None) -> Iterator[ScanTask]:
    """The files in batches, numbered from 1 in the order found. `key`: None where all have names of their own."""
    numbered = enumerate(found, start=1)
    while batch := tuple(islice(numbered, BATCH)):
        yield ScanTask(batch, seed, key)


def scan(task: ScanTask) -> list[Scanned | Rejected]:
    """Read the headers of one batch. Raises DatasetError where the key can't be read, or is another one here."""
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
        raise ValueError("a file without a header needs what its data set knows")
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
    except Exception as error:  # a file that nobody thought of: it is named, and the rest goes on
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
    )


def content_of(path: Path) -> str:
    """What tells a file without SOPInstanceUID from all others: a hash of its bytes."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def uid_name(names: Pseudonyms, uid: str) -> str:
    """What stands for a SOPInstanceUID when images are joined to masks and twins."""
    return names.of("uid", uid, digits=32)


def _person(identity: Identity) -> tuple[str, ...]:
    """The fields that make a woman: with a dummy PatientID all would be one, so the study stands in, or the image."""
    from maseg_nnunet.readers.identity import is_dummy_patient_id

    if not is_dummy_patient_id(identity.patient_id):
        return identity.patient_id.strip(), identity.issuer
    return "study", identity.study_uid or identity.instance_uid
