from __future__ import annotations

import logging
import socket
import threading
from ipaddress import ip_network
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.uid import CTImageStorage

pytest.importorskip("pynetdicom", reason="the extra [pacs] is not installed")

from pynetdicom.sop_class import Verification

from maseg_nnunet.errors import Reason, RefusedError, UsageError
from maseg_nnunet.serving.nodes import Caller, Node, ServerSettings
from maseg_nnunet.serving.server import Server, segment_to_seg
from maseg_nnunet.serving.spool import Spool
from maseg_nnunet.synthetic.phantom_dicom import PLANTED
from tests.serving.helpers import (
    CALLER,
    PATIENCE,
    Archive,
    association_to,
    eventually,
    free_port,
    running_server,
    segment_halves,
    store,
    unclosed_sockets,
)
from tests.tiny_models import write_model

pytestmark = unclosed_sockets


def test_an_exam_comes_back_as_segmentations(
    tmp_path: Path, exam: list[Path], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with Archive() as archive, running_server(tmp_path / "spool", archive.node) as (server, spool):
        assert store(server.port, *exam) == [0x0000, 0x0000]
        eventually(lambda: len(archive.received) == len(exam), "two segmentations arrive")
        eventually(lambda: spool.waiting() == 0, "the spool is empty again")
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
        running_server(tmp_path / "spool", Node("A", "127.0.0.1", 1)) as (server, _),
        association_to(server.port) as association,
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
        running_server(tmp_path / "spool", Node("A", "127.0.0.1", 1), callers=callers) as (server, _),
        association_to(server.port, title, called) as association,
    ):
        assert association.is_rejected
        assert not association.is_established


def test_an_address_that_is_no_callers_gets_no_thread(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    elsewhere = Caller("SENDER", ip_network("10.1.2.0/24"))
    with running_server(tmp_path / "spool", Node("A", "127.0.0.1", 1), callers=(elsewhere,)) as (server, _):
        threads = threading.active_count()
        with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as silent:
            assert silent.recv(1) == b""  # the server hangs up before anything is said
            assert threading.active_count() == threads
    assert "refused a connection from 127.0.0.1" in caplog.text


def test_what_can_not_be_judged_is_not_let_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Caller, ae_title: str, address: str) -> bool:
        raise ValueError("an unknown kind of address")

    monkeypatch.setattr(Caller, "matches", broken)
    with (
        running_server(tmp_path / "spool", Node("A", "127.0.0.1", 1)) as (server, _),
        association_to(server.port) as association,
    ):
        assert association.is_rejected


def test_other_modalities_are_not_taken(tmp_path: Path) -> None:
    with (
        running_server(tmp_path / "spool", Node("A", "127.0.0.1", 1)) as (server, _),
        association_to(server.port, sop_class=CTImageStorage) as association,
    ):
        accepted = [context.abstract_syntax for context in association.accepted_contexts]
        assert accepted == [Verification]


def test_a_full_queue_refuses_and_acknowledges_again_when_there_is_room(tmp_path: Path, exam: list[Path]) -> None:
    go_on, begun = threading.Event(), threading.Event()

    def slow(source: Path, target: Path) -> None:
        begun.set()
        go_on.wait(PATIENCE)
        segment_halves(source, target)

    with Archive() as archive, running_server(tmp_path / "spool", archive.node, slow, limit=2) as (server, spool):
        assert store(server.port, exam[0], exam[1], exam[0]) == [0x0000, 0x0000, 0xA700]
        begun.wait(PATIENCE)
        assert store(server.port, exam[0]) == [0xA700]
        go_on.set()
        eventually(lambda: spool.waiting() == 0, "both are sent")
        assert store(server.port, exam[0]) == [0x0000]


def test_a_disk_error_is_no_acknowledgement(tmp_path: Path, exam: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    def full(data: bytes) -> str:
        raise OSError(28, "No space left on device")

    with running_server(tmp_path / "spool", Node("A", "127.0.0.1", 1)) as (server, spool):
        monkeypatch.setattr(spool, "store", full)
        assert store(server.port, exam[0]) == [0xA700]


def test_what_was_received_survives_a_restart(tmp_path: Path, exam: list[Path]) -> None:
    with Spool(tmp_path / "spool", reserve=0) as spool:
        # The last run acknowledged this one and was killed while it segmented it.
        spool.begin(spool.store(exam[0].read_bytes()))
    with Archive() as archive, running_server(tmp_path / "spool", archive.node):
        eventually(lambda: len(archive.received) == 1, "the file of the last run comes back segmented")


def test_a_stop_in_the_middle_loses_nothing(tmp_path: Path, exam: list[Path]) -> None:
    with running_server(tmp_path / "spool", Node("NOBODY", "127.0.0.1", free_port())) as (server, spool):
        store(server.port, *exam)
        eventually(lambda: not list((spool.folder / "received").iterdir()), "both are in work")
    with Archive() as archive, running_server(tmp_path / "spool", archive.node):
        eventually(lambda: len(archive.received) == len(exam), "both arrive after the restart")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (RefusedError(Reason.NO_SPACING, "none"), "no spacing: none"),
        (RefusedError(Reason.NO_DECODER, "JPEG XL"), "no decoder: JPEG XL"),
        (RefusedError(Reason.TRUNCATED, "half"), "truncated: half"),
        (RefusedError(Reason.SPECIMEN, "a specimen"), "specimen: a specimen"),
        (ValueError("Quitte^Mirabelle is not a number"), "internal error: ValueError"),
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
        segment_halves(source, target)

    monkeypatch.setattr("maseg_nnunet.serving.server.FIRST_DELAY", 0.01)
    monkeypatch.setattr("maseg_nnunet.serving.server.MOST_TRIES", 3)
    with Archive() as archive, running_server(tmp_path / "spool", archive.node, first_fails) as (server, spool):
        store(server.port, *exam)
        eventually(lambda: len(archive.received) == 1 and spool.waiting() == 0, "the second one arrives")
        failed = sorted(path.name for path in (spool.folder / "failed").iterdir())
        assert failed == ([] if reason is None else [bad[0], bad[0].replace(".dcm", ".txt")])
        assert reason is None or (spool.folder / "failed" / failed[1]).read_text() == f"{reason}\n"
    assert bad.count(bad[0]) == (1 if isinstance(error, RefusedError) else 3)
    assert "Quitte" not in caplog.text


def test_a_fault_of_the_machine_loses_nothing(
    tmp_path: Path, exam: list[Path], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    broken = [RuntimeError("the GPU has fallen off the bus")] * 3

    def fails_three_times(source: Path, target: Path) -> None:
        if broken:
            raise broken.pop()
        segment_halves(source, target)

    monkeypatch.setattr("maseg_nnunet.serving.server.FIRST_DELAY", 0.01)
    with Archive() as archive, running_server(tmp_path / "spool", archive.node, fails_three_times) as (server, spool):
        store(server.port, *exam)
        eventually(lambda: len(archive.received) == 2 and spool.waiting() == 0, "both arrive when it is over")
        assert not list((spool.folder / "failed").iterdir())
    assert "not segmented: internal error: RuntimeError; next attempt" in caplog.text


def test_nothing_is_taken_after_the_end(tmp_path: Path, exam: list[Path]) -> None:
    with Archive() as archive, Spool(tmp_path / "spool", reserve=0) as spool:
        server = Server(ServerSettings((CALLER,), archive.node, port=0), spool, segment_halves)
        server.__enter__()
        with association_to(server.port) as association:
            assert association.send_c_store(dcmread(exam[0])).Status == 0
            server.__exit__(None, None, None)
            eventually(lambda: not association.is_established, "the association is ended")
        assert not [thread for thread in threading.enumerate() if thread.name in ("segment", "send")]


def test_port_in_use(tmp_path: Path) -> None:
    with socket.socket() as taken, Spool(tmp_path / "spool", reserve=0) as spool:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        settings = ServerSettings((CALLER,), Node("A", "127.0.0.1", 1), port=taken.getsockname()[1])
        with pytest.raises(UsageError, match="can't listen"):
            Server(settings, spool, segment_halves).__enter__()


def test_the_model_gives_the_segmentation_that_predict_gives(tmp_path: Path, exam: list[Path]) -> None:
    from maseg_nnunet.prediction.segmenter import Segmenter

    segmenter = Segmenter(write_model(tmp_path / "model"), "cpu")
    segment_to_seg(segmenter)(exam[0], tmp_path / "seg.dcm")
    frames = dcmread(tmp_path / "seg.dcm").pixel_array
    expected = segmenter.predict(exam[0])
    assert expected.any()
    np.testing.assert_array_equal(frames[0] + 2 * frames[1], expected)
    header = dcmread(exam[0])
    del header.ImagerPixelSpacing
    header.save_as(tmp_path / "without.dcm")
    with pytest.raises(RefusedError, match="no spacing"):
        segment_to_seg(segmenter)(tmp_path / "without.dcm", tmp_path / "no.dcm")
    segment_to_seg(segmenter, spacing_mm=0.4)(tmp_path / "without.dcm", tmp_path / "given.dcm")
    assert (tmp_path / "given.dcm").is_file()


@pytest.mark.parametrize("given", [True, False])
def test_a_side_is_the_headers_and_not_that_of_the_spools_path(given: bool, tmp_path: Path, exam: list[Path]) -> None:
    from maseg_nnunet.prediction.segmenter import Segmenter

    header = dcmread(exam[0])
    header.ImageLaterality = "L"
    if not given:
        del header.ImageLaterality
    (tmp_path / "right").mkdir()
    header.save_as(tmp_path / "right" / "x.dcm")
    segment = segment_to_seg(Segmenter(write_model(tmp_path / "model"), "cpu"))
    segment(tmp_path / "right" / "x.dcm", tmp_path / "seg.dcm")
    seg = dcmread(tmp_path / "seg.dcm")
    types = (part.SegmentedPropertyTypeCodeSequence[0] for part in seg.SegmentSequence)
    found = {code.CodeMeaning for kind in types for code in kind.get("SegmentedPropertyTypeModifierCodeSequence", ())}
    assert found == ({"Left"} if given else set())
