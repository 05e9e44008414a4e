"""A DICOM node that segments what it is sent: storage SCP in, Segmentation objects out. The extra `[pacs]`.

A C-STORE is acknowledged when the file is safely on disk (`spool.py`), and refused as out of resources when too many
wait. One thread segments, one sends; what fails for a fault of this machine, and a destination that does not answer or
is not set up for us, is tried again, ever more seldom, what waits taking turns. Log lines carry the spool's own names,
and nothing of a header. Not for queries, nor for storage commitment.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

from pydicom.uid import (
    AllTransferSyntaxes,
    BreastTomosynthesisImageStorage,
    ComputedRadiographyImageStorage,
    DigitalMammographyXRayImageStorageForPresentation,
    DigitalMammographyXRayImageStorageForProcessing,
    DigitalXRayImageStorageForPresentation,
    DigitalXRayImageStorageForProcessing,
    SecondaryCaptureImageStorage,
)
from pynetdicom import AE, evt
from pynetdicom.sop_class import Verification

from maseg_nnunet.errors import MasegError, Reason, RefusedError, UsageError, place_of, reason_of
from maseg_nnunet.mammogram import Flag, Side
from maseg_nnunet.readers.quiet import silence_pydicom
from maseg_nnunet.serving.nodes import ServerSettings
from maseg_nnunet.serving.send import SUCCESS, Sending, send
from maseg_nnunet.serving.spool import Spool, SpoolFullError

if TYPE_CHECKING:
    from maseg_nnunet.prediction.segmenter import Segmenter

logger = logging.getLogger(__name__)

# It logs what it is sent.
logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)

Segment = Callable[[Path, Path], None]
"""Segments the DICOM file of the first path and writes a DICOM SEG to the second; raises MasegError with a reason."""

ACCEPTED: Final = (
    DigitalMammographyXRayImageStorageForPresentation,
    DigitalMammographyXRayImageStorageForProcessing,
    BreastTomosynthesisImageStorage,
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    DigitalXRayImageStorageForProcessing,
    SecondaryCaptureImageStorage,
)

OUT_OF_RESOURCES: Final = 0xA700  # PS3.4 table B.2-1

FIRST_DELAY: Final = 2.0
LONGEST_DELAY: Final = 300.0
"""Seconds between two attempts to send; doubled from the first to the longest."""

MOST_TRIES: Final = 10
"""Of one file that a fault of this machine keeps from being segmented."""

MOST_ASSOCIATIONS: Final = 4
"""Senders at a time: an object on its way is in memory, twice while it is stored."""

LONGEST_PDU: Final = 1 << 18
"""Bytes of an object that a sender may put into one message: each is in memory beside what came before."""

NEVER: Final = frozenset({Reason.WRONG_MODALITY, Reason.MULTI_FRAME, Reason.TOO_LARGE})
"""Why an object is not kept: it is none that this server will ever segment, and its sender has it."""


class Server:
    """The node, running between `with` and its end. `segment` is called by one thread.

    `spool` must be entered already. The end waits for the file that is being segmented; everything else stays in the
    spool for the next start. Raises UsageError where the port can't be had.
    """

    def __init__(self, settings: ServerSettings, spool: Spool, segment: Segment) -> None:
        self._settings = settings
        self._spool = spool
        self._segment = segment
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=self._segment_all, name="segment"),
            threading.Thread(target=self._send_all, name="send"),
        ]
        self._entity: Any = None
        self._listener: Any = None

    def __enter__(self) -> Server:
        silence_pydicom()
        settings = self._settings
        self._entity = entity = AE(ae_title=settings.ae_title)
        entity.require_called_aet = True
        entity.require_calling_aet = [caller.ae_title for caller in settings.callers]
        entity.maximum_pdu_size = LONGEST_PDU
        entity.maximum_associations = MOST_ASSOCIATIONS
        entity.add_supported_context(Verification)
        for sop_class in ACCEPTED:
            entity.add_supported_context(sop_class, AllTransferSyntaxes)
        handlers = [(evt.EVT_REQUESTED, self._admit), (evt.EVT_C_STORE, self._receive)]
        try:
            self._listener = entity.start_server((settings.host, settings.port), block=False, evt_handlers=handlers)
        except OSError as error:
            raise UsageError(f"can't listen on {settings.host}:{settings.port}: {error.strerror}") from error
        # Before a thread and a place among MOST_ASSOCIATIONS are given to whoever says nothing, or too much.
        self._listener.verify_request = self._is_known
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        # Associations too: what they sent after this would be acknowledged, and unseen until the start after the next.
        for association in self._entity.active_associations:
            if association.is_rejected:  # it is ending: what aborts it now breaks its thread
                association.join(1)
        self._entity.shutdown()
        self._spool.received.put(None)
        self._spool.ready.put(None)
        for thread in self._threads:
            thread.join()

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self._listener.server_address[1])

    def _is_known(self, request: Any, address: tuple[Any, ...]) -> bool:
        if any(caller.may_be_at(address[0]) for caller in self._settings.callers):
            return True
        logger.warning("refused a connection from %s: not the address of a configured caller", address[0])
        return False

    def _admit(self, event: Any) -> None:
        """Reject an association of anybody who is not configured."""
        requestor = event.assoc.requestor
        try:
            title = requestor.primitive.calling_ae_title.strip()
            admitted = any(caller.matches(title, requestor.address) for caller in self._settings.callers)
        except Exception:
            # pynetdicom goes on after an exception in here: what can't be judged must not be let in.
            admitted = False
        if not admitted:
            logger.warning("rejected an association from %s: not a configured caller", requestor.address)
            # rejected-permanent, service-user, calling-AE-title-not-recognized (PS3.8 table 9-21)
            event.assoc.acse.send_reject(0x01, 0x01, 0x03)
            event.assoc.kill()

    def _receive(self, event: Any) -> int:
        if self._stopping.is_set():
            return OUT_OF_RESOURCES
        try:
            data = event.encoded_dataset()
            name = self._spool.store(data)
        except SpoolFullError as error:
            logger.warning("refused a file: %s", error)
            return OUT_OF_RESOURCES
        except OSError as error:
            logger.error("refused a file: %s", error.strerror)
            return OUT_OF_RESOURCES
        logger.info("%s received, %d bytes", name, len(data))
        return SUCCESS

    def _segment_all(self) -> None:
        delay = FIRST_DELAY
        tries: Counter[str] = Counter()
        while (name := self._spool.received.get()) is not None and not self._stopping.is_set():
            with self._going_on(name):
                problem = self._segment_one(name)
                tries[name] += 1
                if problem and tries[name] < MOST_TRIES:
                    logger.error("%s not segmented: %s; next attempt in %.0f s", name, problem, delay)
                    self._spool.put_back(name)
                    self._stopping.wait(delay)
                    delay = min(delay * 2, LONGEST_DELAY)
                    self._spool.received.put(name)
                    continue
                if problem:
                    self._fail("working", name, problem)
                else:
                    delay = FIRST_DELAY
                del tries[name]

    def _segment_one(self, name: str) -> str:
        """What kept it from being segmented, or "" where that was the end of it: it is segmented, or of no use."""
        source, target = self._spool.begin(name)
        try:
            self._segment(source, target)
            self._spool.finish(name)
        except MasegError as error:
            if isinstance(error, RefusedError) and error.reason in NEVER:
                logger.info("%s dropped: %s", name, error)
                self._spool.drop(name)
            else:
                self._fail("working", name, str(error))
        except Exception as error:  # of the disk, the memory, the GPU, or of a file that nobody thought of
            logger.debug("%s: %s", name, place_of(error))
            return reason_of(error)
        else:
            logger.info("%s segmented", name)
        return ""

    def _send_all(self) -> None:
        delay = FIRST_DELAY
        while (name := self._spool.ready.get()) is not None and not self._stopping.is_set():
            with self._going_on(name):
                if self._send_one(name, delay):
                    delay = FIRST_DELAY
                else:
                    self._stopping.wait(delay)
                    delay = min(delay * 2, LONGEST_DELAY)
                    # Behind the others: one that can never be sent must not keep them.
                    self._spool.ready.put(name)

    def _send_one(self, name: str, delay: float) -> bool:
        """Whether that was the end of it: it is sent, or has failed."""
        sending, reason = send(self._spool.result(name), self._settings.destination, self._settings.ae_title)
        if sending is Sending.LATER:
            logger.warning("%s not sent: %s; next attempt in %.0f s", name, reason, delay)
            return False
        if sending is Sending.SENT:
            self._spool.sent(name)
            logger.info("%s sent", name)
        else:
            self._fail("ready", name, reason)
        return True

    @contextmanager
    def _going_on(self, name: str) -> Iterator[None]:
        """Nothing that happens to one file ends the service; what is in the spool is tried again after a restart."""
        try:
            yield
        except Exception as error:
            logger.error("%s left in the spool: %s", name, reason_of(error))
            logger.debug("%s: %s", name, place_of(error))

    def _fail(self, folder: str, name: str, reason: str) -> None:
        logger.error("%s failed: %s", name, reason)
        self._spool.fail(folder, name, reason)


def segment_to_seg(segmenter: Segmenter, spacing_mm: float | None = None) -> Segment:
    """What `Server` calls: read, segment, write a DICOM SEG. `spacing_mm`: of files that tell none."""
    from maseg_nnunet.readers import read_mammogram
    from maseg_nnunet.writers.dicom_seg import algorithm_of, write_dicom_seg

    algorithm = algorithm_of(segmenter.model.plans_name, segmenter.model.digest)

    def segment(source: Path, target: Path) -> None:
        mammogram = read_mammogram(source, spacing_mm=spacing_mm, raw_windows=segmenter.model.raw_windows)
        mask = segmenter.predict(mammogram)
        # The file's path is the spool's: what it says of a side is chance.
        side = Side.UNKNOWN if Flag.SIDE_FROM_PATH in mammogram.flags else mammogram.side
        write_dicom_seg(target, mask, source, mammogram.spacing, side, algorithm)

    return segment
