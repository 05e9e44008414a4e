"""Identifiers in headers reach neither a path nor an output."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator
from pathlib import Path

import pydicom
import pytest

from maseg_nnunet.dataset.manifest import read_manifest
from maseg_nnunet.dataset_conversion.convert_dataset import convert_dataset
from maseg_nnunet.synthetic.phantom_dicom import PLANTED
from tests.dataset_conversion.helpers import edited, exams_request


@pytest.mark.parametrize("evil", ["../../x", "/etc/passwd", "x" * 300, "Łucja\u202e", "a\x00b", "-rf", "C:\\x"])
def test_an_identifier_can_not_steer_a_path(exams: Path, tmp_path: Path, key: Path, evil: str) -> None:
    attributes = {"PatientID": evil[:64], "PatientName": evil[:64], "StudyID": evil[:16], "AccessionNumber": evil[:16]}
    edited(exams / "planmed", tmp_path / "in", SpecificCharacterSet="ISO_IR 192", **attributes)
    before = set(tmp_path.parent.iterdir())
    convert_dataset(exams_request(tmp_path / "in", "planmed", tmp_path / "out", key))
    assert {path.name for path in tmp_path.iterdir()} == {"in", "out"}
    assert set(tmp_path.parent.iterdir()) == before
    for row in read_manifest(tmp_path / "out"):
        assert re.fullmatch(r"planmed_[0-9a-f]{16}_[LR](CC|MLO)_[0-9a-f]{8}", row.case)


def planted(exams: Path) -> Iterator[bytes]:
    """Everything in the headers that could identify a woman, an exam or an image."""
    for path in exams.rglob("*.dcm"):
        header = pydicom.dcmread(path, stop_before_pixels=True)
        for name in ("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "AccessionNumber"):
            if value := str(header.get(name, "")):
                yield value.encode()
    yield from (word.encode() for word in PLANTED)


def test_nothing_of_a_patient_reaches_an_output(
    exams: Path, tmp_path: Path, key: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level("DEBUG")
    convert_dataset(exams_request(exams, "ge", tmp_path / "out", key, workers=2))
    shown = capfd.readouterr()
    secrets = set(planted(exams / "ge"))
    assert len(secrets) > 30
    texts = {"log": caplog.text.encode(), "out": shown.out.encode(), "err": shown.err.encode()}
    for path in (tmp_path / "out").rglob("*"):
        if path.is_file() and path.name != "sources.csv":
            data = path.read_bytes()
            texts[path.name] = gzip.decompress(data) if path.suffix == ".gz" else data
            assert path.name.encode() not in secrets
    for name, text in texts.items():
        found = [secret for secret in secrets if secret in text]
        assert not found, f"{name} contains {found}"
        assert str(exams).encode() not in text, f"{name} contains a path"
    assert (tmp_path / "out" / "sources.csv").stat().st_mode & 0o077 == 0
