from __future__ import annotations

import io
import logging
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.encaps import encapsulate
from pydicom.uid import JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless

from maseg_nnunet.errors import OutputError
from maseg_nnunet.labels import Label
from maseg_nnunet.mammogram import Side, View
from maseg_nnunet.readers import read_mammogram
from maseg_nnunet.readers.masks import read_mask
from maseg_nnunet.synthetic.phantom_dicom import VENDORS, write_exam
from maseg_nnunet.writers import dicom_seg as module
from maseg_nnunet.writers.dicom_seg import write_dicom_seg
from tests.writers.seg_factory import ALGORITHM, CREATED, errors, make_mask, read_labels, write_seg, write_source

SYNTHETIC = "1.2.840.10008.5.1.4.1.1.13.1.3"
REAL = ["GE_RCC.dcm", "GE_SIGMOID_3LUT_RMLO.dcm", "Hologic_scout_MONOCHROME1.dcm", "MG1_J2KI.dcm"]
REAL += ["MG_Explicit_Little.dcm", "Siemens_overlays_LCC.dcm"]


@pytest.mark.parametrize("name", REAL)
def test_real_file_has_no_error_and_refers_to_its_source(real_dicom: Path, tmp_path: Path, name: str) -> None:
    source = dcmread(real_dicom / name, stop_before_pixels=True)
    mask = make_mask((source.Rows, source.Columns))
    write_dicom_seg(tmp_path / "seg.dcm", mask, real_dicom / name, (0.0941, 0.0941), Side.RIGHT, ALGORITHM)
    assert errors(tmp_path / "seg.dcm") == []

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


@pytest.mark.parametrize("vendor", VENDORS)
def test_phantoms_of_every_maker(tmp_path: Path, vendor: str) -> None:
    pairs = write_exam(tmp_path, vendor, 2, scale=0.1, sides=(Side.RIGHT,), views=(View.MLO,))
    assert pairs
    for image, _ in pairs:
        mammogram = read_mammogram(image)
        path = tmp_path / "seg" / image.name
        write_dicom_seg(path, make_mask(mammogram.shape), image, mammogram.spacing, mammogram.side, ALGORITHM)
        assert errors(path) == []
        np.testing.assert_array_equal(read_mask(path, mammogram.shape), make_mask(mammogram.shape))


def test_segments_are_coded_with_the_side_inside_the_type(tmp_path: Path) -> None:
    seg = dcmread(write_seg(tmp_path, side=Side.RIGHT))
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
    path = write_seg(tmp_path, side=Side.UNKNOWN)
    for segment in dcmread(path).SegmentSequence:
        assert "SegmentedPropertyTypeModifierCodeSequence" not in segment.SegmentedPropertyTypeCodeSequence[0]
    assert errors(path) == []


@pytest.mark.parametrize("value", [0, 1])
def test_segments_without_pixels_keep_their_frames(tmp_path: Path, value: int) -> None:
    mask = np.full((60, 50), value, np.uint8)
    path = write_seg(tmp_path, mask)
    assert errors(path) == []
    assert dcmread(path).pixel_array.shape == (2, 60, 50)
    np.testing.assert_array_equal(read_labels(path, "1.2.3.4"), mask)


@pytest.mark.parametrize("sop_class", [SYNTHETIC, "1.2.840.10008.5.1.4.1.1.7", "1.2.840.10008.5.1.4.1.1.7.3"])
@pytest.mark.parametrize("frame_of_reference", [None, "1.2.3.9"])
def test_other_classes_with_one_frame(tmp_path: Path, sop_class: str, frame_of_reference: str | None) -> None:
    path = write_seg(tmp_path, SOPClassUID=sop_class, FrameOfReferenceUID=frame_of_reference)
    assert errors(path) == []
    seg = dcmread(path)
    assert seg.get("FrameOfReferenceUID") == frame_of_reference
    referring = [seg.SourceImageSequence[0], seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence[0]]
    referring += [f.DerivationImageSequence[0].SourceImageSequence[0] for f in seg.PerFrameFunctionalGroupsSequence]
    assert {item.ReferencedSOPClassUID for item in referring} == {sop_class}


def test_the_spacing_is_row_before_column_and_nobody_is_named_as_its_author(tmp_path: Path) -> None:
    seg = dcmread(write_seg(tmp_path))
    assert seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing == [0.1, 0.2]
    assert "ContentCreatorName" in seg and not seg.ContentCreatorName


def test_lossy_compression_is_passed_on(tmp_path: Path) -> None:
    path = write_seg(tmp_path, LossyImageCompression="01")
    assert errors(path) == []
    seg = dcmread(write_seg(tmp_path, LossyImageCompression="01", LossyImageCompressionRatio=["10", "2.5"]))
    assert seg.LossyImageCompression == "01"
    assert list(seg.LossyImageCompressionRatio) == [10, 2.5]


@pytest.mark.parametrize("syntax", [JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless])
def test_what_is_always_lossy_needs_no_attribute(tmp_path: Path, syntax: str) -> None:
    source, path = write_source(tmp_path / "source.dcm"), tmp_path / "seg.dcm"
    header = dcmread(source)
    header.file_meta.TransferSyntaxUID = syntax
    header.PixelData = encapsulate([b"not read"])
    header["PixelData"].VR = "OB"
    header.save_as(source)
    write_dicom_seg(path, make_mask((60, 50)), source, (0.1, 0.2), Side.LEFT, ALGORITHM, CREATED)
    assert errors(path) == []
    assert dcmread(path).LossyImageCompression == "01"


def test_the_same_result_is_the_same_object_and_another_is_another(tmp_path: Path) -> None:
    first = write_seg(tmp_path).read_bytes()
    (tmp_path / "seg.dcm").unlink()
    assert write_seg(tmp_path).read_bytes() == first
    uid = dcmread(tmp_path / "seg.dcm").SOPInstanceUID
    mask = make_mask((60, 50))
    mask[-1, -1] = 1
    others = [
        dcmread(write_seg(tmp_path, mask)).SOPInstanceUID,
        dcmread(write_seg(tmp_path, side=Side.RIGHT)).SOPInstanceUID,
        dcmread(write_seg(tmp_path, SOPInstanceUID="1.2.3.5")).SOPInstanceUID,
        dcmread(write_seg(tmp_path, PatientID="corrected")).SOPInstanceUID,
    ]
    assert len({uid, *others}) == 5


def test_a_later_run_with_the_same_result_writes_nothing(tmp_path: Path) -> None:
    path = write_seg(tmp_path)
    first = path.read_bytes()
    arguments = (make_mask((60, 50)), tmp_path / "source.dcm", (0.1, 0.2), Side.LEFT, ALGORITHM)
    assert not write_dicom_seg(path, *arguments)
    assert path.read_bytes() == first
    path.write_bytes(b"something else")
    assert write_dicom_seg(path, *arguments)
    assert dcmread(path).SOPInstanceUID == dcmread(io.BytesIO(first)).SOPInstanceUID


def test_a_mask_of_another_grid_or_label_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="shape"):
        write_seg(tmp_path, np.zeros((50, 60), np.uint8))
    with pytest.raises(OutputError, match="label"):
        write_seg(tmp_path, np.full((60, 50), 3, np.uint8))


def test_source_that_can_not_be_read_again(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="read again"):
        write_dicom_seg(tmp_path / "s.dcm", np.zeros((2, 2), np.uint8), tmp_path / "gone", (1, 1), Side.LEFT, ALGORITHM)


def test_highdicom_never_logs_an_instance() -> None:
    assert module.logging.getLogger("highdicom.base").getEffectiveLevel() >= logging.WARNING
