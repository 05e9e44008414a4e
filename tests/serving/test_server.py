from __future__ import annotations

import json
import logging
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import ip_network
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, SegmentationStorage

pytest.importorskip("pynetdicom", reason="the extra [pacs] is not installed")

from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.sop_class import Verification

from maseg_nnunet.errors import Reason, RefusedError, UsageError
from maseg_nnunet.mammogram import Side, View
from maseg_nnunet.serving import server as pacs
from maseg_nnunet.serving.nodes import Caller, Node, ServerSettings
from maseg_nnunet.serving.server import Server
from maseg_nnunet.serving.spool import Spool
from maseg_nnunet.synthetic.phantom_dicom import PLANTED, write_exam
from maseg_nnunet.writers.dicom_seg import Algorithm, write_dicom_seg
from tests.tiny_models import write_model

# pynetdicom leaves its socket to the garbage collector where nobody answers.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")

CALLER = Caller("SENDER", ip_network("127.0.0.1"))
PATIENCE = 30.0


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """What failed is tried again at once."""
    monkeypatch.setattr(pacs, "FIRST_DELAY", 0.05)
    monkeypatch.setattr(pacs, "LONGEST_DELAY", 0.1)


@pytest.fixture(scope="session")
def exam(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two DICOM files of one woman."""
    pairs = write_exam(tmp_path_factory.mktemp("exam"), "ge", 1, scale=0.1, raw=False, views=(View.MLO,))
    return [image for image, _ in pairs]


def _segment(source: Path, target: Path) -> None:
    """A model that calls the upper half muscle and the lower half breast."""
    header = dcmread(source, stop_before_pixels=True)
    mask = np.ones((header.Rows, header.Columns), np.uint8)
    mask[: header.Rows // 2] = 2
    spacing = tuple(float(value) for value in header.ImagerPixelSpacing)
    write_dicom_seg(target, mask, source, spacing, Side.LEFT, Algorithm("0", "stub"))


def _eventually(condition: Callable[[], object], what: str) -> None:
    """Wait for what other threads do; the limit is only there so that a failure ends."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"never happened: {what}"
        time.sleep(0.01)


class _Archive:
    """A storage node for segmentations that keeps what it gets. `statuses` are answered first, one a C-STORE."""

    def __init__(self, port: int = 0, statuses: tuple[int, ...] = (), takes: str = SegmentationStorage) -> None:
        self.received: list[Dataset] = []
        self.statuses = list(statuses)
        entity = AE("ARCHIVE")
        entity.add_supported_context(takes, ExplicitVRLittleEndian)
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

    def __enter__(self) -> _Archive:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown()


@contextmanager
def _server(
    folder: Path,
    destination: Node,
    segment: pacs.Segment = _segment,
    callers: tuple[Caller, ...] = (CALLER,),
    limit: int = 100,
) -> Iterator[tuple[Server, Spool]]:
    with (
        Spool(folder, limit=limit, reserve=0) as spool,
        Server(ServerSettings(callers, destination, port=0), spool, segment) as server,
    ):
        yield server, spool


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def _association(port: int, title: str = "SENDER", called: str = "MASEG", sop_class: str | None = None) -> Iterator:
    entity = AE(title)
    entity.add_requested_context(Verification)
    entity.add_requested_context(sop_class or "1.2.840.10008.5.1.4.1.1.1.2", ExplicitVRLittleEndian)
    association = entity.associate("127.0.0.1", port, ae_title=called)
    try:
        yield association
    finally:
        association.release()


def _store(port: int, *paths: Path) -> list[int]:
    with _association(port) as association:
        return [association.send_c_store(dcmread(path)).Status for path in paths]


def test_an_exam_comes_back_as_segmentations(
    tmp_path: Path, exam: list[Path], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with _Archive() as archive, _server(tmp_path / "spool", archive.node) as (server, spool):
        assert _store(server.port, *exam) == [0x0000, 0x0000]
        _eventually(lambda: len(archive.received) == len(exam), "two segmentations arrive")
        _eventually(lambda: spool.waiting() == 0, "the spool is empty again")
    sources = {dcmread(path, stop_before_pixels=True).SOPInstanceUID for path in exam}
    assert {seg.SourceImageSequence[0].ReferencedSOPInstanceUID for seg in archive.received} == sources
    frames = archive.received[0].pixel_array
    middle = frames.shape[1] // 2
    assert frames[0][middle:].all() and not frames[0][:middle].any()
    assert frames[1][:middle].all() and not frames[1][middle:].any()
    messages = "\n".join(record.getMessage() for record in caplog.records)
    assert "received" in messages and "segmented" in messages and "sent" in messages
    assert not any(word in messages for word in (*PLANTED, "QUI", *sources))


def test_echo(tmp_path: Path) -> None:
    with (
        _server(tmp_path / "spool", Node("A", "127.0.0.1", 1)) as (server, _),
        _association(server.port) as association,
    ):
        assert association.send_c_echo().Status == 0x0000


@pytest.mark.parametrize(
    ("callers", "title", "called"),
    [
        ((CALLER,), "STRANGER", "MASEG"),
        ((CALLER, Caller("OTHER", ip_network("10.1.2.3"))), "OTHER", "MASEG"),
        ((CALLER,), "SENDER", "OTHER"),
    ],
)
def test_nobody_else_may_associate(tmp_path: Path, callers: tuple[Caller, ...], title: str, called: str) -> None:
    with (
        _server(tmp_path / "spool", Node("A", "127.0.0.1", 1), callers=callers) as (server, _),
        _association(server.port, title, called) as association,
    ):
        assert association.is_rejected
        assert not association.is_established


def test_an_address_that_is_no_callers_gets_no_thread(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    elsewhere = Caller("SENDER", ip_network("10.1.2.0/24"))
    with _server(tmp_path / "spool", Node("A", "127.0.0.1", 1), callers=(elsewhere,)) as (server, _):
        threads = threading.active_count()
        with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as silent:
            assert silent.recv(1) == b""  # hung up on, before a word was said
            assert threading.active_count() == threads
    assert "refused a connection from 127.0.0.1" in caplog.text


def test_what_can_not_be_judged_is_not_let_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Caller, ae_title: str, address: str) -> bool:
        raise ValueError("an address of a kind that is not known")

    monkeypatch.setattr(Caller, "matches", broken)
    with (
        _server(tmp_path / "spool", Node("A", "127.0.0.1", 1)) as (server, _),
        _association(server.port) as association,
    ):
        assert association.is_rejected


def test_other_modalities_are_not_taken(tmp_path: Path) -> None:
    with (
        _server(tmp_path / "spool", Node("A", "127.0.0.1", 1)) as (server, _),
        _association(server.port, sop_class=CTImageStorage) as association,
    ):
        accepted = [context.abstract_syntax for context in association.accepted_contexts]
        assert accepted == [Verification]


def test_a_full_queue_refuses_and_acknowledges_again_when_there_is_room(tmp_path: Path, exam: list[Path]) -> None:
    go_on, begun = threading.Event(), threading.Event()

    def slow(source: Path, target: Path) -> None:
        begun.set()
        go_on.wait(PATIENCE)
        _segment(source, target)

    with _Archive() as archive, _server(tmp_path / "spool", archive.node, slow, limit=2) as (server, spool):
        assert _store(server.port, exam[0], exam[1], exam[0]) == [0x0000, 0x0000, 0xA700]
        begun.wait(PATIENCE)
        assert _store(server.port, exam[0]) == [0xA700]
        go_on.set()
        _eventually(lambda: spool.waiting() == 0, "both are sent")
        assert _store(server.port, exam[0]) == [0x0000]


def test_a_disk_error_is_no_acknowledgement(tmp_path: Path, exam: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    def full(data: bytes) -> str:
        raise OSError(28, "No space left on device")

    with _server(tmp_path / "spool", Node("A", "127.0.0.1", 1)) as (server, spool):
        monkeypatch.setattr(spool, "store", full)
        assert _store(server.port, exam[0]) == [0xA700]


def test_what_was_received_survives_a_restart(tmp_path: Path, exam: list[Path]) -> None:
    with Spool(tmp_path / "spool", reserve=0) as spool:
        # The last run acknowledged this one and was killed while it segmented it.
        spool.begin(spool.store(exam[0].read_bytes()))
    with _Archive() as archive, _server(tmp_path / "spool", archive.node):
        _eventually(lambda: len(archive.received) == 1, "the file of the last run comes back segmented")


def test_a_stop_in_the_middle_loses_nothing(tmp_path: Path, exam: list[Path]) -> None:
    with _server(tmp_path / "spool", Node("NOBODY", "127.0.0.1", _free_port())) as (server, spool):
        _store(server.port, *exam)
        _eventually(lambda: not list((spool.folder / "received").iterdir()), "both are being worked on")
    with _Archive() as archive, _server(tmp_path / "spool", archive.node):
        _eventually(lambda: len(archive.received) == len(exam), "both arrive after the restart")


@pytest.mark.usefixtures("soon")
def test_a_destination_that_is_away_is_tried_again(
    tmp_path: Path, exam: list[Path], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    port = _free_port()
    with _server(tmp_path / "spool", Node("ARCHIVE", "127.0.0.1", port)) as (server, _):
        _store(server.port, exam[0])
        _eventually(lambda: "next attempt" in caplog.text, "an attempt fails")
        with _Archive(port, statuses=(0xA700,)) as archive:
            _eventually(lambda: len(archive.received) == 1, "it arrives in the end")
    assert "out of resources" in caplog.text


def test_what_the_destination_refuses_is_kept_with_a_reason_and_can_be_tried_again(
    tmp_path: Path, exam: list[Path]
) -> None:
    with _Archive(statuses=(0xC001,)) as archive, _server(tmp_path / "spool", archive.node) as (server, spool):
        _store(server.port, exam[0])
        failed = spool.folder / "failed"
        _eventually(lambda: list(failed.glob("*.txt")), "a reason is written")
        (reason,) = failed.glob("*.txt")
        (kept,) = failed.glob("*_seg.dcm")
    assert "ARCHIVE" in reason.read_text()
    assert dcmread(kept).SOPClassUID == SegmentationStorage
    kept.replace(spool.folder / "ready" / kept.name)
    with _Archive() as archive, _server(tmp_path / "spool", archive.node):
        _eventually(lambda: len(archive.received) == 1, "it is sent after all")


@pytest.mark.parametrize("status", [0xA700, 0x0110, 0x0124, 0xB000, 0xB007])
def test_what_may_pass_is_tried_again_and_a_warning_is_a_delivery(
    status: int, tmp_path: Path, exam: list[Path], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(pacs, "FIRST_DELAY", 0.05)
    caplog.set_level(logging.WARNING)
    with _Archive(statuses=(status,)) as archive, _server(tmp_path / "spool", archive.node) as (server, spool):
        _store(server.port, exam[0])
        _eventually(lambda: not archive.statuses and spool.waiting() == 0, "it is taken")
        assert not list((spool.folder / "failed").iterdir())
        assert ("next attempt" in caplog.text) == (status < 0xB000)
        assert len(archive.received) == (status < 0xB000)


@pytest.mark.usefixtures("soon")
def test_an_archive_that_is_not_set_up_for_segmentations_gets_them_when_it_is(
    tmp_path: Path, exam: list[Path], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    port = _free_port()
    with _server(tmp_path / "spool", Node("ARCHIVE", "127.0.0.1", port)) as (server, _):
        with _Archive(port, takes=CTImageStorage):
            _store(server.port, exam[0])
            _eventually(lambda: "takes no DICOM SEG" in caplog.text, "an attempt fails")
        with _Archive(port) as archive:
            _eventually(lambda: len(archive.received) == 1, "it arrives in the end")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (RefusedError(Reason.NO_SPACING, "none"), "no spacing: none"),
        (RefusedError(Reason.NO_DECODER, "JPEG XL"), "no decoder: JPEG XL"),
        (RefusedError(Reason.TRUNCATED, "half"), "truncated: half"),
        (RefusedError(Reason.SPECIMEN, "a specimen"), "specimen: a specimen"),
        (ValueError("Quitte^Mirabelle is no number"), "internal error: ValueError"),
        (OSError(28, "No space left on device", "Quitte"), "No space left on device"),
        (RefusedError(Reason.MULTI_FRAME, "40 frames"), None),
        (RefusedError(Reason.WRONG_MODALITY, "CT"), None),
        (RefusedError(Reason.TOO_LARGE, "1 Gpx"), None),
    ],
)
def test_a_bad_file_is_kept_with_a_reason_unless_it_is_no_mammogram_and_the_next_one_is_segmented(
    tmp_path: Path,
    exam: list[Path],
    error: Exception,
    reason: str | None,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    bad: list[str] = []

    def first_fails(source: Path, target: Path) -> None:
        bad.append(source.name)
        if source.name == bad[0]:
            target.write_bytes(b"half a result")
            raise error
        _segment(source, target)

    monkeypatch.setattr(pacs, "FIRST_DELAY", 0.01)
    monkeypatch.setattr(pacs, "MOST_TRIES", 3)
    with _Archive() as archive, _server(tmp_path / "spool", archive.node, first_fails) as (server, spool):
        _store(server.port, *exam)
        _eventually(lambda: len(archive.received) == 1 and spool.waiting() == 0, "the second one arrives")
        failed = sorted(path.name for path in (spool.folder / "failed").iterdir())
        assert failed == ([] if reason is None else [bad[0], bad[0].replace(".dcm", ".txt")])
        assert reason is None or (spool.folder / "failed" / failed[1]).read_text() == f"{reason}\n"
    assert bad.count(bad[0]) == (1 if isinstance(error, RefusedError) else 3)
    assert "Quitte" not in caplog.text


def test_a_fault_of_the_machine_loses_nothing(
    tmp_path: Path, exam: list[Path], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    broken = [RuntimeError("the GPU has fallen off the bus")] * 3

    def at_first(source: Path, target: Path) -> None:
        if broken:
            raise broken.pop()
        _segment(source, target)

    monkeypatch.setattr(pacs, "FIRST_DELAY", 0.01)
    with _Archive() as archive, _server(tmp_path / "spool", archive.node, at_first) as (server, spool):
        _store(server.port, *exam)
        _eventually(lambda: len(archive.received) == 2 and spool.waiting() == 0, "both arrive when it is over")
        assert not list((spool.folder / "failed").iterdir())
    assert "not segmented: internal error: RuntimeError; next attempt" in caplog.text


@pytest.mark.usefixtures("soon")
def test_an_archive_that_hangs_up_or_a_file_that_is_gone_does_not_end_the_service(
    tmp_path: Path, exam: list[Path], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    real, calls = Association.send_c_store, []

    def hangs_up(self: Association, dataset: Dataset, *arguments: object) -> Dataset:
        if dataset.SOPClassUID == SegmentationStorage:
            calls.append(dataset.SOPInstanceUID)
            if calls.count(calls[0]) <= 2 and dataset.SOPInstanceUID == calls[0]:
                raise RuntimeError("The association with a peer SCP must be established")
        return real(self, dataset, *arguments)

    monkeypatch.setattr(Association, "send_c_store", hangs_up)
    with _Archive() as archive, _server(tmp_path / "spool", archive.node) as (server, spool):
        _store(server.port, exam[0])
        _eventually(lambda: calls, "it is tried")
        _store(server.port, exam[1])
        _eventually(lambda: len(archive.received) == 2 and spool.waiting() == 0, "both arrive in the end")
        spool.ready.put("gone.dcm")
        spool.received.put("gone too.dcm")
        _store(server.port, exam[0])
        _eventually(lambda: len(archive.received) == 3, "the next one is segmented and sent")
    assert "did not answer" in caplog.text
    assert "gone too.dcm left in the spool" in caplog.text


def test_nothing_is_taken_after_the_end(tmp_path: Path, exam: list[Path]) -> None:
    with _Archive() as archive, Spool(tmp_path / "spool", reserve=0) as spool:
        server = Server(ServerSettings((CALLER,), archive.node, port=0), spool, _segment)
        server.__enter__()
        with _association(server.port) as association:
            assert association.send_c_store(dcmread(exam[0])).Status == 0
            server.__exit__(None, None, None)
            _eventually(lambda: not association.is_established, "the association is ended")
        assert not [thread for thread in threading.enumerate() if thread.name in ("segment", "send")]


def test_port_in_use(tmp_path: Path) -> None:
    with socket.socket() as taken, Spool(tmp_path / "spool", reserve=0) as spool:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        settings = ServerSettings((CALLER,), Node("A", "127.0.0.1", 1), port=taken.getsockname()[1])
        with pytest.raises(UsageError, match="can't listen"):
            Server(settings, spool, _segment).__enter__()


def test_nodes_and_callers_are_parsed_or_refused() -> None:
    assert Node.parse("ARCHIVE@10.0.0.5:104") == Node("ARCHIVE", "10.0.0.5", 104)
    assert Node.parse("A B@[::1]:104") == Node("A B", "::1", 104)
    for text in ("ARCHIVE", "ARCHIVE@host", "@host:104", "A@host:0", "A@host:x", "A@:104", "TOO_LONG_A_TITLE_X@h:1"):
        with pytest.raises(UsageError):
            Node.parse(text)
    assert Caller.parse("PACS") == Caller("PACS")
    assert Caller.parse("PACS@10.0.0.0/24").matches("PACS", "10.0.0.77")
    assert not Caller.parse("PACS@10.0.0.0/24").matches("PACS", "10.0.1.77")
    assert not Caller.parse("PACS@10.0.0.5").matches("PACS2", "10.0.0.5")
    assert Caller.parse("PACS@10.0.0.5").matches("PACS", "::ffff:10.0.0.5")
    for text in ("PACS@", "PACS@nowhere", "@10.0.0.1", "A\\B"):
        with pytest.raises(UsageError):
            Caller.parse(text)


def test_settings_that_would_let_anybody_in_are_refused() -> None:
    node = Node("A", "127.0.0.1", 1)
    with pytest.raises(UsageError, match="nobody"):
        ServerSettings((), node)
    with pytest.raises(UsageError, match="PACS@ADDRESS"):
        ServerSettings((Caller("PACS"),), node, host="0.0.0.0")
    assert ServerSettings((Caller("PACS"),), node).host == "127.0.0.1"


def test_the_model_gives_the_segmentation_that_predict_gives(tmp_path: Path, exam: list[Path]) -> None:
    from maseg_nnunet.prediction.segmenter import Segmenter

    segmenter = Segmenter(write_model(tmp_path / "model"), "cpu")
    pacs.segment_to_seg(segmenter)(exam[0], tmp_path / "seg.dcm")
    frames = dcmread(tmp_path / "seg.dcm").pixel_array
    expected = segmenter.predict(exam[0])
    assert expected.any()
    np.testing.assert_array_equal(frames[0] + 2 * frames[1], expected)
    header = dcmread(exam[0])
    del header.ImagerPixelSpacing
    header.save_as(tmp_path / "without.dcm")
    with pytest.raises(RefusedError, match="no spacing"):
        pacs.segment_to_seg(segmenter)(tmp_path / "without.dcm", tmp_path / "no.dcm")
    pacs.segment_to_seg(segmenter, spacing_mm=0.4)(tmp_path / "without.dcm", tmp_path / "given.dcm")
    assert (tmp_path / "given.dcm").is_file()


@pytest.mark.parametrize("told", [True, False])
def test_a_side_is_the_headers_and_not_that_of_the_spools_path(told: bool, tmp_path: Path, exam: list[Path]) -> None:
    from maseg_nnunet.prediction.segmenter import Segmenter

    header = dcmread(exam[0])
    header.ImageLaterality = "L"
    if not told:
        del header.ImageLaterality
    (tmp_path / "right").mkdir()
    header.save_as(tmp_path / "right" / "x.dcm")
    segment = pacs.segment_to_seg(Segmenter(write_model(tmp_path / "model"), "cpu"))
    segment(tmp_path / "right" / "x.dcm", tmp_path / "seg.dcm")
    seg = dcmread(tmp_path / "seg.dcm")
    types = (part.SegmentedPropertyTypeCodeSequence[0] for part in seg.SegmentSequence)
    found = {code.CodeMeaning for kind in types for code in kind.get("SegmentedPropertyTypeModifierCodeSequence", ())}
    assert found == ({"Left"} if told else set())


class _Process:
    """`maseg serve` as a process of its own."""

    def __init__(self, tmp_path: Path, destination: Node) -> None:
        node = f"{destination.ae_title}@{destination.host}:{destination.port}"
        self.port = _free_port()
        command = [sys.executable, "-c", "from maseg_nnunet.cli.main import main; main()", "serve"]
        command += ["--spool", tmp_path / "spool", "--caller", "SENDER@127.0.0.1", "--destination", node]
        command += ["--port", str(self.port), "--model", tmp_path / "model", "--device", "cpu"]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        if "listens" not in self._process.stdout.readline():
            pytest.fail(self.end(signal.SIGKILL)[1])

    def end(self, number: int) -> tuple[int, str]:
        self._process.send_signal(number)
        _, err = self._process.communicate(timeout=PATIENCE)
        return self._process.returncode, err


def test_killed_after_the_acknowledgement_it_delivers_after_a_restart(tmp_path: Path, exam: list[Path]) -> None:
    write_model(tmp_path / "model")
    first = _Process(tmp_path, Node("ARCHIVE", "127.0.0.1", _free_port()))
    assert _store(first.port, *exam) == [0x0000, 0x0000]
    first.end(signal.SIGKILL)
    with _Archive() as archive:
        second = _Process(tmp_path, archive.node)
        _eventually(lambda: len(archive.received) == len(exam), "both arrive after the restart")
        status, log = second.end(signal.SIGTERM)
    assert status == 0
    assert "segmented" in log and "sent" in log
    assert not any(word in log for word in (*PLANTED, "QUI"))


class _Orthanc:
    """A real Orthanc on loopback, with a configuration and a storage of its own."""

    def __init__(self, folder: Path, maseg_port: int) -> None:
        program = shutil.which("Orthanc")
        if program is None:
            pytest.skip("Orthanc is not installed: apt-get install orthanc")
        self.port, self._http = _free_port(), _free_port()
        configuration = {
            "Name": "test",
            "StorageDirectory": str(folder / "storage"),
            "IndexDirectory": str(folder / "storage"),
            "Plugins": [],
            "HttpPort": self._http,
            "HttpBindAddresses": ["127.0.0.1"],
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "DicomAet": "ORTHANC",
            "DicomPort": self.port,
            "DicomAlwaysAllowStore": True,
            "DicomModalities": {"maseg": ["MASEG", "127.0.0.1", maseg_port]},
        }
        folder.mkdir()
        (folder / "orthanc.json").write_text(json.dumps(configuration))
        self._log = (folder / "orthanc.log").open("wb")
        self._process = subprocess.Popen(
            [program, str(folder / "orthanc.json")], stdout=self._log, stderr=subprocess.STDOUT
        )

    def __enter__(self) -> _Orthanc:
        try:
            _eventually(self._answers, "Orthanc starts")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(PATIENCE)
        self._log.close()

    def _answers(self) -> bool:
        assert self._process.poll() is None, "Orthanc ended"
        try:
            return bool(self.ask("/system"))
        except OSError:
            return False

    def ask(self, path: str, data: bytes | None = None) -> object:
        with urllib.request.urlopen(f"http://127.0.0.1:{self._http}{path}", data, timeout=PATIENCE) as answer:
            content = answer.read()
            return json.loads(content) if answer.headers.get_content_type() == "application/json" else content

    def find(self, level: str, **query: str) -> list[str]:
        return self.ask("/tools/find", json.dumps({"Level": level, "Query": query}).encode())


def test_orthanc_sends_an_exam_and_receives_the_segmentations(tmp_path: Path, exam: list[Path]) -> None:
    from maseg_nnunet.prediction.segmenter import Segmenter

    segmenter = Segmenter(write_model(tmp_path / "model"), "cpu")
    port = _free_port()
    with _Orthanc(tmp_path / "orthanc", port) as orthanc:
        settings = ServerSettings((Caller("ORTHANC"),), Node("ORTHANC", "127.0.0.1", orthanc.port), port=port)
        with Spool(tmp_path / "spool", reserve=0) as spool, Server(settings, spool, pacs.segment_to_seg(segmenter)):
            orthanc.ask("/modalities/maseg/echo", b"{}")
            sent = [orthanc.ask("/instances", path.read_bytes())["ID"] for path in exam]
            orthanc.ask("/modalities/maseg/store", json.dumps(sent).encode())
            _eventually(lambda: len(orthanc.find("Instance", Modality="SEG")) == len(exam), "Orthanc has the SEGs")
        (study,) = orthanc.find("Study")
        found = orthanc.find("Instance", Modality="SEG")
        for number, instance in enumerate(found):
            (tmp_path / f"{number}.dcm").write_bytes(orthanc.ask(f"/instances/{instance}/file"))
            assert orthanc.ask(f"/instances/{instance}/study")["ID"] == study
        segs = [dcmread(tmp_path / f"{number}.dcm") for number in range(len(found))]
    for path in exam:
        source = dcmread(path, stop_before_pixels=True)
        (seg,) = (s for s in segs if s.SourceImageSequence[0].ReferencedSOPInstanceUID == source.SOPInstanceUID)
        assert seg.PatientID == source.PatientID
        frames = seg.pixel_array
        np.testing.assert_array_equal(frames[0] + 2 * frames[1], segmenter.predict(path))
