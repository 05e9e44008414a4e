import logging
import warnings
from pathlib import Path

import pydicom
import pytest

from maseg_nnunet.errors import RefusedError
from maseg_nnunet.readers import read_mammogram
from maseg_nnunet.readers.quiet import silence_pydicom
from tests.readers.dicom_factory import make, save

ILLEGAL = {
    "PatientBirthDate": "Quitte-illegal-date",
    "PatientName": "Quitte^" + "x" * 100,
    "PatientAge": "QUITTE-AGE",
    "ImagerPixelSpacing": ["0.07", "0.0700000000000000000000001"],
    "StudyInstanceUID": "Quitte.not.a.uid",
    "AccessionNumber": "Quitte" * 20,
}


def test_nothing_of_a_header_is_said(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    path = save(make(**ILLEGAL), tmp_path / "image")
    caplog.set_level(logging.DEBUG)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        # The file must make pydicom warn or log, or the test proves nothing.
        str(pydicom.dcmread(path))
        talked = len(caught) + len(caplog.records)
        caught.clear()
        caplog.clear()
        read_mammogram(path)
        broken = path.read_bytes()
        for stop in range(200, len(broken), 97):
            path.write_bytes(broken[:stop])
            with pytest.raises(RefusedError) as refused:
                read_mammogram(path)
            assert "uitte" not in str(refused.value)
    captured = capfd.readouterr()
    assert talked > 0
    assert not caught
    assert not caplog.records
    assert captured.out == captured.err == ""


def test_the_filter_is_added_once() -> None:
    silence_pydicom()
    count = len(warnings.filters)
    silence_pydicom()
    assert len(warnings.filters) == count
