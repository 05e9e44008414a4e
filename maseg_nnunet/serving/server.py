"""A DICOM node that segments what it receives: storage SCP in, Segmentation objects out. Needs the extra `[pacs]`.

A C-STORE is acknowledged when the file is safely on disk (`spool.py`), and refused as out of resources when too many
files wait. One thread segments and one sends. A fault of this machine, and a destination that is unreachable or not
configured for us, are retried with growing pauses while the other files take their turns. Log lines contain the spool's
own file names and nothing from a header. Not for queries, nor for storage commitment.
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

from maseg_nnunet.arrays import GivenSpacing
from maseg_nnunet.errors import MasegError, Reason, RefusedError, UsageError, place_of, reason_of
from maseg_nnunet.mammogram import Flag, Side
from maseg_nnunet.readers.quiet import silence_pydicom
from maseg_nnunet.serving.nodes import ServerSettings
from maseg_nnunet.serving.send import Sending, send
from maseg_nnunet.serving.spool import Spool, SpoolFullError

if TYPE_CHECKING:
    from maseg_nnunet.prediction.segmenter import Segmenter

logger = logging.getLogger(__name__)

# It logs header values.
logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)

Segment = Callable[[Path, Path], None]
"""Segments the DICOM file at the first path and writes a DICOM SEG to the second. Raises MasegError if it can't."""

ACCEPTED: Final = (
    DigitalMammographyXRayImageStorageForPresentation,
    DigitalMammographyXRayImageStorageForProcessing,
    BreastTomosynthesisImageStorage,
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    DigitalXRayImageStorageForProcessing,
    SecondaryCaptureImageStorage,
)

# C-STORE statuses, PS3.4 table B.2-1.
_SUCCESS: Final = 0x0000
_OUT_OF_RESOURCES: Final = 0xA700

FIRST_DELAY: Final = 2.0
LONGEST_DELAY: Final = 300.0
"""Seconds before the first retry, and at most; each retry waits twice as long as the one before."""

MOST_TRIES: Final = 10
"""Attempts to segment one file that fails by a fault of this machine."""

MOST_ASSOCIATIONS: Final = 4
"""Number of associations at a time: each holds an object in memory, twice while it is stored."""

LONGEST_PDU: Final = 1 << 18
"""Bytes of the largest PDU that a sender may send: each is in memory beside the ones before it."""

DROPPED: Final = frozenset({Reason.WRONG_MODALITY, Reason.MULTI_FRAME, Reason.TOO_LARGE})
"""Refusals whose object is not kept: this server will never segment it, and the sender still has a copy."""


class Server:
    """The node. It runs inside its `with` block.

    At the end it waits for the file that is being segmented. All other files stay in the spool for the next start.

    Args:
        settings: Where to listen, whom to let in, where to send results.
        spool: The files on their way; it must be entered already.
        segment: Segments one file. It is called by one thread only.

    Raises:
        UsageError: On entering, if the address or port can't be listened on.
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
        # This check comes first: a stranger must not get a thread or one of MOST_ASSOCIATIONS.
        self._listener.verify_request = self._is_known
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        # End the associations too: a file received after this would be acknowledged and then wait for the next start.
        for association in self._entity.active_associations:
            if association.is_rejected:  # it is ending by itself; to abort it now would break its thread
                association.join(1)
        self._entity.shutdown()
        self._spool.received.put(None)
        self._spool.ready.put(None)
        for thread in self._threads:
            thread.join()

    @property
    def port(self) -> int:
        """The TCP port it listens on."""
        return int(self._listener.server_address[1])

    def _is_known(self, request: Any, address: tuple[Any, ...]) -> bool:
        if any(caller.may_be_at(address[0]) for caller in self._settings.callers):
            return True
        logger.warning("refused a connection from %s: not the address of a configured caller", address[0])
        return False

    def _admit(self, event: Any) -> None:
        """Reject an association if its requestor is not a configured caller."""
        requestor = event.assoc.requestor
        try:
            title = requestor.primitive.calling_ae_title.strip()
            admitted = any(caller.matches(title, requestor.address) for caller in self._settings.callers)
        except Exception:
            # pynetdicom would accept the association after an exception in its handler.
            admitted = False
        if not admitted:
            logger.warning("rejected an association from %s: not a configured caller", requestor.address)
            # rejected-permanent, service-user, calling-AE-title-not-recognized (PS3.8 table 9-21)
            event.assoc.acse.send_reject(0x01, 0x01, 0x03)
            event.assoc.kill()

    def _receive(self, event: Any) -> int:
        if self._stopping.is_set():
            return _OUT_OF_RESOURCES
        try:
            data = event.encoded_dataset()
            name = self._spool.store(data)
        except SpoolFullError as error:
            logger.warning("refused a file: %s", error)
            return _OUT_OF_RESOURCES
        except OSError as error:
            logger.error("refused a file: %s", error.strerror)
            return _OUT_OF_RESOURCES
        logger.info("%s received, %d bytes", name, len(data))
        return _SUCCESS

    def _segment_all(self) -> None:
        delay = FIRST_DELAY
        tries: Counter[str] = Counter()
        while (name := self._spool.received.get()) is not None and not self._stopping.is_set():
            with self._survives(name):
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
        """Segment a file, or drop or fail it if it can't be. Returns the problem if a retry may help, or ""."""
        source, target = self._spool.begin(name)
        try:
            self._segment(source, target)
            self._spool.finish(name)
        except MasegError as error:
            if isinstance(error, RefusedError) and error.reason in DROPPED:
                logger.info("%s dropped: %s", name, error)
                self._spool.drop(name)
            else:
                self._fail("working", name, str(error))
        except Exception as error:  # the disk, the memory, the GPU, or a file that no check foresaw
            logger.debug("%s: %s", name, place_of(error))
            return reason_of(error)
        else:
            logger.info("%s segmented", name)
        return ""

    def _send_all(self) -> None:
        delay = FIRST_DELAY
        while (name := self._spool.ready.get()) is not None and not self._stopping.is_set():
            with self._survives(name):
                if self._send_one(name, delay):
                    delay = FIRST_DELAY
                else:
                    self._stopping.wait(delay)
                    delay = min(delay * 2, LONGEST_DELAY)
                    # Behind the others, so that a file that can never be sent does not hold them up.
                    self._spool.ready.put(name)

    def _send_one(self, name: str, delay: float) -> bool:
        """Send a result. Returns False if it is to be retried, True if it is sent or has failed."""
        sending, reason = send(self._spool.result(name), self._settings.destination, self._settings.ae_title)
        if sending is Sending.RETRY:
            logger.warning("%s not sent: %s; next attempt in %.0f s", name, reason, delay)
            return False
        if sending is Sending.SENT:
            self._spool.sent(name)
            logger.info("%s sent", name)
        else:
            self._fail("ready", name, reason)
        return True

    @contextmanager
    def _survives(self, name: str) -> Iterator[None]:
        """Log any error of the block instead of ending the service. The file stays in the spool for the next start."""
        try:
            yield
        except Exception as error:
            logger.error("%s left in the spool: %s", name, reason_of(error))
            logger.debug("%s: %s", name, place_of(error))

    def _fail(self, folder: str, name: str, reason: str) -> None:
        logger.error("%s failed: %s", name, reason)
        self._spool.fail(folder, name, reason)


def segment_to_seg(segmenter: Segmenter, spacing_mm: GivenSpacing | None = None) -> Segment:
    """The function that `Server` calls for each file: it reads the mammogram, segments it and writes a DICOM SEG.

    Args:
        segmenter: The loaded model.
        spacing_mm: Pixel spacing of files that have none, in mm; they are refused without it.

    Returns:
        The function. It raises RefusedError if the file can't be used.
    """
    from maseg_nnunet.readers import read_mammogram
    from maseg_nnunet.writers.dicom_seg import algorithm_of, write_dicom_seg

    algorithm = algorithm_of(segmenter.model.plans_name, segmenter.model.digest)

    def segment(source: Path, target: Path) -> None:
        mammogram = read_mammogram(source, spacing_mm=spacing_mm, raw_windows=segmenter.model.raw_windows)
        mask = segmenter.predict(mammogram)
        # The path is the spool's, so a side in it is chance.
        side = Side.UNKNOWN if Flag.SIDE_FROM_PATH in mammogram.flags else mammogram.side
        write_dicom_seg(target, mask, source, mammogram.spacing, side, algorithm)

    return segment
