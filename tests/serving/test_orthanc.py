"""The node and a real Orthanc."""

from __future__ import annotations

import json
import shutil
import subprocess
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread

pytest.importorskip("pynetdicom", reason="the extra [pacs] is not installed")

from maseg_nnunet.serving.nodes import Caller, Node, ServerSettings
from maseg_nnunet.serving.server import Server, segment_to_seg
from maseg_nnunet.serving.spool import Spool
from tests.serving.helpers import PATIENCE, eventually, free_port, unclosed_sockets
from tests.tiny_models import write_model

pytestmark = unclosed_sockets


class _Orthanc:
    """A real Orthanc on loopback, with a configuration and a storage of its own."""

    def __init__(self, folder: Path, maseg_port: int) -> None:
        program = shutil.which("Orthanc")
        if program is None:
            pytest.skip("Orthanc is not installed: apt-get install orthanc")
        self.port, self._http = free_port(), free_port()
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
            eventually(self._answers, "Orthanc starts")
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
    port = free_port()
    with _Orthanc(tmp_path / "orthanc", port) as orthanc:
        settings = ServerSettings((Caller("ORTHANC"),), Node("ORTHANC", "127.0.0.1", orthanc.port), port=port)
        with Spool(tmp_path / "spool", reserve=0) as spool, Server(settings, spool, segment_to_seg(segmenter)):
            orthanc.ask("/modalities/maseg/echo", b"{}")
            sent = [orthanc.ask("/instances", path.read_bytes())["ID"] for path in exam]
            orthanc.ask("/modalities/maseg/store", json.dumps(sent).encode())
            eventually(lambda: len(orthanc.find("Instance", Modality="SEG")) == len(exam), "Orthanc has the SEGs")
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
