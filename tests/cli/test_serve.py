"""`maseg serve` as a user calls it."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from maseg_nnunet.mammogram import View
from maseg_nnunet.serving.nodes import Node
from maseg_nnunet.synthetic.phantom_dicom import PLANTED, write_exam
from tests.commands import Run
from tests.serving.helpers import PATIENCE, Archive, eventually, free_port, store, unclosed_sockets
from tests.tiny_models import write_model

pytestmark = unclosed_sockets


class _Process:
    """`maseg serve` as a process of its own."""

    def __init__(self, tmp_path: Path, destination: Node) -> None:
        node = f"{destination.ae_title}@{destination.host}:{destination.port}"
        self.port = free_port()
        command = [sys.executable, "-c", "from maseg_nnunet.cli.main import main; main()", "serve"]
        command += ["--spool", tmp_path / "spool", "--caller", "SENDER@127.0.0.1", "--destination", node]
        command += ["--port", str(self.port), "--model", tmp_path / "model", "--device", "cpu"]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.listens = "listens" in self._process.stdout.readline()

    def end(self, number: int) -> tuple[int, str]:
        """End it by a signal; its exit status and stderr."""
        self._process.send_signal(number)
        _, err = self._process.communicate(timeout=PATIENCE)
        return self._process.returncode, err


def test_killed_after_the_acknowledgement_it_delivers_after_a_restart(tmp_path: Path) -> None:
    write_model(tmp_path / "model")
    exam = [image for image, _ in write_exam(tmp_path / "exam", "ge", 1, scale=0.1, raw=False, views=(View.MLO,))]
    first = _Process(tmp_path, Node("ARCHIVE", "127.0.0.1", free_port()))
    assert first.listens, first.end(signal.SIGKILL)
    assert store(first.port, *exam) == [0x0000, 0x0000]
    first.end(signal.SIGKILL)
    with Archive() as archive:
        second = _Process(tmp_path, archive.node)
        assert second.listens, second.end(signal.SIGKILL)
        eventually(lambda: len(archive.received) == len(exam), "both arrive after the restart")
        status, log = second.end(signal.SIGTERM)
    assert status == 0
    assert "segmented" in log and "sent" in log
    assert not any(word in log for word in (*PLANTED, "QUI"))


@pytest.mark.skipif(sys.platform == "win32", reason="no file locks")
def test_a_second_server_on_one_spool_ends_with_one_line(tmp_path: Path) -> None:
    write_model(tmp_path / "model")
    first = _Process(tmp_path, Node("ARCHIVE", "127.0.0.1", free_port()))
    second = _Process(tmp_path, Node("ARCHIVE", "127.0.0.1", free_port()))
    status, message = second.end(signal.SIGTERM)
    assert first.end(signal.SIGTERM)[0] == 0
    assert first.listens and not second.listens
    assert status == 1
    assert message.splitlines()[-1].startswith("error: ") and "is used by another maseg serve" in message
    assert "Traceback" not in message


@pytest.mark.parametrize(
    ("caller", "destination", "said"),
    [
        ("PACS@nowhere", "PACS@127.0.0.1:104", "AE_TITLE@ADDRESS"),
        ("PACS@127.0.0.1", "PACS@127.0.0.1", "AE_TITLE@HOST:PORT"),
        ("PACS", "PACS@127.0.0.1:104", "may call from"),
    ],
)
def test_callers_and_destinations_that_make_no_sense(
    caller: str, destination: str, said: str, tmp_path: Path, maseg: Run
) -> None:
    options = ("--spool", tmp_path / "spool", "--host", "0.0.0.0")
    answer = maseg("serve", *options, "--caller", caller, "--destination", destination)
    assert answer.status == 2 and said in answer.err and answer.err.count("\n") == 1
    assert not (tmp_path / "spool").exists()
