"""Sending: the outcome of each answer of a destination, and what the server does with it."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import CTImageStorage, SegmentationStorage

pytest.importorskip("pynetdicom", reason="the extra [pacs] is not installed")

from pynetdicom.association import Association

from maseg_nnunet.serving.nodes import Node
from maseg_nnunet.serving.send import Sending, send
from tests.serving.helpers import (
    Archive,
    eventually,
    free_port,
    running_server,
    segment_halves,
    store,
    unclosed_sockets,
)

pytestmark = unclosed_sockets


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (0x0000, Sending.SENT),
        (0xB000, Sending.SENT),
        (0xA700, Sending.RETRY),
        (0x0110, Sending.RETRY),
        (0x0124, Sending.RETRY),
        (0x0122, Sending.REFUSED),
        (0xC001, Sending.REFUSED),
    ],
)
def test_the_outcome_follows_the_status(status: int, outcome: Sending, tmp_path: Path, exam: list[Path]) -> None:
    segment_halves(exam[0], tmp_path / "seg.dcm")
    with Archive(statuses=(status,)) as archive:
        sending, reason = send(tmp_path / "seg.dcm", archive.node, "MASEG")
    assert sending is outcome
    assert (reason == "") == (outcome is Sending.SENT)


def test_the_outcome_without_a_status(tmp_path: Path, exam: list[Path]) -> None:
    segment_halves(exam[0], tmp_path / "seg.dcm")
    nobody = Node("ARCHIVE", "127.0.0.1", free_port())
    assert send(tmp_path / "seg.dcm", nobody, "MASEG") == (Sending.RETRY, "ARCHIVE is unreachable")
    with Archive(accepts=CTImageStorage) as archive:
        expected = (Sending.RETRY, "ARCHIVE does not accept DICOM SEG")
        assert send(tmp_path / "seg.dcm", archive.node, "MASEG") == expected
    with Archive() as archive, running_server(tmp_path / "spool", archive.node) as (server, _):
        strict = Node("MASEG", "127.0.0.1", server.port)  # rejects everybody but its callers
        expected = (Sending.RETRY, "MASEG rejected the association")
        assert send(tmp_path / "seg.dcm", strict, "STRANGER") == expected
    assert send(tmp_path / "missing.dcm", nobody, "MASEG")[0] is Sending.REFUSED


@pytest.mark.usefixtures("soon")
def test_a_destination_that_is_away_is_tried_again(
    tmp_path: Path, exam: list[Path], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    port = free_port()
    with running_server(tmp_path / "spool", Node("ARCHIVE", "127.0.0.1", port)) as (server, _):
        store(server.port, exam[0])
        eventually(lambda: "next attempt" in caplog.text, "an attempt fails")
        with Archive(port, statuses=(0xA700,)) as archive:
            eventually(lambda: len(archive.received) == 1, "it arrives in the end")
    assert "out of resources" in caplog.text


def test_what_the_destination_refuses_is_kept_with_a_reason_and_can_be_tried_again(
    tmp_path: Path, exam: list[Path]
) -> None:
    with Archive(statuses=(0xC001,)) as archive, running_server(tmp_path / "spool", archive.node) as (server, spool):
        store(server.port, exam[0])
        failed = spool.folder / "failed"
        eventually(lambda: list(failed.glob("*.txt")), "a reason is written")
        (reason,) = failed.glob("*.txt")
        (kept,) = failed.glob("*_seg.dcm")
    assert "ARCHIVE" in reason.read_text()
    assert dcmread(kept).SOPClassUID == SegmentationStorage
    kept.replace(spool.folder / "ready" / kept.name)
    with Archive() as archive, running_server(tmp_path / "spool", archive.node):
        eventually(lambda: len(archive.received) == 1, "it is sent after all")


@pytest.mark.parametrize("status", [0xA700, 0x0110, 0x0124, 0xB000, 0xB007])
def test_what_may_pass_is_tried_again_and_a_warning_is_a_delivery(
    status: int, tmp_path: Path, exam: list[Path], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("maseg_nnunet.serving.server.FIRST_DELAY", 0.05)
    caplog.set_level(logging.WARNING)
    with Archive(statuses=(status,)) as archive, running_server(tmp_path / "spool", archive.node) as (server, spool):
        store(server.port, exam[0])
        eventually(lambda: not archive.statuses and spool.waiting() == 0, "it is taken")
        assert not list((spool.folder / "failed").iterdir())
        assert ("next attempt" in caplog.text) == (status < 0xB000)
        assert len(archive.received) == (status < 0xB000)


@pytest.mark.usefixtures("soon")
def test_an_archive_that_is_not_set_up_for_segmentations_gets_them_when_it_is(
    tmp_path: Path, exam: list[Path], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    port = free_port()
    with running_server(tmp_path / "spool", Node("ARCHIVE", "127.0.0.1", port)) as (server, _):
        with Archive(port, accepts=CTImageStorage):
            store(server.port, exam[0])
            eventually(lambda: "does not accept DICOM SEG" in caplog.text, "an attempt fails")
        with Archive(port) as archive:
            eventually(lambda: len(archive.received) == 1, "it arrives in the end")


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
    with Archive() as archive, running_server(tmp_path / "spool", archive.node) as (server, spool):
        store(server.port, exam[0])
        eventually(lambda: calls, "it is tried")
        store(server.port, exam[1])
        eventually(lambda: len(archive.received) == 2 and spool.waiting() == 0, "both arrive in the end")
        spool.ready.put("gone.dcm")
        spool.received.put("gone too.dcm")
        store(server.port, exam[0])
        eventually(lambda: len(archive.received) == 3, "the next one is segmented and sent")
    assert "did not answer" in caplog.text
    assert "gone too.dcm left in the spool" in caplog.text
