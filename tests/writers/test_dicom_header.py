"""What a DICOM SEG repeats from its source's header: legal values unchanged, illegal ones empty."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from maseg_nnunet.errors import OutputError
from maseg_nnunet.mammogram import Side
from maseg_nnunet.writers.dicom_seg import write_dicom_seg
from tests.writers.seg_factory import ALGORITHM, CREATED, errors, make_mask, write_seg, write_source


def test_illegal_study_uid_gives_no_object_and_a_reason(real_dicom: Path, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="StudyInstanceUID"):
        source = real_dicom / "Hologic_Selenia_LCC.dcm"
        write_dicom_seg(tmp_path / "s.dcm", np.zeros((3328, 2560), np.uint8), source, (1, 1), Side.LEFT, ALGORITHM)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("StudyInstanceUID", None),
        ("StudyInstanceUID", "1.2.03"),
        ("StudyInstanceUID", "1." * 40 + "1"),
        ("SOPInstanceUID", "3"),
        ("SOPInstanceUID", "1.2.x"),
        ("SeriesInstanceUID", ""),
        ("SOPClassUID", "MAMMO"),
    ],
)
def test_missing_or_illegal_uids_are_named_but_not_quoted(tmp_path: Path, keyword: str, value: object) -> None:
    with pytest.raises(OutputError, match=keyword) as caught:
        write_seg(tmp_path, **{keyword: value})
    assert not value or str(value) not in str(caught.value)
    assert not (tmp_path / "seg.dcm").exists()


HOSTILE = {
    "PatientName": "Doe",
    "PatientID": "x" * 90,
    "PatientBirthDate": "00000000",
    "PatientSex": "female",
    "StudyDate": "20230231",
    "StudyTime": "25:61",
    "StudyID": "a study id that is much too long",
    "AccessionNumber": "a\x00\x07b",
    "PatientAge": "49",
    "InstanceNumber": "seven",
    "PatientOrientation": "to the left of him",
    "LossyImageCompression": "yes",
    "FrameOfReferenceUID": "frame",
}


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian])
def test_illegal_values_become_empty_without_a_word(
    tmp_path: Path, syntax: str, caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder
) -> None:
    source, path = write_source(tmp_path / "source.dcm", syntax=syntax, **HOSTILE), tmp_path / "seg.dcm"
    caplog.clear()
    caplog.set_level(logging.INFO)
    write_dicom_seg(path, make_mask((60, 50)), source, (0.1, 0.2), Side.LEFT, ALGORITHM, CREATED)
    assert caplog.text == ""
    assert len(recwarn) == 0
    assert errors(path) == []
    seg = dcmread(path)
    assert seg.PatientName == "Doe"
    for keyword in ("PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID"):
        assert keyword in seg and not seg[keyword].value, keyword
    assert "PatientAge" not in seg


@pytest.mark.parametrize(
    ("name", "charsets"),
    [
        ("Yamada^Tarou=山田^太郎=やまだ^たろう", ["", "ISO 2022 IR 87"]),
        # Bytes of characters that are a backslash (本), equals signs (春, 秀, 純, そ) and carets.
        ("Yamamoto^Haruko=山本^春子=やまもと^はるこ", ["", "ISO 2022 IR 87"]),
        ("Sono^Hideko=園^秀純春春=その^ひでこ", ["", "ISO 2022 IR 87"]),
        ("Yamamoto^Mei=山本^芽衣", ["ISO 2022 IR 13", "ISO 2022 IR 87", "ISO 2022 IR 159"]),
        ("Hong^Gildong=洪^吉洞=홍^길동", ["", "ISO 2022 IR 149"]),
        ("Wang^XiaoDong=王^小东", "GB18030"),
    ],
)
def test_names_of_asia_are_kept(tmp_path: Path, name: str, charsets: Any) -> None:
    seg = dcmread(write_seg(tmp_path, PatientName=name, StudyDescription="本" * 30, SpecificCharacterSet=charsets))
    assert str(seg.PatientName) == name
    assert seg.StudyDescription == "本" * 30


@pytest.mark.filterwarnings("ignore")
def test_delimiters_beside_letters_of_two_bytes_count(tmp_path: Path) -> None:
    charsets = ["", "ISO 2022 IR 87"]
    for name in ("a^b^c^d^e^f=山本", "a=b=c=山本"):
        assert not dcmread(write_seg(tmp_path, PatientName=name, SpecificCharacterSet=charsets)).PatientName
    path = write_seg(tmp_path, StudyDescription="a\\山本", SpecificCharacterSet=charsets)
    assert "StudyDescription" not in dcmread(path)


def test_names_outside_ascii_keep_their_character_set(tmp_path: Path) -> None:
    seg = dcmread(write_seg(tmp_path, PatientName="Ärger^Zoë", SpecificCharacterSet="ISO_IR 192"))
    assert str(seg.PatientName) == "Ärger^Zoë"
    assert seg.SpecificCharacterSet == "ISO_IR 192"


@pytest.mark.filterwarnings("ignore:Unknown encoding")
def test_text_in_an_unknown_character_set_becomes_empty(tmp_path: Path) -> None:
    path = write_seg(tmp_path, PatientName="Doe^Jane", PatientID="Zoë", SpecificCharacterSet="KLINGON")
    assert errors(path) == []
    seg = dcmread(path)
    assert (seg.PatientName, seg.PatientID) == ("Doe^Jane", "")
    assert "SpecificCharacterSet" not in seg


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("keyword", "value", "written"),
    [
        ("PatientID", "123\\456", ""),
        ("AccessionNumber", "a\\b", ""),
        ("PatientName", "a^b^c^d^e^f", ""),
        ("PatientName", "a^b^c^d^e=f^g=h", "a^b^c^d^e=f^g=h"),
        ("PatientOrientation", ["A", "F", "R"], ""),
        ("PatientOrientation", ["A", "FR"], ["A", "FR"]),
    ],
)
def test_values_of_another_multiplicity_become_empty(tmp_path: Path, keyword: str, value: Any, written: Any) -> None:
    path = write_seg(tmp_path, **{keyword: value})
    assert errors(path) == []
    found = dcmread(path)[keyword].value or ""
    assert (found if isinstance(found, str) else list(found) if isinstance(written, list) else str(found)) == written
