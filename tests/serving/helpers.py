"""A storage node, a running server and a sender, all on loopback."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import ip_network
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import DigitalMammographyXRayImageStorageForPresentation, ExplicitVRLittleEndian, SegmentationStorage

pytest.importorskip("pynetdicom", reason="the extra [pacs] is not installed")

from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.sop_class import Verification

from maseg_nnunet.mammogram import Side
from maseg_nnunet.serving.nodes import Caller, Node, ServerSettings
from maseg_nnunet.serving.server import Segment, Server
from maseg_nnunet.serving.spool import Spool
from maseg_nnunet.writers.dicom_seg import Algorithm, write_dicom_seg

CALLER = Caller("SENDER", ip_network("127.0.0.1"))
PATIENCE = 30.0

unclosed_sockets = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
"""pynetdicom leaves its socket to the garbage collector if nobody answers."""


def segment_halves(source: Path, target: Path) -> None:
    """A model that calls the upper half muscle and the lower half breast."""
    header = dcmread(source, stop_before_pixels=True)
    mask = np.ones((header.Rows, header.Columns), np.uint8)
    mask[: header.Rows // 2] = 2
    spacing = tuple(float(value) for value in header.ImagerPixelSpacing)
    write_dicom_seg(target, mask, source, spacing, Side.LEFT, Algorithm("0", "stub"))


def eventually(condition: Callable[[], object], what: str) -> None:
    """Wait for other threads. The limit exists only so that a failure ends."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"never happened: {what}"
        time.sleep(0.01)


class Archive:
    """A storage node that keeps the segmentations it receives. It first answers `statuses`, one for each C-STORE."""

    def __init__(self, port: int = 0, statuses: tuple[int, ...] = (), accepts: str = SegmentationStorage) -> None:
        self.received: list[Dataset] = []
        self.statuses = list(statuses)
        entity = AE("ARCHIVE")
        entity.add_supported_context(accepts, ExplicitVRLittleEndian)
        self._listener = entity.start_server(
            ("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_C_STORE, self._store)]
        )
        self.node = Node("ARCHIVE", "127.0.0.1", self._listener.server_address[1])

    def _store(self, event: object) -> int:
        if self.statuses:
            return self.statuses.pop(0)
        received = event.dataset
        received.file_meta = event.file_meta
        self.received.append(received)
        return 0x0000

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown()


@contextmanager
def running_server(
    folder: Path,
    destination: Node,
    segment: Segment = segment_halves,
    callers: tuple[Caller, ...] = (CALLER,),
    limit: int = 100,
) -> Iterator[tuple[Server, Spool]]:
    """A server on a free port, and its spool."""
    with (
        Spool(folder, limit=limit, reserve=0) as spool,
        Server(ServerSettings(callers, destination, port=0), spool, segment) as server,
    ):
        yield server, spool


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def association_to(
    port: int,
    title: str = "SENDER",
    called: str = "MASEG",
    sop_class: str = DigitalMammographyXRayImageStorageForPresentation,
) -> Iterator[Association]:
    """An association with the server, established or not."""
    entity = AE(title)
    entity.add_requested_context(Verification)
    entity.add_requested_context(sop_class, ExplicitVRLittleEndian)
    association = entity.associate("127.0.0.1", port, ae_title=called)
    try:
        yield association
    finally:
        association.release()


def store(port: int, *paths: Path) -> list[int]:
    """Send files to the server over one association; the status of each."""
    with association_to(port) as association:
        return [association.send_c_store(dcmread(path)).Status for path in paths]
